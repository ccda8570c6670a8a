# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A tar archive on its way to ``tar``: no header gets there before it was looked at."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Callable

from ...errors import EnvSyncError, visible
from ...streams.reader import BLOCK, Reader
from . import tar_headers
from .tar_headers import Damaged, Entry, Scanner

#: how many names of special files are kept for a message
_SHOWN = 3

#: extended attributes that give a file no right: the user's own, access lists, SELinux's label, which a policy rules
_HARMLESS_XATTRS = (b"user.", b"system.posix_acl_", b"security.selinux")

_SET_USER_ID, _SET_GROUP_ID = 0o4000, 0o2000


class Contents:
    """What has passed.

    ``entries`` is how many, ``rooted`` whether the tree's own directory (``.``) was among them; ``special`` how many
    special files there were, of which ``examples`` has a few, each a name and why.
    """

    def __init__(self) -> None:
        self.entries = 0
        self.rooted = False
        self.special = 0
        self.examples: list[str] = []

    @property
    def inner(self) -> int:
        """How many entries there were without the tree's own directory."""
        return self.entries - self.rooted


def pass_on(
    source: Reader,
    write: Callable[[memoryview], None],
    doing: str,
    root: Sequence[str] = (),
    allow_special: bool = False,
) -> Contents:
    """Copy an archive from ``source`` to ``write``, every member only after it was found to stay in the tree.

    :param doing: the first part of an error message.
    :param root: the folder (its parts) that all members have to be in.
    :param allow_special: let device nodes, programs with a right of their own (set-user-ID, set-group-ID,
        capabilities) and attributes of the system's pass.
    :raises EnvSyncError: a member would be written outside of the tree, or is special and not allowed, or the archive
        is damaged. Nothing of that member, nor of what follows, was written then.
    """
    scanner = Scanner()
    look = _Look(doing, root, allow_special)
    held: collections.deque[memoryview] = collections.deque()
    written = 0

    def flush() -> None:
        nonlocal written
        while held and written < scanner.passed:
            block = held.popleft()
            room = scanner.passed - written
            if len(block) > room:
                held.appendleft(block[room:])
                block = block[:room]
            write(block)
            written += len(block)

    while True:
        block = source.read(BLOCK)
        if not block:
            break
        held.append(memoryview(block))
        try:
            _scan(scanner, block, look, doing)
        finally:
            flush()
    try:
        scanner.finish()
    except Damaged as error:
        raise _damaged(doing, error) from error
    return look.found


class Watched:
    """A reader that looks at the archive that a push makes, on its way into the store; ``found`` has the result.

    :raises EnvSyncError: (from :meth:`read`) the archive has a form that no pull would take.
    """

    def __init__(self, source: Reader, doing: str) -> None:
        self._source = source
        self._doing = doing
        self._scanner = Scanner()
        self._look = _Look(doing, (), allow_special=True)

    @property
    def found(self) -> Contents:
        return self._look.found

    def read(self, size: int) -> bytes:
        block = self._source.read(size)
        if block:
            _scan(self._scanner, block, self._look, self._doing)
        return block

    def close(self) -> None:
        self._source.close()


def _scan(scanner: Scanner, block: bytes, look: _Look, doing: str) -> None:
    try:
        for entry in scanner.feed(block):
            look.at(entry)
    except Damaged as error:
        raise _damaged(doing, error) from error


def _damaged(doing: str, error: Damaged) -> EnvSyncError:
    return EnvSyncError(doing, f"the archive is damaged: {error}", "Choose another point (--list).")


class _Look:
    """The rules, and what they need to know of the members before."""

    def __init__(self, doing: str, root: Sequence[str], allow_special: bool) -> None:
        self._doing = doing
        self._root = [part.encode("utf-8", "surrogateescape") for part in root]
        self._allow_special = allow_special
        self._links: set[bytes] = set()
        self.found = Contents()

    def at(self, entry: Entry) -> None:
        known = entry.kind in tar_headers.FILES or entry.kind in tar_headers.EMPTY
        if not known:
            raise self._refusal(entry.name, f"is of the unknown type {entry.kind!r}")
        path = self._path(entry.name, entry.name)
        if not path and entry.kind != tar_headers.FOLDER:
            raise self._refusal(entry.name, "would replace the tree itself")
        if entry.name.endswith(b"/") and entry.kind != tar_headers.FOLDER:
            raise self._refusal(entry.name, "has the name of a folder, and would be one or a file")
        if entry.kind == tar_headers.HARD_LINK:
            if not entry.link:
                raise self._refusal(entry.name, "is a link to nothing")
            target = self._path(entry.link, entry.name)
            if target in self._links:
                self._links.add(path)  # it is the same link under a second name
        elif entry.kind == tar_headers.SYMBOLIC_LINK:
            self._links.add(path)
        special = _special(entry)
        if special:
            self._note(entry.name, special)
        self.found.entries += 1
        self.found.rooted = self.found.rooted or not path

    def _note(self, name: bytes, special: str) -> None:
        if not self._allow_special:
            raise EnvSyncError(
                self._doing,
                f"its member {_shown(name)} {special}",
                "Set allow_special_files where the tree is meant to have such files; else find out who made it, and "
                "choose another point (--list).",
            )
        self.found.special += 1
        if len(self.found.examples) < _SHOWN:
            self.found.examples.append(f"{_shown(name)} {special}")

    def _path(self, name: bytes, of_member: bytes) -> bytes:
        """Return ``name`` relative to the tree; refuse one that is outside, or reached through a symbolic link."""
        if not name:
            raise self._refusal(of_member, "has no name")
        given = name.split(b"/")
        parts = [part for part in given if part not in (b"", b".")]
        if name.startswith(b"/") or b".." in parts or parts[: len(self._root)] != self._root:
            raise self._refusal(of_member, "leads out of the tree")
        # tar counts what it strips with every "." and every second slash.
        inner = given[1:] if given[0] == b"." and not self._root else given
        if inner[-1:] == [b""]:
            inner = inner[:-1]
        if name != b"." and inner != parts:
            raise self._refusal(of_member, "leads through . or an empty name")
        parts = parts[len(self._root) :]
        if self._links:
            for count in range(1, len(parts)):
                if b"/".join(parts[:count]) in self._links:
                    raise self._refusal(of_member, "leads through a symbolic link")
        return b"/".join(parts)

    def _refusal(self, name: bytes, why: str) -> EnvSyncError:
        return EnvSyncError(
            self._doing,
            f"its member {_shown(name)} {why}",
            "No push makes such a member: find out who wrote to the store, and choose another point (--list).",
        )


def _special(entry: Entry) -> str:
    """Say why a member is special: what it would give to whoever can use it. Empty for what is not."""
    if entry.kind in (tar_headers.CHARACTER_DEVICE, tar_headers.BLOCK_DEVICE):
        return "is a device node"
    if entry.kind in tar_headers.FILES:
        if entry.mode & _SET_USER_ID:
            return "is a program that runs as its owner (set-user-ID)"
        if entry.mode & _SET_GROUP_ID:
            return "is a program that runs as its group (set-group-ID)"
    for name in entry.xattrs:
        if name == b"security.capability":
            return "is a program with capabilities (security.capability)"
        if not name.startswith(_HARMLESS_XATTRS):
            return f"has the attribute {_shown(name)}, which is the system's"
    return ""


def _shown(name: bytes) -> str:
    return shown(name.decode("utf-8", "surrogateescape"))


def special_files(count: int) -> str:
    """Return a number of special files in words."""
    return "1 special file" if count == 1 else f"{count} special files"


def shown(name: str) -> str:
    """Return a file's name as it can be printed, whatever its bytes are."""
    return visible(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
