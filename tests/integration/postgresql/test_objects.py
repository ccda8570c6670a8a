# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a PostgreSQL database can hold arrives as it was, whatever it is called."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import (
    follow as postgresql_follow,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer, conninfo

Values = Callable[..., dict[str, Any]]
SQL = Path(__file__).parents[1] / "sql"


@pytest.fixture(scope="module", autouse=True)
def _roles(production: PostgresServer, staging: PostgresServer) -> None:
    for server in (production, staging):
        server.psql("postgres", (SQL / "roles.sql").read_text(encoding="utf-8"))


def sync(task_values: Values, database: str, **how: Any) -> dict[str, Any]:
    push.push(Task.from_mapping(task_values("push", database, **how)), Host())
    return pull.pull(Task.from_mapping(task_values("pull", database, **how)), Host())


@pytest.mark.parametrize(("form", "jobs"), [("directory", 1), ("directory", 3), ("custom", 3)])
def test_every_kind_of_object_arrives(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, form: str, jobs: int
) -> None:
    production.create_database(database, (SQL / "every_kind_of_object.sql").read_text(encoding="utf-8"))

    result = sync(task_values, database, format=form, jobs=jobs, keep_foreign_servers=True)

    assert result["warnings"] == []
    assert staging.schema(database).splitlines() == production.schema(database).splitlines()
    assert staging.contents(database) == production.contents(database)


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_an_empty_database_arrives(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, form: str
) -> None:
    production.create_database(database)
    sync(task_values, database, format=form)
    assert staging.schema(database) == production.schema(database)


@pytest.mark.parametrize(
    "options",
    [
        "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
        "TEMPLATE template0 ENCODING 'EUC_JP' LOCALE 'C'",
        "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'",
        "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-AT'",
    ],
    ids=["latin1", "euc_jp", "sql_ascii", "icu"],
)
def test_encoding_and_locale_are_kept(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, options: str
) -> None:
    name = "日本" if "EUC_JP" in options else "caf\u00e9"
    sql = f"""CREATE TABLE "{name}" ("{name}" text);
              INSERT INTO "{name}" VALUES ('{name}');
              CREATE TABLE "not {name}" ();
              GRANT SELECT ON "{name}" TO app_reader"""
    production.create_database(database, sql, options)

    sync(task_values, database, excluded_tables=[f"not {name}"])

    query = f"""SELECT pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider, daticulocale
                  FROM pg_database WHERE datname = '{database}'"""
    assert staging.psql("postgres", query) == production.psql("postgres", query)
    assert staging.contents(database) == {f'"{name}"': production.contents(database)[f'"{name}"']}


@pytest.mark.parametrize(
    "name",
    [
        'it\'s "quoted" \\ and 100% odd',
        " Mixed Case and spaces ",
        "größe.日本-\U0001f600",
        "a/b/../c",
        "$HOME;&|`x`",
        "dbname=postgres host=nowhere",
        "é" * 31 + "x",
        "/" * 63,
    ],
)
def test_any_name_a_database_can_have(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, name: str
) -> None:
    production.create_database(name, "CREATE TABLE t AS SELECT 1 AS n")
    staging.create_database(name, "CREATE TABLE old AS SELECT 1 AS n")

    result = sync(task_values, name, old_database="keep")

    assert staging.psql(conninfo(name), "SELECT n FROM t") == "1"
    assert result["kept"] in staging.databases()
    points = catalogue.list_points(open_store(Task.from_mapping(task_values("pull", name))), name)
    assert [point.database for point in points] == [name]


def test_names_that_contain_each_other_are_told_apart(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    names = [database, database + "-old", "x-" + database, database + ".manifest.json", database + ".dump"]
    for number, name in enumerate(names):
        production.create_database(name, f"CREATE TABLE t AS SELECT {number} AS n")
        push.push(
            Task.from_mapping(task_values("push", name, timestamp=f"2020-01-01T00:00:0{len(names) - number}")), Host()
        )
    for number, name in enumerate(names):
        result = pull.pull(Task.from_mapping(task_values("pull", name)), Host())
        assert result["point"].endswith(name)
        assert staging.psql(name, "SELECT n FROM t") == str(number)


def test_many_large_objects_of_all_sizes(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(
        database,
        """SELECT lo_create(g) FROM generate_series(1, 1200) g \\g /dev/null
           SELECT lo_from_bytea(10000 + g, decode(repeat(md5(g::text), g * 20), 'hex')) FROM generate_series(1, 100) g
           \\g /dev/null""",
    )
    sync(task_values, database)
    assert staging.contents(database) == production.contents(database)


def test_one_large_object_that_is_larger_than_what_may_wait_on_disk(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, monkeypatch: Any
) -> None:
    monkeypatch.setattr(postgresql_follow, "BACKLOG", 1024 * 1024)
    production.create_database(
        database,
        """SELECT lo_from_bytea(1, convert_to(repeat('0123456789abcdef', 400000), 'UTF8')) \\g /dev/null
           CREATE TABLE t AS SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, 4000) g""",
    )
    sync(task_values, database, jobs=8)
    assert staging.contents(database) == production.contents(database)


LONG = "CREATE TABLE long AS SELECT g, repeat(md5(g::text), 6) AS t FROM generate_series(1, 300000) g"


def test_a_temppath_that_is_reached_by_a_link(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    """The kernel shows open files without links: a table must not pass for finished while it is written."""
    production.create_database(database, LONG)
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    sync(task_values, database, temppath=f"{tmp_path}/link//below")
    assert staging.contents(database) == production.contents(database)


def test_a_table_whose_end_was_not_seen_fails_the_push(
    production: PostgresServer, database: str, task_values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.create_database(database, LONG)

    def none_is_open(follower: Any) -> set[str]:
        if any(file.size() for file in follower._files.values()):
            follower._dump.signal(signal.SIGSTOP)  # in the middle of the table, whatever else this machine does
        return set()

    monkeypatch.setattr(postgresql_follow.Follower, "_open_files", none_is_open)
    with pytest.raises(EnvSyncError, match=r"storing .*\.dat: its end was not there when \d+ bytes"):
        push.push(Task.from_mapping(task_values("push", database)), Host())
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    assert list((tmp_path / "temp").iterdir()) == []


TABLES = """
CREATE SCHEMA s;
CREATE TABLE kept (id int PRIMARY KEY);
CREATE TABLE audit_1 (id int PRIMARY KEY);
CREATE TABLE audit_2 (id int PRIMARY KEY);
CREATE TABLE "Audit" (id int PRIMARY KEY);
CREATE TABLE s.audit_3 (id int PRIMARY KEY, kept int REFERENCES kept);
CREATE TABLE log (at int) PARTITION BY RANGE (at);
CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (1) TO (2);
CREATE TABLE refers (id int, audit int CONSTRAINT to_audit REFERENCES audit_1, other int REFERENCES kept);
CREATE VIEW seen AS SELECT * FROM audit_2;
INSERT INTO audit_1 VALUES (1);
INSERT INTO refers VALUES (1, 1);
"""


@pytest.mark.parametrize(
    ("excluded", "left"),
    [
        (["seen", "audit_?"], 'kept,"Audit",log,log_1,refers'),
        (["public.audit_1"], 'kept,audit_2,"Audit",s.audit_3,log,log_1,refers'),
        (["s.*"], 'kept,audit_1,audit_2,"Audit",log,log_1,refers'),
        ("AUDIT_1,Audit, seen", "kept,audit_2,s.audit_3,log,log_1,refers"),
        (['"Audit"'], "kept,audit_1,audit_2,s.audit_3,log,log_1,refers"),
        (["log"], 'kept,audit_1,audit_2,"Audit",s.audit_3,refers'),
        (["log_1"], 'kept,audit_1,audit_2,"Audit",s.audit_3,log,refers'),
    ],
    ids=str,
)
def test_excluded_tables_stay_out(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    excluded: Any,
    left: str,
) -> None:
    production.create_database(database, TABLES)

    result = sync(task_values, database, excluded_tables=excluded)

    query = "SELECT oid::regclass FROM pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384 ORDER BY oid"
    assert set(staging.psql(database, query).splitlines()) == set(left.split(","))
    keys = staging.psql(database, "SELECT conname FROM pg_constraint WHERE conrelid = 'refers'::regclass ORDER BY 1")
    if "audit_1" in left:
        assert keys.splitlines() == ["refers_other_fkey", "to_audit"]
    else:
        assert keys == "refers_other_fkey"
        assert result["warnings"] == ["left out, foreign keys to excluded tables: FK CONSTRAINT refers to_audit"]


def test_an_excluded_table_that_is_not_there_is_an_error(
    production: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, TABLES)
    with pytest.raises(EnvSyncError, match=r"excluded_tables names nothing_\*, and there is no such table"):
        push.push(Task.from_mapping(task_values("push", database, excluded_tables="kept,nothing_*")), Host())
    assert list((tmp_path / "store").rglob("*")) == []
