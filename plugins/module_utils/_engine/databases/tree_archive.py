# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A tar archive on its way to ``tar``: no header gets there before it was looked at."""

from __future__ import annotations

import collections
import tarfile
from collections.abc import Sequence
from typing import IO, Callable, cast

from ..errors import EnvSyncError, visible
from ..stores.base import BLOCK, Reader

#: what one header may take, in bytes: long names, extended attributes and sparse maps make it larger than a block
_LARGEST_HEADER = 64 * BLOCK

#: how much is read at once, in bytes: tarfile moves what is left of it at every header
_READ = 64 * 1024

#: two blocks of zeros end an archive
_END = 1024

_KNOWN_TYPES = frozenset(
    (
        tarfile.REGTYPE,
        tarfile.AREGTYPE,
        tarfile.CONTTYPE,
        tarfile.GNUTYPE_SPARSE,
        tarfile.LNKTYPE,
        tarfile.SYMTYPE,
        tarfile.DIRTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
    )
)


class Contents:
    """What has passed: how many ``entries``, and whether the tree's own directory (``.``) was ``rooted`` among them."""

    def __init__(self) -> None:
        self.entries = 0
        self.rooted = False


def pass_on(source: Reader, write: Callable[[memoryview], None], doing: str, root: Sequence[str] = ()) -> Contents:
    """Copy an archive from ``source`` to ``write``, every member only after it was found to stay in the tree.

    :param doing: the first part of an error message.
    :param root: the folder (its parts) that all members have to be in.
    :raises EnvSyncError: a member would be written outside of the tree, or the archive is damaged. Nothing of that
        member, nor of what follows, was written then.
    """
    held = _Held(source, write, doing)
    look = _Look(doing, root)
    try:
        with tarfile.open(
            fileobj=cast(IO[bytes], held), mode="r|", bufsize=_READ, encoding="utf-8", errors="surrogateescape"
        ) as archive:
            known: list[tarfile.TarInfo] = vars(archive)["members"]
            while True:
                member = archive.next()
                if member is None:
                    break
                known.clear()  # or they would all stay in memory
                look.at(member)
                held.allow(archive.offset)
    except tarfile.TarError as error:
        raise EnvSyncError(doing, f"the archive is damaged: {error}", "Choose another point (--list).") from error
    held.finish()
    return look.found


class _Look:
    """The rules, and what they need to know of the members before."""

    def __init__(self, doing: str, root: Sequence[str]) -> None:
        self._doing = doing
        self._root = list(root)
        self._links: set[str] = set()
        self.found = Contents()

    def at(self, member: tarfile.TarInfo) -> None:
        if member.type not in _KNOWN_TYPES:
            raise self._refusal(member.name, f"is of the unknown type {member.type!r}")
        path = self._path(member.name, member.name)
        if not path and not member.isdir():
            raise self._refusal(member.name, "would replace the tree itself")
        if member.islnk():
            target = self._path(member.linkname, member.name)
            if target in self._links:
                self._links.add(path)  # it is the same link under a second name
        elif member.issym():
            self._links.add(path)
        self.found.entries += 1
        self.found.rooted = self.found.rooted or not path

    def _path(self, name: str, of_member: str) -> str:
        """Return ``name`` relative to the tree; refuse one that is outside, or reached through a symbolic link."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or parts[: len(self._root)] != self._root:
            raise self._refusal(of_member, "leads out of the tree")
        parts = parts[len(self._root) :]
        if self._links:
            for count in range(1, len(parts)):
                if "/".join(parts[:count]) in self._links:
                    raise self._refusal(of_member, "leads through a symbolic link")
        return "/".join(parts)

    def _refusal(self, name: str, why: str) -> EnvSyncError:
        return EnvSyncError(
            self._doing,
            f"its member {shown(name)} {why}",
            "No push makes such a member: find out who wrote to the store, and choose another point (--list).",
        )


class _Held:
    """The archive as a file to read from, whose bytes are written on as far as that is allowed."""

    def __init__(self, source: Reader, write: Callable[[memoryview], None], doing: str) -> None:
        self._source = source
        self._write = write
        self._doing = doing
        self._blocks: collections.deque[memoryview] = collections.deque()
        self._waiting = 0
        self._position = 0
        self._allowed = 0

    def read(self, size: int) -> bytes:
        block = self._source.read(size)
        self._blocks.append(memoryview(block))
        self._waiting += len(block)
        self._flush()
        if self._waiting > _LARGEST_HEADER + _READ:
            raise self._damaged(f"a header has more than {_LARGEST_HEADER} bytes")
        return block

    def allow(self, end: int) -> None:
        """Let pass what stands before ``end``, an offset in the archive: in part it may still have to be read."""
        self._allowed = end
        self._flush()

    def finish(self) -> None:
        """Let the end pass: nothing but zeros, and enough of them."""
        zeros = self._waiting
        while True:
            if any(block.tobytes().strip(b"\0") for block in self._blocks):
                raise self._damaged("something follows its end")
            self.allow(self._position + self._waiting)
            block = self.read(BLOCK)
            if not block:
                break
            zeros += len(block)
        if zeros < _END:
            raise self._damaged("it has no end")

    def _flush(self) -> None:
        while self._blocks and self._position < self._allowed:
            block = self._blocks.popleft()
            room = self._allowed - self._position
            if len(block) > room:
                self._blocks.appendleft(block[room:])
                block = block[:room]
            self._write(block)
            self._position += len(block)
            self._waiting -= len(block)

    def _damaged(self, why: str) -> EnvSyncError:
        return EnvSyncError(self._doing, f"the archive is damaged: {why}", "Choose another point (--list).")


def shown(name: str) -> str:
    """Return a file's name as it can be printed, whatever its bytes are."""
    escaped = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return visible(escaped)
