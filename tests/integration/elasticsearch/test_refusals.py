# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is refused: the source itself, snapshots that are damaged or not whole, other repositories, wrong names."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.elasticsearch.dump import Dump
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store

from tests.integration.elasticsearch.support import Tasks, live
from tests.servers.opensearch import SearchServer


def test_the_source_itself_is_refused(production: SearchServer, tasks: Tasks) -> None:
    push.push(tasks("push"), Host())
    before = live(production)

    with pytest.raises(EnvSyncError, match="that is the server it was pushed from"):
        pull.pull(tasks("pull", production), Host())
    assert live(production) == before
    production.call("DELETE", "/users/_doc/0?refresh=true")
    pull.pull(tasks("pull", production, allow_restore_to_source=True), Host())
    assert len(production.documents("users")) == 20


def test_a_snapshot_that_lacks_data_is_refused_and_the_live_indices_stay(
    production: SearchServer, staging: SearchServer, tasks: Tasks, repositories: Path
) -> None:
    staging.fill("users", {"1": {"email": "live@staging.invalid"}})
    before = live(staging)
    push.push(tasks("push"), Host())
    folder = repositories / tasks("push").elastic.repository_settings["location"]
    blobs = sorted(folder.glob("indices/*/*/__*"), key=lambda path: path.stat().st_size)
    kept = blobs[-1].read_bytes()

    for damaged in (kept[: len(kept) // 2], None):
        if damaged is None:
            blobs[-1].unlink()
        else:
            blobs[-1].write_bytes(damaged)
        with pytest.raises(EnvSyncError, match="cannot be restored"):
            pull.pull(tasks("pull"), Host())
        assert live(staging) == before


def test_a_snapshot_that_ends_with_less_than_every_shard_is_no_point(
    production: SearchServer, tasks: Tasks, repositories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = tasks("push").elastic.repository_settings["location"]
    slow = {"location": location, "max_snapshot_bytes_per_sec": "2kb"}
    finish = Dump._finish

    def finish_badly(*arguments: Any) -> None:
        while not (shards := list((repositories / location).glob("indices/*/*"))):
            time.sleep(0.01)
        for folder in shards:
            # The server goes on writing meanwhile.
            while folder.is_dir():
                with contextlib.suppress(OSError):
                    shutil.rmtree(folder)
                    folder.write_bytes(b"so that it can be written no more")
        finish(*arguments)

    monkeypatch.setattr(Dump, "_finish", finish_badly)
    with pytest.raises(EnvSyncError, match=r"its state is (PARTIAL|FAILED), \d of \d shards failed"):
        push.push(tasks("push", repository_settings=slow), Host())
    assert "complete" not in {point.state for point in catalogue.list_points(open_store(tasks("push")), "Search")}


def test_a_snapshot_whose_description_is_gone_hides_no_other(
    production: SearchServer, staging: SearchServer, tasks: Tasks, repositories: Path
) -> None:
    folder = repositories / tasks("push").elastic.repository_settings["location"]
    found: list[Path] = []
    for day in (2, 3):
        push.push(tasks("push", timestamp=f"2026-01-0{day}T03:04"), Host())
        found += [path for path in folder.glob("snap-*.dat") if path not in found]
    found[1].unlink()

    assert pull.pull(tasks("pull"), Host())["point"] == "2026-01-02T03:04:00-Search"
    with pytest.raises(EnvSyncError, match=r"there is none of 2026-01-03T03:04. The nearest points are 2026-01-02"):
        pull.pull(tasks("pull", timestamp="2026-01-03T03:04"), Host())
    found[0].write_bytes(b"")
    with pytest.raises(EnvSyncError, match="there is none"):
        pull.pull(tasks("pull"), Host())


def test_a_snapshot_that_is_not_whole_is_no_point(
    production: SearchServer, staging: SearchServer, tasks: Tasks
) -> None:
    push.push(tasks("push", timestamp="2026-01-02T03:04"), Host())
    nowhere = {"index.routing.allocation.require._name": "nowhere"}
    production.call("PUT", "/red?wait_for_active_shards=0", {"settings": nowhere})
    body = {"partial": True, "include_global_state": False}
    production.call("PUT", "/_snapshot/backups/2026-01-03t03:04:00-search?wait_for_completion=true", body)

    states = {p.timestamp: p.state for p in catalogue.list_points(open_store(tasks("push")), "Search")}
    assert states == {"2026-01-02T03:04:00": "complete", "2026-01-03T03:04:00": "incomplete"}
    assert pull.pull(tasks("pull"), Host())["point"] == "2026-01-02T03:04:00-Search"
    with pytest.raises(EnvSyncError, match="was interrupted"):
        pull.pull(tasks("pull", timestamp="2026-01-03T03:04"), Host())
    with pytest.raises(EnvSyncError, match="the index red is red"):
        push.push(tasks("push"), Host())


def test_a_repository_is_used_only_as_it_is_registered(
    production: SearchServer, staging: SearchServer, tasks: Tasks
) -> None:
    with pytest.raises(EnvSyncError, match=r"not registered at this server\. Register it"):
        push.push(tasks("push", repository_type="", repository_settings=""), Host())
    with pytest.raises(EnvSyncError, match="The first run registers it"):
        pull.plan(tasks("pull"), Host())
    push.push(tasks("push"), Host())
    pull.pull(tasks("pull"), Host())
    with pytest.raises(EnvSyncError, match="read-only"):
        push.push(tasks("push", staging), Host())
    with pytest.raises(EnvSyncError, match="other settings"):
        push.push(tasks("push", repository_settings="location=elsewhere"), Host())


def test_a_name_that_means_nothing_is_refused(production: SearchServer, tasks: Tasks) -> None:
    for others, why in (
        ({"excluded_tables": "userz"}, "excluded_tables names userz"),
        ({"indices": "orders"}, "there is no index to dump"),
        ({"database": "a b"}, "a snapshot's name has no blanks"),
        ({"storagebackend": "directory", "url": "/tmp"}, "stored as a snapshot"),
    ):
        with pytest.raises(EnvSyncError, match=why):
            push.push(tasks("push", **others), Host())
