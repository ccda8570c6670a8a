# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A push that gave up on a write, and the next push."""

from __future__ import annotations

import os
import threading
import time

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases import server_keys
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.journal import Journal
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.pairs.runs import Values
from tests.servers.postgresql import PostgresServer


def test_what_a_straggler_of_a_stopped_push_writes_is_removed_by_the_next(
    production: PostgresServer, database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last fsync takes longer than anybody waits, and then ends."""
    production.create_database(database, "CREATE TABLE t AS SELECT g FROM generate_series(1, 9) g")
    hanging, go_on, stop = threading.Event(), threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not hanging.is_set() and path.endswith(".partial") and os.fstat(descriptor).st_size:
            hanging.set()
            stop.set()
            go_on.wait(60)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    task = Task.from_mapping(task_values("push", database))
    with pytest.raises(EnvSyncError, match="told to stop"):
        push.push(task, Host(cancelled=stop.is_set))
    assert hanging.is_set()
    journal = Journal(task.state_dir, open_store(task).url(), server_keys(task).journal)
    [entry] = journal.unfinished()
    assert entry.claimed and entry.may_write()

    go_on.set()
    store = open_store(task)
    deadline = time.monotonic() + 10
    while not list(store.list(entry.point)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(store.list(entry.point)), "the straggler is to write, for the test to be worth anything"
    push.push(task, Host())

    assert [found.name for found in store.list(entry.point)] == []
    assert [point.state for point in catalogue.list_points(store, database)] == ["complete"]
