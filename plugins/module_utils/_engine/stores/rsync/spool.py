# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The folder of temporary files on this host: rsync copies files, so what goes or comes is a file there meanwhile."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from typing import BinaryIO, Callable

from ...errors import EnvSyncError
from ...host.ownership import temporary_folder, workplace
from ...streams.reader import BLOCK, Reader, blocks

#: what is left free on the disk of temporary files, in bytes: others use it too
_RESERVE = 64 * BLOCK

#: how often the free space is looked at, in bytes written
_LOOK_EVERY = 32 * BLOCK

#: takes the size in bytes that a temporary file has now
_Count = Callable[[int], None]


class Spool:
    """The folder of files that are under way, gone with the process; what a killed one left is removed by the next.

    ``peak`` is what was in it at most, in bytes.
    """

    _PREFIX = "env_sync-rsync-"

    def __init__(self, temp_dir: str) -> None:
        self._parent = temp_dir
        self._lock = threading.Lock()
        self._made = ""
        self._numbers = itertools.count()
        self._sizes: dict[int, int] = {}
        self.peak = 0

    def folder(self) -> str:
        """Return the folder, made and locked when it is first asked for."""
        with self._lock:
            if not self._made:
                try:
                    self._parent = workplace(self._parent or temporary_folder())
                    self._sweep()
                    descriptor = self._make()
                except OSError as error:
                    raise EnvSyncError(
                        f"making a folder for temporary files{' in ' if self._parent else ''}{self._parent}",
                        str(error.strerror),
                        "Set temppath to a folder that this user can write to.",
                    ) from error
                weakref.finalize(self, _drop, self._made, descriptor)
            return self._made

    def _make(self) -> int:
        """Make the folder; return a descriptor that has it locked, which others' sweeps respect."""
        while True:
            self._made = tempfile.mkdtemp(prefix=self._PREFIX, dir=self._parent)
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(self._made, os.O_RDONLY | os.O_CLOEXEC)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.path.exists(self._made):
                    return descriptor
                os.close(descriptor)  # somebody swept it before it was locked

    def _sweep(self) -> None:
        """Remove the folders that nobody holds any more."""
        for entry in os.scandir(self._parent):
            if entry.name.startswith(self._PREFIX) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
                        continue
                    descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        shutil.rmtree(entry.path)
                    finally:
                        os.close(descriptor)

    @contextlib.contextmanager
    def place(self, base: str) -> Iterator[str]:
        """Give a path that ends in ``base``, in a folder of its own; what is there goes afterwards."""
        folder = os.path.join(self.folder(), str(next(self._numbers)))
        os.mkdir(folder, 0o700)
        try:
            yield os.path.join(folder, base)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def count(self) -> Iterator[_Count]:
        """Give what takes the size in bytes, again and again, that one file in the folder has now."""
        number = next(self._numbers)

        def tell(size: int) -> None:
            with self._lock:
                self._sizes[number] = size
                self.peak = max(self.peak, sum(self._sizes.values()))

        try:
            yield tell
        finally:
            with self._lock:
                self._sizes.pop(number, None)

    def write(self, path: str, source: Reader, doing: str) -> tuple[int, str]:
        """Write all that ``source`` gives; return its size in bytes and its SHA-256 (hex)."""
        digest = hashlib.sha256()
        size = 0
        looked = -_LOOK_EVERY
        with self.count() as count, _open(path, doing) as stream:
            for block in blocks(source):
                if size - looked >= _LOOK_EVERY:
                    self._need_room(doing, size)
                    looked = size
                try:
                    stream.write(block)
                    stream.flush()
                except OSError as error:
                    raise _no_room(doing, self._parent, size, error) from error
                digest.update(block)
                size += len(block)
                count(size)
        return size, digest.hexdigest()

    def _need_room(self, doing: str, size: int) -> None:
        found = os.statvfs(self._parent)
        if found.f_bavail * found.f_frsize < _RESERVE:
            raise _no_room(doing, self._parent, size, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def _open(path: str, doing: str) -> BinaryIO:
    try:
        return open(path, "xb")
    except OSError as error:
        raise EnvSyncError(doing, f"{error.strerror}: {path}", "Correct temppath.") from error


def _no_room(doing: str, parent: str, size: int, error: OSError) -> EnvSyncError:
    return EnvSyncError(
        doing,
        f"its temporary file in {parent} has {size} bytes so far: {error.strerror}",
        "A member is a file here before it is sent: set temppath to a folder with more room.",
    )


def _drop(folder: str, descriptor: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(descriptor)
