# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.elasticsearch import names
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.elasticsearch.swap import Swap, plan_swap

OWN = names.scratch_prefix("search", "20260102030405")
NEW = names.scratch_prefix("search", "20260103030405")
OTHERS = names.scratch_prefix("other", "20260102030405")


def swap(there: dict[str, Any], of_point: Any = None, keep: bool = False, vanish: bool = True) -> Swap:
    restored = {"a": f"{NEW}a"}
    return plan_swap(restored, {**there, f"{NEW}a": {}}, of_point or {}, "search", keep, lambda live: vanish)


def actions(found: Swap) -> list[tuple[str, str, str]]:
    return [(verb, a["index"], a.get("alias", "")) for action in found.actions for verb, a in action.items()]


def test_a_name_that_is_new_becomes_an_alias() -> None:
    found = swap({"b": {}})
    assert actions(found) == [("add", f"{NEW}a", "a")]
    assert not found.replaces and not found.drop


def test_an_index_of_that_name_goes_in_the_same_request_and_leaves_its_aliases_to_the_new_one() -> None:
    found = swap({"a": {"x": {"filter": {"term": {"y": 1}}}}})
    assert actions(found)[0] == ("remove_index", "a", "")
    assert {"add": {"index": f"{NEW}a", "alias": "x", "filter": {"term": {"y": 1}}}} in found.actions
    assert found.concrete == ["a"] and not found.drop


@pytest.mark.parametrize("old", [f"{OWN}a", f"{OTHERS}a", "a-v1"])
def test_what_an_alias_was_of_is_dropped_or_kept(old: str) -> None:
    assert swap({old: {"a": {}}}).drop == [old]
    kept = swap({old: {"a": {}}}, keep=True)
    assert ("add", old, f"env_sync_old-{names.live_name(old)}") in actions(kept) and not kept.drop and kept.kept


def test_an_index_of_others_that_has_another_alias_stays() -> None:
    found = swap({"a-v1": {"a": {}, "b": {}}})
    assert ("remove", "a-v1", "a") in actions(found) and not found.drop


def test_an_alias_moves_when_the_point_has_all_that_it_is_of() -> None:
    there = {"a-v1": {"news": {}}, "b": {"news": {}, "more": {}}}
    whole = {"news": {"indices": ["a"], "whole": True, "properties": {"routing": "1"}}}
    found = swap(there, whole)
    assert {("remove", "a-v1", "news"), ("remove", "b", "news"), ("add", f"{NEW}a", "news")} <= set(actions(found))
    assert found.left == ["a-v1"] and not found.drop
    part = {"news": {**whole["news"], "whole": False}}
    assert [verb for verb, *_unused in actions(swap(there, part))] == ["add", "add"]


def test_what_a_killed_pull_left_with_an_alias_goes_when_that_moves() -> None:
    whole = {"news": {"indices": ["a"], "whole": True, "properties": {}}}
    found = swap({f"{OWN}a": {"news": {}}}, whole)
    assert found.drop == [f"{OWN}a"] and not found.left


def test_what_vanished_at_the_source_goes_where_an_earlier_pull_of_this_database_brought_it() -> None:
    there = {f"{OWN}b": {"b": {}}, f"{OTHERS}c": {"c": {}}, "d": {}}
    assert swap(there).drop == [f"{OWN}b"]
    assert swap(there, vanish=False).drop == []


def test_one_generation_is_kept() -> None:
    there = {f"{OWN}a": {"a": {}}, "a-v1": {"env_sync_old-a": {}}, "b-v1": {"env_sync_old-b": {}}}
    assert swap(there, keep=True).drop == ["a-v1"]


def test_an_alias_that_is_an_index_here_is_said_and_left_alone() -> None:
    found = swap({"news": {}}, {"news": {"indices": ["a"], "whole": True, "properties": {}}})
    assert found.clashing == ["news"] and actions(found) == [("add", f"{NEW}a", "a")]


def test_each_index_keeps_what_its_alias_had() -> None:
    writes = {"is_write_index": True}
    there = {"a": {"x": {"is_write_index": False}}, "b": {"x": writes}}
    noted = names.aliases_of_point({"a": "a", "b": "b"}, there)
    found = plan_swap({"a": f"{NEW}a", "b": f"{NEW}b"}, {}, noted, "db", False, lambda _name: False)
    added = [action["add"] for action in found.actions if action.get("add", {}).get("alias") == "x"]
    assert added == [
        {"index": f"{NEW}a", "alias": "x", "is_write_index": False},
        {"index": f"{NEW}b", "alias": "x", "is_write_index": True},
    ]
