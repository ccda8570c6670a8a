# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Points of MongoDB, and a dump that the original left."""

from __future__ import annotations

import os
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.restore_by_hand.page import (
    BEGINNING,
    FETCH,
    Operator,
    Values,
    copy,
    following,
    pushed,
)
from tests.servers.mongo import MongoServer, Tools, tools

# The first test with MongoDB builds its server, which takes minutes on a machine that has never done it.
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def mongo_servers() -> Iterator[tuple[MongoServer, MongoServer]]:
    with MongoServer("production") as one, MongoServer("staging") as other:
        yield one, other


@pytest.fixture(scope="module")
def dump_tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """MongoDB's own tools, or stand-ins where they can't be had (tests/servers)."""
    return tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture
def mongo_name(mongo_servers: tuple[MongoServer, MongoServer]) -> Iterator[str]:
    """The name of a database on production, with two collections and an index."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    database = mongo_servers[0].database(name)
    database["users"].insert_many({"_id": n, "email": f"user{n}@example.com", "tags": [{"n": n}]} for n in range(500))
    database["users"].create_index([("email", 1)], unique=True)
    database["a b"].insert_one({"_id": "only"})
    yield name
    for server in mongo_servers:
        for drop in (name, f"{name}_restored"):
            server.drop_database(drop)


@pytest.fixture
def with_config(mongo_servers: tuple[MongoServer, MongoServer], dump_tools: Tools, operator: Operator) -> Operator:
    """The operator, with a CONFIG that leads to the staging server."""
    operator.first(dump_tools.folder)
    operator.secret("mongo.yaml", f"uri: 'mongodb://{mongo_servers[1].host}:{mongo_servers[1].port}/'\n")
    return operator


def same_collections(one: MongoServer, other: MongoServer, name: str) -> None:
    restored = f"{name}_restored"
    assert other.contents(restored) == one.contents(name)
    for collection in ("users", "a b"):
        indexes = (server[collection].index_information() for server in (one.database(name), other.database(restored)))
        assert next(indexes) == next(indexes)


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
@following((FETCH, BEGINNING, "MongoDB and DocumentDB"))
def test_mongo(
    mongo_servers: tuple[MongoServer, MongoServer],
    with_config: Operator,
    dump_tools: Tools,
    mongo_name: str,
    values: Values,
    monkeypatch: pytest.MonkeyPatch,
    way: tuple[str, ...],
    compression: str,
) -> None:
    production, staging = mongo_servers
    monkeypatch.setenv("PATH", f"{dump_tools.folder}:{os.environ['PATH']}")
    monkeypatch.delenv("MONGODB_URI", raising=False)
    server = {"database_hostname": production.host, "database_port": production.port}
    task = values("mongo", mongo_name, **server, compression=compression)
    variables = {"DATABASE": f"{mongo_name}_restored", "CONFIG": with_config.home / "mongo.yaml"}
    with_config.follows(way, **copy(with_config, task, pushed(task)), **variables)
    same_collections(production, staging, mongo_name)


@following(("A dump of MongoDB",))
def test_a_dump_of_mongo_that_the_original_left(
    mongo_servers: tuple[MongoServer, MongoServer],
    with_config: Operator,
    dump_tools: Tools,
    mongo_name: str,
    tmp_path: Path,
    way: tuple[str, ...],
) -> None:
    production, staging = mongo_servers
    config = with_config.secret("production.yaml", f"uri: 'mongodb://{production.host}:{production.port}/'\n")
    argv = [dump_tools.folder / "mongodump", f"--config={config}", f"--db={mongo_name}", f"--out={tmp_path / 'out'}"]
    subprocess.run(argv, check=True, timeout=60, capture_output=True)
    dump = tmp_path / f"2020-01-01T00:00:00-{mongo_name}.gz"
    with tarfile.open(dump, "w:gz") as tar:
        tar.add(tmp_path / "out" / mongo_name, mongo_name)
    variables = {"DATABASE": f"{mongo_name}_restored", "CONFIG": with_config.home / "mongo.yaml", "FROM": mongo_name}
    with_config.follows(way, DUMP=dump, **variables)
    same_collections(production, staging, mongo_name)
