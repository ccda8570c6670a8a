# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import json
import uuid
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.search.client import Client, ServerError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.search.points import (
    NOTE_BYTES,
    Note,
    fault,
    read_note,
    snapshot_name,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.es_snapshot import SnapshotStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.reader import BytesReader
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import (
    Connection,
    ElasticOptions,
    S3Options,
)

NOTE = Note("1.0", "Search", "uuid", "7.10.2", "production", "host", 100, [{"script": "x", "sha256": "y"}], ["c*"])
WHOLE = {"state": "SUCCESS", "shards": {"total": 2, "failed": 0, "successful": 2}, "failures": []}


def snapshot(name: str, **values: Any) -> dict[str, Any]:
    times = {"start_time_in_millis": 1000, "end_time_in_millis": 2000}
    return {"snapshot": name, "indices": ["a", "b"], **times, **WHOLE, **values}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Callable[..., SnapshotStore]:
    """Return a function that gives a store in which the server has these snapshots; ``older`` servers read less."""

    def make(*snapshots: dict[str, Any], older: bool = False) -> SnapshotStore:
        def get(_self: Client, where: str, doing: str, **_query: Any) -> Any:
            name = where.replace("%3A", ":").split("/")[3]
            found = [s for s in snapshots if name in ("_all", s["snapshot"])]
            if not found and name != "_all":
                raise ServerError(doing, "missing", 404, "snapshot_missing_exception")
            if older and where.endswith("_status"):
                raise ServerError(doing, "Can't get text on a START_ARRAY", 500, "illegal_state_exception")
            stats = {"total": {"size_in_bytes": 7}}
            return {"snapshots": [{"stats": stats}] if where.endswith("_status") else found}

        monkeypatch.setattr(Client, "get", get)
        client = Client(Connection(), ElasticOptions(), S3Options())
        return SnapshotStore(client, "backups", ElasticOptions(), "Search")

    return make


def test_a_whole_snapshot_is_a_point_and_any_other_an_interrupted_push(store: Callable[..., SnapshotStore]) -> None:
    failed = {"total": 2, "failed": 1, "successful": 1}
    found = store(
        snapshot("2026-01-01t03:04:05-search"),
        snapshot("2026-01-02t03:04:05-search", state="IN_PROGRESS"),
        snapshot("2026-01-03t03:04:05-search", state="PARTIAL", shards=failed),
        snapshot("2026-01-04t03:04:05-search", shards=failed),
        snapshot("2026-01-05t03:04:05-search-2"),
        snapshot("nightly-2026.01.01"),
    )
    points = {p.name: p.state for p in catalogue.list_points(found)}
    assert list(points.values()) == ["complete"] + ["incomplete"] * 3 + ["complete"]
    assert "2026-01-05T03:04:05-search-2" in points
    assert catalogue.choose(found, "Search").timestamp == "2026-01-01T03:04:05"


def test_the_manifest_says_what_the_server_and_the_note_say(store: Callable[..., SnapshotStore]) -> None:
    writes = {"is_write_index": True}
    aliases = {
        "x": {"indices": ["b"], "whole": True, "properties": {}},
        "y": {"indices": ["a", "b"], "whole": True, "properties": {}, "others": {"b": writes}},
    }
    note = dataclasses.replace(NOTE, rows={"a": 3, "b": 4}, aliases=aliases)
    metadata, without = note.encode(["b", "a"])
    found = store(snapshot("2026-01-01t03:04:05-search", metadata=metadata))
    manifest = catalogue.read_manifest(found, catalogue.choose(found, "Search"))
    assert (manifest.server["system"], manifest.environment, manifest.stored_bytes) == ("uuid", "production", 7)
    assert manifest.tables == ({"name": "a", "rows": 3}, {"name": "b", "rows": 4}) and not without
    assert manifest.details["aliases"] == aliases and manifest.details["excluded_tables"] == ["c*"]
    assert manifest.sanitised == ({"script": "x", "sha256": "y"},)


def test_a_server_that_is_too_old_for_a_snapshot_leaves_it_to_the_note(store: Callable[..., SnapshotStore]) -> None:
    noted = snapshot("2026-01-01t03:04:05-search", metadata=NOTE.encode(["a", "b"])[0])
    found = store(noted, snapshot("2026-01-02t03:04:05-search"), older=True)
    assert catalogue.read_manifest(found, catalogue.choose(found, "Search", "2026-01-01T03:04")).stored_bytes == 100
    with pytest.raises(EnvSyncError, match="START_ARRAY"):
        catalogue.read_manifest(found, catalogue.choose(found, "Search"))


def test_a_point_is_called_as_its_snapshot_is(store: Callable[..., SnapshotStore]) -> None:
    for name in ("2026-01-01T03:04:05-Search", "2026-01-01T03:04:05-Search.manifest.json"):
        assert store().url(name) == "http://localhost:9200/_snapshot/backups/2026-01-01t03:04:05-search"
    assert store().url() == "http://localhost:9200/_snapshot/backups"


def test_what_the_note_has_no_room_for_is_said(store: Callable[..., SnapshotStore]) -> None:
    indices = [f"index-{n}" for n in range(300)]
    rows = {name: number * 7919 for number, name in enumerate(indices)}
    few = dataclasses.replace(NOTE, rows=rows, aliases={"x": {"indices": ["index-1"], "whole": True, "properties": {}}})
    metadata, without = few.encode(indices)
    assert without == ["numbers of documents"] and len(json.dumps(metadata)) <= NOTE_BYTES
    read = read_note({"metadata": metadata, "indices": indices})
    assert read is not None and read.aliases == few.aliases and not read.rows
    names = [uuid.uuid4().hex for number in range(60)]
    many = dataclasses.replace(
        NOTE, aliases={n: {"indices": ["index-1"], "whole": True, "properties": {}} for n in names}
    )
    assert many.encode(indices)[1] == ["numbers of documents", "aliases"]
    with pytest.raises(EnvSyncError, match="room for"):
        dataclasses.replace(NOTE, excluded=names).encode(indices)


@pytest.mark.parametrize("metadata", [None, {}, {"env_sync": 1}, {"env_sync": {"v": 1}}, {"env_sync": {"v": 2}}])
def test_a_note_that_cannot_be_read_is_none(metadata: Any) -> None:
    assert read_note({"metadata": metadata, "indices": []}) is None


def test_nothing_is_committed_that_is_not_whole(store: Callable[..., SnapshotStore]) -> None:
    found = store(snapshot("2026-01-01t03:04:05-search", state="PARTIAL"), snapshot("2026-01-02t03:04:05-search"))
    found.commit("2026-01-02T03:04:05-Search")
    for day in ("01", "03"):
        with pytest.raises(EnvSyncError, match=r"PARTIAL|no such snapshot"):
            found.commit(f"2026-01-{day}T03:04:05-Search")
    with pytest.raises(EnvSyncError, match="there is no such manifest"):
        found.get_bytes("2026-01-01T03:04:05-Search.manifest.json")


def test_bytes_neither_go_in_nor_come_out(store: Callable[..., SnapshotStore]) -> None:
    with pytest.raises(EnvSyncError, match="hands nothing out"):
        store().put("2026-01-01T03:04:05-Search.dump", BytesReader(b"x"))
    with pytest.raises(EnvSyncError, match="hands nothing out"):
        store().open("2026-01-01T03:04:05-Search/snapshot")


@pytest.mark.parametrize("name", ["a b", "a,b", "a#b", "a*", "x" * 256])
def test_names_that_a_server_refuses_are_refused_before(name: str) -> None:
    with pytest.raises(EnvSyncError, match="a snapshot's name"):
        snapshot_name(name)


def test_a_failure_is_told_in_the_servers_words() -> None:
    failed = snapshot("x", state="PARTIAL", shards={"total": 2, "failed": 1}, failures=[{"reason": "node left"}])
    assert fault(failed) == "its state is PARTIAL, 1 of 2 shards failed: node left"
    assert fault(snapshot("x")) == ""
