# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a dump program writes, on its way to the store: looked at for its end, and cut into tables.

A line feed in a row is always escaped, so that what stands on a line of its own is the program's, and never data.
"""

from __future__ import annotations

from typing import Callable

from ...errors import EnvSyncError
from ...streams.reader import BLOCK, Reader
from .rows import Longest
from .statements import TRAILER

#: before each table's rows, in a dump of data
SECTION = b"\n--\n-- Dumping data for table "

#: and before each table's structure
_STRUCTURE = b"\n--\n-- Table structure for table "

#: how much of a dump's end is looked at for the trailer, in bytes
_TAIL = 4096

#: a dump's head, with the structure of the first table, is no longer than this, in bytes
_LONGEST_HEAD = 1024 * 1024


class Complete:
    """A dump on its way to the store (a reader): its end is given out only when it is the trailer.

    ``longest`` knows the length of the longest statement once all is read.
    """

    def __init__(self, source: Reader, doing: str) -> None:
        self._source = source
        self._doing = doing
        self._tail = b""
        self.longest = Longest()

    def read(self, size: int) -> bytes:
        block = self._source.read(size)
        if block:
            self.longest.look(block)
            self._tail = (self._tail + block[-_TAIL:])[-_TAIL:]
        else:
            require_trailer(self._tail, self._doing)
        return block

    def close(self) -> None:
        self._source.close()


class Listed:
    """A dump on its way to the store (a reader); ``look`` is called once the program has listed what there is to dump.

    It asks for the list, and then writes the structure of the first table, or its trailer where there is none.
    """

    def __init__(self, source: Reader, look: Callable[[], None]) -> None:
        self._source = source
        self._look = look
        self._looked = False
        self._tail = b""

    def read(self, size: int) -> bytes:
        block = self._source.read(size)
        if not self._looked:
            text = self._tail + block
            self._tail = text[1 - len(_STRUCTURE) :]
            if not block or _STRUCTURE in text:
                self._looked = True
                self._look()
        return block

    def close(self) -> None:
        self._source.close()


def require_trailer(tail: bytes, doing: str) -> None:
    """Raise unless the end of a dump is the trailer's line.

    :param tail: its last bytes, at least that line.
    """
    if not tail.rstrip().rpartition(b"\n")[2].startswith(TRAILER):
        raise EnvSyncError(doing, "the dump program ended without its last line (-- Dump completed)", "Push again.")


class Sections:
    """A dump of several tables, cut into one dump of rows for each: all with the same head and a trailer.

    What it has of the tables' structure is left out. A line feed in a row is always escaped, so what divides the tables
    can't be data.
    """

    def __init__(self, source: Reader, doing: str) -> None:
        self._source = source
        self._doing = doing
        self._buffer = b""
        self._head = b""
        self._tail = b""
        self._eof = False
        self.longest = Longest()

    def begin(self) -> None:
        """Read on to the first table: once the program writes that, it has its snapshot."""
        while SECTION not in self._buffer and not self._eof and len(self._buffer) < _LONGEST_HEAD:
            self._fill()
        at = self._divider()
        if at >= 0:
            self._head, self._buffer = self._buffer[:at], self._buffer[at:]

    def next(self) -> Section | None:
        """Return the next table's part, to be read to its end before the one after it; None when there is no more."""
        while not self._buffer.startswith(SECTION):
            at = self._buffer.find(SECTION)
            if at < 0 and self._eof:
                return None
            self._buffer = self._buffer[at if at >= 0 else 1 - len(SECTION) :]
            if at < 0:
                self._fill()
        self._buffer = self._buffer[len(SECTION) :]
        while b"\n" not in self._buffer and not self._eof:
            self._fill()
        return Section(self, self._head + SECTION, self._buffer.partition(b"\n")[0])

    def _fill(self) -> None:
        block = self._source.read(BLOCK)
        self.longest.look(block)
        self._buffer += block
        self._eof = not block
        self._tail = (self._tail + block[-_TAIL:])[-_TAIL:]
        if self._eof:
            require_trailer(self._tail, self._doing)

    def _divider(self) -> int:
        """Return where in the buffer the rows of another table begin, or its structure; -1: nowhere."""
        found = [at for at in (self._buffer.find(SECTION), self._buffer.find(_STRUCTURE)) if at >= 0]
        return min(found, default=-1)

    def take(self) -> tuple[bytes, bool]:
        """Return the next bytes of the table, and whether they are its last."""
        kept = max(len(SECTION), len(_STRUCTURE)) - 1
        while len(self._buffer) <= kept and not self._eof:
            self._fill()
        at = self._divider()
        if at >= 0:
            taken, self._buffer = self._buffer[:at], self._buffer[at:]
            return taken + b"\n" + TRAILER + b"\n", True
        if self._eof:
            taken, self._buffer = self._buffer, b""
            return taken, True
        taken, self._buffer = self._buffer[:-kept], self._buffer[-kept:]
        return taken, False

    def close(self) -> None:
        self._source.close()


class Section:
    """One table's part of a dump of several (a reader).

    :param title: the table's name, as the program has it in the comment before the rows.
    """

    def __init__(self, sections: Sections, head: bytes, title: bytes) -> None:
        self.title = title
        self._sections = sections
        self._given = memoryview(head)
        self._last = False

    def read(self, size: int) -> bytes:
        while not self._given and not self._last:
            taken, self._last = self._sections.take()
            self._given = memoryview(taken)
        block, self._given = bytes(self._given[:size]), self._given[size:]
        return block

    def close(self) -> None:
        """Nothing: the dump goes on with the next table."""
