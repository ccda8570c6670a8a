# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A point of Elasticsearch and OpenSearch, which is a snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.restore_by_hand.page import (
    Operator,
    Values,
    following,
    pushed,
)
from tests.servers.opensearch import SearchServer


@pytest.fixture(scope="module", params=["opensearch", "elasticsearch"])
def nodes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SearchServer, SearchServer, Path]]:
    """Production, staging, and the folder that both may keep snapshots in: of OpenSearch, then of Elasticsearch."""
    folder = tmp_path_factory.mktemp("repositories")
    with (
        SearchServer("production", folder, request.param) as one,
        SearchServer("staging", folder, request.param) as other,
    ):
        yield one, other, folder


@following(("Elasticsearch and OpenSearch",))
def test_elasticsearch(
    nodes: tuple[SearchServer, SearchServer, Path], operator: Operator, values: Values, way: tuple[str, ...]
) -> None:
    production, staging, folder = nodes
    production.call("PUT", "/users", {"settings": {"number_of_shards": 2}, "aliases": {"people": {}}})
    production.fill("users", {str(n): {"email": f"user{n}@example.com"} for n in range(20)})
    production.fill("articles", {str(n): {"title": f"Article {n}"} for n in range(30)})
    staging.fill("users", {"1": {"email": "old@example.com"}})
    keys = {
        "database_hostname": production.host,
        "database_port": production.port,
        "storagebackend": "es_snapshot",
        "url": "backups",
        "path": "",
        "repository_type": "fs",
        "repository_settings": {"location": "snapshots"},
    }
    point = pushed(values("elasticsearch", "Search", **keys))
    said = operator.follows(
        way,
        SERVER=f"http://{staging.host}:{staging.port}",
        REPOSITORY="theirs",
        SETTINGS=f'{{"type": "fs", "settings": {{"location": "{folder}/snapshots", "readonly": true}}}}',
        POINT=point.lower(),
        INDEX="users",
    )
    assert "restored-articles" in said
    assert staging.documents("users") == production.documents("users")
    assert staging.documents("restored-articles") == production.documents("articles")
    assert set(staging.indices()) == {"restored-users", "restored-articles"}
