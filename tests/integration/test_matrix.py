# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every kind of database over every kind of store: pushed, listed, verified, pulled, compared.

``docs/reference/matrix.md`` is the table of it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers import mongo
from tests.servers.mariadb import MariaServer
from tests.servers.postgresql import PostgresServer

# The first test with MongoDB builds its server, which takes minutes on a machine that has never done it.
pytestmark = pytest.mark.timeout(1500)

ROWS = [(number, f"user{number}@example.com") for number in range(200)]

TABLE = "CREATE TABLE users (id int PRIMARY KEY, email varchar(80)); INSERT INTO users VALUES " + ", ".join(
    f"({number}, '{email}')" for number, email in ROWS
)


class Side:
    """One environment's server, of which a database is part: how to reach, fill, read and drop it."""

    keys: dict[str, Any]

    def fill(self, name: str) -> None: ...

    def rows(self, name: str) -> list[tuple[int, str]]: ...

    def drop(self, name: str) -> None: ...


class Postgres(Side):
    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.keys = {
            "database_hostname": server.host,
            "database_port": server.port,
            "login_user": server.superuser,
        }

    def fill(self, name: str) -> None:
        self._server.create_database(name, TABLE)

    def rows(self, name: str) -> list[tuple[int, str]]:
        said = self._server.psql(name, "SELECT id || ' ' || email FROM users ORDER BY id")
        return _parsed(said)

    def drop(self, name: str) -> None:
        self._server.drop_database(name)


class Maria(Side):
    def __init__(self, server: MariaServer) -> None:
        self._server = server
        self.keys = {
            "database_hostname": server.host,
            "database_port": server.port,
            "login_user": server.user,
            "login_password": server.password,
        }

    def fill(self, name: str) -> None:
        self._server.create_database(name, TABLE)

    def rows(self, name: str) -> list[tuple[int, str]]:
        return _parsed(self._server.sql("SELECT concat(id, ' ', email) FROM users ORDER BY id", name))

    def drop(self, name: str) -> None:
        self._server.drop_database(name)


class Mongo(Side):
    def __init__(self, server: mongo.MongoServer) -> None:
        self._server = server
        self.keys = {"database_hostname": server.host, "database_port": server.port}

    def fill(self, name: str) -> None:
        self._server.database(name).users.insert_many({"_id": number, "email": email} for number, email in ROWS)

    def rows(self, name: str) -> list[tuple[int, str]]:
        return [(found["_id"], found["email"]) for found in self._server.database(name).users.find().sort("_id")]

    def drop(self, name: str) -> None:
        self._server.drop_database(name)


class Files(Side):
    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self.keys = {"directory": str(tree)}

    def fill(self, name: str) -> None:
        self._tree.mkdir()
        for number, email in ROWS:
            (self._tree / str(number)).write_text(email)

    def rows(self, name: str) -> list[tuple[int, str]]:
        return sorted((int(path.name), path.read_text()) for path in self._tree.iterdir())

    def drop(self, name: str) -> None:
        """It goes with the test's folder."""


def _parsed(text: str) -> list[tuple[int, str]]:
    return [(int(line.split()[0]), line.split()[1]) for line in text.splitlines()]


@pytest.fixture(scope="module")
def maria_servers() -> Iterator[list[MariaServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(MariaServer(name)) for name in ("production", "staging")]


@pytest.fixture(scope="module")
def mongo_servers() -> Iterator[list[mongo.MongoServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(mongo.MongoServer(name)) for name in ("production", "staging")]


@pytest.fixture(params=["postgresql", "mysql", "mongo", "files"])
def sides(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Side, Side]:
    """A kind of database, and production's and staging's server of that kind."""
    if request.param == "postgresql":
        return request.param, *(Postgres(request.getfixturevalue(name)) for name in ("production", "staging"))
    if request.param == "mysql":
        return request.param, *map(Maria, request.getfixturevalue("maria_servers"))
    if request.param == "mongo":
        servers = request.getfixturevalue("mongo_servers")
        monkeypatch.setenv("PATH", f"{mongo.tools(tmp_path).folder}:{os.environ['PATH']}")
        monkeypatch.delenv("MONGODB_URI", raising=False)
        return request.param, *map(Mongo, servers)
    return request.param, Files(tmp_path / "production"), Files(tmp_path / "staging")


@pytest.fixture(params=["directory", "s3", "rsync"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The keys of an empty store."""
    (tmp_path / "store").mkdir()
    if request.param == "s3":
        server, bucket = request.getfixturevalue("s3_server"), request.getfixturevalue("bucket")
        where = {"url": bucket, "path": "points", "endpoint_url": server.endpoint, "region": server.region}
        where.update(access_key=server.access_key, secret_key=server.secret_key)
    elif request.param == "rsync":
        server = request.getfixturevalue("ssh_server")
        where = {"url": server.host, "path": str(tmp_path / "store" / "points"), "ssh_port": server.port}
        where.update(ssh_key_file=str(server.key_file), ssh_known_hosts_file=str(server.known_hosts))
    else:
        where = {"url": str(tmp_path / "store"), "path": "points"}
    return {"storagebackend": request.param, **where}


@pytest.fixture
def task(sides: tuple[str, Side, Side], store: dict[str, Any], tmp_path: Path) -> Iterator[Callable[[str], Task]]:
    """Return a function that gives the task of an action, on a database that only production has."""
    dbms, production, staging = sides
    name = f"test_{uuid.uuid4().hex[:8]}"
    production.fill(name)

    def make(action: str) -> Task:
        how = {"temppath": str(tmp_path / "temp"), "state_dir": str(tmp_path / "state")}
        server = (production if action == "push" else staging).keys
        return Task.from_mapping({"action": action, "dbms": dbms, "database": name, **server, **store, **how})

    yield make
    for side in (production, staging):
        side.drop(name)


def test_a_database_goes_from_production_to_staging(sides: tuple[str, Side, Side], task: Callable[[str], Task]) -> None:
    dbms, production, staging = sides
    of = task("pull")

    pushed = push.push(task("push"), Host())
    (point,) = catalogue.list_points(open_store(of), details=True)
    verified = upkeep.verify(of, Host())
    pulled = pull.pull(of, Host())

    assert (point.name, point.state, point.dbms) == (pushed["point"], catalogue.COMPLETE, dbms)
    assert verified["point"] == pulled["point"] == pushed["point"]
    assert staging.rows(of.database) == production.rows(of.database) == ROWS
