# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a pull of files finds when the one before was killed in the middle of its swap."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files import swap as files_swap
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files.swap import Places


class Killed(BaseException):
    """Ends a swap as SIGKILL would: nothing tidies up."""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A live tree with a file ``before``, and a scratch tree with a file ``after``."""
    found = Places(str(tmp_path / "live"))
    for tree, name in ((found.live, "before"), (found.scratch, "after")):
        os.mkdir(tree)
        Path(tree, name).touch()
    return found


def contents(folder: str) -> dict[str, list[str]]:
    return {name: os.listdir(os.path.join(folder, name)) for name in sorted(os.listdir(folder))}


def swap_killed_at(places: Places, call: int, exchanges: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swap, and be killed instead of the ``call``-th change of a name (0 is the first)."""
    calls = iter(range(10))
    really, exchange = os.rename, files_swap.exchange

    def rename(one: str, other: str) -> None:
        if next(calls) == call:
            raise Killed
        really(one, other)

    def change(one: str, other: str) -> bool:
        if exchanges and next(calls) == call:
            raise Killed
        return exchanges and exchange(one, other)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(os, "rename", rename)
        patched.setattr(files_swap, "exchange", change)
        places.swap()


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(("call", "exchanges"), [(0, True), (0, False), (1, False)])
def test_before_the_new_tree_is_live_the_old_one_is_put_back(
    places: Places, keep: bool, call: int, exchanges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap_killed_at(places, call, exchanges, monkeypatch)
    assert places.recover(keep)
    assert contents(places.parent) == {"live": ["before"]}


@pytest.mark.parametrize("keep", [True, False])
def test_after_an_exchange_the_replaced_tree_is_kept_or_dropped(
    places: Places, keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap_killed_at(places, 1, True, monkeypatch)
    places.recover(keep)
    assert contents(places.parent) == {"live": ["after"], **({".env_sync_old-live": ["before"]} if keep else {})}


def test_killed_while_the_replaced_tree_is_dropped(places: Places) -> None:
    places.swap()
    assert places.recover(keep_old=False) == [f"the replaced tree {places.old}"]
    assert contents(places.parent) == {"live": ["after"]}


def test_a_kept_tree_is_nobodys_leftover(places: Places) -> None:
    places.swap()
    places.finish()
    assert places.recover(keep_old=False) == []
    assert contents(places.parent) == {".env_sync_old-live": ["before"], "live": ["after"]}


def test_a_name_that_is_as_long_as_may_be_has_hidden_ones_too(tmp_path: Path) -> None:
    one, other = (Places(str(tmp_path / f"{'é' * 126}{end}")) for end in "ab")
    for places in (one, other):
        os.mkdir(places.live)
        os.mkdir(places.scratch)
        assert places.swap() == 0.0
    assert one.old != other.old


def test_a_tree_whose_folders_may_not_be_written_to_is_removed(tmp_path: Path) -> None:
    (tmp_path / "tree" / "folder").mkdir(parents=True)
    (tmp_path / "tree" / "folder" / "file").touch()
    (tmp_path / "tree" / "folder").chmod(0o500)
    files_swap.remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == []
