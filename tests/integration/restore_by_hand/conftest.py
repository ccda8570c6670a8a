# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operator, and what they are to restore."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.integration.restore_by_hand.page import (
    SAMPLE,
    Operator,
    Values,
)
from tests.servers.postgresql import PostgresServer


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


@pytest.fixture
def values(tmp_path: Path) -> Values:
    """Return a function that gives the keys of a push into a directory, which is ``SOURCE`` for the operator."""
    (tmp_path / "store").mkdir()

    def give(dbms: str, database: str, **others: Any) -> dict[str, Any]:
        return {
            "action": "push",
            "dbms": dbms,
            "database": database,
            "storagebackend": "directory",
            "url": str(tmp_path / "store"),
            "path": "points",
            "temppath": str(tmp_path / "temp"),
            "state_dir": str(tmp_path / "state"),
            "jobs": 2,
            **others,
        }

    return give


@pytest.fixture
def psql_values(production: PostgresServer, database: str, values: Values) -> Values:
    """A database that can be pushed, and the keys for it."""
    production.create_database(database, SAMPLE)

    def give(**others: Any) -> dict[str, Any]:
        server = {
            "database_hostname": production.host,
            "database_port": production.port,
            "login_user": production.superuser,
        }
        return values("postgresql", database, **server, **others)

    return give


@pytest.fixture
def to_staging(operator: Operator, staging: PostgresServer) -> Operator:
    """The operator, with access to the staging server over TCP as the page says."""
    operator.first(os.path.dirname(staging.program("pg_restore")))
    operator.environment.update(PGHOST="127.0.0.1", PGPORT=str(staging.port), PGUSER=staging.superuser)
    operator.secret(".pgpass", f"127.0.0.1:{staging.port}:*:{staging.superuser}:{staging.password}\n")
    return operator
