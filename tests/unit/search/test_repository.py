# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.search.client import Client, ServerError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.search.repository import Repository, is_readonly
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import (
    Connection,
    ElasticOptions,
    S3Options,
)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository that the server does not know."""

    def get(_self: Client, _where: str, doing: str, **_query: Any) -> Any:
        raise ServerError(doing, "missing", 404, "repository_missing_exception")

    monkeypatch.setattr(Client, "get", get)
    return Repository(Client(Connection(), ElasticOptions(), S3Options()), "nightly/1")


def test_a_repository_that_is_not_registered_has_nothing_where_that_may_be(missing: Repository) -> None:
    assert missing.registration("looking") is None
    assert missing.snapshot("x", "looking") is None
    assert missing.snapshots("looking", missing_ok=True) == []
    with pytest.raises(ServerError, match="missing"):
        missing.snapshots("looking", missing_ok=False)


def test_a_snapshots_path_is_below_the_repositorys(missing: Repository) -> None:
    assert missing.path() == "/_snapshot/nightly%2F1"
    assert (
        missing.path("2026-01-01t00:00:00-x", "_status") == "/_snapshot/nightly%2F1/2026-01-01t00%3A00%3A00-x/_status"
    )


@pytest.mark.parametrize(
    ("settings", "readonly"), [({}, False), ({"readonly": "true"}, True), ({"readonly": True}, True)]
)
def test_a_server_says_in_several_ways_that_it_may_only_read(settings: dict[str, Any], readonly: bool) -> None:
    assert is_readonly({"type": "fs", "settings": settings}) is readonly
