# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A source of bytes, which all that moves data reads from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Protocol

BLOCK = 1024 * 1024


class Reader(Protocol):
    """A source of bytes. ``read`` gives at most ``size`` bytes; ``b""`` means the end, reached without error."""

    def read(self, size: int) -> bytes:
        """Return the next bytes, ``b""`` at the end; raise when the source turned out to be incomplete."""

    def close(self) -> None:
        """Let go of the source; safe to call twice."""


class BytesReader:
    """A :class:`Reader` over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def read(self, size: int) -> bytes:
        block, self._data = self._data[:size], self._data[size:]
        return bytes(block)

    def close(self) -> None:
        self._data = memoryview(b"")


class HashingReader:
    """A :class:`Reader` that counts and hashes what passes through it."""

    def __init__(self, source: Reader) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int) -> bytes:
        block = self._source.read(size)
        self._hash.update(block)
        self.size += len(block)
        return block

    def close(self) -> None:
        self._source.close()

    @property
    def sha256(self) -> str:
        """The SHA-256 (hex) of what has been read so far."""
        return self._hash.hexdigest()


def blocks(source: Reader, size: int = BLOCK) -> Iterator[bytes]:
    """Yield all that a source gives, in blocks of at most ``size`` bytes; raises what the source raises."""
    return iter(lambda: source.read(size), b"")


def write_all(descriptor: int, block: bytes) -> None:
    """Write the whole block, however little of it the kernel takes at once."""
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]
