# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes for the tests of Elasticsearch and OpenSearch: each of them serves all files, as it takes long to start."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.elasticsearch.support import Tasks, Values, aliases, fill
from tests.servers.opensearch import SearchServer


@pytest.fixture(scope="session")
def repositories() -> Iterator[Path]:
    """What is shared by all clusters, as a bucket would be."""
    with tempfile.TemporaryDirectory(prefix="env_sync-repositories-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def opensearch(repositories: Path) -> Iterator[SearchServer]:
    with SearchServer("production", repositories) as server:
        yield server


@pytest.fixture(scope="session")
def elasticsearch(repositories: Path) -> Iterator[SearchServer]:
    with SearchServer("production-7", repositories, "elasticsearch") as server:
        yield server


@pytest.fixture(scope="session")
def staging_node(repositories: Path) -> Iterator[SearchServer]:
    with SearchServer("staging", repositories) as server:
        yield server


@pytest.fixture
def production(opensearch: SearchServer) -> Iterator[SearchServer]:
    fill(opensearch)
    yield opensearch
    opensearch.clear()


@pytest.fixture
def staging(staging_node: SearchServer) -> Iterator[SearchServer]:
    yield staging_node
    left = [name for name in staging_node.indices() if name.startswith("env_sync-") and not aliases(staging_node, name)]
    staging_node.clear()
    assert left in ([], ["env_sync-lock"])


@pytest.fixture
def values(opensearch: SearchServer, staging_node: SearchServer, tmp_path: Path) -> Values:
    """Return a function that gives a task's keys; each test has a repository of its own."""

    def values(action: str, server: SearchServer | None = None, **others: Any) -> dict[str, Any]:
        server = server or (opensearch if action == "push" else staging_node)
        return {
            "action": action,
            "dbms": "elasticsearch",
            "database": "Search",
            "database_hostname": server.host,
            "database_port": server.port,
            "storagebackend": "es_snapshot",
            "url": "backups",
            "repository_type": "fs",
            "repository_settings": {"location": tmp_path.name},
            "temppath": str(tmp_path / "temp"),
            "state_dir": str(tmp_path / "state"),
            **others,
        }

    return values


@pytest.fixture
def tasks(values: Values) -> Tasks:
    """Return a function that gives a task: ``tasks("push", **others)``, or ``tasks("push", server, **others)``."""
    return lambda *where, **others: Task.from_mapping(values(*where, **others))
