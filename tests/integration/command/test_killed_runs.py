# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run that is killed with SIGKILL, at any moment, costs nothing but its own work; and no two run at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

Values = Callable[..., dict[str, Any]]

ENGINE = Path(__file__).parents[3] / "plugins" / "module_utils"

SAMPLE = """
CREATE TABLE large AS SELECT g AS n, md5(g::text) AS t FROM generate_series(1, 60000) g;
CREATE TABLE small AS SELECT 1 AS n;
SELECT lo_from_bytea(g, convert_to(repeat('object ', 5000), 'UTF8')) FROM generate_series(1, 20) g \\g /dev/null
"""

# What the subprocess runs: `reached()` tells the test that it is where it is to be killed, and waits for that.
RUN = """
import json, sys, time
sys.path.insert(0, {engine!r})
from _engine import push, pull
from _engine.streams import pipeline
from _engine.databases.postgresql import client as pg_client, database as postgresql, feed as pg_feed
from _engine.databases.postgresql import follow as pg_follow, swap as pg_swap
from _engine.members import PointSource
from _engine.host.progress import Host
from _engine.stores import directory
from _engine.tasks.task import Task

def reached(*args, **kwargs):
    print("reached", flush=True)
    time.sleep(60)

def at_statement(start, end=""):
    query = pg_client.Server.query
    def watching(self, statement, *args, **kwargs):
        if statement.startswith(start) and statement.endswith(end):
            reached()
        return query(self, statement, *args, **kwargs)
    pg_client.Server.query = watching

{hook}
task = Task.from_mapping(json.loads(sys.argv[1]))
(push.push if task.action == "push" else pull.pull)(task, Host(log=log if "log" in globals() else print))
"""


class Victim:
    """A run of the engine in a process of its own; killed when the test has what it wants."""

    def __init__(self, values: dict[str, Any], hook: str) -> None:
        self.mark = f"env_sync_test_{uuid.uuid4().hex}"
        code = RUN.format(engine=str(ENGINE), hook=hook)
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(values)],
            stdout=subprocess.PIPE,
            env={**os.environ, self.mark: "1"},
            text=True,
        )
        assert self._process.stdout is not None
        seen = []
        for line in self._process.stdout:
            seen.append(line)
            if line == "reached\n":
                return
        self.kill()
        pytest.fail(f"the run did not come to where it was to be killed: {seen}")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def descendants(self) -> list[str]:
        """Return what runs of all that this run has started, whoever its parent is now."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def kill_and_check_that_nothing_runs_on(self, program: str) -> None:
        """Kill it; ``program`` is one that has to run at this moment, for the test to be worth anything."""
        deadline = time.monotonic() + 5
        while not any(program in line for line in self.descendants()):
            assert time.monotonic() < deadline, self.descendants()
        self.kill()
        deadline = time.monotonic() + 5
        while self.descendants() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert self.descendants() == []


def assert_nothing_left(task_values: Values, database: str, tmp_path: Path, *servers: PostgresServer) -> None:
    for server in servers:
        assert [name for name in server.databases() if name.startswith("env_sync")] == []
    assert list((tmp_path / "temp").iterdir()) == []
    store = open_store(Task.from_mapping(task_values("pull", database)))
    points = catalogue.list_points(store, database)
    assert {point.state for point in points} == {"complete"}
    known = {store.url(name) for point in points for name in point.objects}
    assert {str(path) for path in (tmp_path / "store").rglob("*") if path.is_file()} == known
    assert list((tmp_path / "state").glob("journal/*")) == []


DUMP_STOPPED = """
pg_follow.BACKLOG = 1
directory.write_all = lambda descriptor, block: time.sleep(60)
bound = pg_follow.Follower._bound_backlog
def watching(self):
    bound(self)
    if self._stopped:
        reached()
pg_follow.Follower._bound_backlog = watching
"""

PUSHES = {
    "while pg_dump is held up": ("pg_dump", {}, DUMP_STOPPED),
    "while a stream is stored": (
        "pg_dump",
        {"format": "custom", "compression": "none"},
        "directory.write_all = reached",
    ),
    "before the manifest": ("python", {}, "push._manifest = reached"),
    "while the pre-dump SQL runs": (
        "psql",
        {"pre_dump_transformation_sql_filename": "{script}"},
        "log = lambda level, text: text.startswith('running') and (print('reached', flush=True))",
    ),
}


@pytest.mark.parametrize("moment", PUSHES)
def test_a_push_killed(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    tmp_path: Path,
    moment: str,
) -> None:
    production.create_database(database, SAMPLE)
    script = tmp_path / "script.sql"
    script.write_text("UPDATE small SET n = 2; SELECT pg_sleep(20)", encoding="utf-8")
    if moment == "while pg_dump is held up":
        # So much that pg_dump can't be through with it before it is stopped.
        production.psql(database, "INSERT INTO large SELECT g, md5(g::text) FROM generate_series(1, 1000000) g")
    program, how, hook = PUSHES[moment]
    how = {key: value.format(script=script) for key, value in how.items()}
    victim = Victim(task_values("push", database, **how), hook)

    victim.kill_and_check_that_nothing_runs_on(program)

    assert list((tmp_path / "store").rglob("*.manifest.json")) == []
    push.push(Task.from_mapping(task_values("push", database)), Host())
    assert_nothing_left(task_values, database, tmp_path, production)
    assert production.psql(database, "SELECT n FROM small") == "1"
    pull.pull(Task.from_mapping(task_values("pull", database)), Host())
    assert staging.contents(database) == production.contents(database)


def test_what_a_failed_push_could_not_remove_goes_with_the_first_push_that_can(
    production: PostgresServer, database: str, task_values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.create_database(database, SAMPLE)

    def failing(*args: Any) -> Any:
        raise EnvSyncError("using the store", "it has gone away")

    for day in ("01", "02"):
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(DirectoryStore, "delete", failing)
            meanwhile.setattr(push, "_manifest", failing)
            with pytest.raises(EnvSyncError, match="it has gone away"):
                push.push(Task.from_mapping(task_values("push", database, timestamp=f"2026-01-{day}T00:00:00")), Host())
    assert len({path.parent for path in (tmp_path / "store").rglob("toc.dat.zst")}) == 2

    push.push(Task.from_mapping(task_values("push", database)), Host())

    assert_nothing_left(task_values, database, tmp_path, production)


PULLS = {
    "when the scratch database is just made": ("python", "at_statement('COMMENT ON DATABASE')"),
    "while a table is restored": ("pg_restore", "PointSource.send = reached"),
    "while the script runs": (
        "psql",
        "log = lambda level, text: text == 'sanitising' and print('reached', flush=True)",
    ),
    "between restore and swap": ("python", "postgresql.PostgreSQL.check = reached"),
    "in the middle of the swap": ("python", "at_statement('ALTER DATABASE', 'OWNER TO \"postgres\"')"),
    "at the end of the swap": ("python", "at_statement('COMMIT')"),
    "between swap and drop": ("python", "at_statement('DROP DATABASE')"),
}


@pytest.mark.parametrize("moment", PULLS)
def test_a_pull_killed(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    tmp_path: Path,
    moment: str,
) -> None:
    production.create_database(database, SAMPLE)
    staging.create_database(database, "CREATE TABLE old AS SELECT 1 AS n")
    push.push(Task.from_mapping(task_values("push", database)), Host())
    script = tmp_path / "script.sql"
    script.write_text("SELECT pg_sleep(20)", encoding="utf-8")
    how = {"transformation_sql_filename": str(script)} if "script" in moment else {}
    program, hook = PULLS[moment]
    victim = Victim(task_values("pull", database, **how), hook)

    victim.kill_and_check_that_nothing_runs_on(program)

    if moment == "between swap and drop":
        assert staging.psql(database, "SELECT n FROM small") == "1"
    else:
        assert staging.psql(database, "SELECT n FROM old") == "1"
    pull.pull(Task.from_mapping(task_values("pull", database)), Host())
    assert staging.contents(database) == production.contents(database)
    assert_nothing_left(task_values, database, tmp_path, staging)


def test_a_second_run_is_refused_at_once_or_waits_as_it_is_told(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, SAMPLE)
    push.push(Task.from_mapping(task_values("push", database)), Host())
    victim = Victim(task_values("pull", database), "postgresql.PostgreSQL.check = reached")
    try:
        began = time.monotonic()
        with pytest.raises(EnvSyncError, match=r"another push or pull of it is running on this host.*lock_wait"):
            pull.pull(Task.from_mapping(task_values("pull", database)), Host())
        assert time.monotonic() - began < 2
        threading.Timer(1, victim.kill).start()
        pull.pull(Task.from_mapping(task_values("pull", database, lock_wait=20)), Host())
        assert time.monotonic() - began > 1
    finally:
        victim.kill()
    assert staging.contents(database) == production.contents(database)


def test_a_pull_from_another_host_is_refused_by_the_server(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    monkeypatch: Any,
    tmp_path: Path,
) -> None:
    production.create_database(database, SAMPLE)
    push.push(Task.from_mapping(task_values("push", database)), Host())
    victim = Victim(task_values("pull", database), "postgresql.PostgreSQL.check = reached")
    # Another host has locks and addresses of its own; the server is the same.
    engine = "ansible_collections.govuk.env_sync.plugins.module_utils._engine"
    monkeypatch.setattr(f"{engine}.databases.postgresql.database._LOCK_PATIENCE", 0.5)
    monkeypatch.setattr(f"{engine}.databases.postgresql.database.boot_id", lambda: "another")
    monkeypatch.setattr(f"{engine}.host.locks.lock_dir", lambda: str(tmp_path))
    way = {"database_hostname": "127.0.0.1", "login_password": staging.password}
    try:
        with pytest.raises(EnvSyncError, match="another host is pulling into it"):
            pull.pull(Task.from_mapping(task_values("pull", database, **way)), Host())
    finally:
        victim.kill()
