# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of databases, and collections that are dropped by theirs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.client import ServerError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

from tests.unit.databases.mongo.stub import StubServer, collections, mongo


@pytest.mark.parametrize("name", ["a.b", "a*", "a b", "x" * 64])
def test_a_name_that_mongodb_does_not_allow_is_refused(name: str) -> None:
    with pytest.raises(EnvSyncError, match="no name for a MongoDB database"):
        mongo(StubServer(), database=name).preflight_dump()


class Dropping(StubServer):
    """A stub that refuses to drop one collection, with a code."""

    def __init__(self, refused: str, code: int) -> None:
        super().__init__()
        self._refused = refused
        self._code = code

    def command(self, database: str, command: dict[str, Any], doing: str) -> dict[str, Any]:
        if command["drop"] == self._refused:
            raise ServerError(doing, "refused", self._code)
        return super().command(database, command, doing)


def test_a_collection_that_has_gone_meanwhile_is_as_good_as_dropped() -> None:
    server = Dropping("gone", 26)
    collections(server).drop(["gone", "there"], "dropping")
    assert server.commands == [{"drop": "there"}]
    with pytest.raises(ServerError, match="refused"):
        collections(Dropping("there", 13)).drop(["there"], "dropping")


def test_nothing_is_dropped_without_the_lock_that_is_to_be_proved() -> None:
    server = StubServer()
    held = iter([True, False])

    def prove() -> None:
        if not next(held):
            raise EnvSyncError("locking", "it was lost")

    with pytest.raises(EnvSyncError, match="it was lost"):
        collections(server).drop(["a", "b"], "dropping", prove)
    assert server.commands == [{"drop": "a"}]
