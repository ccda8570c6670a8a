# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a command of which nothing is left, however it ends: no process, no mount, no file.

usage: python3 -m tests.contained [--own-cache] COMMAND [ARGUMENT...]

The command has temporary folders and a home of its own (the home has the user's settings of the registries' clients).
When it has ended, so has whatever it started, and these folders are gone; so it is when this program is stopped or
killed. ``--own-cache`` gives it an empty cache for components too, as on a machine that has never run the tests.

Needs nothing but Python. The exit status is the command's, or 128 and a signal's number.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.servers import cache_dir
from tests.servers.hosts import remove

#: how long the command may take to clean up by itself when it is stopped, in seconds
GRACE = 60
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: from the user's home: where to get packages, and whose checkouts git trusts
SETTINGS = (
    ".config/go",
    ".config/pip",
    ".gitconfig",
    ".m2/settings.xml",
    ".m2/settings-security.xml",
    ".netrc",
    ".npmrc",
    ".pip",
)

_AWAITED = (*STOPPING, signal.SIGCHLD)
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36


def main(argv: Sequence[str]) -> int:
    own_cache = argv[:1] == ["--own-cache"]
    command = list(argv[own_cache:])
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    # Two processes: one that callers know, wait for and may kill, and one that then cleans up.
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    caller = os.getpid()
    keeper = os.fork()
    if keeper == 0:
        os._exit(_keep(command, own_cache, caller))
    while True:
        number = signal.sigwait(_AWAITED)
        if number == signal.SIGCHLD:
            pid, status = os.waitpid(keeper, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        else:
            os.kill(keeper, number)


def _keep(command: Sequence[str], own_cache: bool, caller: int) -> int:
    """Run the command, and take away what is left of it. Signals stay blocked: they are asked for."""
    os.setsid()  # what a terminal sends to all of a group reaches the command once, from here
    _prctl(_SET_PDEATHSIG, signal.SIGTERM)
    _prctl(_SET_CHILD_SUBREAPER, 1)
    folders = [Path(tempfile.mkdtemp(prefix="es-"))]
    status = 1
    try:
        if os.access("/dev/shm", os.W_OK):
            folders.append(Path(tempfile.mkdtemp(prefix="es-", dir="/dev/shm")))
        environment = _environment(folders, own_cache)
        process = os.posix_spawnp(command[0], command, environment, setsigmask=[], setsigdef=STOPPING)
        status = _wait(process, caller)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr, flush=True)
        status = 127
    finally:
        _end_all()
        for folder in folders:
            _remove(folder)
    return status


def _environment(folders: Sequence[Path], own_cache: bool) -> dict[str, str]:
    """Return the command's environment; its folders are made in these, which servers' own users may look into."""
    for folder in folders:
        folder.chmod(0o755)
    home, temporary = folders[0] / "home", folders[0] / "t"
    temporary.mkdir(mode=0o1777)
    temporary.chmod(0o1777)
    home.mkdir(mode=0o700)
    for name in SETTINGS:
        if (Path.home() / name).exists():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).symlink_to(Path.home() / name)
    cache = folders[0] / "cache" if own_cache else cache_dir()
    if own_cache:
        cache.mkdir(mode=0o700)
    environment = {
        **os.environ,
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "ENV_SYNC_TEST_CACHE": str(cache.absolute()),
        "PIP_CACHE_DIR": str(cache.absolute() / "pip"),
    }
    if len(folders) > 1:
        environment["ENV_SYNC_TEST_MEMORY"] = str(folders[1])
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        environment.pop(name, None)
    return environment


def _wait(command: int, caller: int) -> int:
    """Wait for the command's end, and reap what it has left; return its exit status.

    Once this is to stop, the command is interrupted, and killed when it does not heed that.
    """
    stopped: int | None = None
    deadline = float("inf")
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == command:
            code = os.waitstatus_to_exitcode(status)
            return 128 + stopped if stopped else code if code >= 0 else 128 - code
        if pid:
            continue
        number = signal.sigtimedwait(_AWAITED, 1.0)
        if stopped is None and ((number and number.si_signo in STOPPING) or os.getppid() != caller):
            stopped = number.si_signo if number and number.si_signo in STOPPING else signal.SIGTERM
            deadline = time.monotonic() + GRACE
            os.kill(command, signal.SIGINT)
        if time.monotonic() > deadline:
            deadline = float("inf")
            os.kill(command, signal.SIGKILL)


def _end_all() -> None:
    """End all that the command has left running, however it went into the background, and wait for it."""
    for number, seconds in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + seconds
        for pid in _descendants():
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            left = _descendants()
            if not left:
                return
            if number == signal.SIGKILL:
                for pid in left:  # what was started meanwhile
                    with contextlib.suppress(OSError):
                        os.kill(pid, number)
            time.sleep(0.05)


def _descendants() -> list[int]:
    """Return the processes below this one; whatever lost its parent is a child of this one's."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                # "pid (any name) state parent ..."
                fields = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(name))
    found = parents.get(os.getpid(), [])[:]
    for pid in found:
        found += parents.get(pid, [])
    return found


def _remove(folder: Path) -> None:
    """Remove a folder with all that is below it: networks of throwaway hosts, what is mounted there, files."""
    for network in folder.glob("t/env_sync-hosts-*"):
        with contextlib.suppress(OSError):  # no such programs: no such networks
            remove(network)
    for point in sorted(_mounted_below(folder), key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], stderr=subprocess.DEVNULL, check=False)
    if not _mounted_below(folder):
        _unlock(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _mounted_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    # What separates fields is written in octal.
    points = (re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split(" ")[4]) for line in lines)
    return [point for point in points if point.startswith(f"{folder}/")]


def _unlock(folder: Path) -> None:
    """Let a user remove what was made read-only; root can anyway."""
    for path, names, _files in os.walk(folder):
        for name in names:
            below = os.path.join(path, name)
            if not os.path.islink(below):
                with contextlib.suppress(OSError):
                    os.chmod(below, 0o700)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
