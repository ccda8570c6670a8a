# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import text as command_text
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.manifest import Manifest, Member
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.name import (
    iso_utc,
    manifest_name,
    point_name,
)
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


# -- points that claim a time later than now ---------------------------------------------------------------------------

HOUR = 3600.0
NEVER = "2099-01-01T00:00:00"


@pytest.fixture
def somewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that moves this host into a time zone, named as POSIX does: ``XXX-10`` is ten hours ahead."""

    def move(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


def stamp(seconds: float) -> str:
    """Return the timestamp, in UTC, of so many seconds from now."""
    return iso_utc(time.time() + seconds).rstrip("Z")


@pytest.fixture
def put_pushed(make_manifest: Callable[..., Manifest]) -> Callable[..., str]:
    """Return a function that stores a point whose push ran for a minute, ``ago`` seconds ago."""

    def put(store: DirectoryStore, timestamp: str, ago: float) -> str:
        name = point_name(timestamp, "app")
        member = Member(f"{name}/toc", 1, hashlib.sha256(b"x").hexdigest(), 1)
        store.put_bytes(member.name, b"x")
        started = time.time() - ago
        manifest = make_manifest(
            timestamp=timestamp, members=[member], started=iso_utc(started), finished=iso_utc(started + 60)
        )
        store.put_bytes(manifest_name(name), manifest.to_json())
        return name

    return put


def test_a_point_from_the_future_is_shown_and_never_the_newest(store: DirectoryStore, put_point: Putter) -> None:
    put_point(store, MONDAY)
    for timestamp in (NEVER, stamp(20 * 60)):
        put_point(store, timestamp)
    store.put_bytes(f"{NEVER}-old.gz", b"x")
    listed = catalogue.list_points(store)
    assert [point.from_future for point in listed] == [False, True, True, True]
    lines = [line for line in command_text.points(listed)[1:] if " app " in line]
    assert ["complete, from the future" in line for line in lines] == [False, True, True]
    warned: list[str] = []
    assert catalogue.choose(store, "app", warn=warned.append).timestamp == MONDAY
    assert "2 points are passed over, with a time later than now" in warned[0]
    with pytest.raises(EnvSyncError, match=rf"only points that claim a time later than now .{NEVER}"):
        catalogue.choose(store, "old")


def test_one_that_is_named_is_taken(store: DirectoryStore, put_point: Putter) -> None:
    put_point(store, NEVER)
    warned: list[str] = []
    assert catalogue.choose(store, "app", NEVER[:16], warn=warned.append).timestamp == NEVER
    assert "is taken because its timestamp was given" in warned[0]
    warned.clear()
    put_point(store, MONDAY)
    catalogue.choose(store, "app", MONDAY, warn=warned.append)
    assert warned == []


def test_clocks_may_be_apart_by_a_quarter_of_an_hour(store: DirectoryStore, put_point: Putter) -> None:
    put_point(store, MONDAY)
    put_point(store, soon := stamp(13 * 60))
    assert catalogue.choose(store, "app").timestamp == soon


@pytest.mark.parametrize("hours", [-12, -9.5, -5, 1, 5.75, 10, 14])
def test_local_time_of_a_host_elsewhere_is_no_future(
    store: DirectoryStore, put_pushed: Callable[..., str], hours: float
) -> None:
    """Its manifest says in UTC when it was pushed."""
    put_pushed(store, stamp(hours * HOUR - 590), ago=600)
    point = catalogue.choose(store, "app")
    assert not point.from_future
    assert catalogue.age(point, catalogue.read_manifest(store, point)) == pytest.approx(590, abs=5)


@pytest.mark.parametrize("hours", [0.5, 5, 13])
def test_a_clock_that_is_ahead_is(store: DirectoryStore, put_pushed: Callable[..., str], hours: float) -> None:
    """It was ahead when the manifest was written too; and no local time is ahead by that little, or by a day."""
    put_pushed(store, stamp(hours * HOUR), ago=-hours * HOUR)
    assert catalogue.list_points(store)[0].from_future


@pytest.mark.parametrize("hours", [15, 24 * 365])
def test_so_is_what_no_local_time_explains(store: DirectoryStore, put_pushed: Callable[..., str], hours: float) -> None:
    put_pushed(store, stamp(hours * HOUR), ago=0)
    assert catalogue.list_points(store)[0].from_future


def test_where_timestamps_are_local_now_is_local_too(
    store: DirectoryStore, put_point: Putter, somewhere: Callable[[str], None]
) -> None:
    somewhere("XXX-10")
    store.put_bytes(f"{stamp(10 * HOUR - 60)}-app.gz", b"x")
    [point] = catalogue.list_points(store, timezone="local")
    assert not point.from_future
    assert catalogue.age(point, None, "local") == pytest.approx(60, abs=5)
    assert catalogue.list_points(store, timezone="utc")[0].from_future
    store.put_bytes(f"{stamp(10 * HOUR + 1200)}-app.gz", b"x")
    assert [point.from_future for point in catalogue.list_points(store, timezone="local")] == [False, True]


def test_behind_utc_too(store: DirectoryStore, somewhere: Callable[[str], None]) -> None:
    somewhere("XXX+5")
    store.put_bytes(f"{stamp(-3 * HOUR)}-app.gz", b"x")
    assert catalogue.list_points(store, timezone="local")[0].from_future, "it is two hours from now, here"
    assert not catalogue.list_points(store)[0].from_future


@pytest.mark.parametrize("timestamp", ["2026-13-45T00:00:00", "0000-01-01T00:00:00", "9999-12-31T23:59:59"])
def test_what_is_no_time_is_never_the_newest(store: DirectoryStore, timestamp: str) -> None:
    store.put_bytes(f"{timestamp}-app.gz", b"x")
    for timezone in ("utc", "local"):
        assert catalogue.list_points(store, timezone=timezone)[0].from_future


def test_where_there_is_nothing_to_choose_the_message_says_why(store: DirectoryStore) -> None:
    with pytest.raises(EnvSyncError, match=r"there is none. Push the database first"):
        catalogue.choose(store, "app")
    store.put_bytes(f"{TUESDAY}-app/toc.dat", b"x")
    with pytest.raises(EnvSyncError, match=rf"only interrupted pushes .{TUESDAY}"):
        catalogue.choose(store, "app")
