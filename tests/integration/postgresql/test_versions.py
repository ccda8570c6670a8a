# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Points that go from one major version of PostgreSQL to another, and the client programs that this takes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import feed as postgresql_feed
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

Values = Callable[..., dict[str, Any]]

SAMPLE = """
CREATE SCHEMA app;
CREATE TABLE app.people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL, facts jsonb);
INSERT INTO app.people (email, facts) SELECT 'p' || g, jsonb_build_object('n', g) FROM generate_series(1, 2000) g;
CREATE TABLE app.events (at date NOT NULL, person int REFERENCES app.people) PARTITION BY RANGE (at);
CREATE TABLE app.events_2026 PARTITION OF app.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO app.events SELECT '2026-02-03', g FROM generate_series(1, 500) g;
CREATE VIEW app.busy AS SELECT person, count(*) FROM app.events GROUP BY 1;
CREATE MATERIALIZED VIEW app.totals AS SELECT count(*) FROM app.events;
CREATE FUNCTION app.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
GRANT SELECT ON app.people TO PUBLIC;
"""
LARGE_OBJECTS = "SELECT lo_from_bytea(g, convert_to(repeat('object ', g), 'UTF8')) FROM generate_series(1, 20) g"


@pytest.fixture(scope="module")
def version_17() -> Iterator[PostgresServer]:
    with PostgresServer("17", major=17) as server:
        yield server


@pytest.fixture(scope="module")
def version_18() -> Iterator[PostgresServer]:
    with PostgresServer("18", major=18) as server:
        yield server


@pytest.fixture(params=["version_17", "version_18"])
def newer(request: pytest.FixtureRequest) -> PostgresServer:
    """A server newer than ``production``."""
    server: PostgresServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def database(production: PostgresServer, version_17: PostgresServer, version_18: PostgresServer) -> Iterator[str]:
    """A name for a database; nothing else may be left on any server."""
    servers = (production, version_17, version_18)
    before = [server.databases() for server in servers]
    name = f"test_{uuid.uuid4().hex[:8]}"
    yield name
    for server in servers:
        server.drop_database(name)
    assert [server.databases() for server in servers] == before


@pytest.fixture
def clients(newer: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer server's client programs are installed too."""
    install(newer, monkeypatch)


def install(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(server.program("pg_dump")), prepend=os.pathsep)


@pytest.fixture
def run(task_values: Values) -> Callable[..., dict[str, Any]]:
    """Return a function that pushes from a server, pulls into it, or plans a pull."""

    def on(server: PostgresServer, action: str, database: str, **others: Any) -> dict[str, Any]:
        where = {"database_hostname": server.host, "database_port": server.port}
        task = Task.from_mapping(task_values("push" if action == "push" else "pull", database, **where, **others))
        return {"push": push.push, "pull": pull.pull, "plan": pull.plan}[action](task, Host())

    return on


Run = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_from_an_older_server_into_a_newer_one(
    production: PostgresServer, newer: PostgresServer, clients: None, database: str, run: Run, form: str
) -> None:
    production.create_database(database, SAMPLE + LARGE_OBJECTS)
    run(production, "push", database, format=form)
    assert run(newer, "pull", database)["warnings"] == []
    assert newer.contents(database) == production.contents(database)


@pytest.mark.parametrize(("source", "target"), [(13, 14), (14, 16), (16, 18)])
def test_each_version_from_the_oldest_to_the_newest(
    database: str, run: Run, task_values: Values, monkeypatch: pytest.MonkeyPatch, source: int, target: int
) -> None:
    """Pushed, verified and pulled, with clients of the target's version, or this machine's where it has none."""
    with PostgresServer(f"{source}", major=source) as older, PostgresServer(f"{target}", major=target) as newer:
        for server in (older, newer):
            install(server, monkeypatch)
        older.create_database(database, SAMPLE + LARGE_OBJECTS)
        pushed = run(older, "push", database)
        assert pushed["manifest"]["server"]["version"].startswith(f"{source}.")
        upkeep.verify(Task.from_mapping(task_values("pull", database)), Host())
        assert run(newer, "pull", database)["warnings"] == []
        assert newer.contents(database) == older.contents(database)
        assert newer.psql("postgres", "SHOW server_version").startswith(f"{target}.")


@pytest.mark.parametrize("user", ["postgres", "sanitiser"])
def test_what_a_script_replaced_is_in_no_version_of_the_new_database(
    newer: PostgresServer, clients: None, database: str, run: Run, task_values: Values, tmp_path: Path, user: str
) -> None:
    newer.create_database(
        database,
        """CREATE TABLE people (id int PRIMARY KEY, email text); CREATE TABLE gone (email text);
           INSERT INTO people SELECT g, 'planted-' || g FROM generate_series(10000, 12999) g;
           INSERT INTO gone SELECT email FROM people;
           CREATE MATERIALIZED VIEW seen AS SELECT email FROM people; ANALYZE;""",
    )
    role = "DO $$ BEGIN CREATE ROLE sanitiser LOGIN CREATEDB; EXCEPTION WHEN duplicate_object THEN END $$"
    newer.psql("postgres", role)
    script = tmp_path / "transform.sql"
    script.write_text("UPDATE people SET email = 'x' || id;\nDELETE FROM gone;\n", encoding="utf-8")
    run(newer, "push", database)
    newer.drop_database(database)

    def analyze(level: str, text: str) -> None:
        if text == "sanitising":  # as autovacuum may have done
            [scratch] = [name for name in newer.databases() if name.startswith("env_sync_scratch")]
            newer.psql(scratch, "ANALYZE")

    how = {"transformation_sql_filename": str(script), "require_sanitised": True, "analyze": False, "login_user": user}
    where = {"database_hostname": newer.host, "database_port": newer.port, "allow_restore_to_source": True}
    result = pull.pull(Task.from_mapping(task_values("pull", database, **where, **how)), Host(log=analyze))

    assert [item["changed"] for item in result["sanitised"]] == [6000]
    assert newer.psql(database, "SELECT count(*) FROM seen WHERE email LIKE 'planted%'") == "0"
    assert newer.in_files(database, rb"planted-\d+") == set()
    left = newer.psql(database, "SELECT count(*) FROM pg_stats WHERE tablename = 'gone'")
    warned = any("statistics of public.gone, which" in text for text in result["warnings"])
    assert (left, warned) == (("1", True) if user == "sanitiser" and newer.name == "17" else ("0", False))


@pytest.mark.parametrize("form", ["directory", "custom"])
@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_from_a_newer_server_into_an_older_one(
    production: PostgresServer,
    newer: PostgresServer,
    clients: None,
    database: str,
    run: Run,
    form: str,
    compression: str,
) -> None:
    newer.create_database(database, SAMPLE)
    run(newer, "push", database, format=form, compression=compression)
    assert run(production, "pull", database)["warnings"] == []
    assert production.contents(database) == newer.contents(database)


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_large_objects_of_a_newer_server_are_refused_by_an_older_one_before_anything_happens(
    production: PostgresServer, newer: PostgresServer, clients: None, database: str, run: Run, form: str
) -> None:
    newer.create_database(database, SAMPLE + LARGE_OBJECTS)
    run(newer, "push", database, format=form)
    why = (
        f"preparing to restore {database} .*: it has large objects in the form of pg_dump 17 and newer, "
        r"which pg_restore \d+ does not know\. Pull it into a server of version 17 or newer"
    )
    for action in ("plan", "pull"):
        with pytest.raises(EnvSyncError, match=why):
            run(production, action, database)


@pytest.mark.parametrize("form", ["directory", "custom"])
@pytest.mark.parametrize("large_objects", ["", LARGE_OBJECTS])
def test_a_newer_servers_point_is_verified_by_what_is_installed(
    newer: PostgresServer,
    database: str,
    run: Run,
    task_values: Values,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    large_objects: str,
) -> None:
    task = Task.from_mapping(task_values("pull", database))
    newer.create_database(database, SAMPLE + large_objects)
    with monkeypatch.context() as elsewhere:
        install(newer, elsewhere)
        run(newer, "push", database, format=form)
        upkeep.verify(task, Host())
    if large_objects:
        with pytest.raises(EnvSyncError, match=r"pg_restore \d+ does not know\. Install newer client programs"):
            upkeep.verify(task, Host())
    else:
        upkeep.verify(task, Host())


def test_many_large_objects_of_a_newer_server_take_room_which_is_looked_at_first(
    version_17: PostgresServer, database: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in several lists, which are read at once, in any order: so they have to be files."""
    install(version_17, monkeypatch)
    version_17.create_database(
        database, "SELECT lo_from_bytea(g, convert_to('object ' || g, 'UTF8')) FROM generate_series(1, 2500) g"
    )
    before = version_17.contents(database)
    run(version_17, "push", database)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(postgresql_feed.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
        with pytest.raises(EnvSyncError, match=r"unpacking the large objects in .*they take \d+ bytes, and 10 are"):
            run(version_17, "pull", database, allow_restore_to_source=True)
    run(version_17, "pull", database, allow_restore_to_source=True)
    assert version_17.contents(database) == before


def test_between_two_newer_servers_the_targets_own_client_is_enough(
    version_17: PostgresServer, version_18: PostgresServer, database: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    version_18.create_database(database, SAMPLE + LARGE_OBJECTS)
    with monkeypatch.context() as elsewhere:
        install(version_18, elsewhere)
        run(version_18, "push", database)
    install(version_17, monkeypatch)
    assert run(version_17, "pull", database)["warnings"] == []
    assert version_17.contents(database) == version_18.contents(database)
