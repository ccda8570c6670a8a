# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read what ``mongodump`` writes, all of it: an archive says itself whether it is whole.

An archive (mongo-tools, common/archive/README.md) is a magic number, a prelude (a header, then a document for each
collection) and blocks. A block is a header that names a collection, documents, and a terminator; each collection ends
with a block whose header has ``EOF`` and the CRC-64 of its documents. There is no mark at the end of the archive:
what tells a whole one is that every collection of the prelude has ended.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import EnvSyncError, MissingLibrary
from ...streams.reader import Reader

try:
    import bson
    import bson.errors
    from bson import json_util

    HAS_BSON = True
except ImportError:
    HAS_BSON = False

try:
    import lzma

    HAS_LZMA = True
except ImportError:
    HAS_LZMA = False

_MAGIC = b"\x6d\xe2\x99\x81"
_TERMINATOR = 0xFFFFFFFF

#: the server's own limit for a document, with what it allows itself beyond that
_LARGEST_DOCUMENT = 16 * 1024 * 1024 + 16 * 1024

TIMESERIES = "timeseries"
VIEW = "view"
_BUCKETS = "system.buckets."

#: what a block's header has
_HEADER = {"db": str, "collection": str, "EOF": bool, "CRC": bson.Int64} if HAS_BSON else {}


def need_bson(needed_for: str) -> None:
    """Raise unless pymongo's ``bson`` can be imported."""
    if not HAS_BSON:
        raise MissingLibrary("bson", "pymongo", needed_for)


def extended_json(text: str) -> Any:
    """Return what a text in MongoDB's Extended JSON says.

    :raises ValueError: it is not Extended JSON.
    """
    need_bson("Extended JSON")
    try:
        return json_util.loads(text)
    except (TypeError, RecursionError, bson.errors.BSONError) as error:
        raise ValueError(f"it is no Extended JSON ({type(error).__name__})") from error


@dataclass
class Collection:
    """What a dump says of a collection or view.

    ``kind`` is ``collection``, ``view`` or ``timeseries``; ``options`` are those of the ``create`` command;
    ``indexes`` are as ``listIndexes`` gives them; ``documents`` is how many the dump holds.
    """

    name: str
    kind: str
    options: Mapping[str, Any]
    indexes: list[Mapping[str, Any]] = field(default_factory=list)
    documents: int = 0

    @classmethod
    def from_metadata(cls, name: str, text: str) -> Collection:
        """Return the collection that a metadata document (Extended JSON) describes.

        :raises ValueError: it does not describe one.
        """
        values = extended_json(text) if text else {}
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        options = values.get("options") or {}
        indexes = values.get("indexes") or []
        if not isinstance(options, dict) or not isinstance(indexes, list):
            raise ValueError("options that are not a document, or indexes that are not a list")
        if not all(isinstance(index, dict) and isinstance(index.get("name"), str) for index in indexes):
            raise ValueError("an index without a name")
        kind = str(values.get("type") or (VIEW if "viewOn" in options else "collection"))
        return cls(str(values.get("collectionName") or name), kind, options, indexes)


class Crc64:
    """The CRC-64 (ECMA-182, reflected) of what passes, compared at its end.

    It is the check of the xz format, and only there does Python have it in C: the data passes as the stored chunks of
    an xz stream, whose decoder raises when the check at the end is another. (The .xz file format, 1.1.0: 2.1, 3, 3.4.)
    """

    def __init__(self) -> None:
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ)
        self._control = b"\x01"
        self._written = 0
        flags = b"\x00\x04"
        header = b"\x02\x00\x21\x01\x08\x00\x00\x00"
        self._decoder.decompress(b"\xfd7zXZ\x00" + flags + _crc32(flags) + header + _crc32(header))

    def update(self, data: memoryview) -> None:
        for start in range(0, len(data), 0x10000):
            piece = data[start : start + 0x10000]
            self._decoder.decompress(b"".join((self._control, struct.pack(">H", len(piece) - 1), piece)))
            self._control = b"\x02"
            self._written += 3 + len(piece)

    def agrees(self, crc: int) -> bool:
        """Say whether the data that passed has this CRC; nothing may follow."""
        padding = -(self._written + 1) % 4
        try:
            self._decoder.decompress(b"\x00" * (1 + padding) + struct.pack("<Q", crc & 0xFFFFFFFFFFFFFFFF))
        except lzma.LZMAError:
            return False
        return True


def _crc32(data: bytes) -> bytes:
    return struct.pack("<I", binascii.crc32(data))


class Archive:
    """A reader that gives out an archive as it came, and raises at its end unless it was whole.

    ``collections`` goes by name, and is complete once :meth:`head` was called, or all was read.

    :param doing: what to say was being done when it turns out to be damaged.
    """

    def __init__(self, source: Reader, database: str, doing: str) -> None:
        need_bson("a MongoDB point")
        if not HAS_LZMA:
            raise MissingLibrary("lzma", "Python with its lzma module", "a MongoDB point")
        self._source = source
        self._database = database
        self._doing = doing
        self._buffer = bytearray()
        self._position = 0
        self._state = self._magic
        self._checks: dict[str, Crc64] = {}
        self._ended: set[str] = set()
        self._current = ""
        self._in_prelude = True
        self.collections: dict[str, Collection] = {}
        self.tool_version = ""
        self.server_version = ""

    def read(self, size: int) -> bytes:
        block = self._source.read(size)
        if block:
            self._feed(block)
        else:
            self._finish()
        return block

    def close(self) -> None:
        self._source.close()

    def head(self, block_size: int) -> bytes:
        """Read until the prelude has passed; return what was read, which may go on beyond it."""
        head = []
        while self._in_prelude:
            block = self.read(block_size)
            if not block:
                break
            head.append(block)
        return b"".join(head)

    # -- the format, a piece at a time: each state takes what it needs and says whether there was enough --------------

    def _feed(self, block: bytes) -> None:
        self._buffer += block
        while self._state():
            pass
        del self._buffer[: self._position]
        self._position = 0

    def _magic(self) -> bool:
        if len(self._buffer) < 4:
            return False
        if self._buffer[:4] != _MAGIC:
            raise self._damaged("it is no archive of mongodump")
        self._position = 4
        self._state = self._prelude
        return True

    def _piece(self) -> tuple[int, int] | None:
        """Return where the next document begins and ends ((x, x): a terminator); None when more has to come."""
        start = self._position
        if len(self._buffer) - start < 4:
            return None
        (size,) = struct.unpack_from("<I", self._buffer, start)
        if size == _TERMINATOR:
            self._position = start + 4
            return start, start
        if not 5 <= size <= _LARGEST_DOCUMENT:
            raise self._damaged(f"a document of {size} bytes cannot be")
        if len(self._buffer) - start < size:
            return None
        if self._buffer[start + size - 1] != 0:
            raise self._damaged("a document does not end where it should")
        self._position = start + size
        return start, start + size

    def _document(self, start: int, end: int) -> dict[str, Any]:
        try:
            return dict(bson.decode(bytes(self._buffer[start:end])))
        except (bson.errors.BSONError, ValueError, OverflowError, RecursionError) as error:
            raise self._damaged(f"a header cannot be read ({type(error).__name__})") from error

    def _prelude(self) -> bool:
        piece = self._piece()
        if piece is None:
            return False
        if piece[0] == piece[1]:
            self._in_prelude = False
            self._state = self._block
            return True
        document = self._document(*piece)
        if "version" in document:
            self.tool_version = str(document.get("tool_version", ""))
            self.server_version = str(document.get("server_version", ""))
        elif document.get("db") == self._database:
            name = str(document.get("collection"))
            try:
                collection = Collection.from_metadata(name, str(document.get("metadata") or ""))
            except (ValueError, TypeError, KeyError) as error:
                raise self._damaged(f"what it says of collection {name} cannot be read") from error
            self.collections[name] = collection
        elif document.get("db"):
            raise self._damaged(f"it holds database {document.get('db')}")
        return True

    def _block(self) -> bool:
        """A block's header."""
        piece = self._piece()
        if piece is None:
            return False
        if piece[0] == piece[1]:
            raise self._damaged("a block has no header")
        header = self._document(*piece)
        if {key: type(value) for key, value in header.items()} != _HEADER:
            raise self._damaged("a block's header is none")
        name = str(header["collection"])
        known = name[len(_BUCKETS) :] if name.startswith(_BUCKETS) else name
        if header["db"] != self._database or known not in self.collections or name in self._ended:
            raise self._damaged(f"a block is of {header['db']}.{name}, which has ended or never began")
        self._current = name
        check = self._checks.setdefault(name, Crc64())
        if header["EOF"]:
            if not check.agrees(header["CRC"]):
                raise self._damaged(f"the CRC of collection {name} is another")
            del self._checks[name]
            self._ended.add(name)
            self._state = self._end_of_collection
        else:
            self._state = self._body
        return True

    def _body(self) -> bool:
        """Documents, as many as are there, up to the terminator."""
        first = last = self._position
        documents, ended = 0, False
        while True:
            piece = self._piece()
            if piece is None:
                break
            if piece[0] == piece[1]:
                ended = True
                break
            last = piece[1]
            documents += 1
        if documents:
            name = self._current
            with memoryview(self._buffer) as view, view[first:last] as part:
                self._checks[name].update(part)
            self.collections[name[len(_BUCKETS) :] if name.startswith(_BUCKETS) else name].documents += documents
        if ended:
            self._state = self._block
        return ended

    def _end_of_collection(self) -> bool:
        piece = self._piece()
        if piece is None:
            return False
        if piece[0] != piece[1]:
            raise self._damaged(f"something follows the end of collection {self._current}")
        self._state = self._block
        return True

    def _finish(self) -> None:
        if self._in_prelude or self._buffer or self._state != self._block:
            raise self._damaged("it ends in the middle")
        for name, collection in self.collections.items():
            if collection.kind != VIEW and not self._ended & {name, _BUCKETS + name}:
                raise self._damaged(f"it ends before collection {name} does")

    def _damaged(self, why: str) -> EnvSyncError:
        return EnvSyncError(
            self._doing, f"the archive is damaged: {why}", "Choose another point (--list shows them) or push again."
        )
