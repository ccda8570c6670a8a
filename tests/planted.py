# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user may put into a folder of their own, where root works: links, FIFOs, and a loop that swaps folders."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

#: the tasks' user; no account is needed
USER = 12345

KINDS = ("link to a folder", "link to a file", "dangling link", "hard link", "FIFO", "device")

#: as the user, swaps a folder for a link and back, as fast as it can
_SWAPPER = """
import os, sys, time
path, victim = sys.argv[1:]
print("ready", flush=True)
while True:
    try:
        os.rename(path, path + ".aside")
    except OSError:
        pass
    try:
        os.symlink(victim, path)
        time.sleep(0.0003)
        os.unlink(path)
        os.rename(path + ".aside", path)
        time.sleep(0.0003)
    except OSError:
        pass
"""


def state(place: Path) -> list[tuple[object, ...]]:
    """Return what there is below a folder: kinds, modes, owners, contents, and when each folder was last changed."""
    found = []
    for path in (place, *sorted(place.rglob("*"))):
        status = path.lstat()
        content = path.read_text() if path.is_file() else ""
        found.append((str(path), status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content))
    return found


@contextlib.contextmanager
def unharmed(victim: Path, *names: str) -> Iterator[None]:
    """Make a folder of root's, with files of these names; nothing of it may change."""
    victim.mkdir(mode=0o700)
    for name in ("secret", *names):
        (victim / name).write_text("root's\n")
        (victim / name).chmod(0o600)
    before = state(victim)
    yield
    assert state(victim) == before


def put(kind: str, path: Path, victim: Path) -> None:
    """Do what the user may do; root's own hand only makes what the kernel may deny to others."""
    if kind == "link to a folder":
        path.symlink_to(victim)
    elif kind == "link to a file":
        path.symlink_to(victim / "secret")
    elif kind == "dangling link":
        path.symlink_to(victim / "made")
    elif kind == "hard link":
        os.link(victim / "secret", path)
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    if kind != "hard link":
        os.chown(path, USER, USER, follow_symlinks=False)


@contextlib.contextmanager
def swapping(path: Path, victim: Path) -> Iterator[None]:
    """Have the user swap a folder for a link to ``victim`` and back, all the time."""
    argv = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", sys.executable, "-c", _SWAPPER]
    for above in path.parents:
        if above.stat().st_uid == 0 and above.is_relative_to("/tmp/pytest-of-root"):
            above.chmod(above.stat().st_mode | 0o011)
    with subprocess.Popen([*argv, str(path), str(victim)], stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout is not None
        assert swapper.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            swapper.kill()
