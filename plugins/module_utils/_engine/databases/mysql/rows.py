# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a dump's statements are: no server takes one that is longer than its ``max_allowed_packet``.

The dump programs write several rows into one statement until it has about 1 MiB; a longer one has a single row. Bytes
are written as hexadecimal digits, which doubles them, so that a value of more than half of the limit would not fit.
Where it is loaded it is shortened (:func:`compact`), and where it is dumped that is counted (:class:`Longest`).
"""

from __future__ import annotations

import re

#: what the dump programs write into one statement, about, in bytes (mysqldump, net_buffer_length)
_USUAL = 1100 * 1024

#: a value of so many hexadecimal digits is worth being shortened; no text has that many in a row
_DIGITS = re.compile(rb"[0-9A-F]{256,}")

#: a text, which is left alone whatever is in it, or such a value
_VALUES = re.compile(rb"'[^'\\]*(?:(?:\\.|'')[^'\\]*)*'|0x([0-9A-F]{256,})", re.S)


class Longest:
    """How long the longest statement of a dump is, once it is compact, in bytes; fed with the dump, block by block."""

    def __init__(self) -> None:
        self._longest = 0
        self._length = self._whole = 0
        self._pieces: list[bytes] = []
        self._ended = False

    @property
    def length(self) -> int:
        """The length of the longest statement so far, in bytes."""
        return max(self._longest, self._length)

    def look(self, block: bytes) -> None:
        """Take the next block of the dump. A line feed in a row is always escaped, so what ends a statement shows."""
        start = 0
        if self._ended and block.startswith(b"\n"):
            self._length -= 1
            self._end()
            start = 1
        while True:
            at = block.find(b";\n", start)
            if at < 0:
                break
            self._add(block[start:at])
            self._end()
            start = at + 2
        self._add(block[start:])
        self._ended = block.endswith(b";")

    def _add(self, piece: bytes) -> None:
        self._length += len(piece)
        self._whole += len(piece)
        self._pieces.append(piece)
        if self._whole <= _USUAL:
            return
        # Only now is it known that digits matter: in a statement of the usual length nobody looks for them.
        for one in self._pieces:
            self._length -= sum(len(digits) // 2 for digits in _DIGITS.findall(one))
        self._pieces = []

    def _end(self) -> None:
        self._longest = max(self._longest, self._length)
        self._length = self._whole = 0
        self._pieces = []


def compact(insert: bytes) -> bytes:
    """Return an INSERT with its long values as bytes in quotes, not as twice as many digits."""
    return _VALUES.sub(_as_bytes, insert)


def _as_bytes(match: re.Match[bytes]) -> bytes:
    if match[1] is None or len(match[1]) % 2:
        return match[0]
    value = bytes.fromhex(match[1].decode("ascii"))
    return b"_binary'" + value.replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'"
