# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A directory: local, or mounted from somewhere."""

from __future__ import annotations

import builtins
import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from typing import Callable

from ..errors import EnvSyncError, advice
from ..host.ownership import folder, follows_links, hand_over, make_folders, open_file, remove_file
from ..streams.reader import BLOCK, Reader, blocks, write_all
from .base import Store, Stored, StoredObject
from .inspector import DirectoryInspector, Inspector

_PARTIAL = ".partial"

# After so many bytes the kernel is told to write them, and to forget those that it has written: a push is not to drive
# the database's own pages out of memory, nor to leave all the writing to its end.
_LET_GO_STEP = 8 * BLOCK

# Points hold personal data: nobody but the owner and the group may read them.
_FILE_MODE = 0o640
_FOLDER_MODE = 0o750


class DirectoryStore(Store):
    """The files below ``base``/``path``.

    :param base: a directory that exists.
    :param path: a folder below it, made when it is first needed.
    """

    kind = "directory"

    def __init__(self, base: str, path: str) -> None:
        self._base = os.path.abspath(base)
        self._root = os.path.join(self._base, path) if path else self._base

    def url(self, name: str = "") -> str:
        return os.path.join(self._root, name) if name else self._root

    def inspector(self) -> Inspector:
        return DirectoryInspector(self._base, self._root)

    def preflight(self, write: bool) -> None:
        doing = f"opening the directory {self._base}"
        if not os.path.isdir(self._base):
            raise EnvSyncError(doing, "there is no such directory", "Make it, or mount it, or correct url.")
        place = self._root
        while not os.path.exists(place):
            place = os.path.dirname(place)
        if not os.path.isdir(place):
            raise EnvSyncError(doing, f"{place} is not a directory", "Correct path.")
        if write and os.statvfs(place).f_flag & os.ST_RDONLY:
            raise EnvSyncError(doing, f"{place} is on a file system that is read-only", "Mount it for writing.")
        try:
            make_folders(place)  # it is there: this says whether root may follow the links on the way
        except OSError as error:
            raise EnvSyncError(
                doing, f"{error.filename}: {error.strerror}", "Let root own what is above it."
            ) from error
        if not os.access(place, os.R_OK | os.X_OK | (os.W_OK if write else 0)):
            wanted = "written to" if write else "read"
            raise EnvSyncError(doing, f"{place} may not be {wanted} by this user", "Correct its owner or its mode.")

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        found: list[StoredObject] = []
        for name, parent in self._files():
            if name.startswith(prefix) and not _is_partial(name):
                with contextlib.suppress(FileNotFoundError):
                    status = _status(name, parent)
                    found.append(StoredObject(name, status.st_size, status.st_mtime))
        yield from sorted(found, key=lambda item: item.name)

    def stat(self, name: str) -> StoredObject | None:
        path = self._path(name)
        try:
            with folder(os.path.dirname(path)) as parent:
                status = _status(path, parent)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._error("looking at", name, error) from error
        if not stat.S_ISREG(status.st_mode):
            return None
        return StoredObject(name, status.st_size, status.st_mtime)

    def put(self, name: str, source: Reader, size_hint: int | None = None) -> Stored:
        path = self._path(name)
        with contextlib.ExitStack() as opened:
            try:
                parent = opened.enter_context(folder(os.path.dirname(path), make=True, mode=_FOLDER_MODE))
            except OSError as error:
                raise self._error("writing", name, error) from error
            return self._put(name, parent, source)

    def _put(self, name: str, parent: int, source: Reader) -> Stored:
        # A name may be as long as the file system allows, so the temporary one can't be made by adding to it.
        partial = f".{secrets.token_hex(8)}{_PARTIAL}"
        digest = hashlib.sha256()
        size = 0
        let_go = 0
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(partial, flags, _FILE_MODE, dir_fd=parent)
        except OSError as error:
            raise self._error("writing", name, error) from error
        try:
            try:
                hand_over(descriptor, parent)
                # Held as long as the writer lives: a sweep leaves alone what is locked.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                for block in blocks(source):
                    digest.update(block)
                    size += len(block)
                    write_all(descriptor, block)
                    if size - let_go >= _LET_GO_STEP:
                        os.posix_fadvise(descriptor, max(0, size - 4 * _LET_GO_STEP), 0, os.POSIX_FADV_DONTNEED)
                        let_go = size
                os.fsync(descriptor)
                if os.fstat(descriptor).st_size != size:
                    raise EnvSyncError(f"writing {self.url(name)}", "its size is not what was written", "Try again.")
                os.rename(partial, os.path.basename(name), src_dir_fd=parent, dst_dir_fd=parent)
            finally:
                os.close(descriptor)
            os.fsync(parent)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(partial, dir_fd=parent)
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                raise self._error("writing", name, error) from error
            raise
        return Stored(name, size, digest.hexdigest())

    def open(self, name: str, size: int | None = None) -> Reader:
        try:
            return _FileReader(self._path(name), lambda error: self._error("reading", name, error))
        except OSError as error:
            raise self._error("reading", name, error) from error

    def delete(self, names: Iterable[str]) -> None:
        folders = set()
        for name in names:
            path = self._path(name)
            try:
                remove_file(path)
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError as error:
                raise self._error("removing", name, error) from error
            folders.add(os.path.dirname(path))
        for emptied in sorted(folders, key=len, reverse=True):
            self._remove_empty(emptied)

    def sweep(self, prefix: str) -> builtins.list[str]:
        removed = []
        folders = set()
        for name, parent in self._files():
            if not _is_partial(name) or not _may_be_of(os.path.dirname(name), prefix.rstrip("/")):
                continue
            with contextlib.suppress(OSError):
                base = os.path.basename(name)
                if _nobody_writes(base, parent):
                    os.unlink(base, dir_fd=parent)
                    removed.append(self.url(name))
                    folders.add(os.path.dirname(removed[-1]))
        if prefix.rstrip("/"):
            folders.add(self._path(prefix.rstrip("/")))  # a point of which no member was finished
        for emptied in sorted(folders, key=len, reverse=True):
            self._remove_empty(emptied)
        return removed

    def straggling(self, prefix: str) -> bool:
        for name, parent in self._files():
            if _is_partial(name) and _may_be_of(os.path.dirname(name), prefix.rstrip("/")):
                with contextlib.suppress(OSError):
                    if not _nobody_writes(os.path.basename(name), parent):
                        return True
        return False

    def begun(self) -> Iterator[StoredObject]:
        for name, parent in self._files():
            if _is_partial(name):
                with contextlib.suppress(FileNotFoundError):
                    status = _status(name, parent)
                    yield StoredObject(name, status.st_size, status.st_mtime)

    def _files(self) -> Iterator[tuple[str, int]]:
        """Yield each file's name, and the descriptor of its folder, which is open until the next one is asked for."""
        try:
            with folder(self._root) as root:
                for place, _folders, names, parent in os.fwalk(".", onerror=self._walk_error, dir_fd=root):
                    for name in names:
                        yield os.path.normpath(os.path.join(place, name)), parent
        except OSError as error:
            self._walk_error(error)

    def _walk_error(self, error: OSError) -> None:
        if error.errno != errno.ENOENT:
            hint = "Correct its mode." if error.errno == errno.EACCES else "Correct path."
            place = os.path.normpath(os.path.join(self._root, error.filename or ""))
            raise EnvSyncError(f"listing {self._root}", f"{place}: {error.strerror}", hint)

    def _path(self, name: str) -> str:
        """Return the path of an object; refuse a name that would lead out of the store."""
        parts = name.split("/")
        if not name or name.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\0" in name:
            raise EnvSyncError(f"opening {name!r} in {self._root}", "not a valid object name")
        path = os.path.join(self._root, name)
        try:
            folder, root = os.path.realpath(os.path.dirname(path)), os.path.realpath(self._root)
        except OSError as error:  # a link that went while it was read
            raise self._error("opening", name, error) from error
        if folder != root and not folder.startswith(root.rstrip("/") + "/"):
            raise EnvSyncError(f"opening {path}", "a symbolic link leads out of the store", "Remove the link.")
        return path

    def _remove_empty(self, path: str) -> None:
        while path.startswith(self._root + os.sep):
            above, base = os.path.split(path)
            try:
                with folder(above) as parent:
                    os.rmdir(base, dir_fd=parent)
            except OSError:
                return
            path = above

    def _error(self, what: str, name: str, error: OSError) -> EnvSyncError:
        if what == "reading" and error.errno == errno.ENOENT:
            hint = "Choose another point (--list shows them)."
        else:
            # What else a file system refuses, it refuses for any name: one of the kernel's, one that has gone away.
            hint = advice(error, "Make room, or prune old points.") or "Check the file system, or correct url and path."
        return EnvSyncError(f"{what} {self.url(name)}", str(error.strerror), hint)


class _FileReader:
    def __init__(self, path: str, explain: Callable[[OSError], EnvSyncError]) -> None:
        self._explain = explain
        with folder(os.path.dirname(path)) as parent:
            self._descriptor = open_file(os.path.basename(path), os.O_RDONLY, parent)
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def read(self, size: int) -> bytes:
        try:
            return os.read(self._descriptor, size)
        except OSError as error:
            raise self._explain(error) from error

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _is_partial(name: str) -> bool:
    base_name = os.path.basename(name)
    return base_name.startswith(".") and base_name.endswith(_PARTIAL)


def _may_be_of(folder: str, prefix: str) -> bool:
    """Say whether a temporary name in ``folder`` may stand for an object below ``prefix``.

    The name of another database's point, which may be running at this moment, can begin like this one's.
    """
    return not prefix or not folder or f"{folder}/".startswith(f"{prefix}/") or prefix.startswith(f"{folder}/")


def _status(name: str, parent: int) -> os.stat_result:
    return os.stat(os.path.basename(name), dir_fd=parent, follow_symlinks=follows_links(parent))


def _nobody_writes(name: str, parent: int) -> bool:
    descriptor = open_file(name, os.O_RDONLY, parent)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
