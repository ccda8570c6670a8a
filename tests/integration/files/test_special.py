# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Owners, capabilities, devices: what only root can make, and only a task that asks for it gets."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host

from tests.integration.files.samples import (
    Make,
    described,
    hidden,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@as_root
def test_owners_go_by_name_and_capabilities_are_kept(task: Make, source: Path, tmp_path: Path) -> None:
    os.chown(source / "plain", 65534, 65534)
    os.chown(source / "folder", 4242, 4242)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(source / "program", "security.capability", capability)
    (source / "as its owner").write_text("#!/bin/sh")
    (source / "as its owner").chmod(0o6755)
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))

    pushed = push.push(task("push", allow_special_files=True), Host())
    assert (pushed["warnings"], pushed["manifest"]["details"]["special_files"]) == ([], 3)
    pull.pull(task("pull", allow_special_files="true"), Host())

    assert described(tmp_path / "target") == described(source)
    assert os.getxattr(tmp_path / "target" / "program", "security.capability") == capability
    assert pushed["manifest"]["roles"] == ["nobody", "root"]


def device(path: Path) -> None:
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(8, 0))


def program(mode: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_text("#!/bin/sh")
        path.chmod(mode)

    return make


def capable(path: Path) -> None:
    program(0o755)(path)
    os.setxattr(path, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))


def trusted(path: Path) -> None:
    path.write_text("x")
    os.setxattr(path, "trusted.overlay.opaque", b"y")


SPECIAL = {
    "set-user-ID": program(0o4755),
    "set-group-ID": program(0o2755),
    "device node": device,
    "security.capability": capable,
    "trusted.overlay.opaque": trusted,
}


@as_root
@pytest.mark.parametrize("said", SPECIAL)
def test_special_files_are_refused_unless_the_task_asks(task: Make, tmp_path: Path, said: str) -> None:
    (tmp_path / "source").mkdir()
    SPECIAL[said](tmp_path / "source" / "odd\x1b[2J")
    pushed = push.push(task("push", compression="none"), Host())
    assert re.match(r"the tree has 1 special file \(\./odd\\x1b\[2J (is|has) .*" + said, pushed["warnings"][0])
    with pytest.raises(EnvSyncError, match=r"the point has 1 special file: .*Set allow_special_files"):
        pull.plan(task("pull"), Host())

    # and where the manifest says nothing of it
    path = tmp_path / "store" / f"{pushed['point']}.manifest.json"
    values = json.loads(path.read_text())
    values["details"]["special_files"] = 0
    del values["checksum"]
    path.write_text(json.dumps(values))
    with pytest.raises(EnvSyncError, match=rf"its member \./odd\\x1b\[2J (is|has) .*{said}.*Set allow_special_files"):
        pull.pull(task("pull"), Host())
    assert not (tmp_path / "target").exists()
    assert hidden(tmp_path) == []

    assert upkeep.verify(task("pull"), Host())["point"] == pushed["point"]
    pull.pull(task("pull", allow_special_files=True), Host())
    assert described(tmp_path / "target") == described(tmp_path / "source")


def test_what_is_left_out_of_a_push_is_not_special(task: Make, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    program(0o4755)(tmp_path / "source" / "odd")
    (tmp_path / "source" / "shared").mkdir()
    (tmp_path / "source" / "shared").chmod(0o2775)
    pushed = push.push(task("push", excluded_tables="odd"), Host())
    assert (pushed["warnings"], pushed["manifest"]["details"]["special_files"]) == ([], 0)
    pull.pull(task("pull"), Host())
    assert stat.S_IMODE(os.stat(tmp_path / "target" / "shared").st_mode) == 0o2775
