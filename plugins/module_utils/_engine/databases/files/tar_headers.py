# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The headers of a tar archive, read as GNU tar reads them, and as nothing else could.

Python's tarfile and GNU tar read some headers differently (which of two names counts, whose prefix is a prefix, what a
global header or a second long name does): an archive can be one thing to who looks at it and another to who unpacks it.
So only what GNU tar itself writes may pass: its formats ``posix`` and ``gnu``, each header in the one form that leaves
no choice. Everything else is refused, even where it would do no harm.

(GNU tar manual, "Basic Tar Format" and "Extended headers"; POSIX, pax, "pax Extended Header"; the sources of GNU tar
1.34, list.c, xheader.c, sparse.c.)
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field

RECORD = 512

REGULAR, OLD_REGULAR, CONTIGUOUS, OLD_SPARSE = b"0", b"\0", b"7", b"S"
HARD_LINK, SYMBOLIC_LINK, CHARACTER_DEVICE, BLOCK_DEVICE, FOLDER, FIFO = b"1", b"2", b"3", b"4", b"5", b"6"
FILES = frozenset((REGULAR, OLD_REGULAR, CONTIGUOUS, OLD_SPARSE))
EMPTY = frozenset((HARD_LINK, SYMBOLIC_LINK, CHARACTER_DEVICE, BLOCK_DEVICE, FOLDER, FIFO))
_PAX, _LONG_NAME, _LONG_LINK = b"x", b"L", b"K"
_EXTENSIONS = frozenset((_PAX, _LONG_NAME, _LONG_LINK))

#: what an extension may take, in bytes: long names, extended attributes and access lists
LARGEST_EXTENSION = 8 * 1024 * 1024

_POSIX_MAGIC = b"ustar\x0000"
_GNU_MAGIC = b"ustar  \0"

_OCTAL = re.compile(rb" *[0-7]+[ \0]*\Z")
_PAX_LENGTH = re.compile(rb"[1-9]\d{0,8} ")
_SECONDS = re.compile(rb"-?\d{1,18}(\.\d{1,18})?\Z")
_COUNT = re.compile(rb"\d{1,18}\Z")
_ANY = re.compile(rb".*\Z", re.DOTALL)
_SOME = re.compile(rb"[^\0]+\Z", re.DOTALL)

#: what a pax header may say, and how: two keywords of one meaning (a sparse file's older names) are left out
_KEYWORDS = {
    b"path": _SOME,
    b"linkpath": _SOME,
    b"size": _COUNT,
    b"uid": _COUNT,
    b"gid": _COUNT,
    b"uname": _SOME,
    b"gname": _SOME,
    b"mtime": _SECONDS,
    b"atime": _SECONDS,
    b"ctime": _SECONDS,
    b"comment": _ANY,
    b"GNU.sparse.major": re.compile(rb"1\Z"),
    b"GNU.sparse.minor": re.compile(rb"0\Z"),
    b"GNU.sparse.name": _SOME,
    b"GNU.sparse.realsize": _COUNT,
    b"SCHILY.acl.access": _SOME,
    b"SCHILY.acl.default": _SOME,
    b"SCHILY.acl.ace": _SOME,
    b"RHT.security.selinux": _SOME,
}
XATTR = b"SCHILY.xattr."
_SPARSE = frozenset(key for key in _KEYWORDS if key.startswith(b"GNU.sparse."))

#: numbers that are not looked at where a program may have left them blank
_MAY_BE_BLANK = frozenset(("devmajor", "devminor"))


class Damaged(Exception):
    """The archive is not whole, or not one of GNU tar's; the text says why, as a clause without a full stop."""


@dataclass(frozen=True)
class Entry:
    """One member, as GNU tar will read it. Names are bytes as they are in the archive.

    ``mode`` has the permissions with set-user-ID, set-group-ID and sticky; ``size`` is how many bytes follow the
    header; ``xattrs`` are the names of its extended attributes.
    """

    name: bytes
    kind: bytes
    link: bytes
    mode: int
    size: int
    xattrs: tuple[bytes, ...]


@dataclass
class _Extended:
    """What stands before a header and belongs to it."""

    pax: dict[bytes, bytes] = field(default_factory=dict)
    long_name: bytes | None = None
    long_link: bytes | None = None
    seen: set[bytes] = field(default_factory=set)


class Scanner:
    """Reads an archive as it passes, in whatever blocks it comes.

    ``passed`` is up to which offset the archive has been found good: all of an entry's bytes are, also those that are
    still to come, as soon as :meth:`feed` has returned its entry and is called again. Nothing behind that may be acted
    on.
    """

    def __init__(self) -> None:
        self.passed = 0
        self._position = 0
        self._buffer = bytearray()
        self._skip = 0
        self._ended = False
        self._zeros = 0
        self._found: Entry | None = None
        self._parser = self._entries()
        self._wanted = next(self._parser)

    def feed(self, block: bytes | memoryview) -> Generator[Entry, None, None]:
        """Take the next bytes, and give the entries whose headers are complete by now; each has to be asked for.

        :raises Damaged: what came is not part of an archive of GNU tar's.
        """
        view = memoryview(block)
        while True:
            if self._skip:
                taken = min(self._skip, len(view))
                view = view[taken:]
                self._skip -= taken
                self._position += taken
            if self._ended:
                self._look_at_end(view)
                return
            if self._skip or (not view and len(self._buffer) < self._wanted):
                return
            missing = self._wanted - len(self._buffer)
            self._buffer += view[:missing]
            view = view[missing:]
            if len(self._buffer) < self._wanted:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
            self._position += len(data)
            wanted = self._parser.send(data)
            if self._found is not None:
                yield self._found
                self._skip = _padded(self._found.size)
                self.passed = self._position + self._skip
                self._found = None
            self._wanted = wanted

    def finish(self) -> None:
        """There is no more: raise unless the archive came to its end."""
        if not self._ended or self._zeros < 2 * RECORD:
            raise Damaged("it has no end")

    def _look_at_end(self, view: memoryview) -> None:
        if bytes(view).strip(b"\0"):
            raise Damaged("something follows its end")
        self._zeros += len(view)
        self._position += len(view)
        self.passed = self._position

    def _entries(self) -> Generator[int, bytes, None]:
        """Yield how many bytes are wanted next; leave an entry in ``_found`` when the last of its headers came."""
        extended = _Extended()
        while True:
            header = yield RECORD
            if not header.strip(b"\0"):
                if extended.seen:
                    raise Damaged("a long name or an extended header belongs to no member")
                self._ended = True
                self._zeros = RECORD
                self.passed = self._position
                yield RECORD
                return
            _check_form(header)
            kind = header[156:157]
            if kind in _EXTENSIONS:
                size = _number(header, "size")
                if not 0 < size <= LARGEST_EXTENSION:
                    raise Damaged(f"a header has {size} bytes, and {LARGEST_EXTENSION} at most are taken")
                if kind in extended.seen or (extended.seen and _PAX in (kind, *extended.seen)):
                    raise Damaged("a member has two headers of one meaning")
                extended.seen.add(kind)
                data = yield _padded(size)
                _extend(extended, kind, data[:size])
                continue
            if kind == OLD_SPARSE:
                more = header[482:483] != b"\0"
                while more:
                    more = (yield RECORD)[504:505] != b"\0"
            self._found = _entry(header, kind, extended)
            extended = _Extended()


def _padded(size: int) -> int:
    return -(-size // RECORD) * RECORD


_FIELDS = {
    "mode": (100, 108),
    "uid": (108, 116),
    "gid": (116, 124),
    "size": (124, 136),
    "mtime": (136, 148),
    "checksum": (148, 156),
    "devmajor": (329, 337),
    "devminor": (337, 345),
}


def _number(header: bytes, name: str) -> int:
    """Return a number of a header: octal digits, or GNU tar's binary form for what does not fit."""
    start, end = _FIELDS[name]
    raw = header[start:end]
    if raw[0] == 0x80:
        number = int.from_bytes(raw[1:], "big")
        if number < 2**63:
            return number
    elif raw[0] == 0xFF and name == "mtime":
        return int.from_bytes(raw, "big", signed=True)
    elif _OCTAL.match(raw):
        return int(raw.strip(b" \0"), 8)
    elif name in _MAY_BE_BLANK and not raw.strip(b" \0"):
        return 0
    raise Damaged(f"a header's {name} is not a number that GNU tar writes")


def _check_form(header: bytes) -> None:
    if header[257:265] not in (_POSIX_MAGIC, _GNU_MAGIC):
        raise Damaged("it has a header that GNU tar does not write")
    sum_of_all = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if _number(header, "checksum") != sum_of_all:
        raise Damaged("a header's checksum is wrong")
    for name in ("mode", "uid", "gid", "mtime", "devmajor", "devminor"):
        _number(header, name)


def _text(raw: bytes) -> bytes:
    return raw.partition(b"\0")[0]


def _extend(extended: _Extended, kind: bytes, data: bytes) -> None:
    """Read what stands before a header."""
    if kind == _PAX:
        extended.pax = _pax(data)
        return
    name = data[:-1]
    if not name or data[-1:] != b"\0" or b"\0" in name:
        raise Damaged("a long name does not end where it should")
    if kind == _LONG_NAME:
        extended.long_name = name
    else:
        extended.long_link = name


def _pax(data: bytes) -> dict[bytes, bytes]:
    """Return what a pax header says: records of the form ``LENGTH KEYWORD=VALUE`` and a line break."""
    said: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        length = _PAX_LENGTH.match(data, position)
        end = position + int(length[0]) if length else 0
        record = data[length.end() : end] if length else b""
        keyword, sign, value = record[:-1].partition(b"=")
        if end > len(data) or not sign or record[-1:] != b"\n":
            raise Damaged("an extended header cannot be read")
        form = _KEYWORDS.get(keyword)
        if keyword.startswith(XATTR) and _SOME.match(keyword[len(XATTR) :]):
            form = _ANY
        shown = keyword[:60].decode("ascii", "backslashreplace")
        if form is None:
            raise Damaged(f"an extended header says {shown}, which GNU tar does not write")
        if not form.match(value):
            raise Damaged(f"an extended header says {shown} in a form that GNU tar does not write")
        if keyword in said:
            raise Damaged(f"an extended header says {shown} twice")
        said[keyword] = value
        position = end
    there = _SPARSE & set(said)
    if there and (there != _SPARSE or b"path" in said):
        raise Damaged("an extended header describes a sparse file as GNU tar does not")
    return said


def _entry(header: bytes, kind: bytes, extended: _Extended) -> Entry:
    pax = extended.pax
    posix = header[257:265] == _POSIX_MAGIC
    # What stands before a header of the other format, programs read or pass over.
    if (pax and not posix) or (posix and (kind == OLD_SPARSE or extended.seen - {_PAX})):
        raise Damaged("a member mixes the formats posix and gnu")
    name = _text(header[:100])
    if posix and header[345:346] != b"\0":
        name = _text(header[345:500]) + b"/" + name
    name = pax.get(b"GNU.sparse.name") or pax.get(b"path") or extended.long_name or name
    link = pax.get(b"linkpath") or extended.long_link or _text(header[157:257])
    size = int(pax[b"size"]) if b"size" in pax else _number(header, "size")
    if kind in EMPTY and size:
        raise Damaged("a member that is not a file has contents")
    if _SPARSE & set(pax) and kind != REGULAR:
        raise Damaged("a member that is not a file is sparse")
    if size >= 2**62:
        raise Damaged(f"a member has {size} bytes")
    xattrs = tuple(keyword[len(XATTR) :] for keyword in pax if keyword.startswith(XATTR))
    return Entry(name, kind, link, _number(header, "mode"), size, xattrs)
