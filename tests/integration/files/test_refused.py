# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Points and tasks that are refused, and the tree that stays as it was."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store

from tests.integration.files.samples import (
    LINK,
    TREE,
    Make,
    archive,
    cut,
    flip,
    forge,
    hidden,
)


def test_the_tree_that_a_point_came_from_is_not_replaced(task: Make, source: Path, tmp_path: Path) -> None:
    push.push(task("push"), Host())
    with pytest.raises(EnvSyncError, match="pushed from"):
        pull.pull(task("pull", directory=str(source)), Host())
    (source / "later").write_text("x")
    pull.pull(task("pull", directory=str(source), allow_restore_to_source=True), Host())
    assert not (source / "later").exists()


@pytest.mark.parametrize(
    "members",
    [
        [TREE, ("../outside", tarfile.REGTYPE, "")],
        [TREE, ("/{tmp}/outside", tarfile.REGTYPE, "")],
        [TREE, ("./a/../../outside", tarfile.REGTYPE, "")],
        [TREE, LINK, ("./link/outside", tarfile.REGTYPE, "")],
        [TREE, LINK, ("./same", tarfile.LNKTYPE, "./link"), ("./same/x", tarfile.REGTYPE, "")],
        [TREE, ("./hard", tarfile.LNKTYPE, "../victim"), ("./hard", tarfile.REGTYPE, "")],
        [(".", tarfile.SYMTYPE, "/")],
    ],
    ids=["dots", "absolute", "dots inside", "through a link", "through its second name", "hard link", "tree"],
)  # fmt: skip
def test_members_that_would_leave_the_tree_are_refused(
    task: Make, tmp_path: Path, members: list[tuple[str, bytes, str]]
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "victim").write_text("as it was")
    point = push.push(task("push", compression="none"), Host())["point"]
    forge(tmp_path, point, archive(*((name.format(tmp=tmp_path), kind, target) for name, kind, target in members)))
    before = sorted(os.listdir(tmp_path))

    for act in (pull.pull, upkeep.verify):
        with pytest.raises(EnvSyncError, match=r"its member .* (leads|would)"):
            act(task("pull"), Host())

    assert sorted(os.listdir(tmp_path)) == before
    assert os.listdir(tmp_path / "target") == []
    assert (tmp_path / "victim").read_text() == "as it was"


def test_names_that_become_one_go_live_nowhere(task: Make, tmp_path: Path) -> None:
    """Here a file that is in the archive twice: on a file system that takes no notice of case, two names."""
    for name in ("source", "target", "source/folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "folder" / "a").touch()
    (tmp_path / "source" / "b").symlink_to("a")
    pushed = push.push(task("push", compression="none"), Host())
    assert pushed["manifest"]["details"]["entries"] == 3
    upkeep.verify(task("pull"), Host())
    file = ("./A", tarfile.REGTYPE, "")

    forge(tmp_path, pushed["point"], archive(TREE, file, file, ("./b", tarfile.REGTYPE, "")))
    with pytest.raises(EnvSyncError, match="tree uploads has 2 files and folders, and the point's manifest says 3"):
        pull.pull(task("pull"), Host())
    forge(tmp_path, pushed["point"], archive(TREE, file))
    for act in (pull.pull, upkeep.verify):
        with pytest.raises(EnvSyncError, match="tree uploads has 1 files and folders, and"):
            act(task("pull"), Host())

    assert os.listdir(tmp_path / "target") == []
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("damage", [cut, flip], ids=["cut", "flipped"])
@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_damage_is_refused_and_the_tree_is_as_it_was(
    task: Make, source: Path, tmp_path: Path, damage: Callable[[bytes], bytes], compression: str
) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").write_text("mine")
    point = push.push(task("push", compression=compression), Host())["point"]
    (member,) = (tmp_path / "store" / point).iterdir()
    member.write_bytes(damage(member.read_bytes()))

    with pytest.raises(EnvSyncError):
        pull.pull(task("pull"), Host())

    assert os.listdir(tmp_path / "target") == ["mine"]
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("data", [archive(TREE)[:-10240], archive(TREE) + b"more"], ids=["no end", "more"])
def test_an_archive_has_an_end_and_nothing_after_it(task: Make, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "source").mkdir()
    forge(tmp_path, push.push(task("push", compression="none"), Host())["point"], data)
    with pytest.raises(EnvSyncError, match="archive is damaged"):
        upkeep.verify(task("pull"), Host())


def test_what_cannot_be_done_is_said_before_anything_is(task: Make, source: Path, tmp_path: Path) -> None:
    push.push(task("push"), Host())
    (tmp_path / "file").write_text("x")
    cases = [
        ("push", {"directory": str(tmp_path / "nowhere")}, "No such file"),
        ("push", {"directory": str(tmp_path / "file")}, "Not a directory"),
        ("push", {"database_hostname": "db-1"}, "always this host's"),
        ("pull", {"directory": str(tmp_path / "file")}, "Not a directory"),
        ("pull", {"directory": str(tmp_path / "nowhere" / "below")}, "is not there"),
        ("pull", {"directory": "/proc"}, "mounted on /proc"),
    ]
    for action, keys, said in cases:
        verb = push.plan if action == "push" else pull.plan
        with pytest.raises(EnvSyncError, match=said):
            verb(task(action, **keys), Host())
    with pytest.raises(EnvSyncError, match="missing key directory"):
        task("push", directory="")
    assert len(catalogue.list_points(open_store(task("pull")))) == 1
