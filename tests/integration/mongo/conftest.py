# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two servers, the tools for dumps, and a database's name on both; shared by all tests of MongoDB in a session.

The servers are FerretDB, which lacks ``dropTarget``, views, validators and indexes that expire: the units test those
against stubs. ``mongodump`` and ``mongorestore`` are stand-ins where MongoDB's own are not installed (tests/servers).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mongo.samples import Values
from tests.servers.mongo import MongoServer, Tools, tools


@pytest.fixture(scope="session")
def source() -> Iterator[MongoServer]:
    with MongoServer("production") as server:
        yield server


@pytest.fixture(scope="session")
def target() -> Iterator[MongoServer]:
    with MongoServer("staging") as server:
        yield server


@pytest.fixture(scope="session")
def dump_tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture(autouse=True)
def _path(dump_tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{dump_tools.folder}:{os.environ['PATH']}")
    monkeypatch.delenv("MONGODB_URI", raising=False)


@pytest.fixture
def name(source: MongoServer, target: MongoServer) -> Iterator[str]:
    """A database's name; gone from both servers afterwards."""
    made = f"test_{uuid.uuid4().hex[:8]}"
    yield made
    for server in (source, target):
        server.drop_database(made)


@pytest.fixture
def values(source: MongoServer, target: MongoServer, tmp_path: Path) -> Values:
    (tmp_path / "store").mkdir()

    def give(action: str, database: str, **others: Any) -> dict[str, Any]:
        server = source if action == "push" else target
        return {
            "action": action,
            "dbms": "mongo",
            "database": database,
            "database_hostname": server.host,
            "database_port": server.port,
            "storagebackend": "directory",
            "url": str(tmp_path / "store"),
            "path": "mongo",
            "temppath": str(tmp_path / "temp"),
            "state_dir": str(tmp_path / "state"),
            **others,
        }

    return give
