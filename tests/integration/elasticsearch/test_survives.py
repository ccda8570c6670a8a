# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several at once, and runs that are killed, cancelled or have lost their lock."""

from __future__ import annotations

import concurrent.futures
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.elasticsearch.lease import LockDocument
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.elasticsearch.names import (
    LOCK,
    owner_of,
    scratch_prefix,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.lease import DocumentStorage
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.search.client import Client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store

from tests.integration.elasticsearch.support import Tasks, Values, kill_when_reached, live, other_host
from tests.servers.opensearch import SearchServer


def test_hosts_that_push_at_the_same_minute_make_one_snapshot(
    production: SearchServer, tasks: Tasks, values: Values, tmp_path: Path
) -> None:
    push.push(tasks("push", timestamp="2026-01-02T03:04"), Host())
    running = []
    for number, address in enumerate(("127.0.0.1", "localhost", "http://127.0.0.1")):
        mine = values("push", database_hostname=address, state_dir=str(tmp_path / f"host{number}"))
        running.append(other_host(f"search-{number}", mine))
    ends = [(process.communicate(timeout=60), process.returncode) for process in running]

    assert [status for _said, status in ends] == [0, 0, 0], [said[1][-600:] for said, _status in ends]
    done = [json.loads(said[0]) for said, _status in ends]
    assert sorted(changed for changed, _reason in done) == [False, False, True]
    assert all("snapshot" in reason or "another host" in reason for changed, reason in done if not changed)
    points = catalogue.list_points(open_store(tasks("push")), "Search")
    assert [point.state for point in points] == ["complete", "complete"]


def test_a_push_that_is_killed_leaves_nothing_once_the_next_has_run(
    production: SearchServer, staging: SearchServer, tasks: Tasks, values: Values
) -> None:
    slow = {"location": tasks("push").elastic.repository_settings["location"], "max_snapshot_bytes_per_sec": "2kb"}
    mine = values("push", repository_settings=slow)
    kill_when_reached(other_host(os.uname().nodename, mine, "dump.Dump._finish = reached"))
    states = [point.state for point in catalogue.list_points(open_store(tasks("push")), "Search")]
    assert states == ["incomplete"], "the snapshot is to be running still, for the test to be worth anything"

    push.push(tasks("push", repository_settings=slow, indices="users"), Host())

    (point,) = catalogue.list_points(open_store(tasks("push")), "Search")
    assert point.state == "complete"


@pytest.mark.parametrize(
    "where", ["restore.Restore._await_shards", "database.Elasticsearch.check", "database.Elasticsearch.swap"]
)
def test_a_pull_that_is_killed_costs_nothing_but_its_own_work(
    where: str, production: SearchServer, staging: SearchServer, tasks: Tasks, values: Values
) -> None:
    staging.fill("users", {"1": {"email": "live@staging.invalid"}})
    before = live(staging)
    push.push(tasks("push"), Host())
    # It runs on this very host: another one's lock would hold for a minute.
    host = os.uname().nodename
    kill_when_reached(other_host(host, values("pull"), f"{where} = reached"))
    left = [name for name in staging.indices() if name.startswith(scratch_prefix("Search", "2")[:18])]
    assert len(left) == 2
    after = live(staging)
    assert {name: after[name] for name in before} == before

    said: list[str] = []
    pull.pull(tasks("pull"), Host(log=lambda _level, text: said.append(text)))

    assert sum("removed what an interrupted pull left" in text for text in said) == 2
    assert staging.documents("users") == production.documents("users")


def test_a_pull_waits_for_no_other_hosts(
    production: SearchServer, staging: SearchServer, tasks: Tasks, values: Values
) -> None:
    push.push(tasks("push"), Host())
    process = other_host("elsewhere", values("pull"), "database.Elasticsearch.check = reached")
    assert process.stdout is not None and process.stdout.readline() == "reached\n"
    try:
        with pytest.raises(EnvSyncError, match=r"elsewhere is pulling into it \(process \d+\)"):
            pull.pull(tasks("pull", database_hostname="localhost", state_dir="", temppath=""), Host())
    finally:
        process.kill()
        process.communicate()
    staging.call("DELETE", "/env_sync-lock")
    pull.pull(tasks("pull"), Host())


def test_who_has_lost_the_lock_leaves_the_work_of_who_has_it(
    production: SearchServer, staging: SearchServer, tasks: Tasks
) -> None:
    push.push(tasks("push"), Host())
    theirs = scratch_prefix("Search", "20260102030405") + "users"

    def progress(snapshot: Any) -> None:
        if snapshot.phase == "checking" and theirs not in staging.indices():
            staging.call("PUT", f"/{theirs}")
            taken = {"host": "elsewhere", "token": "theirs", "until": 4102444800}
            staging.call("PUT", f"/{LOCK}/_doc/{owner_of('Search')}", taken)

    with pytest.raises(EnvSyncError, match="the lock was lost: elsewhere has taken it"):
        pull.pull(tasks("pull"), Host(progress=progress))
    # Its own scratch indices are gone, as their names are its own; nothing else is.
    assert {theirs, LOCK} <= set(staging.indices())
    assert [index for index in staging.indices() if index.startswith("env_sync-") and index != LOCK] == [theirs]
    with pytest.raises(EnvSyncError, match="elsewhere is pulling into it"):
        pull.pull(tasks("pull"), Host())
    staging.call("DELETE", f"/{LOCK}")
    pull.pull(tasks("pull"), Host())
    assert theirs not in staging.indices()


def test_the_holder_of_the_lock_does_not_take_itself_for_another(staging: SearchServer, tasks: Tasks) -> None:
    lock = DocumentStorage(LockDocument(Client.from_task(tasks("pull")), "Search"))
    assert lock.acquire() == ""
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert {done.result() for done in [threads.submit(lock.lost) for _time in range(20)]} == {""}
    lock.release()
    assert staging.documents(LOCK) == {}


def test_a_run_that_is_cancelled_takes_its_snapshot_away(production: SearchServer, tasks: Tasks) -> None:
    slow = {"location": tasks("push").elastic.repository_settings["location"], "max_snapshot_bytes_per_sec": "2kb"}
    stop = threading.Event()

    def progress(snapshot: Any) -> None:
        if snapshot.phase == "dumping":
            stop.set()

    with pytest.raises(EnvSyncError, match="told to stop"):
        push.push(tasks("push", repository_settings=slow), Host(progress=progress, cancelled=stop.is_set))
    assert not list(catalogue.list_points(open_store(tasks("push")), "Search"))


@pytest.mark.parametrize("phase", ["restoring", "checking"])
def test_a_pull_that_is_cancelled_leaves_nothing(
    phase: str, production: SearchServer, staging: SearchServer, tasks: Tasks
) -> None:
    staging.fill("users", {"1": {"email": "live@staging.invalid"}})
    before = live(staging)
    push.push(tasks("push"), Host())
    stop = threading.Event()

    def progress(snapshot: Any) -> None:
        if snapshot.phase == phase:
            stop.set()

    with pytest.raises(EnvSyncError, match="told to stop"):
        pull.pull(tasks("pull"), Host(progress=progress, cancelled=stop.is_set))
    assert live(staging) == before
    assert not [name for name in staging.indices() if name.startswith("env_sync-") and name != LOCK]
