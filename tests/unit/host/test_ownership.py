# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command.log import Log
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command.terminal import Terminal
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import ownership
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.journal import Journal
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.ownership import make_folders
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import (
    Snapshot,
    read_statuses,
    status_path,
    write_status,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.monitoring import prometheus
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.monitoring.outcome import Outcome
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.run import work_dir
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore

from tests.planted import KINDS, USER, put, swapping, unharmed

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of another user's."""
    folder = tmp_path / "users"
    folder.mkdir()
    os.chown(folder, USER, USER)
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A folder of root's, with a file of each name that root writes somewhere; nothing of it may change."""
    with unharmed(tmp_path / "victim", "x.log", "push.json", "env_sync_push.prom"):
        yield tmp_path / "victim"


def strangers(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if (path.stat().st_uid, path.stat().st_gid) != (USER, USER)]


@as_root
def test_what_root_stores_is_the_store_owners(folder: Path) -> None:
    DirectoryStore(str(folder), "nightly/postgresql").put_bytes("2026-01-01T00:00:00-shop/1.dat", b"x")
    assert len(list(folder.rglob("*"))) == 4
    assert not strangers(folder)


@as_root
def test_what_root_notes_is_the_state_directorys_owners(folder: Path) -> None:
    with Journal(str(folder), "file:/store", "key").entry("2026-01-01T00:00:00-shop", "run", remove=list):
        write_status(status_path(str(folder), "push"), Snapshot(title="push", action="push", database="shop"))
        assert {path.name for path in folder.iterdir()} == {"journal", "status"}
        assert len(list(folder.rglob("*.json"))) == 2
        assert not strangers(folder)


def test_a_file_in_a_folders_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="taken"):
        make_folders(str(tmp_path / "taken" / "below"))
    with pytest.raises(FileExistsError):
        make_folders(str(tmp_path / "taken"))


# -- what root does in a folder of another user's, and what that user may have put there -------------------------------


def log(folder: Path) -> None:
    with Terminal(sys.stderr, shown=False) as terminal:
        Log("x", str(folder / "x.log"), "/nowhere/log", terminal, echo=False)("info", "a line")


def note(folder: Path) -> None:
    with (
        contextlib.suppress(EnvSyncError),
        Journal(str(folder), "file:/s", "key").entry("2026-01-01T00:00:00-a", "run", list),
    ):
        pass


def say(folder: Path) -> None:
    path = status_path(str(folder), "push")
    write_status(path, Snapshot(title="push", action="push", database="shop"))
    with contextlib.suppress(EnvSyncError):
        list(read_statuses(str(folder)))


def figure(folder: Path) -> None:
    with contextlib.suppress(EnvSyncError):
        prometheus.write(Outcome("push", True, "done", 1.0, 2.0), str(folder))


def store(folder: Path) -> None:
    directory = DirectoryStore(str(folder), "pg")
    with contextlib.suppress(EnvSyncError):
        directory.put_bytes("2026-01-01T00:00:00-a/toc", b"x")
    for name in [found.name for found in listed(directory)] + ["secret"]:
        with contextlib.suppress(EnvSyncError):
            directory.get_bytes(name)
        with contextlib.suppress(EnvSyncError):
            directory.delete([name])
    with contextlib.suppress(EnvSyncError):
        directory.sweep("")


def listed(directory: DirectoryStore) -> list[Any]:
    with contextlib.suppress(EnvSyncError):
        return list(directory.list())
    return []


def work(folder: Path) -> None:
    with contextlib.suppress(EnvSyncError), work_dir(str(folder / "temp"), "key") as place:
        # As mysqldump's option file, pg_dump's folder: by path.
        Path(place, "secret").write_text("a password")
        assert not os.path.realpath(place).startswith(str(folder)), "another user can replace it"


JOURNAL = Journal("/", "file:/s", "key")._path.rsplit("/", 1)[1]

#: what root does, and each path that it touches below the user's folder
ACTS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "log": (log, ("x.log",)),
    "journal": (note, ("journal", f"journal/{JOURNAL}", f"journal/{JOURNAL}.new")),
    "status": (say, ("status", "status/push.json", "status/other.json")),
    "prometheus": (figure, ("env_sync_push.prom",)),
    "store": (store, ("pg", "pg/2026-01-01T00:00:00-a", "pg/2026-01-01T00:00:00-a/toc", "pg/2025-01-01T00:00:00-a")),
    "temppath": (work, ("temp",)),
}

CASES = [(act, path, plant) for act, (_do, paths) in ACTS.items() for path in paths for plant in KINDS]


@as_root
@pytest.mark.parametrize(("act", "path", "plant"), CASES)
def test_root_neither_follows_nor_waits(act: str, path: str, plant: str, folder: Path, victim: Path) -> None:
    place = folder / path
    place.parent.mkdir(exist_ok=True, parents=True)
    for above in (place.parent, place.parent.parent):
        if above != victim.parent:
            os.chown(above, USER, USER)
    put(plant, place, victim)
    worker = threading.Thread(target=ACTS[act][0], args=(folder,), daemon=True)
    worker.start()
    worker.join(10)
    assert not worker.is_alive(), "it waits for ever"


@as_root
@pytest.mark.parametrize(
    ("act", "path"), [("journal", "journal"), ("status", "status"), ("store", "pg"), ("temppath", "temp")]
)
def test_root_wins_every_race(act: str, path: str, folder: Path, victim: Path) -> None:
    (folder / path).mkdir()
    os.chown(folder / path, USER, USER)
    with swapping(folder / path, victim):
        for _attempt in range(100):
            ACTS[act][0](folder)


@as_root
def test_links_of_roots_own_are_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "state").symlink_to("disk")
    write_status(status_path(str(tmp_path / "state"), "push"), Snapshot(title="push", action="push", database="shop"))
    assert [found.title for found in read_statuses(str(tmp_path / "disk"))] == ["push"]


@as_root
def test_root_works_above_a_folder_of_another_users(folder: Path, tmp_path: Path) -> None:
    """Not in it: its owner could put another folder in the place of root's, which programs open by path."""
    with work_dir(str(folder / "temp"), "key") as place:
        assert Path(place).parent == tmp_path
        assert (folder / "temp").stat().st_uid == USER
    assert not Path(place).exists()
    os.chmod(folder, 0o1777)
    os.chown(folder, 0, 0)
    with work_dir(str(folder), "key") as place:
        assert Path(place).parent == folder, "in a sticky folder, what root makes is root's"


def test_the_current_directory_is_no_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_arguments: False)
    with pytest.raises(OSError, match="no folder for temporary files"):
        ownership.temporary_folder()
    monkeypatch.undo()
    monkeypatch.setenv("TMPDIR", ".")
    assert ownership.temporary_folder() in ("/tmp", "/var/tmp")
