# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a pull does: the order of its work, who sees the scratch database, what may not stop it."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg2
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.members import PointSource

from tests.integration.postgresql.runs import NEW, OLD, Values, pulled, pushed, script
from tests.servers.postgresql import PostgresServer

pytestmark = pytest.mark.usefixtures("app_roles")


def test_the_largest_tables_are_restored_first(
    production: PostgresServer, database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = (400, 800, 1600, 3200)
    tables = "; ".join(f"CREATE TABLE of_{size} AS SELECT repeat('x', {size} * 1024) AS x" for size in sizes)
    production.create_database(database, tables)
    pushed(task_values, database)
    taken: list[int] = []
    send = PointSource.send

    def told(self: PointSource, name: str, descriptor: int) -> None:
        taken.append(self.member(name).raw_size // 1024)
        send(self, name, descriptor)

    monkeypatch.setattr(PointSource, "send", told)
    pulled(task_values, database, jobs=2)
    # Two at a time, and which of them is seen first is a matter of luck.
    assert sorted(taken[:2]) == [1600, 3200] and taken[3] == 400


@pytest.mark.parametrize(("cores", "jobs", "helpers"), [(2, 2, 0), (4, 4, 1), (16, 16, 2), (4, 2, 2)])
def test_a_small_host_makes_indexes_with_no_more_processes_than_it_has_cores(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    jobs: int,
    helpers: int,
) -> None:
    setting = "current_setting('max_parallel_maintenance_workers')::int"
    # Filled by the restoring session itself.
    production.create_database(database, f"CREATE MATERIALIZED VIEW said AS SELECT {setting} AS helpers")
    pushed(task_values, database)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cores)))
    pulled(task_values, database, jobs=jobs)
    assert staging.psql(database, "SELECT helpers FROM said") == str(helpers)
    assert staging.psql(database, f"SELECT {setting}") == "2", "what the server has, for all others"


def test_the_database_that_everybody_connects_to_can_be_pulled_too(task_values: Values) -> None:
    # On servers of their own: it is not for other tests to find it replaced.
    with PostgresServer("source") as source, PostgresServer("target") as target:
        source.psql("postgres", NEW)
        target.psql("postgres", OLD)
        of_source, of_target = (
            {"database_hostname": server.host, "database_port": server.port} for server in (source, target)
        )
        pushed(task_values, "postgres", **of_source)
        pulled(task_values, "postgres", **of_target)
        assert target.psql("postgres", "SELECT email FROM people") == "ann@new"
        assert target.databases() == []


def test_a_row_that_cannot_be_restored_is_not_shown_either(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(
        database,
        """CREATE TABLE allowed (email text); INSERT INTO allowed VALUES ('ann@new');
           CREATE FUNCTION known(text) RETURNS boolean LANGUAGE sql AS
             $$ SELECT EXISTS (SELECT FROM public.allowed WHERE email = $1) $$;
           CREATE TABLE aaa (email text CHECK (known(email))); INSERT INTO aaa VALUES ('ann@new');
           DROP FUNCTION IF EXISTS nothing();""",
    )
    pushed(task_values, database, format="custom")
    with pytest.raises(EnvSyncError) as caught:
        pulled(task_values, database)
    assert 'COPY failed for table "aaa"' in str(caught.value)
    assert "ann" not in str(caught.value)


def test_nobody_else_sees_the_scratch_database(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, NEW)
    pushed(task_values, database)
    path = script(tmp_path, "SELECT pg_sleep(1); UPDATE people SET email = 'masked'")
    said: list[str] = []

    def intrude() -> None:
        while not said or "does not exist" in said[-1]:
            names = [name for name in staging.databases() if name.startswith("env_sync_scratch")]
            for name in names:
                try:
                    psycopg2.connect(host=staging.host, port=staging.port, user="outsider", dbname=name).close()
                    said.append("let in")
                except psycopg2.Error as error:
                    said.append(str(error))

    intruder = threading.Thread(target=intrude, daemon=True)
    intruder.start()
    pulled(task_values, database, transformation_sql_filename=path)
    intruder.join(5)

    assert "permission denied" in said[-1] or "not currently accepting connections" in said[-1]
    assert staging.psql(database, "SELECT email FROM people") == "masked"


def test_limits_that_roles_and_databases_have_do_not_end_a_pull(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, NEW)
    limits = "ALTER ROLE postgres SET {0} = '200ms'"
    names = ("statement_timeout", "lock_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout")
    try:
        for server in (production, staging):
            for name in names:
                server.psql("postgres", limits.format(name))
        pushed(task_values, database)
        path = script(tmp_path, "SELECT pg_sleep(0.6)")
        pulled(task_values, database, transformation_sql_filename=path)
    finally:
        for server in (production, staging):
            server.psql("postgres", "ALTER ROLE postgres RESET ALL")
    assert staging.psql(database, "SELECT email FROM people") == "ann@new"
