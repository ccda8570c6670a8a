# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.elasticsearch.names import (
    LOCK,
    aliases_of_point,
    chosen,
    scratch_prefix,
)

OWN = scratch_prefix("search", "20260102030405")


def test_indices_are_chosen_by_patterns_and_the_servers_own_only_when_asked_for() -> None:
    there = ["a-1", "a-2", "b[1]", ".kibana", LOCK]
    assert chosen(there, (), ()) == ["a-1", "a-2", "b[1]"]
    assert chosen(there, ("a-*", "b[1]"), ("*-2",)) == ["a-1", "b[1]"]
    assert chosen(there, ("*", ".kib*"), ()) == [".kibana", "a-1", "a-2", "b[1]"]


def test_aliases_are_noted_with_whether_all_of_their_indices_are_in_the_snapshot() -> None:
    there = {"a": {"x": {}, "y": {}}, "b": {"y": {}}, f"{OWN}c": {"c": {}}}
    found = aliases_of_point({"a": "a", f"{OWN}c": "c"}, there)
    assert {name: (about["indices"], about["whole"]) for name, about in found.items()} == {
        "x": (["a"], True), "y": (["a"], False)
    }  # fmt: skip
