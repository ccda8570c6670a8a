# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run an operator's script over a connection of our own, and know afterwards that it ran, and what of it is committed.

The client program would do as well, but for what it does by itself: it goes by options of the user's files, skips what
it takes for a comment, ends with 0 where the script says ``exit``, and counts nothing. Here the statements that were
looked at are the ones that run, and the server says with each how many rows it changed and whether a transaction is
open (MySQL manual, "OK_Packet").
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import EnvSyncError
from ...host.stopping import interruptible
from . import swap
from .client import Server, quote
from .errors import ServerError, code_and_text, describe
from .guard import Guard, Seen, made_of_variable
from .scripts import Part, Script, Statement, made_by, named, words
from .statements import Token, unquote

try:
    import pymysql.cursors
    import pymysql.err

    HAS_PYMYSQL = True
except ImportError:
    HAS_PYMYSQL = False  # there is no connection then: see client.py

#: flags of the server's status (MySQL source, ``mysql_com.h``)
_IN_TRANSACTION, _NO_BACKSLASH = 1, 512

#: statements whose number of affected rows is that of rows changed
_COUNTED = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE", "LOAD DATA", "LOAD XML"})

#: statements that change no row, whatever they say of affected ones
_QUIET = frozenset(
    {"SELECT", "SET", "SHOW", "DO", "USE", "DESC", "DESCRIBE", "EXPLAIN", "HELP", "VALUES", "TABLE", "PREPARE"}
    | {"DEALLOCATE", "COMMIT", "ROLLBACK", "ROLLBACK TO", "SAVEPOINT", "RELEASE", "START TRANSACTION", "BEGIN"}
    | {"LOCK", "UNLOCK", "CHECK", "CHECKSUM", "ANALYZE", "FLUSH", "OPTIMIZE", "REPAIR", "HANDLER", "GRANT", "REVOKE"}
    | {"KILL", "RESET", "SIGNAL", "RESIGNAL", "GET", "RENAME", "TRUNCATE"}
)

#: of these, those that read or set something; the others may leave something to commit
_READING = frozenset({"SELECT", "SET", "SHOW", "DO", "USE", "DESC", "DESCRIBE", "EXPLAIN", "HELP", "VALUES", "TABLE"})

_DEFINING = ("CREATE", "ALTER", "DROP")

#: what makes a script's statements of anything, rows among it
_DYNAMIC = re.compile(rb"\b(?:CALL|EXECUTE)\b", re.I)

_HANDLED = "SHOW SESSION STATUS WHERE Variable_name IN ({})".format(
    ", ".join(f"'Handler_{what}'" for what in ("delete", "rollback", "update", "write"))
)

#: a number for the mark, below this: as its table's column takes it
_LARGEST_MARK = 2**31 - 1


@dataclass(frozen=True)
class Place:
    """Where scripts run.

    ``shut`` are the schemas that they must not name: the live one, for scripts of the scratch schema. ``marked`` says
    whether the schema has our mark's table, in which a script's session is to leave a number at its end. ``hint`` is
    what the operator is to know after a failure.
    """

    schema: str
    shut: Sequence[str]
    marked: bool
    hint: str


@dataclass
class Counts:
    """What the server said of a script's statements, of those that are committed.

    ``rows`` has the changed rows of each table by the name in the script; those of '' are of several tables or none
    that is known. ``opaque`` says that there was a statement which may have changed any table (CALL), ``uncounted``
    that one of these undid something, so that it is not known how many rows it changed. ``temporary`` are the temporary
    tables that it made, ``partitioned`` the tables whose partitions it dropped, emptied or exchanged.
    """

    rows: Counter[str] = field(default_factory=Counter)
    opaque: bool = False
    uncounted: bool = False
    temporary: set[str] = field(default_factory=set)
    partitioned: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)


def run(server: Server, script: Script, guard: Guard, seen: Seen, place: Place) -> Counts:
    """Run a script; the first error ends it. Return what it changed and committed.

    :param seen: what the guard says of it.
    :raises EnvSyncError: it names file, line and error number, and no value of any row.
    """
    doing = script.doing
    connection = server.session(doing, place.schema, seen.loads_files)
    session = _Session(server, connection, script, guard, seen, place)
    interruptible(session.run, server.stop, doing, lambda over: server.cancel(connection, over))
    return session.counts


class _Session:
    """The session that a script runs in."""

    def __init__(self, server: Server, connection: Any, script: Script, guard: Guard, seen: Seen, place: Place) -> None:
        self._server = server
        self._connection = connection
        self._script = script
        self._guard = guard
        self._seen = seen
        self._place = place
        self._pending: Counter[str] = Counter()
        self._savepoints: dict[str, Counter[str]] = {}
        self._open = False
        self._last = 1
        self._quotes_data = _DYNAMIC.search(script.text) is not None
        self.counts = Counts()

    def run(self) -> None:
        """Run the script to its end."""
        with contextlib.closing(self._connection):
            self._script.backslash = not self._connection.server_status & _NO_BACKSLASH
            for statement in self._script:
                self._last = statement.line
                self._server.stop.check(self._script.doing)
                refusal = self._guard.refusal(statement, self._seen.dynamic)
                if refusal:
                    raise self._script.refused(refusal.line, refusal.why, refusal.hint)
                self._look_at_text(statement)
                self._execute(statement)
                self._script.backslash = not self._connection.server_status & _NO_BACKSLASH
            self._finish()

    # -- statements ----------------------------------------------------------------------------------------------------

    def _execute(self, statement: Statement) -> None:
        opaque = [part for part in statement.parts if self._is_opaque(part)]
        before = self._handled() if opaque else Counter()
        at = 0
        with (
            self._errors(statement.line),
            contextlib.closing(self._connection.cursor(pymysql.cursors.SSCursor)) as cursor,
        ):
            cursor.execute(statement.text)
            while True:
                returned = sum(1 for _row in cursor)
                if not opaque and at < len(statement.parts):
                    changed = cursor.rowcount if cursor.description is None else returned
                    self._note(statement.parts[at], changed)
                    self._note_skipped(statement.parts[at])
                at += 1
                if not cursor.nextset():
                    break
        if opaque:
            self._note_opaque(before, self._handled())
            self._require_schema(statement.line)

    def _is_opaque(self, part: Part) -> bool:
        """Say whether a statement may change rows of any table, and more than it says."""
        if part.kind in _COUNTED or part.kind.startswith(_DEFINING):
            return False
        return part.kind not in _QUIET or any(
            token.kind in ("word", "name") and after.text == b"(" and _text(token).lower() in self._seen.functions
            for token, after in zip(part.tokens, part.tokens[1:])
        )

    def _note(self, part: Part, affected: int) -> None:
        """Enter a statement's rows: those of an open transaction count when it is committed."""
        kind = part.kind
        if kind == "ROLLBACK":
            self._settle(commit=False)
        elif kind == "ROLLBACK TO":
            self._pending = Counter(self._savepoints.get(_text(part.tokens[-1]).lower(), self._pending))
        elif kind == "SAVEPOINT":
            self._savepoints[_text(part.tokens[-1]).lower()] = Counter(self._pending)
        elif kind in ("COMMIT", "START TRANSACTION", "BEGIN"):
            self._settle()
        elif kind in _COUNTED or (kind == "CREATE TABLE" and affected > 0):
            self._pending[_target(part)] += affected
        elif kind == "CREATE TEMPORARY":
            self.counts.temporary.add(made_by(part, "TABLE"))
        elif kind == "ALTER TABLE" and _drops_partition(part):
            self.counts.partitioned.add(made_by(part, "TABLE"))
        if not self._in_transaction():
            self._settle()
        elif kind not in _READING and kind not in ("COMMIT", "ROLLBACK", "START TRANSACTION", "BEGIN"):
            self._open = True

    def _note_opaque(self, before: Counter[str], after: Counter[str]) -> None:
        """Enter the rows of statements that do not say how many they changed, by what the storage engines were asked.

        Where something was rolled back there, that is no measure.
        """
        self.counts.opaque = True
        grown = after - before
        self.counts.uncounted |= grown["rollback"] > 0
        if not grown["rollback"]:
            self._pending[""] += grown["delete"] + grown["update"] + grown["write"]
        if self._in_transaction():
            self._open = True
        else:
            self._settle()

    def _settle(self, commit: bool = True) -> None:
        if commit:
            self.counts.rows.update(self._pending)
        self._pending, self._savepoints, self._open = Counter(), {}, False

    def _note_skipped(self, part: Part) -> None:
        """Warn where UPDATE IGNORE left rows as they were; MariaDB has no warnings of it, but says two numbers too."""
        if part.kind != "UPDATE" or "IGNORE" not in words(part.tokens, 4):
            return
        # "Rows matched: 3  Changed: 1  Warnings: 2", in the server's language.
        said = re.findall(rb"\d+", getattr(self._connection._result, "message", None) or b"")
        if len(said) >= 2 and int(said[0]) > int(said[1]):
            self.counts.warnings.append(
                f"{self._script.path}, line {part.line}: UPDATE IGNORE left {int(said[0]) - int(said[1])} of "
                f"{int(said[0])} rows as they were"
            )

    def _look_at_text(self, statement: Statement) -> None:
        """Look at a statement that the script has made of a text before it is prepared."""
        for part in statement.parts:
            variable = made_of_variable(part)
            if variable and len(statement.parts) == 1:
                text = self._rows(f"SELECT {variable}", part.line)[0][0]
                refusal = self._guard.text_refusal(text if isinstance(text, bytes) else b"", part.line)
                if refusal:
                    raise self._script.refused(refusal.line, refusal.why, refusal.hint)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Raise unless the script's session is where it began, with all that it did committed; then leave the mark."""
        last = self._last
        self._rows("DO 0", last)
        if not self._in_transaction():
            self._settle()
        self._require_schema(last)
        if self._open:
            off = not self._connection.get_autocommit()
            why = "it ends with autocommit off, and does not commit" if off else "it ends in a transaction"
            raise self._script.refused(last, f"{why}: what it changed last is undone", "End it with COMMIT.")
        # What is open has only read. Locks, and a session that may only read, have done no harm.
        for statement in ("ROLLBACK", "UNLOCK TABLES", "SET SESSION TRANSACTION READ WRITE"):
            self._rows(statement, last)
        if self._place.marked:
            self._leave_mark(last)

    def _leave_mark(self, last: int) -> None:
        schema, doing = self._place.schema, self._script.doing
        number = secrets.randbelow(_LARGEST_MARK)
        self._rows(f"INSERT INTO {quote(swap.MARK_TABLE)} (id) VALUES ({number})", last)
        self._rows("COMMIT", last)
        table = f"{quote(schema)}.{quote(swap.MARK_TABLE)}"
        if not self._server.query(f"SELECT 1 FROM {table} WHERE id = {number}", doing=doing):
            raise EnvSyncError(
                doing,
                f"the mark that its session left at its end is not in {schema}: what it did may not be there",
                self._place.hint,
            )
        self._server.query(f"DELETE FROM {table} WHERE id = {number}", doing=doing)

    def _require_schema(self, line: int) -> None:
        found = self._rows("SELECT DATABASE()", line)[0][0]
        name = found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found or "")
        if name.lower() != self._place.schema.lower():
            where = f"in the database {name}" if name else "in no database: the one it ran in is gone"
            raise self._script.refused(line, f"the script ends {where}", "Take out what changes the database.")

    # -- the connection ------------------------------------------------------------------------------------------------

    def _in_transaction(self) -> bool:
        return bool(self._connection.server_status & _IN_TRANSACTION)

    def _handled(self) -> Counter[str]:
        rows = self._rows(_HANDLED, self._last)
        return Counter({_plain(name).lower().replace("handler_", ""): int(value) for name, value in rows})

    def _rows(self, statement: str, line: int) -> list[tuple[Any, ...]]:
        """Run a statement of our own in the script's session."""
        with self._errors(line), contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(statement.encode())
            return list(cursor.fetchall())

    @contextlib.contextmanager
    def _errors(self, line: int) -> Any:
        """Say what of the server's complaint may be repeated, and where."""
        try:
            yield
        except (pymysql.err.Error, OSError) as error:
            self._server.stop.check("running a script")
            code, text = code_and_text(error)
            raise ServerError(
                self._script.doing, code, text,
                f"{self._script.path}, line {line}: {describe(code, text, self._quotes_data)}", self._place.hint,
            ) from error  # fmt: skip


def _plain(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _text(token: Token) -> str:
    return unquote(token.text).decode("utf-8", "replace")


def _target(part: Part) -> str:
    """Return the table whose rows a statement changes; empty where there are several, or it does not show."""
    found = words(part.tokens)
    if part.kind == "CREATE TABLE":
        return made_by(part, "TABLE")
    if part.kind.startswith("LOAD"):
        return made_by(part, "TABLE") if "TABLE" in found else ""
    if found[0] != part.kind:
        return ""  # WITH ... UPDATE
    at = 1
    while at < len(found) and found[at] in _MODIFIERS:
        at += 1
    several = {"UPDATE": ("SET",), "DELETE": ("WHERE", "ORDER", "LIMIT", "RETURNING")}.get(part.kind)
    if part.kind == "DELETE" and found[at - 1] != "FROM":
        return ""
    if several is not None:
        for token in part.tokens[at:]:
            text = token.upper.decode("utf-8", "replace") if token.kind in ("word", "other") else ""
            if text in several:
                break
            if text in (",", "JOIN", "STRAIGHT_JOIN", "USING", "("):
                return ""
    return named(part.tokens, at)


_MODIFIERS = frozenset({"LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IGNORE", "INTO", "FROM"})


def _drops_partition(part: Part) -> bool:
    found = words(part.tokens)
    return ("PARTITION" in found and bool({"TRUNCATE", "DROP", "EXCHANGE"} & set(found))) or "TABLESPACE" in found
