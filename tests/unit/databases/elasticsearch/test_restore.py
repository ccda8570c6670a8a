# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.elasticsearch.options import Options
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.elasticsearch.restore import Incoming
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.manifest import Manifest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

Maker = Callable[..., Manifest]


def options(**others: Any) -> Options:
    values = {
        "action": "pull",
        "dbms": "elasticsearch",
        "database": "search",
        "url": "x",
        "storagebackend": "es_snapshot",
    }
    return Options.from_task(Task.from_mapping({**values, **others}))


def test_an_alias_is_moved_whole_only_where_all_of_its_indices_come(make_manifest: Maker) -> None:
    ours = "env_sync-0123abcd-20260102030405-a"
    news = {"indices": [ours, "b"], "whole": True, "properties": {}, "others": {ours: {"is_write_index": True}}}
    manifest = make_manifest(details={"aliases": {"news": news}})
    all_of_it = Incoming.of(manifest, "s-", ["a", "b"])
    assert (all_of_it.indices, all_of_it.scratch) == ({"a": "s-a", "b": "s-b"}, ["s-a", "s-b"])
    others = {"a": {"is_write_index": True}}
    assert all_of_it.aliases == {"news": {"indices": ["a", "b"], "whole": True, "properties": {}, "others": others}}
    assert Incoming.of(manifest, "s-", ["a"]).aliases["news"]["whole"] is False


@pytest.mark.parametrize(
    ("left_out", "keys", "vanishes"),
    [
        (["b*"], {}, False),
        (["c"], {}, True),
        (["c"], {"indices": "a"}, False),
        (["c"], {"excluded_tables": "b*"}, False),
    ],
)
def test_what_was_left_out_by_somebody_does_not_vanish(
    make_manifest: Maker, left_out: list[str], keys: dict[str, str], vanishes: bool
) -> None:
    incoming = Incoming.of(make_manifest(details={"excluded_tables": left_out}), "s-", ["a"])
    assert incoming.vanishes("b-1", options(**keys)) is vanishes


def test_nothing_vanishes_where_the_point_does_not_say_what_was_left_out(make_manifest: Maker) -> None:
    assert not Incoming.of(make_manifest(tool_version=""), "s-", ["a"]).vanishes("b", options())
