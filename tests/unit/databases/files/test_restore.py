# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is refused before a tree is restored, and whose the files will be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files.options import Options
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files.restore import preflight
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files.swap import Places
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.manifest import Manifest, Member

OPTIONS = Options("/tree", "uploads", (), keep_old=False, threads=1, allow_special=False, work_dir=None)


def test_a_tree_that_does_not_fit_is_refused(tmp_path: Path, make_manifest: Callable[..., Manifest]) -> None:
    large = make_manifest(dbms="files", members=[Member("p/tree.tar", 1, "a" * 64, 1 << 60)])
    with pytest.raises(EnvSyncError, match="has room for"):
        preflight(Places(str(tmp_path / "tree")), OPTIONS, large, "preparing")


def test_a_mount_is_in_the_way() -> None:
    with pytest.raises(EnvSyncError, match="mounted on /proc"):
        preflight(Places("/proc"), OPTIONS, None, "preparing")


@pytest.mark.parametrize(
    ("uid", "roles", "says"),
    [
        (0, ["root", "nobody"], ""),
        (0, ["root", "nobody-here"], "this host has no user nobody-here: what is theirs keeps the user's number"),
        (65534, ["nobody"], ""),
        (65534, ["nobody", "root"], "all files will be nobody's, as only root can give them to their owners (root)"),
    ],
)
def test_it_is_said_whose_the_files_will_be(
    tmp_path: Path,
    make_manifest: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
    uid: int,
    roles: list[str],
    says: str,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    manifest = make_manifest(dbms="files", roles=tuple(roles))
    assert preflight(Places(str(tmp_path / "tree")), OPTIONS, manifest, "preparing") == ([says] if says else [])
