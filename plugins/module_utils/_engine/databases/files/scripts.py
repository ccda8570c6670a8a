# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the operator's programs in a tree: the bytes that were read, to their end, with what they changed counted."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import EnvSyncError
from ...host.linux import marked_processes
from ...points.scripts import Effect, Script
from ...streams.pipeline import Group
from ..base import within
from .archive import shown

#: tells a program where the operator keeps it, as what runs is a copy
SCRIPT_VARIABLE = "ENV_SYNC_SCRIPT"

#: tells a program's own processes from all others
_RUN_VARIABLE = "ENV_SYNC_SCRIPT_RUN"

#: how long what a program left running may take to end, in seconds
_PATIENCE = 5.0

#: between two looks at a file system's clock, in seconds
_TICK = 0.004

#: what programs begin with that the kernel runs; all else is a shell's, as it is for a shell that runs it
_OF_THE_KERNEL = (b"#!", b"\x7fELF")


@dataclass(frozen=True)
class _Counted:
    """What is in a tree; ``untouched`` are the files that have not changed since a moment."""

    files: int = 0
    folders: int = 0
    untouched: int = 0


def check_script(script: Script, doing: str) -> None:
    """Raise unless the script is marked as a program."""
    if not os.access(script.path, os.X_OK) or not os.path.isfile(script.path):
        raise EnvSyncError(
            doing, f"{script.path} is not executable", "For files, a transformation is a program: chmod +x it."
        )


def run_scripts(scripts: Sequence[Script], tree: str, where: str, work_dir: str | None, group: Group) -> list[Effect]:
    """Run programs one after the other, each with ``tree`` as its working directory.

    A file counts as changed when its inode has changed (contents, name, owner, mode), is new, or is gone.

    :param where: what to call the tree in a message.
    :raises EnvSyncError: one failed, or left processes running, which could go on to change the tree.
    """
    effects = []
    before = _count(tree, 0, f"counting the files of {where}") if scripts else _Counted()
    for script in scripts:
        doing = f"running {script.path} in {where}"
        check_script(script, doing)
        moment = _moment(tree, work_dir)
        with _runnable(script, work_dir, doing) as program:
            shell = [] if script.content.startswith(_OF_THE_KERNEL) else ["/bin/sh"]
            token = secrets.token_hex(16)
            variables = {SCRIPT_VARIABLE: os.path.abspath(script.path), _RUN_VARIABLE: token}
            group.run([*shell, program], doing, cwd=tree, env=variables).wait()
            _await_children(token, group, doing)
        after = _count(tree, moment, f"counting the files of {where}")
        changed = max(before.files - after.untouched, after.files - after.untouched)
        folders = abs(after.folders - before.folders)
        altered = [f"{folders} folders"] if folders else []
        effects.append(Effect(script, changed, altered=altered, units=("files", "folders")))
        before = after
    return effects


@contextlib.contextmanager
def _runnable(script: Script, work_dir: str | None, doing: str) -> Iterator[str]:
    """Give the path of a program with the script's bytes that nobody else can change."""
    folder = within(work_dir, f"script-{secrets.token_hex(4)}")
    try:
        if os.statvfs(os.path.dirname(folder)).f_flag & os.ST_NOEXEC:
            # Anonymous memory can be run where temppath is mounted with noexec; an interpreter opens it by this path.
            descriptor = os.memfd_create(script.name, os.MFD_CLOEXEC)
            path = f"/proc/{os.getpid()}/fd/{descriptor}"
        else:
            os.mkdir(folder, 0o700)
            path = os.path.join(folder, script.name)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o500)
    except OSError as error:
        raise EnvSyncError(doing, f"it cannot be copied into temppath: {error.strerror}", "Check temppath.") from error
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(script.content)
        if path.startswith(folder):
            os.close(descriptor)  # what is open for writing cannot be run
            descriptor = -1
        yield path
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _await_children(token: str, group: Group, doing: str) -> None:
    """Raise when a program has left processes that do not end; end them."""
    value = f"{_RUN_VARIABLE}={token}"
    deadline = time.monotonic() + _PATIENCE
    while True:
        left = marked_processes(value)
        if not left:
            return
        if time.monotonic() > deadline:
            break
        group.sleep(0.05)
    while left:
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, 9)
        group.sleep(0.05)
        found = marked_processes(value)
        left = found if time.monotonic() < deadline + _PATIENCE else []
    raise EnvSyncError(
        doing,
        "it ended, and processes that it had started were still running: they have been ended",
        "Have it wait for what it starts (wait), so that its end is the end of its work.",
    )


def _moment(tree: str, work_dir: str | None) -> int:
    """Return a moment by the file system's clock, in ns: all that was changed before it is not after it."""
    folder = os.path.dirname(tree)
    if not os.access(folder, os.W_OK | os.X_OK):
        folder = within(work_dir)  # a pre-dump script, where the tree is all that this user may write to

    def clock() -> int:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_ctime_ns

    moment = clock()
    while clock() <= moment:
        time.sleep(_TICK)
    return moment


def _count(tree: str, moment: int, doing: str) -> _Counted:
    files = folders = untouched = 0
    left = [tree]

    try:
        while left:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):  # it is gone, or became something else
                        if entry.is_dir(follow_symlinks=False):
                            folders += 1
                            left.append(entry.path)
                        else:
                            files += 1
                            untouched += entry.stat(follow_symlinks=False).st_ctime_ns <= moment
    except OSError as error:
        hint = "Run it as a user that may read all of the tree."
        raise EnvSyncError(doing, f"{error.strerror}: {shown(str(error.filename))}", hint) from error
    return _Counted(files, folders, untouched)
