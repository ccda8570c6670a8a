# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import locks
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import Cancelled, EnvSyncError

ELSEWHERE = (
    "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(60)"
)


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
