# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real servers, shared by all integration tests of a session."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.servers.postgresql import PostgresServer
from tests.servers.s3 import SwiftS3
from tests.servers.sshd import SshServer


@pytest.fixture(scope="session")
def production() -> Iterator[PostgresServer]:
    """The server that databases are pushed from."""
    with PostgresServer("production") as server:
        yield server


@pytest.fixture(scope="session")
def staging() -> Iterator[PostgresServer]:
    """The server that databases are pulled into."""
    with PostgresServer("staging") as server:
        yield server


@pytest.fixture
def database(production: PostgresServer, staging: PostgresServer) -> Iterator[str]:
    """A name for a database; dropped on both servers afterwards, and nothing else may be left there."""
    before = {server: server.databases() for server in (production, staging)}
    name = f"test_{uuid.uuid4().hex[:8]}"
    yield name
    for server, names in before.items():
        for found in server.databases():
            if found not in names:
                server.drop_database(found)


@pytest.fixture
def task_values(production: PostgresServer, staging: PostgresServer, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that gives a task's keys: ``task_values("push", database, **others)``."""
    (tmp_path / "store").mkdir()

    def values(action: str, database: str, **others: Any) -> dict[str, Any]:
        server = production if action == "push" else staging
        return {
            "action": action,
            "dbms": "postgresql",
            "database": database,
            "database_hostname": server.host,
            "database_port": server.port,
            "login_user": server.superuser,
            "storagebackend": "directory",
            "url": str(tmp_path / "store"),
            "path": "postgresql",
            "temppath": str(tmp_path / "temp"),
            "state_dir": str(tmp_path / "state"),
            "jobs": 2,
            **others,
        }

    return values


@pytest.fixture(scope="session")
def s3_server() -> Iterator[SwiftS3]:
    """An S3 server that checks signatures."""
    with SwiftS3() as server:
        yield server


@pytest.fixture(scope="session")
def ssh_server() -> Iterator[SshServer]:
    """A host that rsync stores can be on."""
    with SshServer() as server:
        yield server


@pytest.fixture
def bucket(s3_server: SwiftS3) -> Iterator[str]:
    """An empty bucket; removed afterwards with all that is in it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    s3_server.create_bucket(name)
    yield name
    s3_server.delete_bucket(name)
