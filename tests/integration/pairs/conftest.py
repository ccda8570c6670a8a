# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What pairs of runs push and pull, and the servers of more than one file."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.mariadb import MariaServer
from tests.servers.mongo import MongoServer, tools


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "sources" / "tree"
    folder.mkdir(parents=True)
    words = [random.Random(number).randbytes(9).hex() for number in range(500)]
    for number in range(4):
        chosen = random.Random(number).choices(words, k=60000)
        (folder / f"file{number}").write_text(" ".join(chosen))
    return folder


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaServer]:
    with MariaServer("staging") as server:
        yield server


@pytest.fixture
def mysql_values(mariadb: MariaServer, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "mysql-store").mkdir()
    return {
        "dbms": "mysql",
        "database": "app",
        "database_hostname": mariadb.host,
        "database_port": mariadb.port,
        "login_user": mariadb.user,
        "login_password": mariadb.password,
        "storagebackend": "directory",
        "url": str(tmp_path / "mysql-store"),
        "temppath": str(tmp_path / "temp"),
        "state_dir": str(tmp_path / "state"),
        "allow_restore_to_source": True,
    }


@pytest.fixture(scope="session")
def ferret() -> Iterator[MongoServer]:
    with MongoServer("staging") as server:
        yield server


@pytest.fixture
def mongo_values(
    ferret: MongoServer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    monkeypatch.setenv("PATH", f"{tools(tmp_path_factory.mktemp('tools')).folder}:{os.environ['PATH']}")
    monkeypatch.delenv("MONGODB_URI", raising=False)
    (tmp_path / "mongo-store").mkdir()
    name = f"test_{uuid.uuid4().hex[:8]}"
    yield {
        "dbms": "mongo",
        "database": name,
        "database_hostname": ferret.host,
        "database_port": ferret.port,
        "storagebackend": "directory",
        "url": str(tmp_path / "mongo-store"),
        "temppath": str(tmp_path / "temp"),
        "state_dir": str(tmp_path / "state"),
        "allow_restore_to_source": True,
    }
    ferret.drop_database(name)
