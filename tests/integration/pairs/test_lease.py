# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A pull that is suspended past its lease, or killed, and its successor."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.pairs.runs import keys, stopped_at
from tests.servers.mongo import MongoServer
from tests.servers.opensearch import SearchServer

SHORT = "lease.LIFE = 3.0\n"


@pytest.mark.parametrize("where", ["check", "swap", "discard"])
def test_a_mongodb_pull_that_wakes_after_its_lease_leaves_its_successors_work(
    ferret: MongoServer, mongo_values: dict[str, Any], tmp_path: Path, where: str
) -> None:
    name = mongo_values["database"]
    ferret.database(name).users.insert_many([{"_id": n, "email": f"user{n}"} for n in range(50)])
    push.push(Task.from_mapping({"action": "push", **mongo_values}), Host())
    fails = "mongo.Mongo.check = lambda self, group: 1 / 0\n" if where == "discard" else ""
    hook = f"{SHORT}{fails}before(mongo.Mongo, {where!r})"
    after = f"{SHORT}before(mongo.Mongo, 'swap')"
    with stopped_at({"action": "pull", **mongo_values}, tmp_path, hook) as sleeper:
        sleeper.process.send_signal(signal.SIGSTOP)
        time.sleep(3.2)
        with stopped_at({"action": "pull", **mongo_values}, tmp_path, after) as successor:
            theirs = [c for c in ferret.database(name).list_collection_names() if c.startswith("env_sync_scratch_")]
            assert len(theirs) == 1
            sleeper.process.send_signal(signal.SIGCONT)
            ended = sleeper.end()
            assert "error" in ended
            assert where == "discard" or "the lock was lost" in ended["error"]
            assert set(theirs) <= set(ferret.database(name).list_collection_names())
            assert "error" not in successor.end()
    assert ferret.database(name).users.count_documents({}) == 50
    assert not [c for c in ferret.database(name).list_collection_names() if c.startswith("env_sync_")]


def test_a_killed_holders_lease_is_free_at_once_and_another_boots_is_not(
    ferret: MongoServer, mongo_values: dict[str, Any], tmp_path: Path
) -> None:
    name = mongo_values["database"]
    ferret.database(name).users.insert_one({"_id": 1})
    push.push(Task.from_mapping({"action": "push", **mongo_values}), Host())
    with stopped_at({"action": "pull", **mongo_values}, tmp_path, "before(mongo.Mongo, 'check')") as holder:
        with pytest.raises(EnvSyncError, match=r"is pulling into it \(process \d+\)"):
            pull.pull(Task.from_mapping({"action": "pull", **mongo_values}), Host())
        holder.process.kill()
        holder.process.wait()
        mark = ferret.database(name).env_sync_pull
        process = mark.find_one({"_id": "pull"})["process"]
        # A clone of this host has its name, and another boot.
        mark.update_one({"_id": "pull"}, {"$set": {"process": {**process, "mark": "another-boot 1"}}})
        with pytest.raises(EnvSyncError, match="is pulling into it"):
            pull.pull(Task.from_mapping({"action": "pull", **mongo_values}), Host())
        mark.update_one({"_id": "pull"}, {"$set": {"process": process}})
        began = time.monotonic()
        pull.pull(Task.from_mapping({"action": "pull", **mongo_values}), Host())
        assert time.monotonic() - began < 20


@pytest.fixture(scope="module")
def search() -> Iterator[SearchServer]:
    with (
        tempfile.TemporaryDirectory(prefix="env_sync-repositories-") as folder,
        SearchServer("staging", Path(folder)) as server,
    ):
        yield server


def test_an_elasticsearch_pull_that_wakes_after_its_lease_leaves_its_successors_work(
    search: SearchServer, tmp_path: Path
) -> None:
    values = {
        "dbms": "elasticsearch",
        "database": "Search",
        "database_hostname": search.host,
        "database_port": search.port,
        "storagebackend": "es_snapshot",
        "url": "backups",
        "repository_type": "fs",
        "repository_settings": {"location": tmp_path.name},
        "temppath": str(tmp_path / "temp"),
        "state_dir": str(tmp_path / "state"),
        "allow_restore_to_source": True,
    }
    search.call("PUT", "/users", {"mappings": {"properties": {"email": {"type": "keyword"}}}})
    search.fill("users", {str(n): {"email": f"user{n}"} for n in range(5)})
    push.push(Task.from_mapping({"action": "push", **values}), Host())
    assert keys({"action": "push", **values}) == keys({"action": "push", **values}, database_hostname="localhost")
    hook = f"{SHORT}before(elasticsearch.Elasticsearch, 'swap')"
    with stopped_at({"action": "pull", **values}, tmp_path, hook) as sleeper:
        sleeper.process.send_signal(signal.SIGSTOP)
        time.sleep(4.2)  # its clock has whole seconds
        with stopped_at({"action": "pull", **values}, tmp_path, hook) as successor:
            theirs = [name for name in search.indices() if name.startswith("env_sync-") and name != "env_sync-lock"]
            sleeper.process.send_signal(signal.SIGCONT)
            assert "the lock was lost" in sleeper.end()["error"]
            assert set(theirs) <= set(search.indices())
            assert "error" not in successor.end()
    assert len(search.documents("users")) == 5
    search.clear()
