# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What members are compressed with: zstd in this process where its Python library is, and programs for the rest.

The library (``zstandard``) spares a process for each member, and the copying of every byte into a pipe and out of it:
a fifth of the time of a push (``benchmarks/postgresql.py``). Both write the same format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, cast

from ..errors import EnvSyncError
from .reader import BLOCK, Reader

try:
    import zstandard

    HAS_ZSTANDARD = True
except ImportError:
    HAS_ZSTANDARD = False

#: more threads than this gain nothing at levels that keep up with a dump, and at slow ones each takes 100 MB and more
MOST_THREADS = 8

#: what a member's name ends with, by its compression
SUFFIXES = {"zstd": ".zst", "gzip": ".gz", "none": ""}


@dataclass(frozen=True)
class Compression:
    """How members are compressed: ``kind`` is a key of :data:`SUFFIXES`, ``level`` as for :func:`compressor`."""

    kind: str
    level: int = 0

    @property
    def suffix(self) -> str:
        """What the name of a member ends with; empty where it is not compressed."""
        return SUFFIXES[self.kind]


def in_process(compression: str) -> bool:
    """Say whether this process does it by itself: :class:`Compressing` and :class:`Decompressing`."""
    return compression == "zstd" and HAS_ZSTANDARD


def compressor(compression: str, level: int, threads: int) -> tuple[str, ...]:
    """Return the argument vector that compresses standard input to standard output.

    :param level: 0 is this program's default: 1, which keeps up with a dump where higher ones do not.
    """
    if compression == "zstd":
        return ("zstd", "-q", "-c", f"-{level or 1}", f"-T{min(threads, MOST_THREADS)}")
    return ("gzip", "-c", "-n", f"-{min(level or 1, 9)}")


def decompressor(compression: str) -> tuple[str, ...]:
    """Return the argument vector that undoes :func:`compressor`."""
    return ("zstd", "-q", "-d", "-c") if compression == "zstd" else ("gzip", "-d", "-c")


class Compressing:
    """What a reader gives, compressed with zstd.

    :param level: as for :func:`compressor`.
    :param threads: how many threads compress while this one's reads; 1 (with which zstd's library wastes much of the
        processor on waiting) and less: this one does both.
    """

    def __init__(self, source: Reader, level: int, threads: int) -> None:
        self._source = source
        # With a checksum, as the program writes it: who unpacks by hand is told of damage.
        threads = min(threads, MOST_THREADS) if threads > 1 else 0
        made = zstandard.ZstdCompressor(level=level or 1, write_checksum=True, threads=threads)
        self._stream = made.stream_reader(cast(IO[bytes], source), read_size=BLOCK)

    def read(self, size: int) -> bytes:
        return self._stream.read(size)

    def close(self) -> None:
        self._source.close()


class Decompressing:
    """What a reader gives, which is compressed with zstd, as it was before.

    :param raw_size: how many bytes that has to be.
    :param doing: the first part of an error.
    """

    def __init__(self, source: Reader, raw_size: int, doing: str) -> None:
        self._source = source
        made = zstandard.ZstdDecompressor()
        self._stream = made.stream_reader(cast(IO[bytes], source), read_size=BLOCK, read_across_frames=True)
        self._left = raw_size
        self._doing = doing

    def read(self, size: int) -> bytes:
        try:
            block = self._stream.read(size)
        except zstandard.ZstdError as error:
            raise self._damaged(str(error)) from error
        self._left -= len(block)
        if self._left < 0 or (self._left and not block):
            raise self._damaged("it is not as long as the manifest says")  # the library tells of no end that is missing
        return block

    def close(self) -> None:
        self._source.close()

    def _damaged(self, why: str) -> EnvSyncError:
        return EnvSyncError(self._doing, why, "Choose another point (--list shows them) or push again.")
