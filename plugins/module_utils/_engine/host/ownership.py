# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files and folders in places that another user may write to, where root works too.

A task that cron runs as its own user is also run by hand, as root, and the role deploys as root. What root leaves in
the user's folders belongs to the owner of its folder, so that it does not stand in the way of the user's next run. And
whatever the user puts there meanwhile, root follows no link of theirs, waits for no FIFO, and changes nothing outside:
a folder is opened step by step, each step from the descriptor of the one before (openat(2)), and what is done in it is
done through its descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator

#: how many links a path may lead through, as the kernel has it (path_resolution(7))
_LINKS = 40

#: what a small file (a status, a journal) may have at most, in bytes
_SMALL = 4 * 1024 * 1024

_NEW = ".env_sync-"


def is_others(found: os.stat_result) -> bool:
    """Say whether another user than root and this one can replace what this process makes in a folder.

    In a sticky folder (``/tmp``) only the owners of what is there can, and the folder's own.
    """
    if found.st_uid not in (0, os.geteuid()):
        return True
    return bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)) and not found.st_mode & stat.S_ISVTX


@contextlib.contextmanager
def folder(path: str, make: bool = False, mode: int = 0o755) -> Iterator[int]:
    """Give the descriptor of a folder.

    :param make: make it, and those above it that are not there; each belongs to the owner of the one above it.
    :raises OSError: there is none, or the way to it leads through a link that root does not follow.
    """
    descriptor, _place = _descend(path, make, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def follows_links(parent: int) -> bool:
    """Say whether a link in an open folder is followed: by root, only where nobody else could have put it."""
    return os.geteuid() != 0 or not is_others(os.fstat(parent))


def make_folders(path: str, mode: int = 0o755) -> None:
    """Make a folder, and those above it that are not there; of root's, each belongs to the owner of the one above it.

    :raises OSError: a folder can't be made, or something else has its name.
    """
    with folder(path, make=True, mode=mode):
        pass


def workplace(path: str) -> str:
    """Return where a working directory can be made for ``path``, a folder, which is made where it is not there.

    It is the folder itself, without links: programs tell where their files are in the kernel's words. Programs open
    their files by path, so where another user could put something else in root's place, it is the nearest folder above
    where none can, on the same file system.

    :raises OSError: it can't be made, or there is no such folder above it.
    """
    if os.geteuid() != 0:
        os.makedirs(path, exist_ok=True)
        return os.path.realpath(path)
    descriptor, safe = _descend(path, make=True, mode=0o755)
    try:
        if os.stat(safe).st_dev != os.fstat(descriptor).st_dev:
            raise OSError(
                errno.EPERM, "another user can replace what root makes there; run this as that user, or let root own it"
            )
    finally:
        os.close(descriptor)
    return safe


def temporary_folder() -> str:
    """Return the folder for temporary files: never the current directory, which Python takes if nothing else will do.

    :raises OSError: there is none that this user can write to.
    """
    for found in (*map(os.environ.get, ("TMPDIR", "TEMP", "TMP")), "/tmp", "/var/tmp"):
        if found and os.path.isabs(found) and os.path.isdir(found) and os.access(found, os.W_OK | os.X_OK):
            return found
    raise OSError(errno.ENOENT, "there is no folder for temporary files (TMPDIR, /tmp, /var/tmp)")


def _descend(path: str, make: bool, mode: int) -> tuple[int, str]:
    """Return the descriptor of a folder, and the path of the last one on the way that nobody else can replace."""
    steps = [step for step in reversed(os.path.abspath(path).split("/")) if step]
    links = 0
    safe, walked, nobody_elses = "/", "", True
    current = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while steps:
            step = steps.pop()
            above = os.fstat(current)
            below = _open_step(current, step, above, make, mode, path)
            found = os.fstat(below)
            if stat.S_ISLNK(found.st_mode):
                target = _follow(below, above, found, f"{walked}/{step}")
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                steps += [part for part in reversed(target.split("/")) if part not in ("", ".")]
                if target.startswith("/"):
                    below = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                    safe, walked, nobody_elses = "/", "", True
                else:
                    continue
            elif not stat.S_ISDIR(found.st_mode):
                os.close(below)
                wrong = errno.EEXIST if make and not steps else errno.ENOTDIR
                raise OSError(wrong, os.strerror(wrong), path)
            else:
                walked = os.path.dirname(walked) if step == ".." else f"{walked}/{step}"
                nobody_elses = nobody_elses and not is_others(found)
                if nobody_elses:
                    safe = walked or "/"
            os.close(current)
            current = below
        try:
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=current), safe
        except PermissionError:
            return os.dup(current), safe  # one that may be written to, and not listed
    finally:
        os.close(current)


def _open_step(current: int, step: str, above: os.stat_result, make: bool, mode: int, path: str) -> int:
    """Return a descriptor of what is called ``step`` in a folder, of a link too; make it where it is to be made."""
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(step, flags, dir_fd=current)
    except FileNotFoundError as error:
        if not make:
            raise OSError(error.errno, error.strerror, path) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(step, mode, dir_fd=current)
            if os.geteuid() == 0 and above.st_uid != 0:
                made = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
                try:
                    os.fchown(made, above.st_uid, above.st_gid)
                finally:
                    os.close(made)
        return os.open(step, flags, dir_fd=current)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def _follow(link: int, above: os.stat_result, found: os.stat_result, path: str) -> str:
    """Return where a link leads; root follows none that another user may have put there."""
    try:
        if os.geteuid() == 0 and (is_others(above) or found.st_uid != 0):
            raise OSError(errno.ELOOP, "it is a link in a folder that another user can write to", path)
        return os.readlink("", dir_fd=link)
    finally:
        os.close(link)


# -- files in an open folder -----------------------------------------------------------------------------------------


def open_file(name: str, flags: int, parent: int, mode: int = 0o640) -> int:
    """Open a file in an open folder, only if it is a regular one, and without waiting; return its descriptor.

    A link is never written through, and read where :func:`follows_links` says so.

    :raises OSError: it can't be opened, or it is something else, or root would write to a file that has another name.
    """
    writes = flags & os.O_ACCMODE != os.O_RDONLY
    if writes or not follows_links(parent):
        flags |= os.O_NOFOLLOW
    descriptor = os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode, dir_fd=parent)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            wrong = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
            raise OSError(wrong, os.strerror(wrong) if wrong == errno.EISDIR else "it is not a regular file", name)
        if writes and found.st_nlink > 1 and not follows_links(parent):
            raise OSError(errno.EMLINK, "it has a second name, maybe of a file elsewhere", name)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def hand_over(descriptor: int, parent: int) -> None:
    """Give an open file or folder of root's to the owner of the folder that it is in."""
    if os.geteuid() != 0:
        return
    owner = os.fstat(parent)
    if owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def replacing(name: str, parent: int, mode: int) -> Iterator[tuple[int, str]]:
    """Give descriptor and name of a new file, which takes the place of ``name`` when the block ends well."""
    temporary = f"{_NEW}{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=parent)
    try:
        try:
            os.fchmod(descriptor, mode)
            yield descriptor, temporary
        finally:
            os.close(descriptor)
        os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        raise


def remove_tree(name: str, parent: int) -> None:
    """Remove a file, a link, or a folder with all that is in it.

    :raises OSError: something of it can't be removed.
    """
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=parent)
        return
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        for entry in os.listdir(descriptor):
            with contextlib.suppress(FileNotFoundError):
                remove_tree(entry, descriptor)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=parent)


# -- files by path ---------------------------------------------------------------------------------------------------


def read_small(path: str) -> bytes:
    """Return what is in a file.

    :raises OSError: it can't be read, is not a regular file, or is larger than allowed.
    """
    with folder(os.path.dirname(os.path.abspath(path))) as parent:
        descriptor = open_file(os.path.basename(path), os.O_RDONLY, parent)
    with os.fdopen(descriptor, "rb") as stream:
        content = stream.read(_SMALL + 1)
    if len(content) > _SMALL:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return content


def write_small(path: str, content: bytes, mode: int = 0o644, durable: bool = False) -> None:
    """Write a file, whole or not at all; it belongs to the owner of its folder.

    :param durable: it is on the disk afterwards.
    """
    with folder(os.path.dirname(os.path.abspath(path))) as parent:
        with replacing(os.path.basename(path), parent, mode) as (descriptor, _temporary):
            hand_over(descriptor, parent)
            with os.fdopen(os.dup(descriptor), "wb") as stream:
                stream.write(content)
            if durable:
                os.fsync(descriptor)
        if durable:
            os.fsync(parent)


def remove_file(path: str) -> None:
    """Remove a file.

    :raises OSError: it is not there, or can't be removed.
    """
    with folder(os.path.dirname(os.path.abspath(path))) as parent:
        os.unlink(os.path.basename(path), dir_fd=parent)


def names_in(path: str) -> list[str]:
    """Return the names of what is in a folder, sorted.

    :raises OSError: it can't be read.
    """
    with folder(path) as descriptor:
        listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=descriptor)
        try:
            return sorted(os.listdir(listing))
        finally:
            os.close(listing)
