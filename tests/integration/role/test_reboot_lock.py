# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reboot lock, with real processes that are really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import reboot_lock

START = Path(__file__).resolve().parents[3] / "plugins" / "module_utils" / "_engine" / "start.py"
WRAPPER = [sys.executable, "-I", str(START), "reboot_lock"]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    def run(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*WRAPPER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)

    return run


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def allowed(start: Callable[..., subprocess.Popen[bytes]], folder: Path) -> bool:
    check = start("--check", str(folder))
    check.communicate(timeout=10)
    return check.returncode == 0


def test_holds_while_the_command_runs_and_passes_its_status_on(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    lock = tmp_path / "locks" / "sync"
    lock.parent.mkdir()
    go = tmp_path / "go"
    holder = start(str(lock), "sh", "-c", f"touch started; while [ ! -e {go} ]; do sleep 0.05; done; exit 7")
    until((tmp_path / "started").exists)

    assert not allowed(start, lock.parent)
    second = start("-w", "0.3", str(lock), "touch", "second")
    assert b"another holder" in second.communicate(timeout=10)[1]
    assert second.returncode == 111
    assert not (tmp_path / "second").exists()

    go.touch()
    assert holder.wait(10) == 7
    assert not lock.exists()
    assert allowed(start, lock.parent)


def test_a_second_one_waits_for_the_first(start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    first = start("sync", "sh", "-c", "touch one; sleep 0.7; touch two")
    until((tmp_path / "one").exists)
    second = start("-w", "10", "sync", "test", "-e", "two")
    assert (first.wait(10), second.wait(10)) == (0, 0)
    assert not (tmp_path / "sync").exists()


def test_a_killed_wrapper_leaves_the_lock_with_its_command_and_then_to_the_next(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    lock = tmp_path / "locks" / "sync"
    lock.parent.mkdir()
    holder = start(str(lock), "sh", "-c", "echo $$ > pid; exec sleep 60")
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    holder.kill()
    holder.wait(10)
    assert not allowed(start, lock.parent), "the command still runs"

    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    until(lambda: allowed(start, lock.parent))
    assert lock.exists(), "nobody could remove it"
    assert start("-w", "0", str(lock), "true").wait(10) == 0
    assert not lock.exists()


def test_signals_reach_the_command(start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    holder = start("sync", "sh", "-c", "trap 'exit 9' TERM; touch ready; while :; do sleep 0.05; done")
    until((tmp_path / "ready").exists)
    holder.terminate()
    assert holder.wait(10) == 9
    assert not (tmp_path / "sync").exists()


def test_what_cannot_be_run_or_locked_is_said(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    missing = start("sync", "no-such-program-at-all")
    assert b"No such file" in missing.communicate(timeout=10)[1]
    assert missing.returncode == 127
    nowhere = start("no-such-folder/sync", "true")
    assert b"No such file" in nowhere.communicate(timeout=10)[1]
    assert nowhere.returncode == 111


def test_under_systemd_a_shutdown_is_inhibited_exactly_as_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "systemd-inhibit"
    program.write_text(f"""#!/bin/sh
for last; do :; done
echo "$*" > {tmp_path}/asked
"$last"
touch {tmp_path}/ended
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("os.path.isdir", lambda path: path == "/run/systemd/system")
    with reboot_lock.inhibited("/usr/local/bin/govuk_env_sync"):
        until(lambda: (tmp_path / "asked").exists() and (tmp_path / "asked").read_text() != "")
        assert not (tmp_path / "ended").exists()
    assert (tmp_path / "ended").exists()
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("--what=shutdown --mode=block --who=env_sync --why=govuk_env_sync runs")


def test_a_fifo_in_the_folder_of_locks_stops_nobody(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert start("--check", str(tmp_path)).wait(10) == 0
    held = start(str(tmp_path / "fifo"), "true")
    assert held.wait(10) == reboot_lock.BUSY
    assert b"it is not a regular file" in held.communicate()[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused what a user may have put there")
def test_root_empties_no_file_that_has_another_name(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    (tmp_path / "victim").write_text("root's")
    (tmp_path / "locks").mkdir(mode=0o775)
    os.chmod(tmp_path / "locks", 0o775)
    os.link(tmp_path / "victim", tmp_path / "locks" / "host")
    assert start(str(tmp_path / "locks" / "host"), "true").wait(10) == reboot_lock.BUSY
    assert (tmp_path / "victim").read_text() == "root's"
