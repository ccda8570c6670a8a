# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel locks: they die with their holder, whatever kills it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Callable

from .errors import Cancelled, EnvSyncError


def lock_dir() -> str:
    """Return where lock files are: ``/run/lock`` where anybody may write there, else the folder for temporary files."""
    return "/run/lock" if os.access("/run/lock", os.W_OK) else tempfile.gettempdir()


@contextlib.contextmanager
def hold(key: str, what: str, wait: float = 0.0, cancelled: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Hold the host's lock for ``key``.

    The file stays: removing a lock file that another process may just have opened would let two hold "the" lock.

    :param what: what is locked, for the message.
    :param wait: how many seconds to wait for another holder.
    :raises EnvSyncError: another process on this host has it.
    """
    path = os.path.join(lock_dir(), f"env_sync-{hashlib.sha256(key.encode()).hexdigest()[:16]}.lock")
    descriptor = _open(path, what)
    try:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise EnvSyncError(f"locking {what}", f"{path}: {error.strerror}") from error
            if cancelled():
                raise Cancelled(f"waiting for the lock of {what}", "it was told to stop")
            if time.monotonic() >= deadline:
                raise EnvSyncError(
                    f"locking {what}",
                    "another push or pull of it is running on this host",
                    "Wait for it to end (--status shows it), or set lock_wait.",
                )
            time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def _open(path: str, what: str) -> int:
    # Not O_CREAT on a file that is there: Linux refuses that on another user's file in a sticky directory
    # (fs.protected_regular), and a lock can be taken through a descriptor that only reads.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            return os.open(path, flags | os.O_CREAT, 0o644)
    except OSError as error:
        raise EnvSyncError(f"locking {what}", f"{path}: {error.strerror}") from error
