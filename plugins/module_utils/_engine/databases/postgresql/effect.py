# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a script changed in a database: rows that are there now, and tables that are other than before.

The server counts the rows that statements touch, also where a subtransaction is undone (an exception that is caught in
PL/pgSQL). So its counts say only where to look; what counts is the rows that are newer than the script's beginning.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ...errors import EnvSyncError
from .client import ServerError
from .names import literal, quote

#: runs one statement on a connection of our own to the script's database: ``ask(statement, parameters)``
Ask = Callable[..., list[tuple[Any, ...]]]

#: until version 14 a server's counts arrive late, in seconds
_COUNTS_ARRIVE = 0.6
_COUNTS_PATIENCE = 15.0
_COUNTS_AT_ONCE = 150000

_RELATIONS = """
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relfilenode,
       CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) ELSE 0 END,
       (SELECT array_agg(ARRAY[a.attname::text, a.atttypid::text, a.atttypmod::text] ORDER BY a.attnum)
          FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       (SELECT array_agg(inhparent ORDER BY inhparent) FROM pg_inherits WHERE inhrelid = c.oid),
       pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_updated(c.oid), pg_stat_get_tuples_deleted(c.oid)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't'
   AND (c.oid >= 16384 AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
        OR c.oid = 'pg_catalog.pg_largeobject'::regclass)
"""

_LARGE_OBJECTS = ("pg_catalog", "pg_largeobject")


@dataclass(frozen=True)
class Relation:
    """A table (``r``), partitioned table (``p``), materialized view (``m``) or foreign table (``f``).

    ``file`` is the number of its file, ``size`` that file's in bytes; ``columns`` are (name, type, modifier);
    ``parents`` are the tables that show its rows as theirs;
    ``touched`` is how many rows were inserted, updated and deleted, as the server counts them.
    """

    oid: int
    schema: str
    table: str
    kind: str
    file: int
    size: int
    columns: tuple[tuple[str, ...], ...]
    parents: frozenset[int]
    touched: tuple[int, int, int]

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.table}"

    @property
    def sql(self) -> str:
        return f"{quote(self.schema)}.{quote(self.table)}"


@dataclass(frozen=True)
class State:
    """The tables of a database by OID, and the transaction that it was when they were looked at."""

    relations: Mapping[int, Relation]
    transaction: int


@dataclass(frozen=True)
class Change:
    """What a script changed.

    ``rows`` has the number of rows for each table; ``altered`` says what else; ``oids`` are the tables whose files (or,
    where they are gone, whose statistics) may show what was there before.
    """

    rows: Mapping[str, int]
    altered: Sequence[str]
    oids: frozenset[int] = field(default=frozenset())


@contextlib.contextmanager
def nothing_prepared(ask: Ask, doing: str) -> Iterator[None]:
    """Raise where a script, which runs meanwhile, has left prepared transactions; these are rolled back.

    With one a database can be neither renamed nor dropped.
    """
    held = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
    before = {gid for (gid,) in ask(held)}
    new: set[str] = set()
    try:
        yield
    finally:
        with contextlib.suppress(ServerError):
            new = {gid for (gid,) in ask(held)} - before
            for gid in new:
                ask(f"ROLLBACK PREPARED {literal(gid)}")
    if new:
        raise EnvSyncError(doing, f"it left prepared transactions ({', '.join(sorted(new))})", "COMMIT instead.")


def look(ask: Ask) -> State:
    """Return what there is."""
    # The current transaction's number, for which one is used up: what the script writes has a later one.
    transaction = int(ask("SELECT txid_current()")[0][0])
    relations = {}
    for oid, schema, table, kind, file, size, columns, parents, *touched in ask(_RELATIONS):
        relations[int(oid)] = Relation(
            int(oid),
            schema,
            table,
            kind,
            int(file),
            int(size or 0),
            tuple(tuple(column) for column in columns or ()),
            frozenset(parents or ()),
            (int(touched[0]), int(touched[1]), int(touched[2])),
        )
    return State(relations, transaction)


def look_again(
    ask: Ask, before: State, session: int, pending: int, version: int, sleep: Callable[[float], None]
) -> State:
    """Return what there is after a script, as soon as the server has all its counts.

    :param session: the process of the script's session, which reports its last counts when it ends.
    :param pending: how many rows it had touched that the server had not been told of when the script ended.
    :param version: the server's ``server_version_num``.
    """
    deadline = time.monotonic() + _COUNTS_PATIENCE
    while ask("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (session,)) and time.monotonic() < deadline:
        sleep(0.02)
    if version < _COUNTS_AT_ONCE:
        sleep(_COUNTS_ARRIVE)
    while True:
        after = look(ask)
        arrived = sum(sum(_touched(before, relation)) for relation in after.relations.values())
        if arrived >= pending or version >= _COUNTS_AT_ONCE or time.monotonic() > deadline:
            return after
        sleep(0.2)


def compare(ask: Ask, before: State, after: State, counting: bool) -> Change:
    """Return what was changed between two looks.

    :param counting: the server counts rows; where it does not, all tables are read.
    """
    altered: list[str] = []
    oids: set[int] = set()
    for oid, was in before.relations.items():
        words = _altered(was, after.relations.get(oid))
        if words:
            oids |= {oid, *was.parents}
            altered.append(words)
    altered += [f"made {_KINDS[new.kind]} {new.name}" for oid, new in after.relations.items() if not _had(before, oid)]
    rows: dict[str, int] = {}
    for oid, relation in after.relations.items():
        touched = _touched(before, relation)
        if relation.kind != "r" or not (sum(touched) or not counting):
            continue
        if sum(touched):
            oids.add(oid)  # what was undone is in the file too
        if _had(before, oid):
            changed = _changed(ask, relation, touched if counting else None, before.transaction)
            if changed:
                oids.add(oid)
                rows[relation.name] = changed
    return Change(rows, tuple(altered), frozenset(oids))


_KINDS = {"r": "table", "p": "table", "f": "foreign table", "m": "materialized view"}


def _had(before: State, oid: int) -> bool:
    return oid in before.relations


def _touched(before: State, relation: Relation) -> tuple[int, int, int]:
    was = before.relations.get(relation.oid)
    if was is None:
        return relation.touched
    one, two, three = (max(0, now - then) for now, then in zip(relation.touched, was.touched))
    return one, two, three


def _altered(was: Relation, now: Relation | None) -> str:
    """Say in a few words how a table is other than it was, in what rows do not show; empty where it is not."""
    if now is None:
        return f"dropped {_KINDS[was.kind]} {was.name}"
    if now.name != was.name:
        return f"renamed {was.name} to {now.name}"
    gone = [column[0] for column in was.columns if column not in now.columns]
    if gone:
        return f"dropped or altered {', '.join(gone)} of {was.name}"
    if now.columns != was.columns:
        return f"added to {was.name} {', '.join(column[0] for column in now.columns if column not in was.columns)}"
    if now.parents != was.parents:
        return f"attached or detached {was.name}"
    if was.kind == "r" and now.file != was.file and was.size:
        return f"truncated or rewrote {was.name}"
    return ""


def _changed(ask: Ask, relation: Relation, touched: tuple[int, int, int] | None, transaction: int) -> int:
    """Return how many rows of a table were inserted, updated or deleted, and stayed so.

    :param touched: rows that statements inserted, updated and deleted; None: nobody knows.
    """
    if (relation.schema, relation.table) == _LARGE_OBJECTS:
        return sum(touched or ())  # pages, and no role but a superuser may read them
    since = str(transaction % 2**32)
    try:
        found = ask(
            f"""SELECT xmax::text, count(*) FILTER (WHERE age(xmin) <= age('{since}'::xid)), count(*)
                  FROM ONLY {relation.sql}
                 WHERE age(xmin) <= age('{since}'::xid) OR NOT xmax = '0'::xid GROUP BY 1"""
        )
        written = sum(int(new) for _xmax, new, _all in found)
        undone = any(_was_undone(ask, int(xmax), transaction) for xmax, _new, _all in found)
    except ServerError:
        return sum(touched or ())  # a role that may not read it, or a table of another kind of storage
    if touched is None:
        return written
    inserted, updated, deleted = touched
    # A row that a deletion undone has marked is there still: how many were deleted besides is not known then.
    return min(written, inserted + updated) + (0 if undone else deleted)


def _was_undone(ask: Ask, xmax: int, transaction: int) -> bool:
    """Say whether a (sub)transaction since the script's beginning was undone, from the number that it left in rows."""
    if not xmax:
        return False
    full = transaction - transaction % 2**32 + xmax
    if full < transaction:
        return False
    return bool(ask("SELECT txid_status(%s) = 'aborted'", (full,))[0][0])
