# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs that are killed, and runs that are told to stop."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import snapshot as mysql_snapshot
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import swap as mysql_swap
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import Cancelled, EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.mysql.helpers import (
    ADDRESSES,
    LIVE,
    SAMPLE,
    Values,
    contents,
    default_collation,
    do_pull,
    do_push,
)
from tests.servers.mariadb import MariaServer


@pytest.mark.parametrize(
    ("action", "in_the_way", "waiting"),
    [
        ("push", "LOCK TABLES {}.customers WRITE", "FLUSH TABLES"),
        ("pull", "FLUSH TABLES WITH READ LOCK", "env_sync_no_such_table"),
        ("pull", "LOCK TABLES {}.live READ", "DROP TRIGGER"),
        ("pull", "LOCK TABLES {}.quiet READ", "RENAME TABLE"),
        ("pull", "DO 0", "sleep(9)"),
    ],
)
def test_a_run_that_is_told_to_stop_while_the_server_keeps_it_waiting(
    production: MariaServer,
    staging: MariaServer,
    database: str,
    task_values: Values,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    in_the_way: str,
    waiting: str,
) -> None:
    """It would go on for a minute otherwise."""
    monkeypatch.setattr(mysql_swap, "_LOCK_WAIT", 60)
    monkeypatch.setattr(mysql_snapshot, "_LOCK_WAIT", 60)
    production.create_database(database, SAMPLE)
    triggered = "; CREATE TABLE quiet (id int); CREATE TRIGGER tr BEFORE INSERT ON live FOR EACH ROW SET @x = 1"
    staging.create_database(database, LIVE + triggered)
    before = contents(staging, database)
    script = tmp_path / "slow.sql"
    script.write_text(
        "UPDATE customers SET email = concat(id, sleep(9));\n" if waiting == "sleep(9)" else "SELECT 1;\n"
    )
    do_push(task_values("push", database, timestamp="2026-01-02T03:04"))
    server = production if action == "push" else staging
    told: list[float] = []

    def cancelled() -> bool:
        if not told and waiting in server.sql(
            "SELECT info FROM information_schema.processlist WHERE id <> connection_id()"
        ):
            told.append(time.monotonic())
        return bool(told)

    with contextlib.closing(
        pymysql.connect(host=server.host, port=server.port, user=server.user, password=server.password)
    ) as other:
        other.query(in_the_way.format(database))
        values = task_values(action, database, transformation_sql_filename=str(script) if action == "pull" else "")
        with pytest.raises(Cancelled):
            (push.push if action == "push" else pull.pull)(Task.from_mapping(values), Host(cancelled=cancelled))
        assert time.monotonic() - told[0] < 20
    assert contents(staging, database) == before
    assert staging.databases() == [database]
    assert "sleep" not in staging.sql("SELECT info FROM information_schema.processlist WHERE id <> connection_id()")


ENGINE = Path(__file__).parents[3] / "plugins" / "module_utils"

# What a process of its own runs, to be killed where it says `reached`.
RUN = """
import json, sys, time
sys.path.insert(0, {engine!r})
from _engine import push, pull
from _engine.databases.mysql import client as mysql_client
from _engine.host.progress import Host
from _engine.stores import directory
from _engine.tasks.task import Task

def reached(*args, **kwargs):
    print("reached", flush=True)
    time.sleep(60)

def after_statement(start, number):
    query = mysql_client.Server.query
    counted = []
    def watching(self, statement, *args, **kwargs):
        rows = query(self, statement, *args, **kwargs)
        if statement.startswith(start):
            counted.append(statement)
            if len(counted) == number:
                reached()
        return rows
    mysql_client.Server.query = watching

{hook}
task = Task.from_mapping(json.loads(sys.argv[1]))
(push.push if task.action == "push" else pull.pull)(task, Host())
"""


def run_and_kill(values: dict[str, Any], hook: str) -> None:
    """Run the task in a process of its own, and kill it where ``hook`` has it say ``reached``."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN.format(engine=str(ENGINE), hook=hook), json.dumps(values)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        found = process.stdout.readline()
        process.kill()
    assert found == "reached\n"


def test_a_push_that_is_killed(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    run_and_kill(task_values("push", database), "push._manifest = reached")
    assert list((tmp_path / "store" / "mysql").iterdir())
    time.sleep(1)
    pushed = do_push(task_values("push", database))
    left = {path.name for path in (tmp_path / "store" / "mysql").iterdir()}
    assert left == {pushed["point"], pushed["point"] + ".manifest.json"}
    assert list((tmp_path / "temp").iterdir()) == []
    do_pull(task_values("pull", database))
    assert staging.sql(ADDRESSES, database) == "500\t500"


@pytest.mark.parametrize(
    ("hook", "moved"),
    [
        ("after_statement('SET SESSION foreign_key_checks = 0', 2)", False),
        ("after_statement('CREATE DATABASE', 1)", False),
        ("after_statement('INSERT INTO `env_sync_scratch', 1)", False),
        ("after_statement('DROP TRIGGER', 1)", False),
        ("after_statement('RENAME TABLE `test', 1)", True),
        ("after_statement('DROP DATABASE', 1)", True),
    ],
)
def test_a_pull_that_is_killed(
    production: MariaServer,
    staging: MariaServer,
    database: str,
    task_values: Values,
    monkeypatch: pytest.MonkeyPatch,
    hook: str,
    moved: bool,
) -> None:
    def fail(*_args: Any) -> None:
        raise EnvSyncError("testing", "swept")

    triggers = (
        "; CREATE TRIGGER one BEFORE INSERT ON live FOR EACH ROW SET @x = 1; CREATE FUNCTION f() RETURNS int RETURN 1"
    )
    production.create_database(database, SAMPLE, "COLLATE utf8mb4_polish_ci")
    staging.create_database(database, LIVE + triggers, "COLLATE utf8mb4_czech_ci")
    before = contents(staging, database)
    do_push(task_values("push", database))

    run_and_kill(task_values("pull", database), hook)
    # What the next run does first, whatever comes of it then.
    with monkeypatch.context() as patch, pytest.raises(EnvSyncError, match="swept"):
        patch.setattr(pull, "_preflight", fail)
        do_pull(task_values("pull", database))

    assert contents(staging, database) == (contents(production, database) if moved else before)
    assert default_collation(staging, database) == ("utf8mb4_polish_ci" if moved else "utf8mb4_czech_ci")
    assert staging.databases() == [database]
    do_pull(task_values("pull", database))
    assert contents(staging, database) == contents(production, database)
