# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore

MONDAY, TUESDAY, LATER, WEDNESDAY = (
    "2026-01-05T01:00:00", "2026-01-06T01:00:00", "2026-01-06T01:00:30", "2026-01-07T01:00:00",
)  # fmt: skip
Putter = Callable[..., str]


def states(store: DirectoryStore, database: str = "") -> list[tuple[str, str, str]]:
    return [(point.timestamp, point.database, point.state) for point in catalogue.list_points(store, database)]


def test_an_empty_store_has_no_points(store: DirectoryStore) -> None:
    assert catalogue.list_points(store) == []


def test_points_are_listed_oldest_first_with_what_they_are(store: DirectoryStore, put_point: Putter) -> None:
    put_point(store, TUESDAY, a=b"12", b=b"345")
    put_point(store, MONDAY, "other")
    store.put_bytes(f"{WEDNESDAY}-app/toc.dat", b"1234567")
    store.put_bytes("readme.txt", b"not a point's")
    assert states(store) == [
        (MONDAY, "other", "complete"),
        (TUESDAY, "app", "complete"),
        (WEDNESDAY, "app", "incomplete"),
    ]
    point = catalogue.list_points(store, "app")[0]
    assert point.stored_bytes == 5, "the manifest is not counted"
    assert (point.name, len(point.objects)) == (f"{TUESDAY}-app", 3)
    assert "objects" not in point.to_dict()


def test_finished_is_when_the_last_object_was_written(store: DirectoryStore, put_point: Putter, tmp_path: Path) -> None:
    put_point(store, MONDAY, a=b"1", b=b"2")
    for seconds, path in enumerate(sorted((tmp_path / "store").rglob("*")), 100):
        os.utime(path, (seconds, seconds))
    [point] = catalogue.list_points(store)
    newest = max(found.modified for found in store.list())
    assert point.finished == f"1970-01-01T00:01:{newest - 60:02.0f}Z"


def test_names_that_begin_or_end_like_another_are_not_its_points(store: DirectoryStore, put_point: Putter) -> None:
    for database in ("app", "app_old", "my_app", "app-2"):
        put_point(store, MONDAY, database)
    assert states(store, "app") == [(MONDAY, "app", "complete")]


def test_the_originals_objects_are_points_where_there_is_no_manifest(store: DirectoryStore) -> None:
    store.put_bytes(f"{MONDAY}-app.gz", b"x")
    store.put_bytes(f"{TUESDAY}-app.gz", b"x")
    assert {state for *_unused, state in states(store)} == {"legacy"}
    assert catalogue.choose(store, "app").timestamp == TUESDAY


def test_beside_manifests_an_object_without_one_is_an_interrupted_push(
    store: DirectoryStore, put_point: Putter
) -> None:
    put_point(store, MONDAY)
    store.put_bytes(f"{TUESDAY}-app.gz", b"x")
    store.put_bytes(f"{TUESDAY}-other.gz", b"x")
    assert states(store)[1:] == [(TUESDAY, "app", "incomplete"), (TUESDAY, "other", "legacy")]
    assert catalogue.choose(store, "app").timestamp == MONDAY


def test_details_come_from_the_manifest(store: DirectoryStore, put_point: Putter) -> None:
    put_point(store, MONDAY, a=b"123")
    [point] = catalogue.list_points(store, details=True)
    assert (point.raw_bytes, point.dbms, point.environment, point.sanitised) == (3, "postgresql", "production", False)
    assert point.finished == "2026-01-02T03:05:05Z"


def test_with_details_a_damaged_manifest_is_told_of(store: DirectoryStore, put_point: Putter) -> None:
    name = put_point(store, MONDAY)
    store.put_bytes(f"{name}.manifest.json", b"{")
    assert [point.state for point in catalogue.list_points(store, details=True)] == ["unreadable"]


def test_another_points_manifest_is_refused(store: DirectoryStore, put_point: Putter) -> None:
    name = put_point(store, MONDAY)
    store.put_bytes(f"{TUESDAY}-app.manifest.json", store.get_bytes(f"{name}.manifest.json"))
    with pytest.raises(EnvSyncError, match=f"it describes {MONDAY}-app"):
        catalogue.read_manifest(store, catalogue.choose(store, "app", TUESDAY))


def test_the_newest_is_chosen_unless_a_timestamp_is_given(store: DirectoryStore, put_point: Putter) -> None:
    for timestamp in (MONDAY, TUESDAY, LATER, WEDNESDAY):
        put_point(store, timestamp)
    assert catalogue.choose(store, "app").timestamp == WEDNESDAY
    assert catalogue.choose(store, "app", TUESDAY).timestamp == TUESDAY
    assert catalogue.choose(store, "app", TUESDAY[:16]).timestamp == LATER, "the newest of that minute"


def test_a_wrong_timestamp_shows_the_nearest(store: DirectoryStore, put_point: Putter) -> None:
    for timestamp in ("2025-12-01T00:00:00", MONDAY, TUESDAY, WEDNESDAY, "2026-02-01T00:00:00"):
        put_point(store, timestamp)
    for asked in ("2026-01-06T00:59", "2026-01-06T00:59:59"):
        with pytest.raises(EnvSyncError) as raised:
            catalogue.choose(store, "app", asked)
        assert raised.value.why == f"there is none of {asked}"
        assert raised.value.hint == f"The nearest points are {MONDAY}, {TUESDAY}, {WEDNESDAY}."


def test_an_interrupted_push_is_never_chosen(store: DirectoryStore, put_point: Putter) -> None:
    put_point(store, MONDAY)
    store.put_bytes(f"{TUESDAY}-app/toc.dat", b"x")
    assert catalogue.choose(store, "app").timestamp == MONDAY
    with pytest.raises(EnvSyncError, match=rf"the push of {TUESDAY} was interrupted.*nearest points are {MONDAY}"):
        catalogue.choose(store, "app", TUESDAY)


def test_where_there_is_nothing_to_choose_the_message_says_why(store: DirectoryStore) -> None:
    with pytest.raises(EnvSyncError, match=r"there is none. Push the database first"):
        catalogue.choose(store, "app")
    store.put_bytes(f"{TUESDAY}-app/toc.dat", b"x")
    with pytest.raises(EnvSyncError, match=rf"only interrupted pushes .{TUESDAY}"):
        catalogue.choose(store, "app")
