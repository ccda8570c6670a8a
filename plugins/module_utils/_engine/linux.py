# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel can do and Python's library does not offer."""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
from types import TracebackType

from . import programs

PAGE = 4096
_KEEP_SIZE = 1
_PUNCH_HOLE = 2

# Reads until its standard input ends, which is when the process that held the other end is gone, by any cause.
_WATCHDOG = ("/bin/sh", "-c", 'read -r _; kill -s KILL -- "-$1"', "env_sync-watchdog")


def punch_hole(descriptor: int, start: int, stop: int) -> int:
    """Give back the disk space of a file's bytes, in whole pages; its size stays.

    :returns: up to where that was done, whether or not the file system can do it.
    """
    length = (stop - start) & ~(PAGE - 1)
    with contextlib.suppress(AttributeError):
        fallocate = ctypes.CDLL(None, use_errno=True).fallocate
        fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, start, length)
    return start + length


class Watchdog:
    """Kills a process group when this process dies by any cause, even SIGKILL; a context manager.

    ``process`` is the one that watches.

    :param group: the process group's number.
    """

    def __init__(self, group: int) -> None:
        self.process = subprocess.Popen(
            [*_WATCHDOG, str(group)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=programs.START,
            start_new_session=True,
        )

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Watch no more: the group has ended."""
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
