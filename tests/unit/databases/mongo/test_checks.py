# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scratch collections, compared with what the dump holds."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.archive import (
    Collection,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.checks import compare_scratch
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

from tests.unit.databases.mongo.stub import StubServer, collections


class SmallServer(StubServer):
    """A stub whose scratch collections hold what the test says."""

    def __init__(self, count: int, indexes: list[dict[str, Any]]) -> None:
        super().__init__(collections=("env_sync_scratch_a",))
        self._count = count
        self._indexes = indexes

    def count(self, database: str, collection: str, doing: str) -> int:
        return self._count

    def indexes(self, database: str, collection: str, doing: str) -> list[dict[str, Any]]:
        return self._indexes


ID = {"name": "_id_", "key": {"_id": 1}, "v": 2}
N = {"name": "n", "key": {"n": 1}}
EXPIRING = {"name": "t_1", "key": {"t": 1.0}, "expireAfterSeconds": bson.Int64(60)}


@pytest.mark.parametrize(
    ("count", "there", "wanted", "says"),
    [
        (3, [ID], [ID], ""),
        (2, [ID], [ID], "collection a has 2 documents, and the point's manifest says 3"),
        (4, [ID], [ID], "4 documents"),
        (3, [ID], [ID, {"name": "n_1", "key": {"n": 1}}], "index n_1"),
        (3, [ID, {"name": "n", "key": {"n": 1}}], [ID, {"name": "n", "key": {"n": 1}, "unique": True}], "index n "),
        (3, [ID, {"name": "n", "key": {"n": 1}}], [ID, {**N, "partialFilterExpression": {"n": 1}}], "index n "),
        (3, [ID, {**N, "partialFilterExpression": {"n": 1}}], [ID, {**N, "partialFilterExpression": {"n": 1.0}}], ""),
        (3, [ID, {"name": "n", "key": {"b": 1, "a": 1}}], [ID, {"name": "n", "key": {"a": 1, "b": 1}}], "index n "),
        (2, [ID, {**EXPIRING, "expireAfterSeconds": 60, "key": {"t": 1}}], [ID, EXPIRING], ""),
    ],
)
def test_a_restore_is_proven(count: int, there: list[Any], wanted: list[Any], says: str) -> None:
    """Where documents expire, the server may have taken some since the dump; so may a capped collection."""
    here = collections(SmallServer(count, there))
    capped = {"capped": True, "size": 4096}
    said = compare_scratch({"a": Collection("a", "collection", capped, there, max(count, 3))}, here, "restoring")
    assert len(said) == (count < 3)
    dumped = {"a": Collection("a", "collection", {}, wanted, 3)}
    if says:
        with pytest.raises(EnvSyncError, match=says):
            compare_scratch(dumped, here, "restoring")
    else:
        compare_scratch(dumped, here, "restoring")
