# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nothing is left of what runs in ``tests.contained``: no process, no file, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]

#: leaves files where tests leave them, and processes that have gone into the background in several ways
MESS = """
echo "$HOME $TMPDIR ${ENV_SYNC_TEST_MEMORY:-$TMPDIR} $ENV_SYNC_TEST_CACHE" > "$1"
touch "$HOME/antsibull.log" "$ENV_SYNC_TEST_CACHE/component" "$TMPDIR/file" "${ENV_SYNC_TEST_MEMORY:-$TMPDIR}/data"
mkdir "$TMPDIR/locked" && touch "$TMPDIR/locked/file" && chmod 500 "$TMPDIR/locked"
sleep 61 &
setsid sleep 62 &
(setsid sh -c 'trap "" TERM HUP INT; sleep 63; sleep 63' &)
"""


def contained(*command: str, options: tuple[str, ...] = (), **others: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.contained", *options, *command],
        cwd=ROOT, stdin=subprocess.DEVNULL, **others,
    )  # fmt: skip


def run(script: str, *arguments: str, options: tuple[str, ...] = ()) -> int:
    return contained("sh", "-c", script, "sh", *arguments, options=options).wait(60)


def folders(told: Path) -> list[Path]:
    """Return the folders that the command had, once it has told them."""
    deadline = time.monotonic() + 30
    while not (told.exists() and told.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [Path(name) for name in told.read_text().split()]


def processes(had: list[Path]) -> list[str]:
    """Return the command lines of processes whose environment names these folders."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"HOME={had[0]}\0".encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def assert_nothing_is_left(had: list[Path]) -> None:
    deadline = time.monotonic() + 30
    while processes(had) or any(folder.exists() for folder in had):
        assert time.monotonic() < deadline, (processes(had), [str(folder) for folder in had if folder.exists()])
        time.sleep(0.05)


@pytest.mark.parametrize("status", [0, 1])
def test_nothing_is_left_of_a_command_that_ended(tmp_path: Path, status: int) -> None:
    told = tmp_path / "told"
    assert run(f"{MESS}\nexit {status}", str(told), options=("--own-cache",)) == status
    had = folders(told)
    assert not processes(had)
    assert not [folder for folder in had if folder.exists()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_of_a_command_that_was_stopped(tmp_path: Path, number: signal.Signals) -> None:
    told = tmp_path / "told"
    process = contained("sh", "-c", f"{MESS}\nexec sleep 64", "sh", str(told), options=("--own-cache",))
    had = folders(told)
    deadline = time.monotonic() + 30
    while not processes(had):  # a process that just becomes another program shows no environment
        assert time.monotonic() < deadline
    process.send_signal(number)
    assert process.wait(60) == (-number if number == signal.SIGKILL else 128 + number)
    assert_nothing_is_left(had)


def test_the_cache_is_the_usual_one_unless_it_is_to_be_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("ENV_SYNC_TEST_CACHE", str(tmp_path / "cache"))
    assert run('touch "$ENV_SYNC_TEST_CACHE/component"') == 0
    assert os.listdir(tmp_path / "cache") == ["component"]
    assert (
        run('touch "$ENV_SYNC_TEST_CACHE/other"; test ! -e "$ENV_SYNC_TEST_CACHE/component"', options=("--own-cache",))
        == 0
    )
    assert os.listdir(tmp_path / "cache") == ["component"]


def test_the_home_has_the_settings_with_which_packages_are_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text("a mirror")
    (tmp_path / ".bashrc").touch()
    assert run('test "$(cat ~/.m2/settings.xml)" = "a mirror" && test ! -e ~/.bashrc && touch ~/.m2/repository') == 0
    assert sorted(os.listdir(tmp_path)) == [".bashrc", ".m2"]
    assert os.listdir(tmp_path / ".m2") == ["settings.xml"]


def test_a_command_that_is_not_there_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    assert contained("no-such-program").wait(60) == 127
    assert "no-such-program cannot be started: " in capfd.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_what_is_mounted_there_is_unmounted(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = (
        'echo $HOME $TMPDIR > "$1"; mkdir "$TMPDIR/a b" && mount -t tmpfs tmpfs "$TMPDIR/a b" && touch "$TMPDIR/a b/c"'
    )
    if run(script, str(told)) != 0:
        pytest.skip("nothing can be mounted here")
    assert_nothing_is_left(folders(told))
    assert not re.search(rf"{folders(told)[1]}", Path("/proc/self/mountinfo").read_text())


def test_ci_starts_from_an_empty_cache_that_is_gone_afterwards_and_ends_with_the_last_line_of_pytest(
    tmp_path: Path,
) -> None:
    """The real ``.ci/run``, in a tree in which everything that it starts says what it was given."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in (".ci/run", "Makefile", "tests/requirements.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / ".venv" / ".ready").touch()
    for name in ("__init__.py", "contained.py", "servers"):
        (tmp_path / "tests" / name).symlink_to(ROOT / "tests" / name)
    programs = {
        "tests/install": "true",
        ".venv/bin/pytest": f'echo "$ENV_SYNC_TEST_CACHE" > {tmp_path}/told; echo "required: $ENV_SYNC_TEST_REQUIRE"; '
        'ls -A "$ENV_SYNC_TEST_CACHE"; echo "== 1 passed in 1s =="',
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", str(tmp_path / ".ci" / "run")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "required: all\n== 1 passed in 1s ==\n")
    assert not Path((tmp_path / "told").read_text().strip()).exists()
