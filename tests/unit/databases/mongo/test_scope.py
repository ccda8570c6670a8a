# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a script's commands become; on servers that have more of them than those of the integration tests."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.scope import (
    Refused,
    Scope,
    target_of,
    writes,
)

SCOPE = Scope("shop", "scratch_")


@pytest.mark.parametrize(
    ("command", "becomes"),
    [
        ({"find": "users", "lsid": {}, "filter": {}}, {"find": "scratch_users", "filter": {}}),
        ({"find": "scratch_users"}, {"find": "scratch_users"}),
        ({"findandmodify": "users", "query": {}}, {"findAndModify": "scratch_users", "query": {}}),
        ({"getMore": 7, "collection": "scratch_users"}, {"getMore": 7, "collection": "scratch_users"}),
        ({"killCursors": "users", "cursors": [7]}, {"killCursors": "scratch_users", "cursors": [7]}),
        ({"explain": {"find": "users"}, "verbosity": "x"}, {"explain": {"find": "scratch_users"}, "verbosity": "x"}),
        ({"delete": "users", "writeConcern": {"w": 0}}, {"delete": "scratch_users"}),
        ({"delete": "users", "writeConcern": {"w": 2}}, {"delete": "scratch_users", "writeConcern": {"w": 2}}),
    ],
    ids=str,
)
def test_a_command_is_of_the_scratch_collection(command: dict[str, Any], becomes: dict[str, Any]) -> None:
    made = SCOPE.translated("shop", command)
    assert made == becomes and next(iter(made)) == next(iter(becomes))


def test_a_rename_is_of_two_scratch_collections() -> None:
    made = SCOPE.translated("admin", {"renameCollection": "shop.a.b", "to": "shop.c"})
    assert made == {"renameCollection": "shop.scratch_a.b", "to": "shop.scratch_c"}


@pytest.mark.parametrize(
    ("stage", "becomes"),
    [
        ({"$out": "users"}, {"$out": "scratch_users"}),
        ({"$out": {"db": "shop", "coll": "users"}}, {"$out": {"db": "shop", "coll": "scratch_users"}}),
        ({"$merge": "users"}, {"$merge": "scratch_users"}),
        ({"$merge": {"into": "users", "on": "_id"}}, {"$merge": {"into": "scratch_users", "on": "_id"}}),
        (
            {"$merge": {"into": {"db": "shop", "coll": "users"}}},
            {"$merge": {"into": {"db": "shop", "coll": "scratch_users"}}},
        ),
        ({"$unionWith": "users"}, {"$unionWith": "scratch_users"}),
        (
            {"$unionWith": {"coll": "users", "pipeline": [{"$lookup": {"from": "x"}}]}},
            {"$unionWith": {"coll": "scratch_users", "pipeline": [{"$lookup": {"from": "scratch_x"}}]}},
        ),
        ({"$graphLookup": {"from": "users"}}, {"$graphLookup": {"from": "scratch_users"}}),
        ({"$facet": {"a": [{"$lookup": {"from": "x"}}]}}, {"$facet": {"a": [{"$lookup": {"from": "scratch_x"}}]}}),
        ({"$set": {"from": "users"}}, {"$set": {"from": "users"}}),
    ],
    ids=str,
)
def test_stages_of_an_aggregation_are_too(stage: dict[str, Any], becomes: dict[str, Any]) -> None:
    made = SCOPE.translated("shop", {"aggregate": "users", "pipeline": [stage], "cursor": {}})
    assert made["pipeline"] == [becomes] and made["aggregate"] == "scratch_users"
    assert writes(made) is any(name in stage for name in ("$out", "$merge"))
    assert target_of(made) == ("scratch_users" if writes(made) else "")


@pytest.mark.parametrize(
    ("database", "command"),
    [
        ("live", {"find": "users"}),
        ("admin", {"renameCollection": "live.users", "to": "shop.users"}),
        ("admin", {"renameCollection": "shop.users", "to": "live.users"}),
        ("admin", {"bulkWrite": 1}),
        ("shop", {}),
        ("shop", {"find": 1}),
        ("shop", {"find": "system.users"}),
        ("shop", {"aggregate": 1, "pipeline": []}),
        ("shop", {"dropDatabase": 1}),
        ("shop", {"mapReduce": "users", "out": "users"}),
        ("shop", {"create": "v", "viewOn": "users"}),
        ("shop", {"collMod": "v", "viewOn": "users"}),
        ("shop", {"create": "t", "timeseries": {}}),
        ("shop", {"explain": {"dropDatabase": 1}}),
        ("shop", {"update": "users", "startTransaction": True}),
        ("shop", {"aggregate": "users", "pipeline": [{"$out": {"db": "live", "coll": "users"}}]}),
        ("shop", {"aggregate": "users", "pipeline": [{"$merge": {"into": {"db": "live", "coll": "users"}}}]}),
        ("shop", {"aggregate": "users", "pipeline": [{"$lookup": {"from": {"db": "live", "coll": "users"}}}]}),
        ("shop", {"aggregate": "users", "pipeline": [{"$facet": {"a": [{"$lookup": {"from": "system.x"}}]}}]}),
    ],
    ids=str,
)
def test_what_reaches_beyond_is_refused(database: str, command: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        SCOPE.translated(database, command)
