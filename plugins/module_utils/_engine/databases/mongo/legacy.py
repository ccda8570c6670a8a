# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the original stored of a MongoDB database: a gzipped tar of the directory that ``mongodump`` wrote."""

from __future__ import annotations

import os
import shutil
import struct
import tarfile
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import unquote_plus

from ...errors import EnvSyncError
from ...streams.reader import BLOCK, Reader
from .archive import Collection, need_bson

#: what a manifest calls this form
FORMAT = "tar"

_BSON = ".bson"
_METADATA = ".metadata.json"
#: the server's and the tool's version, from mongodump 100.12 on; nothing depends on it
_PRELUDE = "prelude.json"

#: metadata of one collection; a file larger than this is something else
_LARGEST_METADATA = 16 * 1024 * 1024

#: what a tar ends with: two blocks of zeros, and more of them
_END = b"\0" * 1024

_LARGEST_DOCUMENT = 16 * 1024 * 1024 + 16 * 1024

#: what has to stay free on the file system beside the files, in bytes
_RESERVE = 64 * 1024 * 1024


def scan(reader: Reader, database: str, doing: str, directory: str = "") -> dict[str, Collection]:
    """Read all of a tar; return its collections by name, with the number of documents counted in each.

    :param directory: where to put the files, in a folder named after the database; empty: nowhere.
    :raises EnvSyncError: it is damaged, or holds what no dump of ``database`` holds, or there is no room.
    """
    need_bson("a MongoDB point")
    if directory:
        os.makedirs(os.path.join(directory, database), mode=0o700)
    described: dict[str, Collection] = {}
    counts: dict[str, int] = {}
    source = _Stream(reader)
    try:
        for stem, suffix, size, stream in _files(source, database, doing):
            if directory and size + _RESERVE > shutil.disk_usage(directory).free:
                raise EnvSyncError(
                    doing, f"there is no room for {stem}{suffix} ({size} bytes) in {directory}", "Set temppath."
                )
            path = os.path.join(directory, database, stem + suffix) if directory else os.devnull
            with open(path, "wb") as copy:
                if suffix == _BSON:
                    counts[stem] = _documents(stream, copy, size, f"{stem}{suffix}", doing)
                else:
                    described[stem] = _metadata(stream, copy, size, stem, doing)
        while source.read(BLOCK):  # what follows the tar's own end: the decompressor's verdict comes after it
            pass
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise _damaged(doing, str(error)) from error
    if source.tail != _END:
        # One that was cut between two files is as good as a whole one to tarfile.
        raise _damaged(doing, "the tar has no end")
    collections = {}
    for stem in sorted(set(described) | set(counts)):
        collection = described.get(stem) or Collection(unquote_plus(stem), "collection", {})
        collection.documents = counts.get(stem, 0)
        collections[collection.name] = collection
    if not collections:
        raise _damaged(doing, "it holds no collection")
    return collections


def _files(source: Any, database: str, doing: str) -> Iterator[tuple[str, str, int, IO[bytes]]]:
    """Give stem, suffix, size and contents of each file; refuse what is not a dump's."""
    with tarfile.open(fileobj=source, mode="r|") as tar:
        for entry in tar:
            parts = [part for part in entry.name.split("/") if part not in ("", ".")]
            if entry.isdir() and parts in ([], [database]):
                continue
            if entry.isfile() and parts in ([_PRELUDE], [database, _PRELUDE]):
                continue
            suffix = next((suffix for suffix in (_METADATA, _BSON) if entry.name.endswith(suffix)), "")
            if "\0" in entry.name or entry.name.endswith(f"/{suffix}"):
                suffix = ""  # a name that no file can have, or of no collection
            if not entry.isfile() or not suffix or len(parts) != 2 or parts[0] != database or entry.name[0] == "/":
                raise EnvSyncError(
                    doing,
                    f"the tar holds {entry.name!r}, which no dump of {database} does",
                    "Choose another point (--list shows them).",
                )
            stream = tar.extractfile(entry)
            if stream is None:
                continue  # a folder or a link, which were refused above
            yield parts[1][: -len(suffix)], suffix, entry.size, stream


class _Stream:
    """What ``tarfile`` wants of a stream: as many bytes as it asks for, or all that there are."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        #: the last bytes that were read, as many as a tar's end has
        self.tail = b""

    def read(self, size: int) -> bytes:
        blocks = []
        while size > 0:
            block = self._reader.read(size)
            if not block:
                break
            blocks.append(block)
            size -= len(block)
        data = b"".join(blocks)
        self.tail = (self.tail + data[-len(_END) :])[-len(_END) :]
        return data


def _documents(stream: IO[bytes], copy: IO[bytes], size: int, name: str, doing: str) -> int:
    """Copy a file of BSON documents; return how many there are."""
    count, left = 0, size
    while left:
        head = stream.read(4)
        length = struct.unpack("<I", head)[0] if len(head) == 4 else 0
        if not 5 <= length <= min(left, _LARGEST_DOCUMENT):
            raise _damaged(doing, f"{name}: document {count + 1} cannot be")
        body = stream.read(length - 4)
        if len(body) != length - 4 or body[-1] != 0:
            raise _damaged(doing, f"{name}: document {count + 1} does not end where it should")
        copy.write(head)
        copy.write(body)
        left -= length
        count += 1
    return count


def _metadata(stream: IO[bytes], copy: IO[bytes], size: int, stem: str, doing: str) -> Collection:
    text = stream.read(_LARGEST_METADATA)
    if size > _LARGEST_METADATA or len(text) != size:
        raise _damaged(doing, f"{stem}{_METADATA} has {size} bytes")
    copy.write(text)
    try:
        return Collection.from_metadata(unquote_plus(stem), text.decode("utf-8"))
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(doing, f"{stem}{_METADATA} cannot be read") from error


def _damaged(doing: str, why: str) -> EnvSyncError:
    return EnvSyncError(doing, f"the dump is damaged: {why}", "Choose another point (--list shows them).")
