# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The swap: all tables change place in one ``RENAME TABLE``; the rest is made anew around it.

A schema has no name of its own that could be given away, and tables with triggers can't be moved between schemas. So
the triggers go first, and views, routines, triggers and events are made when the tables are there. What is under way is
on record in a table, the journal, which the very same RENAME moves: wherever the journal is found after a crash, it
says which half was done, and has what completes it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ...errors import EnvSyncError
from ..lease import Lease
from . import code
from .client import Server, quote
from .code import Definition
from .errors import ServerError
from .names import Names
from .statements import Token, tokenise

#: a table by this name, with a comment that begins so, makes a schema ours: it may be dropped
MARK_TABLE = "env_sync_mark"
MARK = "env_sync: "

#: the end of the mark of a replaced schema that nobody asked to keep
DOOMED = "to be dropped"

JOURNAL = "env_sync_journal"

#: what the server calls things that RENAME TABLE moves; views it does not
_MOVABLE = ("BASE TABLE", "SYSTEM VERSIONED", "SEQUENCE")

#: how long a change waits for transactions that use the tables, while others wait behind it, in seconds
_LOCK_WAIT = 5

#: how often it is tried so before the sessions that use the database are ended, and after
_TRIES = 3

_LOCK_WAIT_TIMEOUT, _DEADLOCK = 1205, 1213


def exists(server: Server, schema: str) -> bool:
    """Say whether there is a schema by this name that this user may see."""
    return bool(server.query("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s", (schema,)))


def tables(server: Server, schema: str, doing: str = "") -> dict[str, str]:
    """Return the tables of a schema and their types (``BASE TABLE``, ``SEQUENCE``...), without our own and views."""
    rows = server.query(
        "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s ORDER BY 1",
        (schema,),
        doing,
    )
    return {str(name): str(kind) for name, kind in rows if kind in _MOVABLE and name not in (MARK_TABLE, JOURNAL)}


def mark(server: Server, schema: str, doing: str = "") -> str | None:
    """Return what our mark on a schema says; None where there is none, so that it is not ours.

    A schema of such a name with nothing in it is ours: it was about to be marked.
    """
    rows = server.query(
        "SELECT TABLE_NAME, TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s", (schema,), doing
    )
    for name, comment in rows:
        if name == MARK_TABLE and str(comment).startswith(MARK):
            return str(comment)[len(MARK) :]
    return DOOMED if not rows and exists(server, schema) else None


def create(server: Server, schema: str, comment: str, options: str, doing: str) -> None:
    """Create a schema of ours.

    :param comment: what our mark on it says, as :func:`mark` returns it.
    :param options: its default character set and collation, as CREATE DATABASE takes them; may be empty.
    """
    server.query(f"CREATE DATABASE {quote(schema)} {options}", doing=doing)
    server.query(
        f"CREATE TABLE {quote(schema)}.{quote(MARK_TABLE)} (id int PRIMARY KEY) ENGINE=InnoDB"
        f" COMMENT = '{MARK}{comment}'",
        doing=doing,
    )


def default_options(server: Server, schema: str, doing: str) -> str:
    """Return a schema's default character set and collation, as CREATE and ALTER DATABASE take them."""
    charset, collation = server.query(
        """SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA
            WHERE SCHEMA_NAME = %s""",
        (schema,),
        doing,
    )[0]
    return f"CHARACTER SET {charset} COLLATE {collation}"


def drop(server: Server, schema: str) -> None:
    """Drop a schema of ours. When that were cancelled half-way, our mark might be gone and other tables not."""
    with server.undisturbed():
        server.query(f"DROP DATABASE IF EXISTS {quote(schema)}", doing=f"dropping {schema} on {server.name}")


def end_sessions(server: Server, schema: str, doing: str) -> None:
    """End the sessions that use a schema, those that this user may."""
    rows = server.query(
        "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = %s AND ID <> CONNECTION_ID()", (schema,), doing
    )
    server.kill([int(identifier) for (identifier,) in rows])


def may_move(server: Server, live: str, scratch: str) -> None:
    """Raise when this user lacks the rights to move tables; a RENAME of a table that is not there tells."""
    doing = f"checking the rights to {live} and {scratch} on {server.name}"
    nothing = quote("env_sync_no_such_table")
    for source, target in ((live, scratch), (scratch, live)):
        try:
            server.query(f"RENAME TABLE {quote(source)}.{nothing} TO {quote(target)}.{nothing}", doing=doing)
        except ServerError as error:
            if error.code in (1044, 1142, 1227, 1290):
                raise


def foreign_references(server: Server, live: str, doing: str) -> list[str]:
    """Return the foreign keys of other schemas' tables into this one: they would go with the replaced tables."""
    rows = server.query(
        """SELECT DISTINCT CONCAT(CONSTRAINT_SCHEMA, '.', TABLE_NAME, ' (', CONSTRAINT_NAME, ')')
             FROM information_schema.REFERENTIAL_CONSTRAINTS
            WHERE UNIQUE_CONSTRAINT_SCHEMA = %s AND CONSTRAINT_SCHEMA <> %s""",
        (live, live),
        doing,
    )
    return [str(name) for (name,) in rows]


# How the contents of the live schema are exchanged for those of the scratch schema:
#
#  1. Create the live schema, where there is none.
#  2. Read what it has beside tables (views, routines, triggers, events), and its default character set and collation.
#  3. Create the old schema; its mark says whether it is to be kept or dropped.
#  4. Write the journal, a table in the scratch schema: what step 2 found, to undo the swap, and what the live schema is
#     to have in its place, to complete it.
#  5. Drop what is in the way of RENAME TABLE: all triggers, and views by the names of tables that come.
#  6. RENAME TABLE live.* TO old.*, scratch.* TO live.*, and the journal from scratch to old. It is one statement, and
#     happens wholly or not at all: before it nothing is swapped, after it everything is.
#  7. In the live schema: set the options, have defaults of columns take their sequences from it again, and make
#     routines, views, triggers and events.
#  8. Drop the journal: the swap is complete.
#  9. Where the old schema is kept, make what step 2 found there, with its events switched off.
#
# What fails in 3 to 6 is undone: what step 5 dropped is made again, the old schema is dropped. What fails in 7 or 8 is
# undone too: the tables are moved back the same way (and the journal with them), step 7 is done with what step 2 found,
# the old schema is dropped. What fails in 9 is a warning.
#
# A process that is killed undoes nothing, nor does one whose connection, and lock, is lost. The next run does, in
# recover(): the journal in the scratch schema means that step 6 was not done, and what step 5 dropped is made again;
# the journal in the old schema means that it was, and 7 and 8 are done. Without a journal, there is nothing to do: the
# schemas that are left are dropped by their marks.


class Swap:
    """The exchange of one live schema's contents for a scratch schema's.

    :param options: the default character set and collation that the live schema is to have; empty to leave them.
    :param lease: the lock, which the server's control connection has.
    """

    def __init__(self, server: Server, names: Names, options: str, lease: Lease) -> None:
        self._server = server
        self._live = names.live
        self._scratch = names.scratch
        self._old = names.old
        self._options = options
        self._lease = lease
        self._doing = f"swapping {names.live} on {server.name}"

    def run(self, wanted: Sequence[Definition], keep_old: bool) -> tuple[float, list[str]]:
        """Exchange them; return how long the RENAME TABLE took, for which others wait, in seconds, and warnings.

        The replaced tables are in the old schema afterwards. When anything fails, the live schema is as it was.

        :param wanted: all that the live schema is to have beside tables.
        :param keep_old: the old schema is to be whole again; otherwise the caller drops it.
        """
        server, doing = self._server, self._doing
        created = not exists(server, self._live)
        if created:
            server.query(f"CREATE DATABASE {quote(self._live)} {self._options}", doing=doing)
        try:
            return self._exchange(wanted, keep_old)
        except BaseException:
            # What is raised is the first failure, not that this fails too.
            with contextlib.suppress(EnvSyncError), server.undisturbed():
                if created and not tables(server, self._live, doing):
                    drop(server, self._live)
            raise

    def _exchange(self, wanted: Sequence[Definition], keep_old: bool) -> tuple[float, list[str]]:
        server, doing = self._server, self._doing
        before = code.read(server, self._live, doing)
        former = default_options(server, self._live, doing)
        fate = "kept" if keep_old else DOOMED
        try:
            create(server, self._old, f"what a pull replaced, {fate}", former, doing)
            self._write_journal(before, wanted)
            seconds = self._move(before)
        except BaseException:
            with server.undisturbed():
                self._lease.regain()  # else its next holder puts all right
                code.add_missing(server, self._live, before, doing)
                drop(server, self._old)
            raise
        # From here on, finishing is safer than undoing.
        with server.undisturbed():
            try:
                self._complete(wanted)
            except BaseException:
                self._lease.regain()  # else its next holder puts all right
                self._move_back(before, former)
                raise
            return seconds, self._furnish_old(before) if keep_old else []

    def _write_journal(self, before: Sequence[Definition], wanted: Sequence[Definition]) -> None:
        name = f"{quote(self._scratch)}.{quote(JOURNAL)}"
        record = {
            "undo": [item.to_dict() for item in before],
            "redo": [item.to_dict() for item in wanted],
            "options": self._options,
        }
        self._server.query(
            f"CREATE TABLE {name} (id int PRIMARY KEY, record longtext CHARACTER SET utf8mb4) ENGINE=InnoDB",
            doing=self._doing,
        )
        self._server.query(f"INSERT INTO {name} VALUES (1, %s)", (json.dumps(record),), self._doing)

    def _move(self, before: Sequence[Definition]) -> float:
        server, doing = self._server, self._doing
        leaving, coming = tables(server, self._live, doing), tables(server, self._scratch, doing)
        in_scratch = code.read(server, self._scratch, doing)
        code.drop(server, self._scratch, [item for item in in_scratch if item.kind == "TRIGGER"], doing)
        # A view can be in the way of a table that comes by its name.
        gone = [item for item in before if item.kind == "TRIGGER" or (item.kind == "VIEW" and item.name in coming)]
        _insist(server, self._live, lambda: code.drop(server, self._live, gone, doing), doing)
        pairs = [(self._live, name, self._old) for name in leaving]
        pairs += [(self._scratch, name, self._live) for name in coming]
        return self._rename([*pairs, (self._scratch, JOURNAL, self._old)])

    def _move_back(self, before: Sequence[Definition], former: str) -> None:
        server, doing = self._server, f"{self._doing}: going back"
        made = [item for item in code.read(server, self._live, doing) if item.kind in ("TRIGGER", "VIEW")]
        _insist(server, self._live, lambda: code.drop(server, self._live, made, doing), doing)
        pairs = [(self._live, name, self._scratch) for name in tables(server, self._live, doing)]
        pairs += [(self._old, name, self._live) for name in tables(server, self._old, doing)]
        self._rename([*pairs, (self._old, JOURNAL, self._scratch)])
        _furnish(server, self._live, self._scratch, before, former, doing)
        drop(server, self._old)

    def _rename(self, pairs: Sequence[tuple[str, str, str]]) -> float:
        """Move tables, all at once; return how long that took, without attempts that failed, in seconds.

        :param pairs: of each table, the schema where it is, its name, and the schema where it goes.
        """
        server, doing = self._server, self._doing
        moves = ", ".join(f"{quote(source)}.{quote(name)} TO {quote(to)}.{quote(name)}" for source, name, to in pairs)
        return _insist(server, self._live, lambda: server.query(f"RENAME TABLE {moves}", doing=doing), doing)

    def _complete(self, wanted: Sequence[Definition]) -> None:
        server, doing = self._server, self._doing
        _furnish(server, self._live, self._scratch, wanted, self._options, doing)
        server.query(f"DROP TABLE {quote(self._old)}.{quote(JOURNAL)}", doing=doing)

    def _furnish_old(self, before: Sequence[Definition]) -> list[str]:
        """Make the replaced schema whole again, as it is kept; its events are off. Return warnings."""
        items = [code.switched(item, b"DISABLE") if item.kind == "EVENT" else item for item in before]
        try:
            _retarget_sequences(self._server, self._old, self._live, self._doing)
            code.install(self._server, self._old, items, self._doing)
        except EnvSyncError as error:
            return [f"the replaced schema is kept as {self._old}, not with all that it had beside tables: {error}"]
        return []


def _furnish(server: Server, live: str, former: str, wanted: Sequence[Definition], options: str, doing: str) -> None:
    """Give the live schema these options, and make what its tables, which came from ``former``, need beside them."""
    if options:
        server.query(f"ALTER DATABASE {quote(live)} {options}", doing=doing)

    def change() -> None:
        _retarget_sequences(server, live, former, doing)
        code.install(server, live, wanted, doing, _LOCK_WAIT)

    # The tables are in use again, and whoever uses one, or a view, has to be waited for.
    _insist(server, live, change, doing)


def _insist(server: Server, live: str, change: Callable[[], object], doing: str) -> float:
    """Have something changed that others may be using; return how long the attempt took that succeeded, in seconds.

    :param change: is safe to be called again.
    """
    server.query(f"SET SESSION lock_wait_timeout = {_LOCK_WAIT}", doing=doing)
    for attempt in range(2 * _TRIES):
        began = time.monotonic()
        try:
            change()
            return time.monotonic() - began
        except ServerError as error:
            if error.code not in (_LOCK_WAIT_TIMEOUT, _DEADLOCK) or attempt == 2 * _TRIES - 1:
                raise
        # Whoever waited behind this gets a turn, before it is asked for again.
        time.sleep(0.5)
        if attempt >= _TRIES - 1:
            # A transaction that is never finished holds what it used for ever.
            end_sessions(server, live, doing)
    raise AssertionError("the last attempt returns or raises")


def recover(server: Server, names: Names) -> list[str]:
    """Undo or complete a swap that was cut off; return what was done, in words for a log.

    :raises EnvSyncError: the server itself went down in the middle of the RENAME TABLE, and left half of it.
    """
    live, scratch, old = names.live, names.scratch, names.old
    doing = f"completing an interrupted swap of {live} on {server.name}"
    if mark(server, old, doing) is not None:
        record = _journal(server, old, doing)
        if record is not None:
            _furnish(server, live, scratch, _definitions(record["redo"]), record.get("options", ""), doing)
            server.query(f"DROP TABLE {quote(old)}.{quote(JOURNAL)}", doing=doing)
            return [f"views, routines, triggers and events of {live} that were not made yet"]
    if mark(server, scratch, doing) is not None:
        record = _journal(server, scratch, doing)
        if record is not None:
            if tables(server, old, doing):
                raise EnvSyncError(
                    doing,
                    f"the server went down in the middle of a RENAME TABLE, and left tables of {live} in {old}",
                    f"Move them back by hand (RENAME TABLE), then drop {old} and {scratch}.",
                )
            missing = code.add_missing(server, live, _definitions(record["undo"]), doing)
            return [f"the {item.kind.lower()} {item.name} that was missing in {live}" for item in missing]
    return []


def _journal(server: Server, schema: str, doing: str) -> Mapping[str, Any] | None:
    """Return the journal's record: ``undo`` and ``redo`` (definitions), ``options``; None where there is none."""
    there = server.query(
        "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s", (schema, JOURNAL), doing
    )
    rows = server.query(f"SELECT record FROM {quote(schema)}.{quote(JOURNAL)}", doing=doing) if there else []
    return dict(json.loads(rows[0][0])) if rows else None


def _definitions(items: Sequence[Mapping[str, str]]) -> list[Definition]:
    return [Definition(**item) for item in items]


def _retarget_sequences(server: Server, schema: str, former: str, doing: str) -> None:
    """Have defaults of moved tables take their sequences from ``schema``: MariaDB keeps the former schema's name."""
    rows = server.query(
        """SELECT TABLE_NAME, COLUMN_NAME, COLUMN_DEFAULT
             FROM information_schema.COLUMNS JOIN information_schema.TABLES USING (TABLE_SCHEMA, TABLE_NAME)
            WHERE TABLE_SCHEMA = %s AND LOCATE(%s, COLUMN_DEFAULT) > 0 AND COLUMN_DEFAULT LIKE '%%nextval%%'
              AND TABLE_TYPE <> 'VIEW'""",
        (schema, quote(former)),
        doing,
    )
    if rows:
        server.query("SET SESSION system_versioning_alter_history = 'KEEP'", doing=doing)
    for table, column, default in rows:
        found = tokenise(str(default).encode())
        for at, token in enumerate(found[:-1]):
            if token.text == quote(former).encode() and found[at + 1].text == b".":
                found[at] = Token("name", quote(schema).encode())
        value = b"".join(token.text for token in found).decode()
        server.query(
            f"ALTER TABLE {quote(schema)}.{quote(table)} ALTER COLUMN {quote(column)} SET DEFAULT ({value})",
            doing=doing,
        )
