# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.journal import Entry, Journal


def journal(tmp_path: Path, store: str = "s3://b/p", key: str = "server app") -> Journal:
    return Journal(str(tmp_path), store, key)


def files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "journal").iterdir())


def names(tmp_path: Path, **values: str) -> list[str]:
    return [entry.point for entry in journal(tmp_path, **values).unfinished()]


def nothing(_entry: Entry) -> list[str]:
    return []


def left_by_a_killed_push(tmp_path: Path) -> None:
    with journal(tmp_path).entry("p1", "run-1", nothing):
        [path] = files(tmp_path)
        data = path.read_bytes()
    path.write_bytes(data)


def test_a_push_is_noted_while_it_runs_and_no_longer(tmp_path: Path) -> None:
    with journal(tmp_path).entry("p1", "run-1", lambda _: pytest.fail("it has not failed")):
        assert names(tmp_path) == ["p1"]
    assert names(tmp_path) == []
    assert files(tmp_path) == []


def test_a_push_that_fails_is_struck_out_when_what_it_left_is_removed(tmp_path: Path) -> None:
    for removed, noted in ((["p1/toc"], []), ([], []), (None, ["p1"])):
        failing = journal(tmp_path).entry("p1", "run-1", lambda _begun, removed=removed: removed)
        with pytest.raises(ZeroDivisionError), failing:
            raise ZeroDivisionError
        assert names(tmp_path) == noted


def test_what_may_still_be_written_to_stays_noted_until_its_process_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), journal(tmp_path).entry("p1", "run-1", nothing) as begun:
        begun.claim()
        begun.straggle()
        raise ZeroDivisionError
    [entry] = journal(tmp_path).unfinished()
    assert (entry.point, entry.run, entry.claimed) == ("p1", "run-1", True)
    assert entry.may_write()
    with subprocess.Popen(["/bin/true"]) as ended:
        ended.wait()
    assert entry.process is not None
    for gone in (
        dataclasses.replace(entry.process, pid=ended.pid),
        dataclasses.replace(entry.process, mark=f"{entry.process.mark}1"),  # the number is another's now
    ):
        assert not dataclasses.replace(entry, process=gone).may_write()
    # Of what another kernel, or another of its containers, knows, nothing can be said here.
    for elsewhere in ({"mark": "another-boot 1"}, {"namespace": "pid:[1]"}):
        process = dataclasses.replace(entry.process, pid=ended.pid, **elsewhere)
        assert dataclasses.replace(entry, process=process).may_write()


def test_two_users_of_one_state_directory_see_each_other(tmp_path: Path) -> None:
    with journal(tmp_path).held("app"):
        with (
            pytest.raises(EnvSyncError, match="locking app: another push of it to the same place is running"),
            journal(tmp_path).held("app"),
        ):
            pass
        with journal(tmp_path, store="s3://b/q").held("app"):
            pass
    with journal(tmp_path).held("app"):
        pass
    assert files(tmp_path) == []


def test_what_a_killed_one_left_stays_until_it_is_cleared(tmp_path: Path) -> None:
    left_by_a_killed_push(tmp_path)
    with journal(tmp_path).entry("p2", "run-2", nothing):
        assert names(tmp_path) == ["p1", "p2"]
    assert names(tmp_path) == ["p1"]
    journal(tmp_path).clear("p1")
    journal(tmp_path).clear("p1")
    assert files(tmp_path) == []


def test_other_stores_servers_and_databases_have_their_own(tmp_path: Path) -> None:
    with journal(tmp_path).entry("p1", "run-1", nothing):
        assert names(tmp_path, store="s3://b/q") == []
        assert names(tmp_path, key="server app2") == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"points": 3}', "\xff"])
def test_a_damaged_journal_names_nothing(tmp_path: Path, text: str) -> None:
    left_by_a_killed_push(tmp_path)
    files(tmp_path)[0].write_bytes(text.encode("latin-1"))
    assert names(tmp_path) == []


def test_it_says_which_store_it_is_of(tmp_path: Path) -> None:
    left_by_a_killed_push(tmp_path)
    assert json.loads(files(tmp_path)[0].read_text())["store"] == "s3://b/p"


def test_what_version_0_3_noted_is_still_known(tmp_path: Path) -> None:
    left_by_a_killed_push(tmp_path)
    files(tmp_path)[0].write_text('{"store": "s3://b/p", "points": ["p1"]}')
    assert journal(tmp_path).unfinished() == [Entry("p1", "", claimed=True)]


def test_a_push_that_can_not_be_noted_does_not_begin(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file")
    noted = journal(tmp_path).entry("p1", "run-1", nothing)
    with pytest.raises(EnvSyncError, match=r"writing the journal .* Set state_dir"), noted:
        pytest.fail("it began")
