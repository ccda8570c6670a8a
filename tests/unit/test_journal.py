# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.journal import Journal


def journal(tmp_path: Path, store: str = "s3://b/p", key: str = "server app") -> Journal:
    return Journal(str(tmp_path), store, key)


def files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "journal").iterdir())


def nothing() -> list[str]:
    return []


def left_by_a_killed_push(tmp_path: Path) -> None:
    with journal(tmp_path).entry("p1", nothing):
        [path] = files(tmp_path)
        data = path.read_bytes()
    path.write_bytes(data)


def test_a_push_is_noted_while_it_runs_and_no_longer(tmp_path: Path) -> None:
    with journal(tmp_path).entry("p1", lambda: pytest.fail("it has not failed")):
        assert journal(tmp_path).unfinished() == ["p1"]
    assert journal(tmp_path).unfinished() == []
    assert files(tmp_path) == []


def test_a_push_that_fails_is_struck_out_when_what_it_left_is_removed(tmp_path: Path) -> None:
    for removed, noted in ((["p1/toc"], []), ([], []), (None, ["p1"])):
        with pytest.raises(ZeroDivisionError), journal(tmp_path).entry("p1", lambda removed=removed: removed):
            raise ZeroDivisionError
        assert journal(tmp_path).unfinished() == noted


def test_what_a_killed_one_left_stays_until_it_is_cleared(tmp_path: Path) -> None:
    left_by_a_killed_push(tmp_path)
    with journal(tmp_path).entry("p2", nothing):
        assert journal(tmp_path).unfinished() == ["p1", "p2"]
    assert journal(tmp_path).unfinished() == ["p1"]
    journal(tmp_path).clear("p1")
    journal(tmp_path).clear("p1")
    assert files(tmp_path) == []


def test_other_stores_servers_and_databases_have_their_own(tmp_path: Path) -> None:
    with journal(tmp_path).entry("p1", nothing):
        assert journal(tmp_path, store="s3://b/q").unfinished() == []
        assert journal(tmp_path, key="server app2").unfinished() == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"points": 3}', "\xff"])
def test_a_damaged_journal_names_nothing(tmp_path: Path, text: str) -> None:
    left_by_a_killed_push(tmp_path)
    files(tmp_path)[0].write_bytes(text.encode("latin-1"))
    assert journal(tmp_path).unfinished() == []


def test_it_says_which_store_it_is_of(tmp_path: Path) -> None:
    left_by_a_killed_push(tmp_path)
    assert json.loads(files(tmp_path)[0].read_text()) == {"store": "s3://b/p", "points": ["p1"]}


def test_a_push_that_can_not_be_noted_does_not_begin(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file")
    noted = journal(tmp_path).entry("p1", nothing)
    with pytest.raises(EnvSyncError, match=r"writing the journal .* Set state_dir"), noted:
        pytest.fail("it began")
