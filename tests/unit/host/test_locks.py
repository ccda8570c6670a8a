# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import Cancelled, EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import locks

ELSEWHERE = (
    "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(60)"
)


ENGINE = Path(__file__).parents[3] / "plugins" / "module_utils"


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder of root's that everybody may enter."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(locks, "lock_dir", lambda: str(tmp_path))
    return tmp_path


def test_a_second_holder_is_refused_until_the_first_lets_go() -> None:
    with locks.hold("a", "app"):
        with (
            pytest.raises(EnvSyncError, match="locking app: another push or pull of it is running"),
            locks.hold("a", "app"),
        ):
            pass
        with locks.hold("b", "another"):
            pass
    with locks.hold("a", "app"):
        pass


def test_it_is_let_go_when_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), locks.hold("a", "app"):
        raise ZeroDivisionError
    with locks.hold("a", "app"):
        pass


def test_a_waiting_one_gets_it() -> None:
    got, let_go = threading.Event(), threading.Event()

    def wait() -> None:
        with locks.hold("a", "app", wait=10):
            assert let_go.is_set()
            got.set()

    with locks.hold("a", "app"):
        thread = threading.Thread(target=wait)
        thread.start()
        assert not got.wait(0.05)
        let_go.set()
    thread.join(5)
    assert got.is_set()


def test_waiting_ends_at_its_time_and_on_request() -> None:
    with locks.hold("a", "app"):
        started = time.monotonic()
        with pytest.raises(EnvSyncError), locks.hold("a", "app", wait=0.15):
            pass
        assert 0.15 <= time.monotonic() - started < 2
        with pytest.raises(Cancelled), locks.hold("a", "app", wait=60, cancelled=lambda: True):
            pass


def test_its_file_goes_with_it(folder: Path) -> None:
    with locks.hold("a", "app"):
        assert len(list(folder.iterdir())) == 1
    assert list(folder.iterdir()) == []


def test_of_many_who_take_it_again_and_again_one_has_it(folder: Path) -> None:
    """The file is removed by who lets it go, while others have opened it."""
    inside: list[int] = []

    def take(number: int) -> None:
        for _again in range(40):
            with locks.hold("a", "app", wait=60):
                inside.append(number)
                assert inside == [number]
                inside.pop()

    failed: list[BaseException] = []
    threading.excepthook, before = lambda args: failed.append(args.exc_value or Cancelled("", "")), threading.excepthook
    try:
        threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        threading.excepthook = before
    assert failed == []


def test_it_dies_with_a_holder_that_was_killed(folder: Path) -> None:
    with locks.hold("a", "app"):
        [path] = folder.iterdir()
    path.touch()
    with subprocess.Popen([sys.executable, "-S", "-c", ELSEWHERE, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(EnvSyncError), locks.hold("a", "app"):
            pass
        os.kill(holder.pid, signal.SIGKILL)
    with locks.hold("a", "app"):
        pass


def test_no_process_that_is_started_meanwhile_inherits_it() -> None:
    with locks.hold("a", "app"):
        child = subprocess.Popen(["/bin/sleep", "60"], close_fds=False)
    try:
        # The child closes it a moment after it has begun.
        with locks.hold("a", "app", wait=5):
            pass
    finally:
        child.kill()
        child.wait()


def test_no_link_is_followed(folder: Path) -> None:
    with locks.hold("a", "app"):
        [path] = folder.iterdir()
    path.symlink_to(folder / "victim")
    with pytest.raises(EnvSyncError, match="locking app"), locks.hold("a", "app"):
        pass
    assert not (folder / "victim").exists()


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be several users")

#: takes the lock of a key as another user, with another TMPDIR and HOME; says how that went
AS_USER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from _engine.host import locks
locks.SHARED = sys.argv[2]
locks.boot_id()  # Python's own files may be out of this user's reach
group, user = int(sys.argv[3]), int(sys.argv[4])
os.setgroups([group] if group else [])
os.setgid(user)
os.setuid(user)
os.environ.update(TMPDIR="/nowhere", HOME="/nowhere")
try:
    with locks.hold("a", "app"):
        print(locks.lock_dir())
except Exception as error:
    print(error)
"""


def as_user(shared: Path, uid: int, group: int = 0) -> str:
    argv = [sys.executable, "-c", AS_USER, str(ENGINE), str(shared), str(group), str(uid)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


@as_root
def test_root_the_tasks_user_and_its_group_share_one(monkeypatch: pytest.MonkeyPatch, open_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(locks, "SHARED", str(open_path))
    folder = open_path / "govuk_env_sync"
    folder.mkdir()
    os.chown(folder, 65501, 65502)
    folder.chmod(0o2770)
    assert as_user(open_path, 65501) == as_user(open_path, 65503, group=65502) == str(folder)
    with locks.hold("a", "app"):
        assert [path.stat().st_uid for path in folder.iterdir()] == [65501]
        for uid, group in ((65501, 0), (65503, 65502)):
            assert "another push or pull of it is running on this host" in as_user(open_path, uid, group)
    assert list(folder.iterdir()) == []


@as_root
def test_a_stranger_cannot_hold_it(monkeypatch: pytest.MonkeyPatch, open_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(locks, "SHARED", str(open_path))
    folder = open_path / "govuk_env_sync"
    folder.mkdir()
    os.chown(folder, 65501, 65501)
    folder.chmod(0o2770)
    with locks.hold("a", "app"):
        [path] = folder.iterdir()
        code = f"import os; os.setgid(65509); os.setuid(65509); os.open({str(path)!r}, os.O_RDONLY)"
        assert subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, check=False).returncode != 0
        # A stranger has locks of their own, and hinders nobody.
        theirs = as_user(open_path, 65509)
        assert theirs in ("/run/lock/env_sync-locks-65509", "/tmp/env_sync-locks-65509")
    Path(theirs).rmdir()
