# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a plan sees of a server that a push or a pull would fail on: poolers, standbys, row security, locales, room.

A run sees the same, before the first byte is moved.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import (
    checks as postgresql_checks,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.dump import Dump
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.manifest import Manifest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgresServer, Standby

Values = Callable[..., dict[str, Any]]
TABLES = "CREATE TABLE people AS SELECT generate_series(1, 1000) AS id; CREATE SCHEMA s; CREATE TABLE s.two (id int)"


@pytest.fixture(scope="module")
def standby(production: PostgresServer) -> Iterator[Standby]:
    with Standby(production) as server:
        yield server


@pytest.fixture
def in_store(production: PostgresServer, database: str, task_values: Values) -> str:
    """Return the name of a database with a point in the store."""
    production.create_database(database, TABLES)
    push.push(Task.from_mapping(task_values("push", database)), Host())
    return database


def both(verb: Any, run: Callable[..., Any], task: Task) -> EnvSyncError:
    """Return what a plan raises, and see that a run raises the same."""
    raised = []
    for call in (verb.plan, run):
        with pytest.raises(EnvSyncError) as found:
            call(task, Host())
        raised.append(found.value)
    assert str(raised[0]) == str(raised[1])
    return raised[0]


def pulls(task: Task) -> EnvSyncError:
    return both(pull, pull.pull, task)


def pushes(task: Task, store: Path) -> EnvSyncError:
    before = sorted(store.rglob("*"))
    error = both(push, push.push, task)
    assert [path for path in sorted(store.rglob("*")) if path not in before and path.is_file()] == []
    return error


def manifest_says(tmp_path: Path, **details: Any) -> None:
    """Change the details in the manifest of the one point that there is."""
    (path,) = (tmp_path / "store").rglob("*.manifest.json")
    manifest = Manifest.from_json(path.read_bytes(), path.name)
    path.write_bytes(dataclasses.replace(manifest, details={**manifest.details, **details}).to_json())


# -- poolers ---------------------------------------------------------------------------------------------------------


def test_a_pooler_that_gives_each_transaction_another_session_is_refused(
    production: PostgresServer, in_store: str, task_values: Values, tmp_path: Path
) -> None:
    """What is set in a session would be set for an application."""
    with PgBouncer(production, "transaction") as pooler:
        where = {"database_hostname": pooler.host, "database_port": pooler.port}
        error = pushes(Task.from_mapping(task_values("push", in_store, **where)), tmp_path / "store")
        assert "a pooler answers at 127.0.0.1" in error.why and "own address" in error.hint
        assert "a pooler answers" in pulls(Task.from_mapping(task_values("pull", in_store, **where))).why
        with pooler.connect(in_store) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('search_path'), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')"
            )
            assert cursor.fetchone() == ('"$user", public', 0), "the sessions are as the application knows them"
        connection.close()


def test_a_pooler_of_sessions_is_pushed_through_with_a_warning_and_not_pulled_through(
    production: PostgresServer, in_store: str, task_values: Values
) -> None:
    with PgBouncer(production, "session") as pooler:
        where = {"database_hostname": pooler.host, "database_port": pooler.port}
        task = Task.from_mapping(task_values("push", in_store, **where))
        for result in (push.plan(task, Host()), push.push(task, Host())):
            assert [warning for warning in result["warnings"] if "a pooler answers at 127.0.0.1" in warning]
        error = pulls(Task.from_mapping(task_values("pull", in_store, allow_restore_to_source=True, **where)))
        assert "a pooler answers" in error.why and "own address" in error.hint


def test_a_pooler_that_refuses_options_is_told_as_one(
    production: PostgresServer, in_store: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PgBouncer(production, "session") as pooler:
        monkeypatch.setenv("PGOPTIONS", "-c work_mem=8MB")
        where = {"database_hostname": pooler.host, "database_port": pooler.port}
        with pytest.raises(EnvSyncError, match=r"unsupported startup parameter.*the server's own address"):
            push.plan(Task.from_mapping(task_values("push", in_store, **where)), Host())


# -- standbys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_a_standby_is_pushed_from(
    production: PostgresServer,
    staging: PostgresServer,
    standby: Standby,
    database: str,
    task_values: Values,
    form: str,
) -> None:
    """With several jobs, and unlogged tables, which are not there."""
    production.create_database(database, f"{TABLES}; CREATE UNLOGGED TABLE fast AS SELECT 1 AS id")
    standby.caught_up()
    where = {"database_hostname": standby.host, "database_port": standby.port}
    task = Task.from_mapping(task_values("push", database, format=form, **where))
    planned = push.plan(task, Host())
    result = push.push(task, Host())
    for warnings in (planned["warnings"], result["warnings"]):
        assert [text for text in warnings if "is a standby" in text and "hot_standby_feedback = on" in text]
    pull.pull(Task.from_mapping(task_values("pull", database)), Host())
    expected = {name: rows for name, rows in production.contents(database).items() if "fast" not in name}
    assert {name: rows for name, rows in staging.contents(database).items() if "fast" not in name} == expected


def test_nothing_is_pulled_into_a_standby_and_no_sql_runs_there(
    standby: Standby, in_store: str, task_values: Values, tmp_path: Path
) -> None:
    standby.caught_up()
    where = {"database_hostname": standby.host, "database_port": standby.port}
    task = Task.from_mapping(task_values("pull", in_store, allow_restore_to_source=True, **where))
    error = pulls(task)
    assert "is a standby" in error.why and "primary" in error.hint
    script = tmp_path / "pre.sql"
    script.write_text("DELETE FROM people", encoding="utf-8")
    values = task_values("push", in_store, pre_dump_transformation_sql_filename=str(script), **where)
    error = pushes(Task.from_mapping(values), tmp_path / "store")
    assert "it is a standby" in error.why and "primary" in error.hint


def test_a_dump_that_the_standbys_replay_cancels_says_which_setting(
    production: PostgresServer, database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.create_database(database, TABLES)
    with Standby(production, max_standby_streaming_delay="0", hot_standby_feedback="off") as standby:
        standby.caught_up()
        collect = Dump._facts

        def then_vacuumed(self: Any, *how: Any) -> Any:
            found = collect(self, *how)
            # The snapshot is held, and shows rows that are gone with this.
            production.psql(database, "UPDATE people SET id = id + 1")
            production.psql(database, "VACUUM people")
            standby.caught_up()
            return found

        monkeypatch.setattr(Dump, "_facts", then_vacuumed)
        where = {"database_hostname": standby.host, "database_port": standby.port}
        with pytest.raises(EnvSyncError) as raised:
            push.push(Task.from_mapping(task_values("push", database, **where)), Host())
    assert "max_standby_streaming_delay" in raised.value.hint, str(raised.value)


# -- what the role may read ------------------------------------------------------------------------------------------


@pytest.fixture
def reader(production: PostgresServer) -> Iterator[str]:
    production.psql("postgres", "CREATE ROLE reads_only LOGIN")
    yield "reads_only"
    for name in ["postgres", *production.databases()]:
        production.psql(name, "DROP OWNED BY reads_only")
    production.psql("postgres", "DROP ROLE reads_only")


def test_row_security_that_would_keep_rows_from_the_dump(
    production: PostgresServer, database: str, reader: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, f"{TABLES}; ALTER TABLE people ENABLE ROW LEVEL SECURITY")
    production.psql(database, f"GRANT pg_read_all_data TO {reader}")
    values = task_values("push", database, login_user=reader)
    error = pushes(Task.from_mapping(values), tmp_path / "store")
    assert "public.people" in error.why and reader in error.why and "BYPASSRLS" in error.hint
    assert push.push(Task.from_mapping({**values, "excluded_tables": ["people"]}), Host())["changed"]
    production.psql(database, f"ALTER ROLE {reader} BYPASSRLS")
    assert push.push(Task.from_mapping({**values, "timestamp": "2026-01-01T00:00:00"}), Host())["changed"]


def test_tables_that_the_role_may_not_read(
    production: PostgresServer, database: str, reader: str, task_values: Values, tmp_path: Path
) -> None:
    """Sequences too; what belongs to an extension is not dumped."""
    sql = f"{TABLES}; CREATE EXTENSION pg_stat_statements; CREATE SEQUENCE numbers; GRANT SELECT ON people TO {reader}"
    production.create_database(database, sql)
    values = task_values("push", database, login_user=reader)
    error = pushes(Task.from_mapping(values), tmp_path / "store")
    assert "public.numbers, s.two" in error.why and "people" not in error.why and "GRANT" in error.hint
    # pg_dump does not read these, and refuses nobody for them.
    production.psql(
        database,
        "CREATE MATERIALIZED VIEW many AS SELECT * FROM people; REVOKE ALL ON many FROM PUBLIC;"
        "CREATE TABLE secret (id int GENERATED ALWAYS AS IDENTITY)",
    )
    production.psql(database, f"GRANT SELECT ON numbers, s.two TO {reader}; GRANT USAGE ON SCHEMA s TO {reader}")
    assert push.push(Task.from_mapping({**values, "excluded_tables": ["secret"]}), Host())["changed"]


# -- what the target has ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("details", "why", "hint"),
    [
        ({"collate": "xx_YY.UTF-8", "ctype": "xx_YY.UTF-8"}, "the locale xx_YY.UTF-8, which", "locale-gen"),
        ({"collations": ["C", "xx_YY"]}, "collations that the server does not have: xx_YY", "template0"),
    ],
    ids=["locale", "collation"],
)
def test_what_the_target_lacks(
    in_store: str, task_values: Values, tmp_path: Path, details: dict[str, Any], why: str, hint: str
) -> None:
    manifest_says(tmp_path, **details)
    error = pulls(Task.from_mapping(task_values("pull", in_store)))
    assert why in error.why and hint in error.hint


def test_a_collation_of_what_is_left_out_is_no_matter(in_store: str, task_values: Values, tmp_path: Path) -> None:
    manifest_says(tmp_path, collations=["C", "xx_YY"])
    task = Task.from_mapping(task_values("pull", in_store, excluded_objects=["INDEX people_by_name"]))
    assert [text for text in pull.plan(task, Host())["warnings"] if "xx_YY: the pull fails unless" in text]


@contextlib.contextmanager
def tablespace(server: PostgresServer, name: str) -> Iterator[str]:
    """Make a tablespace in the server's own folder, and return where it is; it must be empty in the end."""
    place = Path(server.host, name)
    place.mkdir()
    if os.geteuid() == 0:
        shutil.chown(place, "postgres")
    server.psql("postgres", f"CREATE TABLESPACE {name} LOCATION '{place}'")
    yield str(place)
    server.psql("postgres", f"DROP TABLESPACE {name}")


def test_a_plan_says_which_tablespaces_are_not_there(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, "CREATE TABLE words (word text PRIMARY KEY); INSERT INTO words VALUES ('a')")
    with tablespace(production, "fast"):
        production.psql(database, "ALTER INDEX words_pkey SET TABLESPACE fast")
        push.push(Task.from_mapping(task_values("push", database)), Host())
        task = Task.from_mapping(task_values("pull", database))
        assert any("(fast), to the database's own" in step for step in pull.plan(task, Host())["steps"])
        pull.pull(task, Host())
        assert staging.contents(database) == production.contents(database)
        production.psql(database, "ALTER INDEX words_pkey SET TABLESPACE pg_default")


def test_another_locale_than_the_sources_is_asked_for(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    options = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de'"
    production.create_database(database, "CREATE TABLE words AS SELECT unnest(ARRAY['b', 'B', 'a']) AS word", options)
    push.push(Task.from_mapping(task_values("push", database)), Host())
    manifest_says(tmp_path, collate="xx_YY.UTF-8")
    task = Task.from_mapping(task_values("pull", database, locale="C"))
    assert "have it sort by C, and not by de (ICU)" in pull.plan(task, Host())["steps"]
    pull.pull(task, Host())
    sql = "SELECT datcollate, datctype, datlocprovider FROM pg_database WHERE datname = current_database()"
    assert staging.psql(database, sql) == "C|C|c"
    assert staging.psql(database, "SELECT string_agg(word, '' ORDER BY word) FROM words") == "Bab"
    # What is asked for has to be there, too.
    error = pulls(Task.from_mapping(task_values("pull", database, locale="yy_XX")))
    assert "the locale yy_XX" in error.why and "set locale to one that it has" in error.hint


def test_collations_of_the_system_are_in_the_manifest(
    production: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, 'CREATE TABLE words (word text COLLATE "en-x-icu", same text COLLATE "C")')
    result = push.push(Task.from_mapping(task_values("push", database)), Host())
    assert result["manifest"]["details"]["collations"] == ["en-x-icu"]
    values = task_values("push", database, timestamp="2026-01-01T00:00:00", excluded_tables=["words"])
    production.psql(database, "CREATE TABLE others (id int); CREATE INDEX ON words (word)")
    assert push.push(Task.from_mapping(values), Host())["manifest"]["details"]["collations"] == []
    assert pull.pull(Task.from_mapping(task_values("pull", database)), Host())["changed"]


def test_a_full_disk_is_seen_beforehand(
    in_store: str, task_values: Values, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    task = Task.from_mapping(task_values("pull", in_store))
    monkeypatch.setattr(postgresql_checks, "_free", lambda folder: 1000)
    warnings = pull.plan(task, Host())["warnings"]
    assert [text for text in warnings if "0.0 MiB free, which is too little: make room" in text]
    # Dead rows and indexes: what the source takes need not be what this takes.
    monkeypatch.setattr(postgresql_checks, "_free", lambda folder: 1_000_000)
    assert [text for text in pull.plan(task, Host())["warnings"] if "1.0 MiB free, which is maybe too little" in text]


def test_the_disk_of_the_databases_tablespace_is_the_one_that_counts(
    staging: PostgresServer, in_store: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tablespace(staging, "big") as place:
        staging.create_database(in_store, "", "TABLESPACE big")
        monkeypatch.setattr(postgresql_checks, "_free", lambda folder: 10**12 if folder == place else 1000)
        assert pull.plan(Task.from_mapping(task_values("pull", in_store)), Host())["warnings"] == []
        staging.drop_database(in_store)
