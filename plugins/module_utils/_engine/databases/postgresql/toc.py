# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of contents of a ``pg_dump`` archive: read, fitted to a server, written.

``toc.dat`` of a directory archive and the head of a custom archive have one encoding (PostgreSQL's
``pg_backup_archiver.c``). Versions 1.12 (PostgreSQL 9.0) to 1.16 (17 and 18) are read; what is not changed is written
back byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ...errors import EnvSyncError
from .client import quote
from .superuser import is_security_definer, needs_superuser

_MAGIC = b"PGDMP"
CUSTOM = 1
#: what toc.dat says: pg_dump writes it as the table of contents of a tar archive, so that one can be made of the files
DIRECTORY = 3
_OLDEST = (1, 12)
_NEWEST = (1, 16)

#: no string of a table of contents is longer (a view's or function's text is the longest), in bytes
_LONGEST = 256 * 1024 * 1024
_MOST_ENTRIES = 50_000_000


class _Bytes(Protocol):
    def read(self, size: int) -> bytes: ...


#: what pg_dump 17 and newer call an entry that stands for many large objects
_BATCH = "BLOB METADATA"
_PUBLIC = "SCHEMA public"

#: entries that say something of another one, which their tag names
_ABOUT_OTHERS = ("COMMENT", "ACL", "SECURITY LABEL")


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
        if self.desc == _BATCH:
            numbers = [line for line in (self.defn or "").split("\n") if line]
            if not all(line.isdecimal() and line.isascii() for line in numbers):
                raise _damaged("the number of a large object is not a number")
            return tuple(f"LARGE OBJECT {number}" for number in numbers)
        if self.is_public_schema:
            return (_PUBLIC,)
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
        if self.desc == _BATCH:
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

        :raises EnvSyncError: it is none, damaged, cut off, or of a version this code does not know.
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
    """Return Python's name of a PostgreSQL encoding; UTF-8 for one that Python lacks or that is none (SQL_ASCII)."""
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


# -- fitting an archive to a server ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """What an archive is fitted to.

    ``assumable`` are the roles that ``user`` may give objects to, ``inherited`` those whose rights it has without
    becoming them; ``database_owner`` is the role that gets what belongs to nobody on this server; ``public_owner`` owns
    the schema public of a fresh database here. ``tablespaces`` are those in which ``user`` may create. ``schemas`` are
    those that the database had when it was made, from its template; ``untrusted_languages`` those that take a
    superuser. ``closed_wrappers`` are foreign-data wrappers that ``user`` may not use. ``left_out`` are entries that
    the operator leaves out, by their numbers, each with the reason; ``in_full`` are reasons for which all are named.
    """

    user: str
    superuser: bool
    roles: frozenset[str]
    assumable: frozenset[str]
    database_owner: str
    extensions_available: frozenset[str]
    tablespaces: frozenset[str]
    public_owner: str
    excluded_foreign_keys: frozenset[tuple[str, str, str]] = frozenset()
    keep_foreign_servers: bool = False
    inherited: frozenset[str] = frozenset()
    schemas: frozenset[str] = frozenset()
    untrusted_languages: frozenset[str] = frozenset({"c", "internal"})
    closed_wrappers: frozenset[str] = frozenset()
    rowless_foreign_keys: frozenset[tuple[str, str, str]] = frozenset()
    left_out: Mapping[int, str] = field(default_factory=dict)
    in_full: frozenset[str] = frozenset()

    def owner_for(self, owner: str) -> str:
        """Return the role that gets what belonged to ``owner``."""
        if owner in self.roles and (self.superuser or owner in self.assumable):
            return owner
        return self.database_owner if self.superuser or self.database_owner in self.assumable else self.user


#: when what ``pg_restore`` is not given is done: while everything still belongs to the restoring user, when its owners
#: have it, or when nothing else is left to do
FIRST, GRANTS, LAST = "first", "grants", "last"


@dataclass(frozen=True)
class Later:
    """What a role that is not a superuser does after ``pg_restore``, one thing in one transaction.

    ``label`` is what a message calls it; ``about`` is the label of the object that it says something of, if it does.
    ``reason`` is why it is left out where the server does not permit it; empty for the server's own words. ``optional``
    is left out whatever the server has against it.
    """

    stage: str
    label: str
    about: str
    statements: tuple[str, ...]
    reason: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Adapted:
    """An archive's table of contents, fitted to a server.

    ``dump_ids`` are the entries to restore, in order (``pg_restore -L``). ``owners`` are objects as SQL names them,
    with the role to give them to after the restore, for a user who can't do that on the way; ``later`` is what else
    such a user does then.
    """

    toc: Toc
    dump_ids: tuple[int, ...]
    warnings: tuple[str, ...]
    owners: tuple[tuple[str, str], ...] = ()
    later: tuple[Later, ...] = ()


def adapt(toc: Toc, target: Target) -> Adapted:
    """Fit the table of contents to the target: owners, grants and tablespaces that are not there, rights of the user.

    Nothing is granted that was not granted before; what can't be restored is left out and said.

    :raises EnvSyncError: rows would be lost, because their table needs what only a superuser can restore.
    """
    fitting = _Fitting(target)
    for entry in toc.entries:
        fitting.add(entry)
    return fitting.adapted(toc)


class _Fitting:
    """Goes through the entries in their order: what an entry depends on comes before it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._notes = _Notes(target.in_full)
        self._kept: list[Entry] = []
        self._dump_ids: list[int] = []
        self._owners: list[tuple[str, str]] = []
        self._later: list[Later] = []
        #: why objects are left out, by what entries about them call them
        self._left_out: dict[str, str] = {}
        #: numbers of entries that are left out because they lead to other servers
        self._foreign: set[str | None] = set()
        #: why entries are left out that others may need, by their numbers
        self._lacking: dict[str | None, str] = {}
        #: functions that only their new owner may execute
        self._closed: set[str] = set()
        #: names of the large objects that one entry stands for, by its number
        self._batches: dict[str | None, tuple[str, ...]] = {}

    def adapted(self, toc: Toc) -> Adapted:
        entries = tuple(self._kept)
        if not self._target.superuser:
            entries = _row_security_last(entries, set(self._dump_ids))
        return Adapted(
            replace(toc, entries=entries),
            tuple(self._dump_ids),
            self._notes.lines(),
            tuple(self._owners),
            tuple(self._later),
        )

    def add(self, entry: Entry) -> None:
        if _of_the_database(entry):
            self._kept.append(entry)
            return
        reason = self._reason(entry)
        if reason:
            self._notes.left_out(reason, entry)
            if entry.object_names and reason != _OF_TEMPLATE:
                self._left_out[_described(entry)] = reason
            self._kept.append(entry)
            return
        if entry.desc in ("ACL", "DEFAULT ACL"):
            self._add_grants(entry)
            return
        stage, why = self._postponed(entry)
        if stage:
            optional = entry.desc == "SECURITY LABEL"
            text = tuple(split_statements(entry.defn or ""))
            about = entry.tag if entry.desc in _ABOUT_OTHERS else ""
            self._later.append(Later(stage, entry.label, about, text, why, optional))
            self._kept.append(entry)
            return
        if entry.desc == _BATCH:
            self._batches[str(entry.dump_id)] = entry.object_names
        if not (entry.is_public_schema and not self._target.superuser):
            self._dump_ids.append(entry.dump_id)
        entry = self._closed_to_others(entry)
        self._kept.append(self._fit_owner(_fit_tablespace(entry, self._target, self._notes)))

    def _reason(self, entry: Entry) -> str:
        """Return why the entry is left out; empty where it is not."""
        reason = (
            self._target.left_out.get(entry.dump_id, "")
            or _foreign_reason(entry, self._target, self._foreign)
            or _reason_to_leave_out(entry, self._target)
        )
        if reason:
            return reason
        if entry.desc in _ABOUT_OTHERS:
            reason = self._left_out.get(f"{entry.namespace or ''} {entry.tag}", "")
        if not reason and not self._target.superuser:
            reason = self._lacking_reason(entry)
        return reason

    def _lacking_reason(self, entry: Entry) -> str:
        """Return why the entry is left out, because it takes a superuser, or needs something that does."""
        target = self._target
        reason = needs_superuser(entry.desc, lambda: tokens(entry.defn or ""), target.untrusted_languages)
        if entry.desc == "SERVER" and not reason:
            wrapper = _wrapper(tokens(entry.defn or ""))
            if wrapper in target.closed_wrappers:
                reason = f"as {target.user} may not use the foreign-data wrapper {wrapper}"
        needed = next((number for number in entry.dependencies if number in self._lacking), None)
        if needed is not None and not reason:
            reason = self._lacking[needed]
            if entry.desc in ("TABLE", "TABLE DATA", "SEQUENCE"):
                raise EnvSyncError(
                    f"fitting the archive to the rights of {target.user}",
                    f"{entry.desc} {entry.namespace}.{entry.tag} needs something that is left out ({reason})",
                    "Pull as a superuser, or have it left out when the database is pushed (excluded_tables).",
                )
            if entry.desc not in _ABOUT_OTHERS and not reason.startswith(_NEEDING):
                reason = f"{_NEEDING} ({reason})"
        if reason:
            self._lacking[str(entry.dump_id)] = reason
        return reason

    def _postponed(self, entry: Entry) -> tuple[str, str]:
        """Return when a user who is not a superuser does this, and why it may be refused; empty for ``pg_restore``."""
        if self._target.superuser:
            return "", ""
        about = entry.tag if entry.desc in _ABOUT_OTHERS else ""
        if entry.desc == "EVENT TRIGGER" or about.startswith("EVENT TRIGGER "):
            return LAST, "event triggers need a superuser"
        if entry.desc == "PUBLICATION" and "ALL TABLES" in (entry.defn or ""):
            return FIRST, "publications of all tables need a superuser"
        if entry.desc == "PUBLICATION TABLES IN SCHEMA":
            return FIRST, "publications of all tables in a schema need a superuser"
        of_another = about.startswith(("EXTENSION ", "PUBLICATION ")) or about == _PUBLIC
        if entry.desc == "SECURITY LABEL" or of_another or about.removeprefix("SCHEMA ") in self._target.schemas:
            return FIRST, ""
        return "", ""

    def _add_grants(self, entry: Entry) -> None:
        """Grants are left out of roles that are not here. A user who is not a superuser makes them after the owners."""
        target = self._target
        if f"{entry.namespace or ''} {entry.tag}" in self._closed:
            self._kept.append(entry)
            return
        found = _fitting_grants(entry, target, self._notes)
        if target.superuser:
            self._kept.append(replace(entry, defn=_in_sessions(found)))
            if found:
                self._dump_ids.append(entry.dump_id)
            return
        self._kept.append(entry)
        owner = entry.owner or ""
        owner = "" if owner == "pg_database_owner" or entry.tag == _PUBLIC else target.owner_for(owner)
        as_owner = "" if owner == target.user or owner in target.inherited else owner
        batch = self._batches.get(entry.dependencies[0], ()) if entry.dependencies else ()
        of = re.compile(r"LARGE OBJECT [0-9]+")
        for name in batch if found and entry.tag.startswith("LARGE OBJECTS ") else ("",):
            grants = [(role, of.sub(name, text, count=1) if name else text) for role, text in found]
            if grants:
                label = f"ACL {name}" if name else entry.label
                about = name or entry.tag
                self._later.append(Later(GRANTS, label, about, _as_roles(grants, as_owner)))

    def _closed_to_others(self, entry: Entry) -> Entry:
        """Let nobody but its new owner execute what would run with the rights of another role than it was made for."""
        target = self._target
        owner = entry.owner or ""
        if not owner or not entry.object_names or target.owner_for(owner) == owner:
            return entry
        if not is_security_definer(entry.desc, tokens(entry.defn or "")):
            return entry
        [name] = entry.object_names
        self._closed.add(_described(entry))
        self._notes.closed(owner, target.owner_for(owner), name)
        return replace(entry, defn=f"{(entry.defn or '').rstrip()}\nREVOKE ALL ON {name} FROM PUBLIC;\n")

    def _fit_owner(self, entry: Entry) -> Entry:
        """Return the entry with an owner that the restoring user can give it; empty leaves it with the user."""
        target, owner = self._target, entry.owner or ""
        if not owner or owner == "pg_database_owner":
            return entry
        wanted = target.owner_for(owner)
        if entry.is_public_schema and not target.superuser and wanted != owner:
            self._notes.say(
                f"schema public keeps the owner that it has here, {target.public_owner}: {target.user} may not give it "
                f"to {owner}"
            )
            return replace(entry, owner="")
        if wanted != owner and (entry.desc in _OWNED or entry.is_public_schema):
            for name in entry.object_names:
                self._notes.owner(owner, wanted, name)
        if target.superuser:
            return replace(entry, owner=wanted)
        # A user who is no superuser could give an object away only where the new owner may create in its schema, which
        # it often may only once its grants are restored: so everything stays the user's for now.
        if entry.desc in _OWNED and wanted != target.user:
            self._owners += [(name, wanted) for name in entry.object_names]
        return replace(entry, owner="")


def _row_security_last(entries: tuple[Entry, ...], chosen: set[int]) -> tuple[Entry, ...]:
    """Have tables protect their rows only when all that reads them for a check has been made.

    A parallel ``pg_restore`` may take them in any order that their dependencies allow, and pg_dump notes none between a
    table's row security and its foreign keys; with FORCE, the table's owner can't make the key any more. One entry
    waits for all, and the others for that one.
    """
    checks = tuple(str(one.dump_id) for one in entries if one.desc in _CHECKING and one.dump_id in chosen)
    gate = next((one.dump_id for one in entries if one.desc == "ROW SECURITY" and one.dump_id in chosen), None)
    if gate is None or not checks:
        return entries
    return tuple(
        replace(one, dependencies=one.dependencies + (checks if one.dump_id == gate else (str(gate),)))
        if one.desc == "ROW SECURITY"
        else one
        for one in entries
    )


#: what reads a table's rows while it is made
_CHECKING = frozenset({"CHECK CONSTRAINT", "CONSTRAINT", "FK CONSTRAINT", "INDEX"})


def largest_first(toc: Toc, sizes: Mapping[str, int]) -> Toc:
    """Number the entries anew, so that a parallel ``pg_restore`` begins with the largest tables and their indexes.

    It goes by the sizes of the data files, to have no large one left at the end; but a named pipe's size is 0. Among
    equals it goes by number (``TocEntrySizeCompareQsort`` in ``pg_backup_archiver.c``).

    :param sizes: what the data files hold, in bytes.
    """
    weights: dict[int, int] = {}
    tables: dict[str | None, int] = {}
    for file, entry in toc.data_members().items():
        weights[entry.dump_id] = sizes.get(file, 0)
        if entry.desc == "TABLE DATA" and entry.dependencies:
            tables[entry.dependencies[0]] = weights[entry.dump_id]
    for entry in toc.entries:
        if entry.section == _SECTION_POST_DATA:
            weights[entry.dump_id] = max((tables.get(table, 0) for table in entry.dependencies), default=0)
    numbers = sorted(weights)
    anew = dict(zip(sorted(numbers, key=lambda number: -weights[number]), numbers))
    depended = {str(old): str(new) for old, new in anew.items()}
    entries = (
        replace(
            entry,
            dump_id=anew.get(entry.dump_id, entry.dump_id),
            dependencies=tuple(depended.get(number or "", number) for number in entry.dependencies),
        )
        for entry in toc.entries
    )
    return replace(toc, entries=tuple(entries))


def _of_the_database(entry: Entry) -> bool:
    """Say whether the entry is about the database itself, not its contents: the one that is replaced has its own."""
    if entry.desc in _ABOUT_OTHERS:
        return entry.tag.startswith("DATABASE ")
    return entry.desc in ("DATABASE", "DATABASE PROPERTIES")


#: so many names stand in a line about many objects
_SHOWN = 20


class _Notes:
    """Collects what was changed, to say it in a few lines however many objects it concerns."""

    def __init__(self, in_full: Collection[str]) -> None:
        self._in_full = in_full
        self._left_out: dict[str, list[str]] = {}
        self._owners: dict[tuple[str, str], list[str]] = {}
        self._roles: dict[str, list[str]] = {}
        self._grantors: dict[str, list[str]] = {}
        self._tablespaces: dict[str, list[str]] = {}
        self._closed: dict[tuple[str, str], list[str]] = {}
        self._said: list[str] = []

    def left_out(self, reason: str, entry: Entry) -> None:
        self._left_out.setdefault(reason, []).append(f"{entry.desc} {entry.tag}")

    def owner(self, was: str, becomes: str, name: str) -> None:
        self._owners.setdefault((was, becomes), []).append(name)

    def grant(self, role: str, label: str) -> None:
        self._roles.setdefault(role, []).append(label)

    def grantor(self, role: str, label: str) -> None:
        self._grantors.setdefault(role, []).append(label)

    def tablespace(self, name: str, label: str) -> None:
        self._tablespaces.setdefault(name, []).append(label)

    def closed(self, was: str, becomes: str, name: str) -> None:
        self._closed.setdefault((was, becomes), []).append(name)

    def say(self, text: str) -> None:
        self._said.append(text)

    def lines(self) -> tuple[str, ...]:
        lines = []
        for (was, becomes), names in sorted(self._owners.items()):
            lines.append(
                f"{_count(names, 'object')} of role {was} will belong to {becomes}, who can own them here: "
                f"{listed(names)}"
            )
        for (was, becomes), names in sorted(self._closed.items()):
            lines.append(
                f"{_count(names, 'function')} with SECURITY DEFINER of role {was} will run with the rights of "
                f"{becomes}: nobody else may execute them here: {listed(names)}"
            )
        for role, names in sorted(self._roles.items()):
            lines.append(f"{_count(names, 'grant')} left out: role {role} does not exist here: {listed(names)}")
        for role, names in sorted(self._grantors.items()):
            lines.append(f"{_count(names, 'grant')} by role {role} made by the object's owner instead: {listed(names)}")
        for name, names in sorted(self._tablespaces.items()):
            lines.append(
                f"{_count(names, 'object')} moved to the default tablespace: {name} does not exist here, or is not "
                f"open to this role: {listed(names)}"
            )
        return (*lines, *self._said, *left_out_lines(self._left_out, self._in_full))


def left_out_lines(reasons: Mapping[str, Sequence[str]], in_full: Collection[str] = ()) -> list[str]:
    """Return a line for each reason to leave something out; with all names where these lead to other servers.

    :param in_full: other reasons for which there are all names.
    """
    everything = {_FOREIGN, _ON_FOREIGN, *in_full}
    return [
        f"left out, {reason}: {listed(names, len(names) if reason in everything else _SHOWN)}"
        for reason, names in sorted(reasons.items())
    ]


def listed(names: Sequence[str], most: int = _SHOWN) -> str:
    """Return the names, or the first of very many."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def _count(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}" if len(names) == 1 else f"{len(names)} {what}s"


def _described(entry: Entry) -> str:
    """What a COMMENT, ACL or SECURITY LABEL calls this object in its tag, with its schema."""
    return f"{entry.namespace or ''} {entry.desc} {entry.tag}"


_FOREIGN = "as it reaches the source's servers (keep_foreign_servers brings it)"
_ON_FOREIGN = "as it depends on what reaches the source's servers"
_OF_TEMPLATE = "as the template database has it"
_NEEDING = "as it needs something that is left out"


def _foreign_reason(entry: Entry, target: Target, foreign: set[str | None]) -> str:
    """Return why the entry must not be restored if it is, or depends on, a way to the source's other servers.

    :param foreign: numbers of the entries that are left out for that; the entry's own is added. What an entry depends
        on comes before it.
    """
    if target.keep_foreign_servers:
        return ""
    if entry.desc in ("SERVER", "USER MAPPING"):
        reason = _FOREIGN
    elif any(number in foreign for number in entry.dependencies):
        reason = _FOREIGN if entry.desc == "FOREIGN TABLE" else _ON_FOREIGN
    else:
        return ""
    foreign.add(str(entry.dump_id))
    return reason


def _reason_to_leave_out(entry: Entry, target: Target) -> str:
    """Return why the entry can't or must not be restored, empty when it can."""
    if entry.desc in ("SUBSCRIPTION", "SUBSCRIPTION TABLE"):
        return "subscriptions would connect to the source's publisher"
    if entry.desc in ("COMMENT", "SECURITY LABEL") and entry.tag.startswith("SUBSCRIPTION "):
        return "subscriptions would connect to the source's publisher"
    if entry.desc == "FK CONSTRAINT":
        for schema, table, constraint in target.excluded_foreign_keys:
            if entry.namespace == schema and entry.tag == f"{table} {constraint}":
                return "foreign keys to excluded tables"
        for schema, table, constraint in target.rowless_foreign_keys:
            if entry.namespace == schema and entry.tag == f"{table} {constraint}":
                return "foreign keys to tables without their rows (excluded_table_data)"
    if entry.desc == "POLICY" and _unknown_roles(entry.defn or "", target):
        return "policies of roles that do not exist here (row security then denies)"
    if entry.desc == "USER MAPPING" and _unknown_roles(entry.defn or "", target, extra_words=("for",)):
        return "user mappings of roles that do not exist here"
    if entry.desc == "SCHEMA" and entry.tag in target.schemas:
        return _OF_TEMPLATE
    if entry.desc == "DEFAULT ACL" and entry.owner and entry.owner not in target.roles:
        return "default privileges of roles that do not exist here"
    if target.superuser:
        return ""
    if entry.desc == "DEFAULT ACL" and entry.owner and entry.owner not in target.assumable:
        return f"default privileges of roles that {target.user} is not a member of"
    return ""


# as pg_backup.h numbers them
_SECTION_NONE = 1
_SECTION_POST_DATA = 4

#: what ALTER ... OWNER TO works on (pg_restore's own list, _printTocEntry)
_OWNED = frozenset(
    {
        "AGGREGATE", "BLOB", _BATCH, "COLLATION", "CONVERSION", "DOMAIN", "FOREIGN TABLE", "FUNCTION", "LARGE OBJECT",
        "MATERIALIZED VIEW", "OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY", "PROCEDURAL LANGUAGE", "PROCEDURE",
        "PUBLICATION", "SCHEMA", "SEQUENCE", "SERVER", "STATISTICS", "TABLE", "TEXT SEARCH CONFIGURATION",
        "TEXT SEARCH DICTIONARY", "TYPE", "VIEW",
    }
)  # fmt: skip


def _fit_tablespace(entry: Entry, target: Target, notes: _Notes) -> Entry:
    if not entry.tablespace or entry.tablespace in target.tablespaces:
        return entry
    notes.tablespace(entry.tablespace, entry.label)
    return replace(entry, tablespace="")


def _fitting_grants(entry: Entry, target: Target, notes: _Notes) -> list[tuple[str, str]]:
    """Return the entry's grants without those that name a role which does not exist here.

    :returns: with each statement the role that makes it, empty for the owner: a role that this user can't become.
    """
    found: list[tuple[str, str]] = []
    label = entry.label
    grantor = ""
    for statement in split_statements(entry.defn or ""):
        words = tokens(statement)
        start = [word.lower() for word in words[:3]]
        if start[1:] == ["session", "authorization"] and start[0] in ("set", "reset"):
            grantor = unquoted(words[3]) if start[0] == "set" and len(words) > 3 else ""
            continue
        unknown = _unknown_roles(statement, target, extra_words=("role",))
        for role in unknown:
            notes.grant(role, label)
        if not unknown:
            can = grantor in target.roles and (target.superuser or grantor in target.assumable)
            if grantor and not can:
                notes.grantor(grantor, label)
            found.append((grantor if can else "", statement))
    return found


def _in_sessions(grants: Sequence[tuple[str, str]]) -> str:
    """Return the statements for a superuser, who can speak for every role."""
    text = ""
    for role, statement in grants:
        became = f"SET SESSION AUTHORIZATION {quote(role)};\n" if role else ""
        text += became + statement + ";\n" + ("RESET SESSION AUTHORIZATION;\n" if role else "")
    return text


def _as_roles(grants: Sequence[tuple[str, str]], owner: str) -> tuple[str, ...]:
    """Return the statements for a member of the roles that make them.

    :param owner: who makes those that no other role does; empty for the user.
    """
    statements: list[str] = []
    for role, statement in grants:
        speaker = role or owner
        became = [f"SET ROLE {quote(speaker)}"] if speaker else []
        statements += [*became, statement, *(["RESET ROLE"] if speaker else [])]
    return tuple(statements)


def _unknown_roles(statement: str, target: Target, extra_words: Iterable[str] = ()) -> list[str]:
    """Return the roles that a statement names and that do not exist here.

    Roles stand after TO, FROM, BY and ``extra_words``, with commas between them. In what pg_dump writes these words
    introduce nothing else outside of parentheses and strings.
    """
    introducing = {"to", "from", "by", *extra_words}
    everyone = {"public", "current_user", "session_user", "current_role", "default"}
    unknown: list[str] = []
    words = tokens(statement)
    depth = 0
    for position, word in enumerate(words):
        depth += {"(": 1, ")": -1}.get(word, 0)
        if depth or word.lower() not in introducing:
            continue
        following = position + 1
        while following < len(words):
            name = words[following]
            if name.lower() == "group":
                following += 1
                continue
            role = unquoted(name)
            if role.lower() not in everyone and role not in target.roles and _is_name(name):
                unknown.append(role)
            if following + 1 < len(words) and words[following + 1] == ",":
                following += 2
                continue
            break
    return unknown


def unquoted(token: str) -> str:
    """Return the name that a token of SQL stands for."""
    return token[1:-1].replace('""', '"') if token.startswith('"') else token


def _wrapper(words: Sequence[str]) -> str:
    """Return the foreign-data wrapper that CREATE SERVER names."""
    places = [place for place, word in enumerate(words[:-1]) if word.lower() == "wrapper"]
    return unquoted(words[places[0] + 1]) if places else ""


def _is_name(token: str) -> bool:
    return token.startswith(('"', "_")) or token[:1].isalpha()


def tokens(statement: str) -> list[str]:
    """Return the tokens of an SQL text: words, quoted names, strings and single other characters; no comments."""
    return [token for token, _end in _scan(statement) if token]


def split_statements(text: str) -> list[str]:
    """Return the statements of an SQL text, without their semicolons."""
    statements: list[str] = []
    start = 0
    for token, end in _scan(text):
        if token == ";":
            statement = text[start : end - 1].strip()
            if statement:
                statements.append(statement)
            start = end
    rest = text[start:].strip()
    if tokens(rest):
        statements.append(rest)
    return statements


_COMMENT_MARK = re.compile(r"/\*|\*/")


def _scan(text: str) -> list[tuple[str, int]]:
    """Return (token, position after it) for each token of an SQL text; comments are tokens that are empty."""
    found: list[tuple[str, int]] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character.isspace():
            position += 1
            continue
        if text.startswith("--", position):
            end = text.find("\n", position)
            position = len(text) if end < 0 else end + 1
            found.append(("", position))
            continue
        if text.startswith("/*", position):
            position = _comment_end(text, position)
            found.append(("", position))
            continue
        if character == '"':
            end = _quoted_end(text, position, '"', False)
        elif character == "'":
            previous = text[position - 1 : position]
            alone = not _word_character(text[position - 2 : position - 1])
            end = _quoted_end(text, position, "'", previous in ("e", "E") and alone)
        elif character == "$":
            end = _dollar_end(text, position)
        elif _word_character(character):
            end = position + 1
            while end < len(text) and (_word_character(text[end]) or text[end] == "$"):
                end += 1
        else:
            end = position + 1
        found.append((text[position:end], end))
        position = end
    return found


def _comment_end(text: str, start: int) -> int:
    """Return where the comment ends that begins at ``start``; comments may hold comments."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(text, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)


def _word_character(character: str) -> bool:
    return bool(character) and (character.isalnum() or character == "_")


def _quoted_end(text: str, start: int, quote: str, escapes: bool) -> int:
    position = start + 1
    while position < len(text):
        if escapes and text[position] == "\\":
            position += 2
        elif text[position] == quote:
            if text[position + 1 : position + 2] != quote:
                return position + 1
            position += 2
        else:
            position += 1
    return len(text)


def _dollar_end(text: str, start: int) -> int:
    tag_end = text.find("$", start + 1)
    if tag_end < 0 or not all(_word_character(character) for character in text[start + 1 : tag_end]):
        return start + 1
    tag = text[start : tag_end + 1]
    end = text.find(tag, tag_end + 1)
    return len(text) if end < 0 else end + len(tag)
