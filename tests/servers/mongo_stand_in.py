# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stand-ins for ``mongodump`` and ``mongorestore``, for machines that can't have MongoDB's own.

They speak to a real server and write and read the archive format of the MongoDB Database Tools, with the options that
the engine uses and no others. What they write, what they say on standard error and their exit statuses are those seen
of mongodump and mongorestore 100.18.0 (docs/databases/mongo.md), their quirks with them: time limits of the address
taken for seconds, the address with its password in what they say when nobody answers, an index's ``ns``, an empty block
before a collection's end. They show that the engine works with programs that do so; not that MongoDB's own always will.
"""

from __future__ import annotations

import argparse
import datetime
import re
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.parse import parse_qs, quote_plus, unquote_plus, urlsplit

import bson
import pymongo
from bson import json_util
from bson.raw_bson import RawBSONDocument

VERSION = "100.18.0-stand-in"
MAGIC = struct.pack("<I", 0x8199E26D)
TERMINATOR = b"\xff\xff\xff\xff"
_POLYNOMIAL = 0xC96C5795D7870F42
_BATCH = 200
_LARGEST_DOCUMENT = 16 * 1024 * 1024 + 16 * 1024
_RAW = bson.CodecOptions(document_class=RawBSONDocument)


class Failed(Exception):
    """What the program ends with."""


def say(text: str) -> None:
    """Say something as MongoDB's programs do: on standard error, after the time and a tab."""
    now = datetime.datetime.now(datetime.timezone.utc)
    print(f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}+0000\t{text}", file=sys.stderr, flush=True)


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


def prelude(database: str, collections: Iterable[dict[str, Any]], server_version: str = "7.0.0") -> bytes:
    """Return an archive's beginning; each collection is a metadata document with ``collectionName`` and ``type``."""
    header = {"concurrent_collections": 4, "version": "0.1", "server_version": server_version, "tool_version": VERSION}
    parts = [MAGIC, bson.encode(header)]
    for about in collections:
        item = {"db": database, "collection": about["collectionName"], "metadata": _text(about), "size": 0}
        parts.append(bson.encode({**item, "type": about["type"]}))
    return b"".join([*parts, TERMINATOR])


def _text(about: dict[str, Any]) -> str:
    return json_util.dumps(about, json_options=json_util.CANONICAL_JSON_OPTIONS)


def block(database: str, collection: str, documents: Iterable[bytes]) -> bytes:
    head = bson.encode({"db": database, "collection": collection, "EOF": False, "CRC": bson.Int64(0)})
    return head + b"".join(documents) + TERMINATOR


def end(database: str, collection: str, crc: int) -> bytes:
    head = bson.encode({"db": database, "collection": collection, "EOF": True, "CRC": _signed(crc)})
    return head + TERMINATOR


def _batches(collection: Any) -> Iterator[list[bytes]]:
    """Give a collection's documents; in the end an empty batch, where MongoDB's own writes an empty block."""
    batch: list[bytes] = []
    for document in collection.with_options(codec_options=_RAW).find(batch_size=_BATCH):
        batch.append(document.raw)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch


def _described(database: Any, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the metadata of each collection and view that is to be dumped."""
    prefixes = tuple(options.excludeCollectionsWithPrefix)
    described = []
    for info in database.list_collections():
        name = info["name"]
        system = (name.startswith("system.") and name != "system.js") or "$" in name
        if system or name in options.excludeCollection or name.startswith(prefixes):
            continue
        about = {"indexes": [] if info["type"] == "view" else list(database[name].list_indexes())}
        if info["options"]:
            about["options"] = info["options"]
        if "uuid" in info["info"]:
            about["uuid"] = bytes(info["info"]["uuid"]).hex()
        described.append({**about, "collectionName": name, "type": info["type"]})
    return described


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def dump(database: Any, options: argparse.Namespace, version: str, out: IO[bytes]) -> None:
    """Write an archive, the collections' blocks in turns."""
    described = _described(database, options)
    out.write(prelude(database.name, described, version))
    running: dict[str, Iterator[list[bytes]]] = {}
    for about in described:
        name = about["collectionName"]
        say(f"writing `{database.name}.{name}` to `archive on stdout`")
        running[name] = iter([[]]) if about["type"] == "view" else _batches(database[name])
    crcs, counts = dict.fromkeys(running, 0), dict.fromkeys(running, 0)
    while running:
        for name, batches in list(running.items()):
            batch = next(batches, None)
            if batch is None:
                out.write(end(database.name, name, crcs[name]))
                del running[name]
                say(f"done dumping `{database.name}.{name}` ({_plural(counts[name], 'document')})")
            else:
                crcs[name] = crc64(b"".join(batch), crcs[name])
                counts[name] += len(batch)
                out.write(block(database.name, name, batch))
        out.flush()


def dump_directory(database: Any, options: argparse.Namespace, version: str) -> None:
    """Write a directory."""
    folder = options.out / database.name
    for about in _described(database, options):
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / quote_plus(about["collectionName"])
        Path(f"{stem}.metadata.json").write_text(_text(about), encoding="utf-8")
        if about["type"] != "view":
            name = about["collectionName"]
            say(f"writing `{database.name}.{name}` to `{stem}.bson`")
            documents = [document for batch in _batches(database[name]) for document in batch]
            Path(f"{stem}.bson").write_bytes(b"".join(documents))
            say(f"done dumping `{database.name}.{name}` ({_plural(len(documents), 'document')})")
    if folder.is_dir():
        text = f'{{"ServerVersion":"{version}","ToolVersion":"{VERSION}"}}'
        (folder / "prelude.json").write_text(text, encoding="utf-8")


class Restore:
    """Where documents and indexes go: each collection under its new name."""

    def __init__(self, client: Any, options: argparse.Namespace) -> None:
        self._client = client
        self._options = options
        self._included = _pattern(options.nsInclude)
        self._excluded = [_pattern(pattern) for pattern in options.nsExclude]
        self._metadata: dict[str, dict[str, Any]] = {}
        self.counts: dict[str, int] = {}
        self.failures = 0

    def target(self, namespace: str) -> Any:
        """Return the collection that the namespace is restored to; None when it is left out."""
        if not self._included.fullmatch(namespace) or any(p.fullmatch(namespace) for p in self._excluded):
            return None
        match = _pattern(self._options.nsFrom).fullmatch(namespace)
        assert match, namespace
        database, _dot, name = self._options.nsTo.replace("*", match[1]).partition(".")
        return self._client[database][name]

    def create(self, namespace: str, about: dict[str, Any], location: str) -> None:
        target = self.target(namespace)
        if target is None:
            return
        self._metadata[namespace] = about
        self.counts[namespace] = 0
        name = f"{target.database.name}.{target.name}"
        if target.name in target.database.list_collection_names():
            say(f"restoring to existing collection `{name}` without dropping")
        else:
            own = {index["name"]: {k: v for k, v in index.items() if k != "v"} for index in about["indexes"]}
            first = {"idIndex": {**own["_id_"], "ns": name}} if "_id_" in own else {}
            try:
                target.database.command({"create": target.name, **about.get("options", {}), **first})
            except pymongo.errors.OperationFailure as error:
                raise Failed(
                    f"{name}: error creating collection {name}: error running create command: {error}"
                ) from error
        say(f"restoring `{name}` from `{location}`")

    def insert(self, namespace: str, documents: list[bytes], location: str) -> None:
        target = self.target(namespace)
        if target is None or not documents:
            return
        bypass = True if self._options.bypassDocumentValidation else None
        try:
            raw = [RawBSONDocument(document) for document in documents]
            target.insert_many(raw, ordered=False, bypass_document_validation=bypass)
            self.counts[namespace] += len(documents)
        except pymongo.errors.BulkWriteError as error:
            wrong = error.details["writeErrors"]
            self.failures += len(wrong)
            self.counts[namespace] += len(documents) - len(wrong)
            if self._options.stopOnError:
                why = f"bulk write exception: write errors: [{wrong[0]['errmsg']}]"
                name = f"{target.database.name}.{target.name}"
                raise Failed(f"{name}: error restoring from {location}: {why}") from error

    def index(self) -> None:
        for namespace, about in self._metadata.items():
            target = self.target(namespace)
            name = f"{target.database.name}.{target.name}"
            indexes = [{k: v for k, v in i.items() if k != "v"} for i in about["indexes"] if i["name"] != "_id_"]
            if not indexes:
                say(f"no indexes to restore for collection `{name}`")
                continue
            say(f"restoring indexes for collection `{name}` from metadata")
            for index in indexes:
                say(f"index: &idx.IndexDocument{{Options:bson.M{{{index!r}}}}}")
                index["ns"] = name
            command = {"createIndexes": target.name, "indexes": indexes, "ignoreUnknownIndexOptions": True}
            try:
                target.database.command(command)
            except pymongo.errors.OperationFailure as error:
                said = f"createIndex error: ({(error.details or {}).get('codeName')}) {error}"
                raise Failed(f"{name}: error creating indexes for {name}: {said}") from error


def _pattern(text: str) -> re.Pattern[str]:
    parts = re.split(r"(?<!\\)\*", text)
    return re.compile("(.*)".join(re.escape(re.sub(r"\\(.)", r"\1", part)) for part in parts))


def _piece(stream: IO[bytes], first: bool = False) -> bytes | None:
    """Return the next document; None for a terminator.

    :param first: nothing is an end here, given as an empty document.
    """
    head = stream.read(4)
    if first and not head:
        return b""
    if len(head) != 4:
        raise Failed(f"corruption found in archive; I/O error reading length or terminator ( {_eof(head)} )")
    if head == TERMINATOR:
        return None
    (size,) = struct.unpack("<I", head)
    if not 5 <= size <= _LARGEST_DOCUMENT:
        raise Failed(f"corruption found in archive; {size} is neither a valid bson length nor a archive terminator")
    rest = stream.read(size - 4)
    if len(rest) != size - 4:
        raise Failed(f"corruption found in archive; read bson ( {_eof(rest)} )")
    if rest[-1]:
        raise Failed(f"corruption found in archive; bson (size: {size}, byte: {rest[-1]}) doesn't end with a null byte")
    return head + rest


def _eof(read: bytes) -> str:
    return "unexpected EOF" if read else "EOF"


def restore(to: Restore, source: IO[bytes]) -> None:
    """Read an archive and restore it as it comes; what is wrong with it is known when it has been restored."""
    magic = source.read(4)
    if len(magic) != 4:
        raise Failed(f"I/O failure reading beginning of archive: {_eof(magic)}")
    if magic != MAGIC:
        raise Failed("stream or file does not appear to be a mongodump archive")
    _piece(source)
    say("preparing collections to restore from")
    unseen = {}
    while (piece := _piece(source)) is not None:
        about = bson.decode(piece)
        unseen[f"{about['db']}.{about['collection']}"] = json_util.loads(about["metadata"])
    opened: dict[str, int] = {}
    while head := _piece(source, first=True):
        header = bson.decode(head)
        namespace = f"{header['db']}.{header['collection']}"
        if namespace in unseen:
            to.create(namespace, unseen.pop(namespace), "archive on stdin")
            opened[namespace] = 0
        elif namespace not in opened:
            raise Failed("error demultiplexing archive; namespace header for already opened namespace")
        if header["EOF"] and (crc := opened.pop(namespace)) != header["CRC"] % 2**64:
            raise Failed(
                "corruption found in archive; ParserConsumer.HeaderBSON() ( "
                f"CRC mismatch for namespace `{namespace}`, {crc}!={header['CRC'] % 2**64} )"
            )
        documents = [document for document in iter(lambda: _piece(source), None) if document is not None]
        if documents and header["EOF"]:
            raise Failed("error demultiplexing archive; collection data without a collection header")
        if documents:
            opened[namespace] = crc64(b"".join(documents), opened[namespace])
        to.insert(namespace, documents, "archive on stdin")
    if head is None:
        raise Failed("corruption found in archive; consecutive terminators / headerless blocks are not allowed")
    if opened:
        names = ", ".join(f"`{name}`" for name in opened)
        raise Failed(f"error demultiplexing archive; archive finished but contained files were unfinished ({names})")
    for name in unseen:
        raise Failed(f"error demultiplexing archive; archive finished before all collections were seen (`{name}`)")
    to.index()


def restore_directory(to: Restore, folder: Path) -> None:
    if not folder.is_dir():
        raise Failed(f"mongorestore target '{folder}' invalid: stat {folder}: no such file or directory")
    say("preparing collections to restore from")
    for metadata in sorted(folder.glob("*/*.metadata.json")):
        stem = metadata.name[: -len(".metadata.json")]
        namespace = f"{metadata.parent.name}.{unquote_plus(stem)}"
        to.create(namespace, json_util.loads(metadata.read_text(encoding="utf-8")), str(metadata))
        data = metadata.parent / f"{stem}.bson"
        if data.exists():
            documents = [bytes(document.raw) for document in bson.decode_all(data.read_bytes(), _RAW)]
            to.insert(namespace, documents, str(data))
    to.index()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        say(f"error parsing command line options: {message}")
        say(f"try '{self.prog} --help' for more information")
        sys.exit(1)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=program, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"{program} version: {VERSION}")
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
        parser.add_argument("--bypassDocumentValidation", action="store_true")
        for name in ("--nsInclude", "--nsFrom", "--nsTo"):
            parser.add_argument(name, required=True)
        parser.add_argument("--nsExclude", action="append", default=[])
    return parser


def _client(uri: str) -> Any:
    """Return a client that waits as MongoDB's own programs do: milliseconds of the address are seconds to them."""
    given = {name.lower(): values[0] for name, values in parse_qs(urlsplit(uri).query).items()}
    limits = {name: int(given.get(name.lower(), 0)) * 1000 for name in ("connectTimeoutMS", "serverSelectionTimeoutMS")}
    return pymongo.MongoClient(uri, **{name: limit for name, limit in limits.items() if limit})


def main(program: str, arguments: list[str]) -> int:
    parser = _parser(program)
    options = parser.parse_args(arguments)
    if options.config.stat().st_mode & 0o077:
        raise PermissionError("the config file is not for its owner alone")
    uri = options.config.read_text(encoding="utf-8").strip()[len("uri: '") : -1].replace("''", "'")
    if urlsplit(uri).path.strip("/") not in ("", getattr(options, "db", "")):
        parser.error("Invalid Options: Cannot specify different database in connection URI and command-line option")
    with _client(uri) as client:
        try:
            version = client.admin.command("buildInfo")["version"]
        except pymongo.errors.PyMongoError as error:
            first = "Failed: can't create session: " if program == "mongodump" else "error connecting to host: "
            say(f"{first}failed to connect to {uri}: server selection error: {error}")
            return 1
        if program == "mongodump":
            try:
                if options.out:
                    dump_directory(client[options.db], options, version)
                else:
                    dump(client[options.db], options, version, sys.stdout.buffer)
            except pymongo.errors.PyMongoError as error:
                say(f"Failed: error writing data for database `{options.db}`: {error}")
                return 1
            return 0
        to = Restore(client, options)
        failed = ""
        try:
            if options.dir:
                restore_directory(to, options.dir)
            else:
                restore(to, sys.stdin.buffer)
        except (Failed, pymongo.errors.PyMongoError) as error:
            failed = str(error)
        for namespace, count in to.counts.items():
            say(f"finished restoring `{namespace}` ({_plural(count, 'document')})")
        if failed:
            say(f"Failed: {failed}")
        restored = sum(to.counts.values())
        say(f"{restored} document(s) restored successfully. {to.failures} document(s) failed to restore.")
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
