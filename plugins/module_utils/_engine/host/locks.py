# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel locks of this host: they die with their holder, whatever kills it.

They are files in a folder that nobody but the engine's users may enter, so that no stranger can hold one. The role
makes that folder. Where there is none, each user has a folder of their own, and two users' runs see each other by the
lock in the database itself (``Database.alone``) and in the journal.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import pwd
import stat
import time
from collections.abc import Iterator
from typing import Callable

from ..errors import Cancelled, EnvSyncError
from .linux import boot_id
from .ownership import folder, hand_over, make_folders, open_file

#: where the role makes the folder that all of the engine's users share, called like the command; it is root's
SHARED = "/run"

#: a user's own folder, below their home
_OWN = ".local/state/govuk_env_sync/locks"

#: where it is for a user who has no home; anybody may make folders there
_HOMELESS = ("/run/lock", "/tmp")

#: how often a lock that another process holds is tried, in seconds
_LOOK = 0.1

_BUSY = "another push or pull of it is running on this host"
_WAIT = "Wait for it to end (--status shows it), or set lock_wait."


def lock_dir() -> str:
    """Return the folder of this user's lock files; the same for every session, whatever its TMPDIR or HOME is.

    :raises EnvSyncError: there is none, and none can be made.
    """
    shared = os.path.join(SHARED, os.environ.get("ENV_SYNC_NAME") or "govuk_env_sync")
    if _is_folder(shared) and os.access(shared, os.X_OK) and not os.lstat(shared).st_mode & stat.S_IWOTH:
        return shared
    return _own_folder()


def _own_folder() -> str:
    uid = os.geteuid()
    home = ""
    with contextlib.suppress(KeyError):
        home = pwd.getpwuid(uid).pw_dir
    if home and os.path.isdir(home) and os.stat(home).st_uid == uid:
        path = os.path.join(home, _OWN)
    else:
        parent = next((place for place in _HOMELESS if os.access(place, os.W_OK)), _HOMELESS[-1])
        path = os.path.join(parent, f"env_sync-locks-{uid}")
    doing = f"making the folder {path} for locks"
    hint = f"Have the role env_sync make {SHARED}/govuk_env_sync, or correct the folder's owner and mode."
    try:
        make_folders(path, 0o700)
        found = os.lstat(path)
    except OSError as error:
        raise EnvSyncError(doing, str(error.strerror), hint) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EnvSyncError(doing, "something of that name is there that others may write to", hint)
    return path


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


@contextlib.contextmanager
def hold(key: str, what: str, wait: float = 0.0, cancelled: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Hold the host's lock for ``key``.

    :param what: what is locked, for the message.
    :param wait: how many seconds to wait for another holder.
    :raises EnvSyncError: another process on this host has it.
    """
    path = lock_dir()
    # A home may be shared between hosts, and this lock does not hold between them.
    host = "" if path.startswith(f"{SHARED}/") else boot_id()
    name = f"env_sync-{hashlib.sha256(f'{host}{key}'.encode()).hexdigest()[:16]}.lock"
    with hold_file(path, name, what, _BUSY, wait, cancelled):
        yield


@contextlib.contextmanager
def hold_file(
    path: str,
    name: str,
    what: str,
    busy: str,
    wait: float = 0.0,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[FileLock]:
    """Hold the lock on the file ``name`` in the folder ``path``, which is there only as long as it is held.

    :param busy: what went wrong where another process has it.
    :raises EnvSyncError: another process has it, or it can't be made.
    """
    lock = FileLock(path, name, what)
    deadline = time.monotonic() + wait
    while not lock.acquire():
        if cancelled():
            raise Cancelled(f"waiting for the lock of {what}", "it was told to stop")
        if time.monotonic() >= deadline:
            raise EnvSyncError(f"locking {what}", busy, _WAIT)
        time.sleep(_LOOK)
    try:
        yield lock
    finally:
        lock.release()


class FileLock:
    """One lock file, opened by way of its folder: no link is followed, and nothing else than a file is opened.

    :param what: what it locks, for messages.
    """

    def __init__(self, path: str, name: str, what: str) -> None:
        self._folder = path
        self._name = name
        self._doing = f"locking {what}"
        self._parent = -1
        self._descriptor = -1

    @property
    def path(self) -> str:
        """The path of the lock's file."""
        return os.path.join(self._folder, self._name)

    def acquire(self) -> bool:
        """Take the lock; False where another process has it.

        :raises EnvSyncError: the file can't be made or opened.
        """
        try:
            while not self.held():
                self._close()
                with folder(self._folder) as parent:
                    self._parent = os.dup(parent)
                self._descriptor = self._open()
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A holder removes the file when it lets go: a file opened before that locks nothing. Open it again.
        except OSError as error:
            self._close()
            if error.errno == errno.EAGAIN:
                return False
            raise EnvSyncError(
                self._doing, f"{self.path}: {error.strerror}", f"Let this user write to {self._folder}."
            ) from error
        return True

    def held(self) -> bool:
        """Say whether the lock is held: the file is still the one that its name stands for."""
        if self._descriptor < 0:
            return False
        try:
            there = os.stat(self._name, dir_fd=self._parent, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._descriptor))

    def release(self) -> None:
        """Let it go, and remove the file; safe to call twice."""
        if self.held():
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._parent)
        self._close()

    def _close(self) -> None:
        for descriptor in (self._descriptor, self._parent):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._parent = -1

    def _open(self) -> int:
        while True:
            try:
                return open_file(self._name, os.O_RDWR, self._parent)
            except FileNotFoundError:
                pass
            except OSError as error:
                # A local file can be locked by who may only read it; one on NFS can't.
                if error.errno not in (errno.EACCES, errno.EROFS):
                    raise
                return open_file(self._name, os.O_RDONLY, self._parent)
            with contextlib.suppress(FileExistsError):
                descriptor = open_file(self._name, os.O_RDWR | os.O_CREAT | os.O_EXCL, self._parent, 0o660)
                os.fchmod(descriptor, 0o660)  # whatever the umask is: the group's users have the same lock
                hand_over(descriptor, self._parent)
                return descriptor
