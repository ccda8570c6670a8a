# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two MariaDB servers, a database's name, and a task's keys."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mysql.helpers import Values, keys
from tests.servers.mariadb import MariaServer


@pytest.fixture(scope="session")
def production() -> Iterator[MariaServer]:
    """The server that databases are pushed from."""
    with MariaServer("production") as server:
        server.sql("CREATE USER app@'10.%', only_there@localhost; GRANT ALL ON *.* TO app@'10.%'")
        yield server


@pytest.fixture(scope="session")
def staging() -> Iterator[MariaServer]:
    """The server that databases are pulled into."""
    with MariaServer("staging") as server:
        server.sql("CREATE USER app@'10.%'; GRANT ALL ON *.* TO app@'10.%'")
        yield server


@pytest.fixture
def database(production: MariaServer, staging: MariaServer) -> Iterator[str]:
    """A name for a database; nothing else may be left on the servers, and nothing at all afterwards."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    yield name
    left = {server.name: server.databases() for server in (production, staging)}
    for server in (production, staging):
        for found in server.databases():
            server.drop_database(found)
    assert all(found in (name, "other") for names in left.values() for found in names), left


@pytest.fixture
def task_values(production: MariaServer, staging: MariaServer, tmp_path: Path) -> Values:
    """Return a function that gives a task's keys: ``task_values("push", database, **others)``."""
    (tmp_path / "store").mkdir()

    def values(action: str, database: str, **others: Any) -> dict[str, Any]:
        server = production if action == "push" else staging
        return {**keys(action, server, database, tmp_path), "jobs": 2, **others}

    return values
