# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A pull whose lock's connection breaks, and its successor."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.pairs.runs import Values
from tests.servers.mariadb import MariaServer
from tests.servers.postgresql import PostgresServer


def test_postgresql_drops_nothing_of_a_successors_when_its_lock_was_lost(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, "CREATE TABLE t AS SELECT g FROM generate_series(1, 9) g")
    push.push(Task.from_mapping(task_values("push", database)), Host())
    theirs: list[Any] = []

    def lose(snapshot: Any) -> None:
        """End the session that has the lock, take it, and put a scratch database of another run in this one's place."""
        if snapshot.phase != "checking" or theirs:
            return
        server = psycopg2.connect(
            host=staging.host, port=staging.port, user=staging.superuser, password=staging.password, dbname="postgres"
        )
        server.autocommit = True
        theirs.append(server)
        with server.cursor() as cursor:
            cursor.execute("SELECT classid, objid, pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1")
            found = cursor.fetchall()
            for _high, _low, pid in found:
                cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
            for high, low, _pid in found:
                cursor.execute("SELECT pg_advisory_lock((%s::bigint << 32) | %s)", (high, low))
            [scratch] = [name for name in staging.databases() if name.startswith("env_sync_scratch_")]
            cursor.execute(f'DROP DATABASE "{scratch}" WITH (FORCE)')
            cursor.execute(f'CREATE DATABASE "{scratch}"')
            comment = f"env_sync: scratch database of a pull of {database}, run theirs"
            cursor.execute(f"COMMENT ON DATABASE \"{scratch}\" IS '{comment}'")

    with pytest.raises(EnvSyncError, match="the lock was lost"):
        pull.pull(Task.from_mapping(task_values("pull", database)), Host(progress=lose))
    assert [name for name in staging.databases() if name.startswith("env_sync_scratch_")]
    theirs[0].close()
    # The lock is free again, and the next one sweeps what is left, as its holder.
    pull.pull(Task.from_mapping(task_values("pull", database)), Host())
    assert staging.contents(database) == production.contents(database)


def test_mysql_drops_nothing_of_a_successors_when_its_lock_was_lost(
    mariadb: MariaServer, mysql_values: dict[str, Any]
) -> None:
    mariadb.sql("CREATE DATABASE app; CREATE TABLE app.t (n int PRIMARY KEY); INSERT INTO app.t VALUES (1), (2)")
    push.push(Task.from_mapping({"action": "push", **mysql_values}), Host())
    lost: list[str] = []

    def lose(snapshot: Any) -> None:
        if snapshot.phase != "checking" or lost:
            return
        [scratch] = [name for name in mariadb.databases() if name.startswith("env_sync_scratch_")]
        lost.append(scratch)
        for session in mariadb.sql(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND COMMAND = 'Sleep'"
        ).split():
            mariadb.sql(f"KILL {session}")
        mariadb.sql(
            f"DROP DATABASE {scratch}; CREATE DATABASE {scratch}; CREATE TABLE {scratch}.env_sync_mark "
            "(id int PRIMARY KEY) COMMENT = 'env_sync: scratch schema of a pull, run theirs'"
        )

    try:
        with pytest.raises(EnvSyncError, match="the lock was lost"):
            pull.pull(Task.from_mapping({"action": "pull", **mysql_values}), Host(progress=lose))
        assert lost[0] in mariadb.databases()
        pull.pull(Task.from_mapping({"action": "pull", **mysql_values}), Host())
        assert lost[0] not in mariadb.databases()
    finally:
        for name in mariadb.databases():
            mariadb.drop_database(name)
