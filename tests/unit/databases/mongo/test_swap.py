# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exchange of collections, by the commands that the server gets."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.archive import (
    Collection,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.swap import Swap, put_back
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

from tests.unit.databases.mongo.stub import StubServer, collections


def swap(server: Any, views: dict[str, Collection] | None = None, spared: tuple[str, ...] = ()) -> None:
    Swap(collections(server), lambda: None, lambda **_values: None, keep_old=False).run(views or {}, spared)


def test_collections_are_replaced_in_one_step_and_vanished_ones_dropped_last() -> None:
    server = StubServer(collections=("env_sync_scratch_a", "env_sync_scratch_new", "a", "gone", "spared", "system.js"))
    swap(server, spared=("spared",))
    assert server.commands == [
        {"renameCollection": "app.env_sync_scratch_a", "to": "app.a", "dropTarget": True},
        {"renameCollection": "app.env_sync_scratch_new", "to": "app.new"},
        {"drop": "gone"},
    ]


def test_a_swap_that_fails_half_way_says_so() -> None:
    server = StubServer(collections=("env_sync_scratch_a", "env_sync_scratch_b", "a", "b", "gone"))
    server.fails_at = "app.b"
    with pytest.raises(EnvSyncError, match="1 of 2 collections were replaced, then: it failed"):
        swap(server)
    assert {"drop": "gone"} not in server.commands


def test_views_become_what_they_are_at_the_source() -> None:
    plain = {"viewOn": "a", "pipeline": []}
    other = {"viewOn": "b", "pipeline": []}
    french = {**plain, "collation": {"locale": "fr"}}
    server = StubServer(
        collections=("env_sync_scratch_was_view", "was_collection"),
        views={"same": plain, "changed": plain, "collated": plain, "vanished": plain, "was_view": plain},
    )
    views = {"same": plain, "changed": other, "collated": french, "new": plain, "was_collection": plain}
    swap(server, {name: Collection(name, "view", options) for name, options in views.items()})
    assert server.commands == [
        {"drop": "was_view"},
        {"renameCollection": "app.env_sync_scratch_was_view", "to": "app.was_view"},
        {"collMod": "changed", **other},
        {"drop": "collated"},
        {"create": "collated", **french},
        {"create": "new", **plain},
        {"drop": "was_collection"},
        {"create": "was_collection", **plain},
        {"drop": "vanished"},
    ]


def test_what_was_there_or_made_since_is_not_taken_for_what_came_with_the_swap() -> None:
    server = StubServer(collections=("a", "env_sync_old_a", "new", "made since", "system.js"))
    assert put_back(collections(server), ["new"], lambda: None, "putting back") == ["a"]
    assert server.commands == [
        {"renameCollection": "app.a", "to": "app.env_sync_scratch_a"},
        {"renameCollection": "app.new", "to": "app.env_sync_scratch_new"},
        {"renameCollection": "app.env_sync_old_a", "to": "app.a"},
    ]
