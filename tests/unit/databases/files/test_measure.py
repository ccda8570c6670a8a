# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in a tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files.measure import measure
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError


def test_a_tree_is_measured(tmp_path: Path) -> None:
    """A hole takes no room, and a folder that a link leads to is another tree's."""
    (tmp_path / "tree" / "folder").mkdir(parents=True)
    (tmp_path / "tree" / "folder" / "file").write_bytes(b"x" * 100)
    (tmp_path / "tree" / "link").symlink_to("/")
    with open(tmp_path / "tree" / "sparse", "wb") as stream:
        stream.truncate(1 << 30)
    found = measure(str(tmp_path / "tree"), "measuring")
    assert (found.files, found.folders) == (3, 1)
    assert 100 <= found.size < 10_000
    assert found.uids == {os.getuid()}


@pytest.mark.parametrize(("name", "why"), [("nowhere", "No such file"), ("file", "Not a directory")])
def test_what_is_not_a_tree_is_named(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvSyncError, match=f"{why}.*Correct directory"):
        measure(str(tmp_path / name), "measuring")
