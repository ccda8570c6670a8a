# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load dumps into a schema, statement by statement, over connections of our own."""

from __future__ import annotations

import functools
import os
import queue
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ..errors import EnvSyncError
from ..members import PointSource
from ..pipeline import Group
from . import my_dump
from .my_client import Server, ServerError, quote

#: what a dump of rows sets for itself; the original's, or one made by hand, may not
_SESSION = "foreign_key_checks = 0, unique_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'"

#: what the server says of a view that needs a table which is not there
_NO_SUCH_TABLE = frozenset({1146, 1356})

#: and of one that needs another view that is not there yet, or only as a placeholder
_NOT_YET = _NO_SUCH_TABLE | {1054, 1305, 1368}

_VIEW_SETTINGS = "SELECT @@character_set_client, @@collation_connection"


@dataclass(frozen=True)
class _Postponed:
    """A view that can't be made yet: its statement, the settings that it is made with, and why not."""

    text: bytes
    name: str
    settings: tuple[Any, ...]
    error: ServerError


class Loader:
    """Loads members of a point into the target's schema.

    :param partial: the point lacks tables that were excluded: a view that needs one is left out, with a warning.
    """

    def __init__(
        self, group: Group, server: Server, source: PointSource, target: my_dump.Target, partial: bool, doing: str
    ) -> None:
        self._group = group
        self._server = server
        self._source = source
        self._target = target
        self._partial = partial
        self._doing = doing
        self.notes = my_dump.Notes()
        self.left_out: list[str] = []
        self._generated: dict[str, tuple[list[str], frozenset[str]]] = {}
        self._connections: list[int] = []
        group.on_stop(lambda: server.kill(self._connections))

    def load(self, name: str) -> None:
        """Load one member; in a thread of its own, so that this one notices when the run is to stop."""
        self.load_all([name], 1)

    def load_all(self, names: Sequence[str], jobs: int) -> None:
        """Load members side by side, the longest first."""
        waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        for name in sorted(names, key=lambda name: -self._source.member(name).raw_size):
            waiting.put(name)
        workers = [self._group.start(self._work, waiting) for _unused in range(min(jobs, len(names)))]
        self._group.join(workers)

    def _work(self, waiting: queue.SimpleQueue[str]) -> None:
        connection = self._connect()
        try:
            while True:
                try:
                    name = waiting.get_nowait()
                except queue.Empty:
                    return
                self._load(name, connection)
                self._group.check()
        finally:
            connection.close()

    def _connect(self) -> Any:
        connection = self._server.connect(self._doing, self._target.schema)
        self._server.query(f"SET SESSION {_SESSION}", doing=self._doing, connection=connection)
        self._connections.append(connection.thread_id())
        return connection

    def _load(self, name: str, connection: Any) -> None:
        member = _Member(self._group, self._source, name)
        label = name.lstrip("/") or "the dump"
        script = my_dump.Script(member, label)
        postponed: list[_Postponed] = []
        try:
            for statement in script:
                script.refuse_unknown(statement)
                text = my_dump.fit(statement, self._target, self.notes)
                if text is None:
                    continue
                doing = f"{self._doing}: line {statement.line} of {label}"
                rows = statement.kind == "INSERT"
                if rows and not self._target.mariadb:
                    text = self._without_generated(text, connection, doing)
                try:
                    self._server.send(text, connection, doing, data=rows)
                except ServerError as error:
                    if statement.kind != "CREATE VIEW" or error.code not in _NOT_YET:
                        raise
                    settings = self._server.query(_VIEW_SETTINGS, (), doing, connection)[0]
                    postponed.append(_Postponed(text, my_dump.object_name(statement), settings, error))
            self._make_postponed(postponed, connection)
        except BaseException as error:
            self._group.fail(error)  # before the end of the pipe, which others would complain of
            raise
        finally:
            member.close()

    def _without_generated(self, text: bytes, connection: Any, doing: str) -> bytes:
        """Return an INSERT without the values of generated columns: MariaDB's programs write them, MySQL takes none."""
        table = my_dump.inserted_table(text)
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
        fitted = my_dump.without_values(text, columns, generated) if generated else text
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
        said = self.notes.warnings()
        if self.left_out:
            said.append(f"these views need tables that were excluded, and are left out: {', '.join(self.left_out)}")
        return said


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


def drop_foreign_keys(server: Server, schema: str, keys: Sequence[Sequence[str]], doing: str) -> None:
    """Drop the foreign keys to tables that are not in the point.

    :param keys: of each, the table's name and its own.
    """
    for table, name in keys:
        server.query(f"ALTER TABLE {quote(schema)}.{quote(table)} DROP FOREIGN KEY {quote(name)}", doing=doing)


def prove(group: Group, server: Server, schema: str, jobs: int, doing: str) -> None:
    """Raise unless all foreign and unique keys hold: they were not looked at while the rows were loaded.

    The message names the key, and no value.
    """
    checks = [*_foreign_keys(server, schema, doing), *_unique_keys(server, schema, doing)]
    _side_by_side(group, server, schema, checks, jobs, doing)


def analyze(group: Group, server: Server, schema: str, tables: Sequence[str], jobs: int) -> None:
    """Have the server gather its statistics of the tables, which the optimiser goes by."""
    statements = [f"ANALYZE NO_WRITE_TO_BINLOG TABLE {quote(table)}" for table in tables]
    run_all(group, server, schema, statements, jobs, f"analysing {schema} on {server.name}")


def run_all(group: Group, server: Server, schema: str, statements: Sequence[str], jobs: int, doing: str) -> None:
    """Run statements, whose rows say nothing, side by side."""
    _side_by_side(group, server, schema, [_Check(text, lambda rows: "") for text in statements], jobs, doing)


@dataclass(frozen=True)
class _Check:
    """A statement, and what tells of its rows what is wrong (an empty text: nothing)."""

    statement: str
    fault: Callable[[list[tuple[Any, ...]]], str]


def _side_by_side(group: Group, server: Server, schema: str, checks: Sequence[_Check], jobs: int, doing: str) -> None:
    waiting: queue.SimpleQueue[_Check] = queue.SimpleQueue()
    for check in checks:
        waiting.put(check)
    connections: list[int] = []
    group.on_stop(lambda: server.kill(connections))

    def work() -> None:
        connection = server.connect(doing, schema)
        connections.append(connection.thread_id())
        try:
            while True:
                try:
                    check = waiting.get_nowait()
                except queue.Empty:
                    return
                fault = check.fault(server.query(check.statement, (), doing, connection))
                if fault:
                    raise EnvSyncError(doing, fault, "Push again, or correct the transformation SQL.")
                group.check()
        finally:
            connection.close()

    workers = [group.start(work) for _unused in range(min(jobs, len(checks)))]
    group.join(workers)


def _foreign_keys(server: Server, schema: str, doing: str) -> list[_Check]:
    rows = server.query(
        """SELECT TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME,
                  REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE
            WHERE TABLE_SCHEMA = %s AND REFERENCED_TABLE_NAME IS NOT NULL ORDER BY 1, 2, ORDINAL_POSITION""",
        (schema,),
        doing,
    )
    keys: dict[tuple[str, str, str, str], list[tuple[str, str]]] = {}
    for table, name, column, to_schema, to_table, to_column in rows:
        keys.setdefault((table, name, to_schema, to_table), []).append((column, to_column))
    checks = []
    for (table, name, to_schema, to_table), columns in keys.items():
        joined = " AND ".join(f"child.{quote(column)} = parent.{quote(to)}" for column, to in columns)
        filled = " AND ".join(f"child.{quote(column)} IS NOT NULL" for column, _to in columns)
        statement = (
            f"SELECT 1 FROM {quote(table)} child LEFT JOIN {quote(to_schema)}.{quote(to_table)} parent ON {joined} "
            f"WHERE {filled} AND parent.{quote(columns[0][1])} IS NULL LIMIT 1"
        )
        fault = f"rows of {table} break its foreign key {name}: what they refer to is not in {to_table}"
        checks.append(_Check(statement, functools.partial(_fault_if_any, fault)))
    return checks


def _fault_if_any(fault: str, rows: list[tuple[Any, ...]]) -> str:
    return fault if rows else ""


def _unique_keys(server: Server, schema: str, doing: str) -> list[_Check]:
    """CHECK TABLE reads every index, and finds duplicates in unique ones."""
    rows = server.query(
        """SELECT DISTINCT TABLE_NAME FROM information_schema.STATISTICS
            WHERE TABLE_SCHEMA = %s AND NON_UNIQUE = 0 AND INDEX_NAME <> 'PRIMARY' ORDER BY 1""",
        (schema,),
        doing,
    )
    return [_Check(f"CHECK TABLE {quote(table)} QUICK", _table_fault) for (table,) in rows]


def _table_fault(rows: list[tuple[Any, ...]]) -> str:
    bad = [row for row in rows if str(row[2]).lower() == "error" or (str(row[2]) == "status" and row[3] != "OK")]
    return f"CHECK TABLE finds {bad[0][0]} damaged" if bad else ""
