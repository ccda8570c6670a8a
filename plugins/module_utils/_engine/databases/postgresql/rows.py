# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rows of each table of a PostgreSQL database: as a dump wrote them, and as they are after a restore.

What COPY writes has a line for each row, whatever is in it: a line feed in a value is written as ``\\n``. So the lines
of a table's data are its rows in the dump's own snapshot, and nothing is read twice for them. ``pg_dump`` leaves no row
of a table out by itself: where row security would, it fails.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Callable

from ...points import counts
from ...streams.pipeline import Group
from .access import Table
from .client import Server, ServerError
from .fit import Adapted
from .names import literal, quote
from .sql import tokens
from .toc import Toc

#: gives a new connection to the database
Connect = Callable[[], AbstractContextManager[Any]]

#: how many lines follow a table's rows in its data file (dumpTableData_copy in pg_dump.c): ``\.`` and two empty ones
LINES_AFTER = 3

#: so many tables are counted in one transaction of the dump's snapshot, each lock waited for this long, in seconds
_AT_ONCE = 50
_LOCK_WAIT = 1

#: the server, or the way to it, is gone: then so is the dump. All else that a count may fail of need not trouble the
#: dump's COPY: what an index calls as the planner looks at it, an unlogged table on a standby, a lock.
_GONE = ("08", "57P", "58", "XX")

_CAUSE = (
    "Something on this server took rows away or added some while it restored (a function that an index, a constraint "
    "or a materialized view calls, an event trigger, another session), or the point was changed: look into the "
    "server's log, and pull again, or choose another point (--list shows them)."
)


def of_dump(toc: Toc, lines: Mapping[str, int]) -> dict[Table, int]:
    """Return the rows of the tables in a dump.

    An extension's own tables are left out: a dump has some of their rows only, and CREATE EXTENSION makes others.

    :param lines: how many lines each data file (``3041.dat``) has.
    """
    tables = _tables(toc)
    found = {}
    for file, entry in toc.data_members().items():
        table = (entry.namespace or "", entry.tag)
        if entry.desc == "TABLE DATA" and table in tables and file in lines:
            found[table] = lines[file] - LINES_AFTER
    return found


def own_tables(server: Server, connection: Any, tables: Sequence[Mapping[str, Any]], doing: str) -> list[Table]:
    """Return those of a manifest's tables that have rows of their own, and do not belong to an extension."""
    listed = {(str(table["schema"]), str(table["name"])) for table in tables}
    rows = server.query(
        """SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' ORDER BY 1, 2""",
        (),
        doing,
        connection,
    )
    own = [(str(schema), str(name)) for schema, name in rows]
    extensions = _of_extensions(server, connection, doing)
    return [table for table in own if table in listed and table not in extensions]


def in_snapshot(
    server: Server, connect: Connect, snapshot: str, tables: Sequence[Table], group: Group, doing: str
) -> dict[Table, int]:
    """Count the rows of tables as a snapshot shows them: for a dump in one stream, whose lines nobody sees.

    No lock is held for longer than some tables take, nor waited for longer than a moment. A table is left out that is
    locked, that cannot be counted, or that was emptied or rewritten since the snapshot, which shows nothing of it.
    """
    found: dict[Table, int] = {}
    with connect() as connection:
        waiting = [tables[start : start + _AT_ONCE] for start in range(0, len(tables), _AT_ONCE)]
        while waiting:
            group.check()
            some = waiting.pop()
            counted = _count_some(server, connection, snapshot, some, doing)
            if counted is None and len(some) > 1:
                waiting += [[table] for table in some]  # one of them is to blame
            found.update(counted or {})
    return found


def _count_some(
    server: Server, connection: Any, snapshot: str, tables: Sequence[Table], doing: str
) -> dict[Table, int] | None:
    """Count tables in one transaction that sees the snapshot; return None where one cannot be counted."""

    def ask(statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return server.query(statement, parameters, doing, connection)

    ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        ask(f"SET TRANSACTION SNAPSHOT {literal(snapshot)}")
        ask(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}s'")
        counted = {table: _count(server, connection, table, doing) for table in tables}
        unchanged = ask(
            """SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE (n.nspname, c.relname) IN %s AND c.relfilenode = pg_relation_filenode(c.oid)""",
            (tuple(tables),),
        )
        return {(schema, name): counted[schema, name] for schema, name in unchanged}
    except ServerError as error:
        if not error.sqlstate or error.sqlstate.startswith(_GONE):
            raise
        return None
    finally:
        with contextlib.suppress(ServerError):
            ask("ROLLBACK")


def large_objects(server: Server, connection: Any, doing: str) -> int:
    """Return how many large objects the database has."""
    return int(server.query("SELECT count(*) FROM pg_largeobject_metadata", (), doing, connection)[0][0])


def note(tables: Sequence[dict[str, Any]], rows: Mapping[Table, int]) -> None:
    """Enter the rows into what the manifest says of the tables."""
    listed = {(str(table["schema"]), str(table["name"])): table for table in tables}
    for place, count in rows.items():
        if place in listed:
            listed[place]["rows"] = count


def _tables(toc: Toc) -> set[Table]:
    """Return the archive's tables; not those whose names it has in an encoding that Python lacks."""
    tables = {(entry.namespace or "", entry.tag) for entry in toc.entries if entry.desc == "TABLE"}
    return {table for table in tables if not any("\ud800" <= letter <= "\udfff" for letter in "".join(table))}


@dataclass(frozen=True)
class Expected:
    """What the manifest has a restore amount to.

    ``noted`` are all tables of the manifest with their rows, None where nobody counted them. ``left_out`` are those
    that were meant not to be restored, which the pull has said. ``roots`` are partitions whose rows are loaded by way
    of the table on top, each with what a message calls these. ``large_objects`` is how many there are to be, None where
    nobody knows.
    """

    noted: Mapping[Table, int | None]
    left_out: frozenset[Table]
    roots: Mapping[Table, str]
    large_objects: int | None

    @classmethod
    def of(cls, tables: Sequence[Mapping[str, Any]], large_objects: int | None, adapted: Adapted) -> Expected:
        """Return what is expected of an archive as it was restored.

        :param tables: those of the manifest.
        """
        chosen = set(adapted.dump_ids)
        left_out = frozenset(
            (entry.namespace or "", entry.tag)
            for entry in adapted.toc.entries
            if entry.desc in ("TABLE", "TABLE DATA") and entry.dump_id not in chosen
        )
        objects = [entry.dump_id for entry in adapted.toc.entries if entry.desc.startswith("BLOB")]
        return cls(
            {(str(table.get("schema", "")), str(table["name"])): table.get("rows") for table in tables},
            left_out,
            _loaded_by_root(adapted.toc),
            large_objects if chosen.issuperset(objects) else None,
        )


class Comparison:
    """What a restore has made of a point's tables, compared with what the manifest says.

    :param jobs: how many tables to count at once.
    """

    def __init__(self, server: Server, connect: Connect, expected: Expected, jobs: int, doing: str) -> None:
        self._server = server
        self._connect = connect
        self._expected = expected
        self._jobs = jobs
        self._doing = doing

    def run(self, group: Group, there: Iterable[Table]) -> None:
        """Count, and compare.

        :param there: the tables of the scratch database.
        :raises EnvSyncError: tables or rows are missing, or there are more than in the manifest.
        """
        wanted = {
            table: rows
            for table, rows in self._expected.noted.items()
            if rows is not None and table not in self._expected.left_out
        }
        if not wanted:
            return  # of a version that counted no rows
        with self._connect() as connection:
            extensions = _of_extensions(self._server, connection, self._doing)
            forced = self._forced(connection)
            objects = large_objects(self._server, connection, self._doing)
        found = set(there)
        counts.require_all(map(_shown, wanted), map(_shown, found), self._doing, _CAUSE)
        counts.require_no_more(map(_shown, self._expected.noted), map(_shown, found - extensions), self._doing, _CAUSE)
        counted = self._count_all(group, wanted, forced)
        counts.require_equal(self._summed(wanted), self._summed(counted), self._doing, _CAUSE)
        if self._expected.large_objects is not None:
            what, whole = ("the database", "large objects"), "as a whole"
            counts.require_equal({whole: self._expected.large_objects}, {whole: objects}, self._doing, _CAUSE, what)

    def _summed(self, rows: Mapping[Table, int]) -> Counter[str]:
        """Return the rows by what a message calls the table; those of partitions that share their rows, together."""
        found: Counter[str] = Counter()
        for table, count in rows.items():
            found[self._expected.roots.get(table) or _shown(table)] += int(count)
        return found

    def _forced(self, connection: Any) -> set[Table]:
        """Return the tables whose policies hold for their owner too, and so for this role."""
        rows = self._server.query(
            """SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relforcerowsecurity AND row_security_active(c.oid)""",
            (),
            self._doing,
            connection,
        )
        return {(str(schema), str(name)) for schema, name in rows}

    def _count_all(self, group: Group, tables: Mapping[Table, int], forced: set[Table]) -> dict[Table, int]:
        found: dict[Table, int] = {}

        def work(waiting: Iterator[Table]) -> None:
            with self._connect() as connection:
                # A policy that would hide rows is an error then.
                self._server.query("SET row_security = off", (), self._doing, connection)
                for table in waiting:
                    with self._unforced(table, connection) if table in forced else contextlib.nullcontext():
                        found[table] = _count(self._server, connection, table, self._doing)

        group.each(work, sorted(tables, key=lambda table: (-tables[table], table)), self._jobs)
        return found

    @contextlib.contextmanager
    def _unforced(self, table: Table, connection: Any) -> Iterator[None]:
        """Have the owner see all rows, for the length of a transaction that is rolled back."""

        def ask(statement: str) -> None:
            self._server.query(statement, (), self._doing, connection)

        ask("BEGIN")
        ask(f"ALTER TABLE ONLY {_sql(table)} NO FORCE ROW LEVEL SECURITY")
        yield
        ask("ROLLBACK")


def _of_extensions(server: Server, connection: Any, doing: str) -> set[Table]:
    rows = server.query(
        """SELECT n.nspname, c.relname FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
             JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'""",
        (),
        doing,
        connection,
    )
    return {(str(schema), str(name)) for schema, name in rows}


def _count(server: Server, connection: Any, table: Table, doing: str) -> int:
    """Return the rows of one table, without those of its partitions and children."""
    return int(server.query(f"SELECT count(*) FROM ONLY {_sql(table)}", (), doing, connection)[0][0])


def _sql(table: Table) -> str:
    return f"{quote(table[0])}.{quote(table[1])}"


def _shown(table: Table) -> str:
    return ".".join(quote(name) if "." in name else name for name in table)


def _loaded_by_root(toc: Toc) -> dict[Table, str]:
    """Return the partitions whose rows are loaded by way of the table on top, and what a message calls these.

    Where enums are hashed, a row may belong into another partition on another server (``forcePartitionRootLoad`` in
    ``pg_dump.c``): what holds is the sum.
    """
    found = {}
    for entry in toc.entries:
        statement = entry.copy_stmt or ""
        own = {f"COPY {schema}.{name} " for schema in _spelt(entry.namespace or "") for name in _spelt(entry.tag)}
        if entry.desc == "TABLE DATA" and statement and not statement.startswith(tuple(own)):
            into = "".join(tokens(statement.partition(" (")[0].partition(" FROM ")[0])[1:])
            found[entry.namespace or "", entry.tag] = f"{into} with its partitions"
    return found


def _spelt(name: str) -> tuple[str, str]:
    return name, quote(name)
