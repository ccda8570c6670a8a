# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of contents of a ``pg_dump`` archive: read and written.

``toc.dat`` of a directory archive and the head of a custom archive have one encoding (PostgreSQL's
``pg_backup_archiver.c``). Versions 1.12 (PostgreSQL 9.0) to 1.16 (17 and 18) are read; what is not changed is written
back byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ...errors import EnvSyncError
from .sql import tokens

_MAGIC = b"PGDMP"
CUSTOM = 1
#: what toc.dat says: pg_dump writes it as the table of contents of a tar archive, so that one can be made of the files
DIRECTORY = 3
_OLDEST = (1, 12)
_NEWEST = (1, 16)

#: no string of a table of contents is longer (a view's or function's text is the longest), in bytes
_LONGEST = 256 * 1024 * 1024
_MOST_ENTRIES = 50_000_000

#: what pg_dump 17 and newer call an entry that stands for many large objects, which they write to several files
BATCH = "BLOB METADATA"

#: what a comment or a grant calls the schema that every new database has already
PUBLIC = "SCHEMA public"


class _Bytes(Protocol):
    def read(self, size: int) -> bytes: ...


@dataclass(frozen=True)
class Entry:
    """One entry; names as in ``pg_backup_archiver.h``. None stands for a null string.

    ``extra`` is the format's own: the name of the data file of a directory archive (bytes, empty for none), or flag and
    offset as they stand in a custom one.
    """

    dump_id: int
    had_data: int
    table_oid: str | None
    oid: str | None
    tag: str
    desc: str
    section: int
    defn: str | None
    drop_stmt: str | None
    copy_stmt: str | None
    namespace: str | None
    tablespace: str | None
    table_am: str | None
    relkind: int
    owner: str | None
    with_oids: str | None
    dependencies: tuple[str | None, ...]
    extra: bytes

    @property
    def object_names(self) -> tuple[str, ...]:
        """What SQL calls the objects (``FUNCTION public.f(integer)``), none for what has no owner of its own.

        Like ``pg_restore``, this takes it from the statement that would drop the object: that has every quote right.
        Since version 17 one entry stands for many large objects, whose numbers are its text.
        """
        if self.desc in ("BLOB", "LARGE OBJECT"):
            return (f"LARGE OBJECT {self.tag}",)
        if self.desc == BATCH:
            numbers = [line for line in (self.defn or "").split("\n") if line]
            if not all(line.isdecimal() and line.isascii() for line in numbers):
                raise _damaged("the number of a large object is not a number")
            return tuple(f"LARGE OBJECT {number}" for number in numbers)
        if self.is_public_schema:
            return (PUBLIC,)
        statement = (self.drop_stmt or "").strip()
        if not statement.startswith("DROP ") or not statement.endswith(";"):
            return ()
        return (statement[len("DROP ") : -1],)

    @property
    def is_public_schema(self) -> bool:
        """Whether this is the schema that every new database has already."""
        return self.desc == "SCHEMA" and self.tag == "public"

    @property
    def label(self) -> str:
        """What a message calls the entry: as SQL does, where the archive has that."""
        if self.desc == BATCH:
            return f"LARGE OBJECTS {self.tag}"
        names = self.object_names
        return names[0] if names else f"{self.desc} {self.tag}"


@dataclass(frozen=True)
class Toc:
    """A table of contents. ``created`` is seconds, minutes, hours, day, month - 1, year - 1900, daylight saving.

    ``codec`` is Python's name for the encoding that the archive's texts have.
    """

    version: tuple[int, int, int]
    int_size: int
    off_size: int
    format: int
    compression: int
    created: tuple[int, ...]
    dbname: str | None
    server_version: str | None
    dump_version: str | None
    entries: tuple[Entry, ...] = field(repr=False)
    codec: str = "utf-8"

    @classmethod
    def read(cls, source: _Bytes) -> Toc:
        """Read the table of contents at the start of ``source``, and not a byte more.

        :raises EnvSyncError: it is not an archive, damaged, cut off, or of a version that this code does not know.
        """
        decoder = _Decoder(source)
        if decoder.take(5) != _MAGIC:
            raise _damaged("it is no pg_dump archive")
        version = (decoder.byte(), decoder.byte(), decoder.byte())
        if not _OLDEST <= version[:2] <= _NEWEST:
            raise EnvSyncError(
                "reading the archive's table of contents",
                f"it is of version {version[0]}.{version[1]}, this program reads {_join(_OLDEST)} to {_join(_NEWEST)}",
                "Restore it with the pg_restore of the version that made it.",
            )
        decoder.int_size = decoder.byte()
        off_size = decoder.byte()
        form = decoder.byte()
        if decoder.int_size not in (4, 8) or off_size not in (4, 8):
            raise _damaged("impossible sizes of numbers")
        if form not in (CUSTOM, DIRECTORY):
            raise _damaged(f"format {form} is neither custom nor directory")
        compression = decoder.byte() if version >= (1, 15, 0) else decoder.integer()
        created = tuple(decoder.integer() for _unused in range(7))
        names = (decoder.string(), decoder.string(), decoder.string())
        count = decoder.integer()
        if not 0 <= count <= _MOST_ENTRIES:
            raise _damaged(f"{count} entries")
        entries = tuple(decoder.entry(version, form, off_size) for _unused in range(count))
        return cls(version, decoder.int_size, off_size, form, compression, created, *names, entries)._decoded()

    def to_bytes(self) -> bytes:
        """Return the encoding."""
        encoder = _Encoder(self.int_size, self.codec)
        encoder.raw(_MAGIC + bytes([*self.version, self.int_size, self.off_size, self.format]))
        if self.version >= (1, 15, 0):
            encoder.raw(bytes([self.compression]))
        else:
            encoder.integer(self.compression)
        for number in self.created:
            encoder.integer(number)
        for text in (self.dbname, self.server_version, self.dump_version):
            encoder.string(text)
        encoder.integer(len(self.entries))
        for entry in self.entries:
            encoder.entry(entry, self.version, self.format)
        return encoder.done()

    def _decoded(self) -> Toc:
        """Return the same with its texts read in the archive's own encoding, which it names in its first entry."""
        statements = [tokens(entry.defn or "") for entry in self.entries if entry.desc == "ENCODING"]
        codec = python_codec(statements[0][3].strip("'")) if statements and len(statements[0]) > 3 else self.codec
        if codec == self.codec:
            return self

        def decoded(text: Any) -> Any:
            if text is None or text.isascii():
                return text
            data = text.encode(self.codec, "surrogateescape")
            other = data.decode(codec, "surrogateescape")
            if other.encode(codec, "surrogateescape") != data:
                raise UnicodeError
            return other

        try:
            entries = tuple(replace(e, **{name: decoded(getattr(e, name)) for name in _TEXTS}) for e in self.entries)
            return replace(self, dbname=decoded(self.dbname), entries=entries, codec=codec)
        except UnicodeError:
            return self  # what can't be written back as it was is left undecoded

    def data_members(self) -> dict[str, Entry]:
        """Return the data files of a directory archive (``3041.dat``, ``blobs.toc``) with their entries."""
        return {
            entry.extra.decode("utf-8", "surrogateescape"): entry
            for entry in self.entries
            if self.format == DIRECTORY and entry.extra and entry.had_data
        }


#: the fields of an entry that hold names or SQL
_TEXTS = ("tag", "defn", "drop_stmt", "copy_stmt", "namespace", "tablespace", "owner")

#: Python's names of PostgreSQL's encodings (manual, "Character Set Support"), but for those that Python lacks
_CODECS = {
    "BIG5": "big5",
    "EUC_CN": "gb2312",
    "EUC_JIS_2004": "euc_jis_2004",
    "EUC_JP": "euc_jp",
    "EUC_KR": "euc_kr",
    "GB18030": "gb18030",
    "GBK": "gbk",
    "JOHAB": "johab",
    "KOI8R": "koi8-r",
    "KOI8U": "koi8-u",
    "SHIFT_JIS_2004": "shift_jis_2004",
    "SJIS": "cp932",
    "UHC": "cp949",
    "WIN866": "cp866",
    "WIN874": "cp874",
    **{f"ISO_8859_{number}": f"iso8859-{number}" for number in (5, 6, 7, 8)},
    **{f"LATIN{number}": f"latin{number}" for number in range(1, 11)},
    **{f"WIN{number}": f"cp{number}" for number in range(1250, 1259)},
}


def python_codec(encoding: str) -> str:
    """Return Python's name of a PostgreSQL encoding; UTF-8 for one that Python lacks, and for SQL_ASCII."""
    return _CODECS.get(encoding, "utf-8")


def _join(version: Sequence[int]) -> str:
    return ".".join(str(part) for part in version)


def _damaged(why: str) -> EnvSyncError:
    return EnvSyncError("reading the archive's table of contents", f"it is damaged: {why}", "Choose another point.")


class _Decoder:
    def __init__(self, source: _Bytes) -> None:
        self._source = source
        self.int_size = 4

    def take(self, size: int) -> bytes:
        """Return exactly ``size`` bytes. A length that lies can't make it allocate more than there is."""
        blocks: list[bytes] = []
        while size > 0:
            block = self._source.read(min(size, 1024 * 1024))
            if not block:
                raise _damaged("it ends early")
            blocks.append(block)
            size -= len(block)
        return b"".join(blocks)

    def byte(self) -> int:
        return self.take(1)[0]

    def integer(self) -> int:
        data = self.take(1 + self.int_size)
        value = int.from_bytes(data[1:], "little")
        return -value if data[0] else value

    def string(self) -> str | None:
        length = self.integer()
        if length < 0:
            return None
        if length > _LONGEST:
            raise _damaged(f"a string of {length} bytes")
        return self.take(length).decode("utf-8", "surrogateescape")

    def text(self) -> str:
        value = self.string()
        if value is None:
            raise _damaged("a name is missing")
        return value

    def entry(self, version: tuple[int, int, int], form: int, off_size: int) -> Entry:
        dump_id, had_data = self.integer(), self.integer()
        table_oid, oid = self.string(), self.string()
        tag, desc, section = self.text(), self.text(), self.integer()
        defn, drop_stmt, copy_stmt = self.string(), self.string(), self.string()
        namespace, tablespace = self.string(), self.string()
        table_am = self.string() if version >= (1, 14, 0) else None
        relkind = self.integer() if version >= (1, 16, 0) else 0
        owner, with_oids = self.string(), self.string()
        dependencies: list[str | None] = []
        while True:
            dependency = self.string()
            if dependency is None:
                break
            dependencies.append(dependency)
        extra = self.take(1 + off_size) if form == CUSTOM else self.text().encode("utf-8", "surrogateescape")
        return Entry(
            dump_id, had_data, table_oid, oid, tag, desc, section, defn, drop_stmt, copy_stmt, namespace, tablespace,
            table_am, relkind, owner, with_oids, tuple(dependencies), extra,
        )  # fmt: skip


class _Encoder:
    def __init__(self, int_size: int, codec: str) -> None:
        self._int_size = int_size
        self._codec = codec
        self._parts: list[bytes] = []

    def raw(self, data: bytes) -> None:
        self._parts.append(data)

    def integer(self, value: int) -> None:
        self._parts.append(bytes([value < 0]) + abs(value).to_bytes(self._int_size, "little"))

    def string(self, text: str | None) -> None:
        if text is None:
            self.integer(-1)
        else:
            data = text.encode(self._codec, "surrogateescape")
            self.integer(len(data))
            self._parts.append(data)

    def entry(self, entry: Entry, version: tuple[int, int, int], form: int) -> None:
        self.integer(entry.dump_id)
        self.integer(entry.had_data)
        self.string(entry.table_oid)
        self.string(entry.oid)
        self.string(entry.tag)
        self.string(entry.desc)
        self.integer(entry.section)
        for text in (entry.defn, entry.drop_stmt, entry.copy_stmt, entry.namespace, entry.tablespace):
            self.string(text)
        if version >= (1, 14, 0):
            self.string(entry.table_am)
        if version >= (1, 16, 0):
            self.integer(entry.relkind)
        self.string(entry.owner)
        self.string(entry.with_oids)
        for dependency in entry.dependencies:
            self.string(dependency)
        self.string(None)
        if form == CUSTOM:
            self.raw(entry.extra)
        else:
            self.string(entry.extra.decode("utf-8", "surrogateescape"))

    def done(self) -> bytes:
        return b"".join(self._parts)
