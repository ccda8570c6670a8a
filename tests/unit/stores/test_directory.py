# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.reader import BLOCK, BytesReader

WRITER = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print(flush=True)
time.sleep(60)
"""


class Source:
    """Gives ``blocks``; one that is an exception is raised."""

    def __init__(self, *blocks: bytes | Exception) -> None:
        self._blocks = [block for block in blocks if isinstance(block, bytes)]
        self._error = next((block for block in blocks if isinstance(block, Exception)), None)

    def read(self, size: int) -> bytes:
        if self._blocks:
            return self._blocks.pop(0)
        if self._error is not None:
            raise self._error
        return b""

    def close(self) -> None:
        self._blocks.clear()


def names(store: DirectoryStore, prefix: str = "") -> list[str]:
    return [found.name for found in store.list(prefix)]


def files(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path / "store")) for path in (tmp_path / "store").rglob("*"))


def test_what_is_put_is_what_is_read(store: DirectoryStore) -> None:
    data = os.urandom(BLOCK + 5)
    stored = store.put("p/1.dat", Source(data[:BLOCK], data[BLOCK:]), 3)
    assert (stored.name, stored.size, stored.sha256) == ("p/1.dat", len(data), hashlib.sha256(data).hexdigest())
    assert store.get_bytes("p/1.dat") == data
    found = store.stat("p/1.dat")
    assert found is not None
    assert (found.name, found.size) == ("p/1.dat", len(data))
    assert store.put_bytes("empty", b"").size == 0
    assert store.get_bytes("empty") == b""


def test_no_more_than_the_limit_is_read(store: DirectoryStore) -> None:
    store.put_bytes("x", b"12345")
    assert store.get_bytes("x", limit=3) == b"123"


@pytest.mark.parametrize("error", [EnvSyncError("a", "b"), BrokenPipeError(), KeyError()], ids=repr)
def test_what_does_not_come_to_its_end_leaves_nothing(store: DirectoryStore, tmp_path: Path, error: Exception) -> None:
    store.put_bytes("p/old", b"1")
    with pytest.raises(type(error)):
        store.put("p/new", Source(b"x" * 10, error))
    assert files(tmp_path) == ["pg", "pg/p", "pg/p/old"]


def test_an_object_is_not_seen_before_it_is_whole_and_an_older_one_stays_until_then(store: DirectoryStore) -> None:
    store.put_bytes("p/x", b"old")

    class Looking(Source):
        def read(self, size: int) -> bytes:
            assert names(store) == ["p/x"]
            assert store.get_bytes("p/x") == b"old"
            return super().read(size)

    store.put("p/y", Looking(b"1", b"2"))
    store.put("p/x", Source(b"new"))
    assert (names(store), store.get_bytes("p/x")) == (["p/x", "p/y"], b"new")


def test_the_longest_name_that_a_file_can_have_is_written(store: DirectoryStore) -> None:
    store.put_bytes("x" * 255, b"1")
    with pytest.raises(EnvSyncError, match="File name too long"):
        store.put_bytes("x" * 256, b"1")
    assert names(store) == ["x" * 255]


def test_objects_are_listed_in_order_by_prefix_with_folders_entered(store: DirectoryStore) -> None:
    for name in ("b", "a/2", "a/1", "a.gz", "ab/c/d"):
        store.put_bytes(name, b"x")
    assert names(store) == ["a.gz", "a/1", "a/2", "ab/c/d", "b"]
    assert names(store, "a") == ["a.gz", "a/1", "a/2", "ab/c/d"]
    assert names(store, "a/") == ["a/1", "a/2"]
    assert names(store, "c") == []


def test_only_files_are_objects(store: DirectoryStore) -> None:
    store.put_bytes("a/1", b"x")
    assert store.stat("a") is None
    assert store.stat("a/1/2") is None
    assert store.stat("b") is None
    with pytest.raises(EnvSyncError, match="Is a directory"):
        store.get_bytes("a")


def test_nobody_else_may_read_a_point(store: DirectoryStore, tmp_path: Path) -> None:
    store.put_bytes("p/1", b"x")
    assert (tmp_path / "store/pg/p/1").stat().st_mode & 0o027 == 0
    assert (tmp_path / "store/pg/p").stat().st_mode & 0o027 == 0


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\0b"])
def test_a_name_that_leads_out_of_the_store_is_refused(store: DirectoryStore, name: str) -> None:
    for use in (store.stat, store.get_bytes, lambda n: store.put_bytes(n, b""), lambda n: store.delete([n])):
        with pytest.raises(EnvSyncError, match="not a valid object name"):
            use(name)


def test_a_link_that_leads_out_of_the_store_is_refused(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("precious")
    (tmp_path / "store" / "pg").mkdir()
    (tmp_path / "store" / "pg" / "link").symlink_to(tmp_path / "outside")
    for use in (store.get_bytes, lambda n: store.put_bytes(n, b""), lambda n: store.delete([n])):
        with pytest.raises(EnvSyncError, match="leads out of the store"):
            use("link/x")
    assert (tmp_path / "outside" / "x").read_text() == "precious"


def test_deleting_takes_empty_folders_along_and_forgives_what_is_not_there(
    store: DirectoryStore, tmp_path: Path
) -> None:
    for name in ("p/deep/1", "p/deep/2", "q/1"):
        store.put_bytes(name, b"x")
    store.delete(["p/deep/1", "p/deep/2", "nothing", "no/thing", "q/1/2"])
    assert files(tmp_path) == ["pg", "pg/q", "pg/q/1"]
    store.delete(["q/1"])
    assert (tmp_path / "store" / "pg").is_dir()


def test_reading_what_is_not_there_says_what_to_do(store: DirectoryStore) -> None:
    with pytest.raises(EnvSyncError, match=r"reading .*/pg/x: No such file or directory. Choose another point"):
        store.open("x")


def test_a_full_disk_is_told_and_leaves_nothing(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patched, pytest.raises(EnvSyncError, match=r"No space left on device. Make room"):
        patched.setattr("os.fsync", Source(full).read)
        store.put_bytes("p/x", b"1")
    assert names(store) == []


def test_a_sweep_takes_what_dead_writers_left_and_nothing_else(store: DirectoryStore, tmp_path: Path) -> None:
    for name in ("p/1", "q/1"):
        store.put_bytes(name, b"x")
    dead, others = (tmp_path / "store" / "pg" / folder / ".00ff.partial" for folder in ("p", "q"))
    dead.write_bytes(b"half")
    others.write_bytes(b"half")
    assert names(store) == ["p/1", "q/1"], "what is not whole is not listed"
    assert store.sweep("p") == [str(dead)]
    assert (dead.exists(), others.exists(), names(store)) == (False, True, ["p/1", "q/1"])


def test_a_sweep_of_a_point_without_any_member_leaves_no_folder(store: DirectoryStore, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        store.put("point/member", Source(KeyError()))
    store.put_bytes("other/member", b"x")
    assert store.sweep("point") == [] and not Path(store.url("point")).exists()
    assert store.sweep("other") == [] and names(store) == ["other/member"]


def test_a_sweep_leaves_a_living_writers_file_and_takes_it_once_he_was_killed(
    store: DirectoryStore, tmp_path: Path
) -> None:
    partial = tmp_path / "store" / "pg" / "p" / ".00ff.partial"
    partial.parent.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-S", "-c", WRITER, str(partial)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert store.sweep("p") == []
        writer.send_signal(signal.SIGKILL)
    assert store.sweep("p") == [str(partial)]
    assert not partial.parent.exists()


def test_preflight_wants_the_base_and_makes_nothing(store: DirectoryStore, tmp_path: Path) -> None:
    store.preflight(write=True)
    assert files(tmp_path) == []
    with pytest.raises(EnvSyncError, match=r"no such directory. Make it, or mount it"):
        DirectoryStore(str(tmp_path / "nowhere"), "pg").preflight(write=False)


def test_preflight_wants_the_right_to_write_only_where_something_is_written(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: not mode & os.W_OK)
    store.preflight(write=False)
    with pytest.raises(EnvSyncError, match="may not be written to by this user"):
        store.preflight(write=True)


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_preflight_wants_folders(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvSyncError, match=r"/file is not a directory\. Correct path"):
        DirectoryStore(str(tmp_path), path).preflight(write=True)


def test_an_empty_path_is_the_base_itself(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path), "")
    store.put_bytes("x", b"1")
    assert (store.url("x"), names(store)) == (str(tmp_path / "x"), ["x"])


def test_a_reader_over_bytes_gives_no_more_than_is_asked_for() -> None:
    reader = BytesReader(b"12345")
    assert [reader.read(2), reader.read(2), reader.read(2), reader.read(2)] == [b"12", b"34", b"5", b""]
