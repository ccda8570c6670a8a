# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Points of directory trees, and a dump that the original left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.restore_by_hand.page import (
    BEGINNING,
    FETCH,
    Operator,
    Values,
    copy,
    following,
    pushed,
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory tree; where root runs this, with what only root can make."""
    top = tmp_path / "uploads"
    (top / "folder" / "deep").mkdir(parents=True)
    for name in ("plain", "-dash", "new\nline", "snow ☃", "*"):
        (top / name).write_text(name, encoding="utf-8")
    (top / "folder" / "deep" / "secret").write_text("of mode 600")
    (top / "folder" / "deep" / "secret").chmod(0o600)
    (top / "program").write_text("#!/bin/sh")
    (top / "program").chmod(0o4755)
    (top / "dangling").symlink_to("../nowhere")
    os.link(top / "plain", top / "second name")
    os.mkfifo(top / "fifo")
    os.setxattr(top / "plain", "user.note", b"a=b\n\x00\xff")
    subprocess.run(["setfacl", "-m", "u:nobody:r", str(top / "plain")], check=True)
    if os.geteuid() == 0:
        os.chown(top / "folder", 65534, 65534)
    os.utime(top / "plain", ns=(10**18, 10**18 + 123456789))
    top.chmod(0o2750)
    return top


def differences(one: Path, other: Path, *options: str) -> str:
    """Return what rsync would do to make the other tree like the one, nanoseconds and all."""
    usual = ["--archive", "--hard-links", "--checksum", "--modify-window=-1", "--delete", "--dry-run"]
    argv = ["rsync", *usual, "--itemize-changes", *options, f"{one}/", f"{other}/"]
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
@following((FETCH, BEGINNING, "Files"))
def test_files(
    tree: Path, operator: Operator, values: Values, tmp_path: Path, way: tuple[str, ...], compression: str
) -> None:
    task = values("files", "uploads", directory=str(tree), compression=compression)
    restored = tmp_path / "restored"
    operator.follows(way, **copy(operator, task, pushed(task)), TREE=restored)
    assert differences(tree, restored, "--acls", "--xattrs") == ""
    (restored / "plain").write_text("other")
    assert "plain" in differences(tree, restored)


@following(("A dump of files",))
def test_a_dump_of_files_that_the_original_left(
    tree: Path, operator: Operator, tmp_path: Path, way: tuple[str, ...]
) -> None:
    dump = tmp_path / "2020-01-01T00:00:00-uploads.gz"
    subprocess.run(["tar", "--create", "--gzip", f"--file={dump}", f"--directory={tree.parent}", tree.name], check=True)
    os.utime(tree / "plain", (1_000_000_000, 1_000_000_000))  # this tar has whole seconds
    restored = tmp_path / "restored"
    operator.follows(way, DUMP=dump, TREE=restored)
    assert differences(tree, restored, "--modify-window=1") == ""
