# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A push from a server on which production goes on: tables are locked, altered and dropped meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import psycopg2
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import text as command_text
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.dump import Dump
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

Values = Callable[..., dict[str, Any]]

#: the leader of pg_dump locks them in this order
TABLES = """
CREATE TABLE first AS SELECT generate_series(1, 1000) AS id;
CREATE TABLE middle AS SELECT generate_series(1, 1000) AS id;
CREATE TABLE last AS SELECT generate_series(1, 1000) AS id;
"""


@contextlib.contextmanager
def session(server: PostgresServer, database: str, name: str = "the application") -> Iterator[Any]:
    """Give a cursor of a session that is in a transaction."""
    connection = psycopg2.connect(
        dbname=database, host=server.host, port=server.port, user=server.superuser, application_name=name
    )
    try:
        yield connection.cursor()
    finally:
        connection.close()


def until(server: PostgresServer, database: str, condition: str) -> None:
    """Wait until a query has an answer."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if server.psql(database, f"SELECT 1 WHERE EXISTS ({condition})"):
            return
        time.sleep(0.02)
    raise AssertionError(f"it never came to this: {condition}")


LOCK = "SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE relation = '{0}'::regclass AND "
#: the leader of pg_dump has its lock on the table
OURS = LOCK + "granted AND application_name LIKE 'env_sync%'"
#: a session waits for a lock on the table
WAITING = LOCK + "NOT granted AND application_name NOT LIKE 'env_sync%'"


@contextlib.contextmanager
def requested_meanwhile(server: PostgresServer, database: str, statement: str) -> Iterator[None]:
    """Have a session request a lock on ``first`` when the leader of pg_dump has it, and its workers do not work yet.

    That is so while the leader waits for its lock on ``last``.
    """
    failed: list[BaseException] = []

    def act() -> None:
        try:
            with session(server, database) as other:
                until(server, database, OURS.format("first"))
                waiting = threading.Thread(target=run, args=(statement,))
                waiting.start()
                until(server, database, WAITING.format("first"))
                other.connection.rollback()
                holder.connection.rollback()
                waiting.join(60)
        except BaseException as error:  # it belongs to the test
            failed.append(error)

    def run(sql: str) -> None:
        server.psql(database, sql)

    with session(server, database) as holder:
        holder.execute("LOCK TABLE last IN ACCESS EXCLUSIVE MODE")
        acting = threading.Thread(target=act)
        acting.start()
        yield
        acting.join(60)
    assert not failed, failed


def pushed(task_values: Values, database: str, host: Host | None = None, **how: Any) -> dict[str, Any]:
    return push.push(Task.from_mapping(task_values("push", database, **how)), host or Host())


@pytest.mark.parametrize("statement", ["TRUNCATE first", "ALTER TABLE first ADD COLUMN more text", "VACUUM FULL first"])
def test_a_lock_that_is_requested_during_a_push_makes_it_begin_anew_with_one_job(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    tmp_path: Path,
    statement: str,
) -> None:
    production.create_database(database, TABLES)
    with requested_meanwhile(production, database, statement):
        result = pushed(task_values, database, jobs=2)
    assert [warning for warning in result["warnings"] if "first" in warning and "anew, with one job" in warning]
    assert result["manifest"]["jobs"] == 1
    stored = {str(path.relative_to(tmp_path / "store" / "postgresql")) for path in (tmp_path / "store").rglob("*.zst")}
    assert stored == {member["name"] for member in result["manifest"]["members"]}, "nothing of the first dump is left"
    pull.pull(Task.from_mapping(task_values("pull", database)), Host())
    assert staging.contents(database) == production.contents(database)


def test_a_dump_in_one_stream_is_in_need_of_no_lock_that_it_has_not(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, TABLES)
    with requested_meanwhile(production, database, "ALTER TABLE first ADD COLUMN more text"):
        result = pushed(task_values, database, format="custom")
    assert result["warnings"] == []
    pull.pull(Task.from_mapping(task_values("pull", database)), Host())
    assert staging.psql(database, "SELECT count(*) FROM first") == "1000"


def test_facts_and_data_are_of_one_moment(
    production: PostgresServer, database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made between the two is in neither."""
    production.create_database(database, TABLES)
    collect = Dump._facts

    def then_made(self: Any, *how: Any) -> Any:
        production.psql(database, "CREATE TABLE just_made (); INSERT INTO first VALUES (0)")
        return collect(self, *how)

    monkeypatch.setattr(Dump, "_facts", then_made)
    result = pushed(task_values, database)
    assert [table["name"] for table in result["manifest"]["tables"]] == ["first", "last", "middle"]
    assert len(result["manifest"]["members"]) == 4, "three tables and the table of contents"


def test_a_table_that_is_dropped_before_it_could_be_locked_makes_the_dump_begin_anew(
    production: PostgresServer, database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.create_database(database, TABLES)
    collect = Dump._facts
    dropped = []

    def then_dropped(self: Any, *how: Any) -> Any:
        if not dropped:
            production.psql(database, "DROP TABLE middle")
            dropped.append("middle")
        return collect(self, *how)

    monkeypatch.setattr(Dump, "_facts", then_dropped)
    result = pushed(task_values, database)
    assert [table["name"] for table in result["manifest"]["tables"]] == ["first", "last"]
    assert [warning for warning in result["warnings"] if "begins anew" in warning]
    assert result["manifest"]["jobs"] == 2


HELD = {
    "a table": ("LOCK TABLE middle IN ACCESS EXCLUSIVE MODE", {}, "public.middle"),
    "in one stream": ("LOCK TABLE middle IN ACCESS EXCLUSIVE MODE", {"format": "custom"}, "public.middle"),
}


@pytest.mark.parametrize(("statement", "how", "what"), HELD.values(), ids=list(HELD))
def test_a_push_names_the_session_that_it_waits_for_and_does_not_wait_for_ever(
    production: PostgresServer,
    database: str,
    task_values: Values,
    tmp_path: Path,
    statement: str,
    how: dict[str, Any],
    what: str,
) -> None:
    production.create_database(database, TABLES)
    seen: list[str] = []
    log: list[str] = []
    host = Host(
        log=lambda level, text: log.append(text),
        progress=lambda snapshot: seen.append(command_text.progress(snapshot)),
    )
    with session(production, database, "nightly job") as holder:
        holder.execute(f"{statement}; SELECT pg_backend_pid(), 'a secret'")
        pid = holder.fetchone()[0]
        with pytest.raises(EnvSyncError) as raised:
            pushed(task_values, database, host, lock_timeout=2, **how)
    why = raised.value.why
    assert f"for {what}, locked by pid {pid} of postgres (application nightly job, idle in transaction for" in why
    assert f"pg_terminate_backend({pid})" in raised.value.hint and "lock_timeout" in raised.value.hint
    assert "secret" not in str(raised.value)
    assert any(text.startswith(f"dumping, waiting for {what}, locked by pid {pid}") for text in seen)
    assert [text for text in log if text.startswith(f"waiting for {what}")]
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_role_that_may_not_look_names_the_session_all_the_same(
    production: PostgresServer, database: str, task_values: Values
) -> None:
    """Its state is for others to see."""
    production.create_database(database, TABLES)
    production.psql(database, "CREATE ROLE dumps_only LOGIN; GRANT pg_read_all_data TO dumps_only")
    try:
        with session(production, database, "nightly job") as holder:
            holder.execute("LOCK TABLE middle IN ACCESS EXCLUSIVE MODE; SELECT pg_backend_pid()")
            pid = holder.fetchone()[0]
            with pytest.raises(EnvSyncError) as raised:
                pushed(task_values, database, lock_timeout=1, login_user="dumps_only")
        why = raised.value.why
        assert f"pid {pid} of postgres (application nightly job, its state is for members of pg_read_all_stats" in why
    finally:
        production.psql(database, "DROP OWNED BY dumps_only; DROP ROLE dumps_only")


def test_a_push_goes_on_when_the_lock_is_there_in_time(
    production: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, TABLES)
    log: list[str] = []
    with session(production, database) as holder:
        holder.execute("LOCK TABLE middle IN ACCESS EXCLUSIVE MODE")

        def then_release(level: str, text: str) -> None:
            log.append(text)
            if text.startswith("waiting for"):
                holder.connection.rollback()

        assert pushed(task_values, database, Host(log=then_release))["changed"]
    assert "the wait is over" in log


def test_pre_dump_sql_waits_no_longer_than_that_either(
    production: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, TABLES)
    script = tmp_path / "pre.sql"
    script.write_text("UPDATE first SET id = id + 1 WHERE id = 5;", encoding="utf-8")
    with session(production, database, "nightly job") as holder:
        holder.execute("UPDATE first SET id = 0 WHERE id = 5")
        with pytest.raises(
            EnvSyncError, match=r"a row that another transaction has changed, locked by pid .*nightly job"
        ):
            pushed(task_values, database, lock_timeout=1, pre_dump_transformation_sql_filename=str(script))


def test_many_short_waits_are_no_long_one(
    production: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    """For rows that several sessions have changed, one after the other."""
    production.create_database(database, TABLES)
    script = tmp_path / "pre.sql"
    rows = range(1, 5)
    script.write_text("".join(f"UPDATE first SET id = -id WHERE id = {row};" for row in rows), encoding="utf-8")
    began = threading.Event()
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(session(production, database, f"session {row}")) for row in rows]
        for row, holder in zip(rows, holders):
            holder.execute(f"UPDATE first SET id = 0 WHERE id = {row}")

        def release() -> None:
            began.wait(30)
            for holder in holders:
                time.sleep(1.3)
                holder.connection.rollback()

        releasing = threading.Thread(target=release)
        releasing.start()
        host = Host(log=lambda level, text: began.set() if text.startswith("waiting for") else None)
        how = {"lock_timeout": 4, "pre_dump_transformation_sql_filename": str(script)}
        assert pushed(task_values, database, host, **how)["changed"]
        releasing.join()
    assert production.psql(database, "SELECT count(*) FROM first WHERE id < 0") == "4"


def test_a_swap_waits_no_longer_than_that_either(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    """New connections wait behind it meanwhile."""
    for server in (production, staging):
        server.create_database(database, TABLES)
    staging.psql(database, "DROP TABLE last")
    pushed(task_values, database)
    with session(staging, "postgres", "a DBA's") as holder:
        holder.execute(f"COMMENT ON DATABASE {database} IS 'in use'")
        with pytest.raises(EnvSyncError, match=r"waited .* for the database, locked by pid .*application a DBA's"):
            pull.pull(Task.from_mapping(task_values("pull", database, lock_timeout=2)), Host())
    assert staging.databases() == [database], "as it was, and nothing beside it"
    assert "last" not in staging.schema(database)


def test_a_prepared_transaction_is_named(production: PostgresServer, database: str, task_values: Values) -> None:
    production.create_database(database, TABLES)
    production.psql(database, "BEGIN; LOCK TABLE middle IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'payments 17'")
    try:
        with pytest.raises(EnvSyncError, match=r"locked by a prepared transaction .payments 17 of postgres"):
            pushed(task_values, database, lock_timeout=1)
    finally:
        production.psql(database, "ROLLBACK PREPARED 'payments 17'")
