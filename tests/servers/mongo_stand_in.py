# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stand-ins for ``mongodump`` and ``mongorestore``, for machines that can't have MongoDB's own.

They speak to a real server and write and read the archive format of the MongoDB Database Tools as mongo-tools
documents it (common/archive), with the options that the engine uses and no others. They show that the engine works
with programs that do what those are documented to do; not that MongoDB's own do it.
"""

from __future__ import annotations

import argparse
import re
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote_plus, unquote_plus

import bson
import pymongo
from bson import json_util
from bson.raw_bson import RawBSONDocument

MAGIC = struct.pack("<I", 0x8199E26D)
TERMINATOR = b"\xff\xff\xff\xff"
_POLYNOMIAL = 0xC96C5795D7870F42
_BATCH = 200


def _table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _unused in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def crc64(data: bytes, crc: int = 0) -> int:
    """Return the CRC-64 (ECMA) as Go's hash/crc64 counts it."""
    crc ^= 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFFFFFFFFFF


def _signed(crc: int) -> Any:
    return bson.Int64(crc - (1 << 64) if crc >> 63 else crc)


def prelude(database: str, collections: Iterable[dict[str, Any]]) -> bytes:
    """Return an archive's beginning; each collection is a metadata document with ``collectionName`` and ``type``."""
    header = {"concurrent_collections": 4, "version": "0.1", "server_version": "7.0.0", "tool_version": "stand-in"}
    parts = [MAGIC, bson.encode(header)]
    for about in collections:
        text = json_util.dumps(about, json_options=json_util.CANONICAL_JSON_OPTIONS)
        item = {"db": database, "collection": about["collectionName"], "metadata": text, "size": 0}
        parts.append(bson.encode({**item, "type": about["type"]}))
    return b"".join([*parts, TERMINATOR])


def block(database: str, collection: str, documents: Iterable[bytes]) -> bytes:
    head = bson.encode({"db": database, "collection": collection, "EOF": False, "CRC": bson.Int64(0)})
    return head + b"".join(documents) + TERMINATOR


def end(database: str, collection: str, crc: int) -> bytes:
    head = bson.encode({"db": database, "collection": collection, "EOF": True, "CRC": _signed(crc)})
    return head + TERMINATOR


def _batches(collection: Any) -> Iterator[list[bytes]]:
    raw = collection.with_options(codec_options=bson.CodecOptions(document_class=RawBSONDocument))
    batch: list[bytes] = []
    for document in raw.find(batch_size=_BATCH):
        batch.append(document.raw)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def dump(database: Any, skip: Any, out: IO[bytes]) -> None:
    """Write an archive, the collections' blocks in turns."""
    described = [_metadata(database, info) for info in database.list_collections() if not skip(info["name"])]
    out.write(prelude(database.name, described))
    running = {about["collectionName"]: _batches(database[about["collectionName"]]) for about in described}
    crcs = dict.fromkeys(running, 0)
    while running:
        for name, batches in list(running.items()):
            batch = next(batches, None)
            if batch is None:
                out.write(end(database.name, name, crcs[name]))
                del running[name]
            else:
                crcs[name] = crc64(b"".join(batch), crcs[name])
                out.write(block(database.name, name, batch))
        out.flush()


def dump_directory(database: Any, skip: Any, folder: Path) -> None:
    """Write a directory as ``mongodump --out`` does."""
    (folder / database.name).mkdir(parents=True)
    for info in database.list_collections():
        if not skip(info["name"]):
            stem = folder / database.name / quote_plus(info["name"])
            documents = b"".join(document for batch in _batches(database[info["name"]]) for document in batch)
            Path(f"{stem}.bson").write_bytes(documents)
            Path(f"{stem}.metadata.json").write_text(json_util.dumps(_metadata(database, info)), encoding="utf-8")


def _metadata(database: Any, info: dict[str, Any]) -> dict[str, Any]:
    name = info["name"]
    indexes = list(database[name].list_indexes())
    return {"options": info["options"], "indexes": indexes, "collectionName": name, "type": info["type"]}


class Restore:
    """Where documents and indexes go: each collection under its new name."""

    def __init__(self, client: Any, options: argparse.Namespace) -> None:
        self._client = client
        self._options = options
        self._included = _pattern(options.nsInclude)
        self._excluded = [_pattern(pattern) for pattern in options.nsExclude]
        self._metadata: dict[str, dict[str, Any]] = {}

    def target(self, namespace: str) -> Any:
        """Return the collection that the namespace is restored to; None when it is left out."""
        if not self._included.fullmatch(namespace) or any(p.fullmatch(namespace) for p in self._excluded):
            return None
        match = _pattern(self._options.nsFrom).fullmatch(namespace)
        assert match, namespace
        database, _dot, name = self._options.nsTo.replace("*", match[1]).partition(".")
        return self._client[database][name]

    def create(self, namespace: str, about: dict[str, Any]) -> None:
        target = self.target(namespace)
        if target is not None:
            target.database.command({"create": target.name, **about.get("options", {})})
            self._metadata[namespace] = about

    def insert(self, namespace: str, documents: list[bytes]) -> None:
        target = self.target(namespace)
        if target is not None and documents:
            target.insert_many([RawBSONDocument(document) for document in documents], ordered=False)

    def index(self) -> None:
        for namespace, about in self._metadata.items():
            target = self.target(namespace)
            indexes = [{k: v for k, v in i.items() if k not in ("v", "ns")} for i in about["indexes"]]
            indexes = [index for index in indexes if index["name"] != "_id_"]
            if indexes:
                target.database.command({"createIndexes": target.name, "indexes": indexes})


def _pattern(text: str) -> re.Pattern[str]:
    parts = re.split(r"(?<!\\)\*", text)
    return re.compile("(.*)".join(re.escape(re.sub(r"\\(.)", r"\1", part)) for part in parts))


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError("unexpected EOF")
    return data


def _piece(stream: IO[bytes]) -> bytes | None:
    """Return the next document; None for a terminator."""
    head = _exactly(stream, 4)
    return None if head == TERMINATOR else head + _exactly(stream, struct.unpack("<I", head)[0] - 4)


def restore(to: Restore, source: IO[bytes]) -> None:
    """Read an archive and restore it as it comes."""
    if _exactly(source, 4) != MAGIC:
        raise ValueError("stream or file does not appear to be a mongodump archive")
    _piece(source)
    while (piece := _piece(source)) is not None:
        about = bson.decode(piece)
        to.create(f"{about['db']}.{about['collection']}", json_util.loads(about["metadata"]))
    while head := source.read(4):
        header = bson.decode(head + _exactly(source, struct.unpack("<I", head)[0] - 4))
        documents = list(iter(lambda: _piece(source), None))
        to.insert(f"{header['db']}.{header['collection']}", [d for d in documents if d is not None])
    to.index()


def restore_directory(to: Restore, folder: Path) -> None:
    for metadata in sorted(folder.glob("*/*.metadata.json")):
        stem = metadata.name[: -len(".metadata.json")]
        namespace = f"{metadata.parent.name}.{unquote_plus(stem)}"
        to.create(namespace, json_util.loads(metadata.read_text(encoding="utf-8")))
        data = (metadata.parent / f"{stem}.bson").read_bytes()
        to.insert(namespace, [bytes(document.raw) for document in bson.decode_all(data, _RAW)])
    to.index()


_RAW = bson.CodecOptions(document_class=RawBSONDocument)


def main(program: str, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog=program, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"{program} stand-in")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--archive", action="store_true")
    parser.add_argument("--numParallelCollections", type=int)
    if program == "mongodump":
        parser.add_argument("--db", required=True)
        parser.add_argument("--out", type=Path)
        parser.add_argument("--excludeCollection", action="append", default=[])
        parser.add_argument("--excludeCollectionsWithPrefix", action="append", default=[])
    else:
        parser.add_argument("--dir", type=Path)
        parser.add_argument("--stopOnError", action="store_true")
        for name in ("--nsInclude", "--nsFrom", "--nsTo"):
            parser.add_argument(name, required=True)
        parser.add_argument("--nsExclude", action="append", default=[])
    options = parser.parse_args(arguments)
    if options.config.stat().st_mode & 0o077:
        raise PermissionError("the config file is not for its owner alone")
    uri = options.config.read_text(encoding="utf-8").strip()[len("uri: '") : -1].replace("''", "'")
    with pymongo.MongoClient(uri, serverSelectionTimeoutMS=5000) as client:
        if program == "mongodump":
            prefixes = tuple(options.excludeCollectionsWithPrefix)

            def skip(name: str) -> bool:
                return name in options.excludeCollection or name.startswith(prefixes)

            if options.out:
                dump_directory(client[options.db], skip, options.out)
            else:
                dump(client[options.db], skip, sys.stdout.buffer)
        elif options.dir:
            restore_directory(Restore(client, options), options.dir)
        else:
            restore(Restore(client, options), sys.stdin.buffer)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
    except (EOFError, ValueError, pymongo.errors.PyMongoError, OSError) as failure:
        print(f"Failed: {failure}", file=sys.stderr)
        sys.exit(1)
