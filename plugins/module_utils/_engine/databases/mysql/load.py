# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load dumps into a schema, statement by statement, over connections of our own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import EnvSyncError
from ...members import PointSource
from ...streams.pipeline import Group
from .client import PLAIN_MODE, Server
from .errors import ServerError
from .fit import Notes, Target, fit, without_values
from .rows import compact
from .statements import Script, Statement, inserted_table, object_name

#: what a dump of rows sets for itself; a legacy one, or one made by hand, may not
_SESSION = f"foreign_key_checks = 0, unique_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO,{PLAIN_MODE}'"

#: what the server says of a view that needs a table which is not there
_NO_SUCH_TABLE = frozenset({1146, 1356})

#: and of one that needs another view that is not there yet, or only as a placeholder
_NOT_YET = _NO_SUCH_TABLE | {1054, 1305, 1368}

#: warnings of a value that is stored otherwise than it was given: NULL, out of range, cut off, wrong, too long
_CHANGED = frozenset({1048, 1263, 1264, 1265, 1292, 1366, 1406, 1411})

_VIEW_SETTINGS = "SELECT @@character_set_client, @@collation_connection"


#: a table that is made, and whether InnoDB is its engine
_MADE = re.compile(rb"\A[^`]*(?P<table>`(?:[^`]|``)*`)(?s:.*(?P<engine>\) ENGINE=InnoDB\b))?", re.I)

#: what is before and after a table's rows
_KEYS = re.compile(rb"/\*!40000 ALTER TABLE (?P<table>`(?:[^`]|``)*`) (?:DIS|EN)ABLE KEYS \*/")


@dataclass(frozen=True)
class _Postponed:
    """A view that can't be made yet: its statement, the settings that it is made with, and why not."""

    text: bytes
    name: str
    settings: tuple[Any, ...]
    error: ServerError


class Loader:
    """Loads members of a point into the target's schema.

    :param target: what the statements are fitted to.
    :param partial: the point lacks tables that were excluded: a view that needs one is left out, with a warning.
    """

    def __init__(
        self,
        group: Group,
        server: Server,
        source: PointSource,
        target: Target,
        partial: bool,
        doing: str,
    ) -> None:
        self._group = group
        self._server = server
        self._source = source
        self._target = target
        self._partial = partial
        self._doing = doing
        self.notes = Notes()
        self.left_out: list[str] = []
        self._longest = longest_statement(server, doing)
        self._names: dict[str, str] | None = {} if server.folds_names(doing) else None
        self._warned: dict[str, set[int]] = {}
        self._generated: dict[str, tuple[list[str], frozenset[str]]] = {}
        self._with_generated: set[str] = set()
        self._innodb: set[bytes] = set()
        self._settings: dict[tuple[bytes, bool], bytes | None] = {}
        self._connections: list[int] = []
        group.on_stop(lambda: server.kill(self._connections))

    def load(self, name: str) -> None:
        """Load one member; in a thread of its own, so that this one notices when the run is to stop."""
        self.load_all([name], 1)

    def load_all(self, names: Sequence[str], jobs: int) -> None:
        """Load members side by side, the longest first.

        :raises ServerError: a statement failed; the message has its line, and no value of any row.
        :raises EnvSyncError: a statement is not one of a dump, or the point is damaged.
        """
        longest_first = sorted(names, key=lambda name: -self._source.member(name).raw_size)
        self._group.each(self._work, longest_first, jobs)

    def _work(self, names: Iterator[str]) -> None:
        connection = self._connect()
        session = _Session(self._server, connection)
        try:
            for name in names:
                session.begin()
                self._load(name, connection, session)
        finally:
            connection.close()

    def _connect(self) -> Any:
        connection = self._server.connect(self._doing, self._target.schema)
        self._server.query(f"SET SESSION {_SESSION}", doing=self._doing, connection=connection)
        self._connections.append(connection.thread_id())
        return connection

    def _load(self, name: str, connection: Any, session: _Session) -> None:
        member = _Member(self._group, self._source, name)
        label = name.lstrip("/") or "the dump"
        script = Script(member, label)
        postponed: list[_Postponed] = []
        try:
            for statement in script:
                script.refuse_unknown(statement)
                text = None if self._is_idle(statement) else self._fit(statement)
                if text is None:
                    continue
                doing = f"{self._doing}: line {statement.line} of {label}"
                if statement.kind == "SET":
                    session.set(text, doing)
                    continue
                session.settle()
                rows = statement.kind == "INSERT"
                if rows and not self._target.mariadb:
                    text = self._without_generated(text, connection, doing)
                if rows and len(text) >= self._longest:
                    text = compact(text)
                self._refuse_twin(statement, doing)
                try:
                    if self._server.send(text, connection, doing, data=rows) and rows:
                        self._note_warnings(inserted_table(text), connection, doing)
                except ServerError as error:
                    if statement.kind != "CREATE VIEW" or error.code not in _NOT_YET:
                        raise
                    settings = self._server.query(_VIEW_SETTINGS, (), doing, connection)[0]
                    postponed.append(_Postponed(text, object_name(statement), settings, error))
            self._make_postponed(postponed, connection)
        except BaseException as error:
            self._group.fail(error)  # before the end of the pipe, which others would complain of
            raise
        finally:
            member.close()

    def _fit(self, statement: Statement) -> bytes | None:
        """Return the statement as it is to be run here; a setting, which each member has in its head, is known then."""
        if statement.kind != "SET":
            return fit(statement, self._target, self.notes)
        key = (statement.text, statement.backslash)
        if key not in self._settings:
            self._settings[key] = fit(statement, self._target, self.notes)
        return self._settings[key]

    def _is_idle(self, statement: Statement) -> bool:
        """Say whether a statement does nothing here: InnoDB has no keys that could be switched off.

        Notes of a table that is made what has to be known when its rows come.
        """
        if statement.kind == "CREATE TABLE":
            made = _MADE.search(statement.text)
            if made and made["engine"] is not None:
                self._innodb.add(made["table"])
            if b"GENERATED" in statement.text.upper():
                self._with_generated.add(object_name(statement))
        elif statement.kind == "ALTER TABLE":
            keys = _KEYS.fullmatch(statement.text)
            return keys is not None and keys["table"] in self._innodb
        return False

    def _refuse_twin(self, statement: Statement, doing: str) -> None:
        """Raise where a table or view has the name of another one to this server: it would take its place."""
        if self._names is None or statement.kind not in ("CREATE TABLE", "CREATE VIEW"):
            return
        name = object_name(statement)
        other = self._names.setdefault(name.lower(), name)
        if other != name:
            raise twins(doing, [(other, name)])

    def _note_warnings(self, table: str, connection: Any, doing: str) -> None:
        """Note what the server warns of: with the SQL mode of dumps it stores something else than it was given."""
        rows = self._server.query("SHOW WARNINGS", (), doing, connection)
        codes = _CHANGED.intersection(int(code) for _level, code, _text in rows)
        if codes:
            self._warned.setdefault(table, set()).update(codes)

    def _without_generated(self, text: bytes, connection: Any, doing: str) -> bytes:
        """Return an INSERT without the values of generated columns: MariaDB's programs write them, MySQL takes none."""
        table = inserted_table(text)
        if table not in self._with_generated:
            return text
        if table not in self._generated:
            rows = self._server.query(
                """SELECT COLUMN_NAME, GENERATION_EXPRESSION <> '' FROM information_schema.COLUMNS
                    WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION""",
                (self._target.schema, table),
                doing,
                connection,
            )
            self._generated[table] = (
                [str(name) for name, _is in rows],
                frozenset(str(name) for name, is_ in rows if is_),
            )
        columns, generated = self._generated[table]
        fitted = without_values(text, columns, generated) if generated else text
        if fitted is None:
            raise EnvSyncError(
                doing,
                f"the rows of {table} have values of generated columns, and can't be read",
                "Push again with the programs of MySQL.",
            )
        return fitted

    def _make_postponed(self, postponed: Sequence[_Postponed], connection: Any) -> None:
        """Make the views that could not be made in the dump's order; those that need excluded tables are left out."""
        waiting = list(postponed)
        while waiting:
            left = []
            for view in waiting:
                client, collation = view.settings
                setting = f"SET SESSION character_set_client = {client}, collation_connection = {collation}"
                self._server.query(setting, (), view.error.doing, connection)
                try:
                    self._server.send(view.text, connection, view.error.doing)
                except ServerError as error:
                    left.append(_Postponed(view.text, view.name, view.settings, error))
            if len(left) == len(waiting):
                # What a view over another such view lacks is only the consequence.
                left.sort(key=lambda view: view.error.code in _NO_SUCH_TABLE)
                if not self._partial or left[0].error.code not in _NO_SUCH_TABLE:
                    raise left[0].error
                self.left_out += [view.name for view in left]
                return
            waiting = left

    def warnings(self) -> list[str]:
        """Return what the operator is to know of what was loaded."""
        said = self.notes.warnings()
        said += [
            f"{table} may hold other values than it had: loading its rows, the server warned of "
            f"error {', '.join(map(str, sorted(codes)))}"
            for table, codes in sorted(self._warned.items())
        ]
        if self.left_out:
            said.append(f"these views need tables that were excluded, and are left out: {', '.join(self.left_out)}")
        return said


class _Session:
    """The settings of one connection, which members are loaded over one after the other.

    Each member sets the session up in its head and back at its end, in a dozen statements. Of two members with the same
    head neither is sent between them: the session is then as the second one wants it.
    """

    def __init__(self, server: Server, connection: Any) -> None:
        self._server = server
        self._connection = connection
        self._head: list[bytes] = []
        self._left: list[tuple[bytes, str]] = []
        self._waiting: list[tuple[bytes, str]] = []
        self._begun = False

    def begin(self) -> None:
        """Another member comes. Of one that had nothing but settings, nothing is left."""
        if self._begun:
            self._left = self._waiting
        self._waiting, self._begun = [], False

    def set(self, text: bytes, doing: str) -> None:
        """Have a setting sent before the next statement that is none."""
        self._waiting.append((text, doing))

    def settle(self) -> None:
        """Send what waits: a statement comes that needs it."""
        if not self._begun:
            head = [text for text, _doing in self._waiting]
            if head and head == self._head:
                self._waiting = []
            else:
                self._waiting, self._head = self._left + self._waiting, head
            self._begun = True
        elif self._waiting:
            self._head = []  # something else has been set since
        for text, doing in self._waiting:
            self._server.send(text, self._connection, doing)
        self._waiting = []


class _Member:
    """A member's bytes before compression, through a pipe; its end counts when all that fed it ended well."""

    def __init__(self, group: Group, source: PointSource, name: str) -> None:
        self._group = group
        self._descriptor, writing = os.pipe()
        self._sender = group.start(source.send, name, writing)

    def read(self, size: int) -> bytes:
        block = os.read(self._descriptor, size)
        if not block:
            self._sender.join()
            self._group.check()
        return block

    def close(self) -> None:
        os.close(self._descriptor)


def longest_statement(server: Server, doing: str) -> int:
    """Return how long a statement the server takes, in bytes."""
    return int(server.query("SELECT @@max_allowed_packet", doing=doing)[0][0])


def twins(doing: str, pairs: Sequence[tuple[str, str]]) -> EnvSyncError:
    """Return the error for names that are one to the server.

    :param pairs: of each, how it is spelt first, and then.
    """
    return EnvSyncError(
        doing,
        f"{' and '.join(pairs[0])} are two tables in the point, and one on this server (lower_case_table_names)",
        "Rename one of them, leave one out of the push (excluded_tables), or pull into a server that tells them apart.",
    )
