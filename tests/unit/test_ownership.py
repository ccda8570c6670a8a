# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.journal import Journal
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.ownership import make_folders
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.progress import Snapshot, status_path, write_status
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore

USER = 12345

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of another user's."""
    os.chown(tmp_path, USER, USER)
    return tmp_path


def strangers(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if (path.stat().st_uid, path.stat().st_gid) != (USER, USER)]


@as_root
def test_what_root_stores_is_the_store_owners(folder: Path) -> None:
    DirectoryStore(str(folder), "nightly/postgresql").put_bytes("2026-01-01T00:00:00-shop/1.dat", b"x")
    assert len(list(folder.rglob("*"))) == 4
    assert not strangers(folder)


@as_root
def test_what_root_notes_is_the_state_directorys_owners(folder: Path) -> None:
    with Journal(str(folder), "file:/store", "key").entry("2026-01-01T00:00:00-shop", remove=list):
        write_status(status_path(str(folder), "push"), Snapshot(title="push", action="push", database="shop"))
        assert {path.name for path in folder.iterdir()} == {"journal", "status"}
        assert all(path.stat().st_uid == USER for path in folder.iterdir())


def test_a_file_in_a_folders_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="taken"):
        make_folders(str(tmp_path / "taken" / "below"))
    with pytest.raises(FileExistsError):
        make_folders(str(tmp_path / "taken"))
