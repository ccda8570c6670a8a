# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tar's command lines, run."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files.tar import (
    creating,
    extracting,
    find_tar,
    listing,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.tmp", "keep/b.tmp", "cache/c", "keep/cache/d", ".env_sync_old-tree/e", "keep/.env_sync_lock-x"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "tree"


def archive(tree: Path, *excluded: str) -> bytes:
    argv = creating(find_tar("testing")[0], str(tree), excluded)
    return subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize(
    ("excluded", "names"),
    [
        ((), {"./a.tmp", "./keep/b.tmp", "./cache/c", "./keep/cache/d"}),
        (("*.tmp",), {"./cache/c", "./keep/cache/d"}),
        (("cache",), {"./a.tmp", "./keep/b.tmp"}),
        (("cache/",), {"./a.tmp", "./keep/b.tmp"}),
        (("./cache", "keep//b.tmp"), {"./a.tmp", "./keep/cache/d"}),
        (("/cache",), {"./a.tmp", "./keep/b.tmp", "./keep/cache/d"}),
        (("keep/*.tmp", "/cache/"), {"./a.tmp", "./keep/cache/d"}),
    ],
)
def test_names_are_left_out_at_any_depth_and_paths_from_the_top(
    tree: Path, excluded: tuple[str, ...], names: set[str]
) -> None:
    """What a pull keeps beside a tree belongs to no tree."""
    with tarfile.open(fileobj=io.BytesIO(archive(tree, *excluded))) as made:
        assert {member.name for member in made if member.isfile()} == names


def test_two_archives_of_one_tree_are_the_same_bytes(tree: Path) -> None:
    before = archive(tree)
    for path in tree.rglob("*"):
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns + 10**9, status.st_mtime_ns))
    assert archive(tree) == before


def test_parts_of_names_are_left_off_where_that_is_asked_for(tree: Path, tmp_path: Path) -> None:
    path = find_tar("testing")[0]
    data = subprocess.run([path, "-c", "-C", str(tmp_path), "tree/keep"], stdout=subprocess.PIPE, check=True).stdout
    for strip, expected in ((None, "tree/keep/b.tmp"), (0, "tree/keep/b.tmp"), (1, "keep/b.tmp"), (2, "b.tmp")):
        folder = tmp_path / f"strip {strip}"
        folder.mkdir()
        subprocess.run(extracting(path, str(folder), strip), input=data, check=True)
        assert (folder / expected).is_file()


def test_an_archive_is_read_to_nowhere(tree: Path, tmp_path: Path) -> None:
    argv = listing(find_tar("testing")[0])
    before = sorted(tmp_path.rglob("*"))
    assert subprocess.run(argv, check=False, input=archive(tree), cwd=tmp_path, capture_output=True).returncode == 0
    assert (
        subprocess.run(argv, check=False, input=archive(tree)[:700], cwd=tmp_path, capture_output=True).returncode != 0
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_another_tar_will_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    other = tmp_path / "tar"
    other.write_text("#!/bin/sh\necho 'bsdtar 3.6.2'\n")
    other.chmod(0o755)
    with pytest.raises(EnvSyncError, match="no GNU tar"):
        find_tar("testing")
    (tmp_path / "gtar").write_text("#!/bin/sh\necho 'tar (GNU tar) 1.35'\n")
    (tmp_path / "gtar").chmod(0o755)
    assert find_tar("testing") == (str(tmp_path / "gtar"), "tar (GNU tar) 1.35")
