# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Views, routines, triggers and events: read from one schema, made in another.

``RENAME TABLE`` moves only tables, so these are made anew. A definition is kept as the server's bytes, in the character
set that it was written in, with the session's settings that belong to it: as ``mysqldump`` does it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .client import PLAIN_MODE, Server, quote
from .errors import ServerError
from .fit import event_state, unqualified, without_schema
from .statements import Token, tokenise, unquote

#: in this order they are made: views may call functions, triggers and events may call anything
_ROUTINES = ("PACKAGE", "PACKAGE BODY", "FUNCTION", "PROCEDURE")
KINDS = (*_ROUTINES, "VIEW", "TRIGGER", "EVENT")

#: the server says these of a view that needs another view which is not there yet, or not as it will be
_NOT_YET = frozenset({1054, 1146, 1305, 1356})

#: which column of SHOW CREATE has what: the definition, SQL mode, character set, collations, time zone (-1: none)
_COLUMNS = {
    "VIEW": (1, -1, 2, 3, -1, -1),
    "TRIGGER": (2, 1, 3, 4, 5, -1),
    "EVENT": (3, 1, 4, 5, 6, 2),
}
_ROUTINE_COLUMNS = (2, 1, 3, 4, 5, -1)


@dataclass(frozen=True)
class Definition:
    """One object, as SHOW CREATE has it.

    ``kind`` is one of :data:`KINDS`; ``statement`` makes it, and its characters stand for bytes (Latin-1); ``table`` is
    that of a trigger. The others are settings of the session that it is made in.
    """

    kind: str
    name: str
    statement: str
    sql_mode: str = ""
    client: str = "utf8mb4"
    collation: str = ""
    database_collation: str = ""
    time_zone: str = ""
    table: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return (self.kind, self.name)

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def read(server: Server, schema: str, doing: str, enabled_events: Iterable[bytes] = ()) -> list[Definition]:
    """Return what a schema has but tables, in the order in which it can be made.

    :param enabled_events: events that are switched off there, and are to be returned as switched on.
    :raises EnvSyncError: also where the user may not see a definition.
    """
    connection = server.connect(doing, schema, raw=True)
    try:
        found = []
        for kind, name, table in _names(server, schema, doing):
            # Not qualified, in the schema itself: then the server does not qualify what it says either.
            rows = server.query(f"SHOW CREATE {kind} {quote(name)}", (), doing, connection)
            found.append(_plain(_definition(kind, name, table, rows[0], doing), schema))
    finally:
        connection.close()
    enabled = {name.decode("utf-8", "replace") for name in enabled_events}
    return [switched(item, b"ENABLE") if item.kind == "EVENT" and item.name in enabled else item for item in found]


def _names(server: Server, schema: str, doing: str) -> list[tuple[str, str, str]]:
    rows = server.query(
        """SELECT ROUTINE_TYPE, ROUTINE_NAME, '', 0 FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s
           UNION ALL SELECT 'VIEW', TABLE_NAME, '', 0 FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s
           UNION ALL SELECT 'TRIGGER', TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_ORDER
             FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s
           UNION ALL SELECT 'EVENT', EVENT_NAME, '', 0 FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s""",
        (schema,) * 4,
        doing,
    )
    # Triggers of one table and moment run in the order in which they were made.
    ordered = sorted(rows, key=lambda row: (KINDS.index(row[0]), row[2], row[3], row[1]))
    return [(str(kind), str(name), str(table)) for kind, name, table, _order in ordered]


def _definition(kind: str, name: str, table: str, row: Sequence[Any], doing: str) -> Definition:
    columns = _COLUMNS.get(kind, _ROUTINE_COLUMNS)
    values = [row[at] if at >= 0 else b"" for at in columns]
    if values[0] is None:
        raise ServerError(doing, 1142, f"this user may not see the definition of the {kind.lower()} {name}")
    text, mode, client, collation, database_collation, time_zone = (
        value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in values
    )
    return Definition(kind, name, text, mode, client, collation, database_collation, time_zone, table)


def _tokens(item: Definition) -> list[Token]:
    return tokenise(item.statement.encode("latin-1"), "NO_BACKSLASH_ESCAPES" not in item.sql_mode)


def _with_tokens(item: Definition, found: Sequence[Token]) -> Definition:
    return replace(item, statement=b"".join(token.text for token in found).decode("latin-1"))


def _plain(item: Definition, schema: str) -> Definition:
    """Return the definition without the schema's own name, so that it can be made in another one."""
    if item.kind == "TRIGGER":
        return _with_tokens(item, unqualified(_tokens(item), "CREATE TRIGGER", schema))
    if item.kind == "VIEW":
        return _with_tokens(item, without_schema(_tokens(item), schema, functions_only=True))
    return item


def switched(event: Definition, state: bytes) -> Definition:
    """Return the event with the state ``ENABLE`` or ``DISABLE``."""
    found = _tokens(event)
    at = event_state(found)
    if at >= 0:
        found[at] = Token("word", state)
    return _with_tokens(event, found)


def in_order(views: Sequence[Definition]) -> list[str]:
    """Return the views' names, each after those that it needs.

    The dump programs write them in the order asked for. A view WITH CHECK OPTION can't be made over a placeholder.
    """
    names = {view.name: view for view in views}
    ordered: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in ordered or name in path:
            return
        named = {unquote(token.text).decode("utf-8", "replace") for token in _tokens(names[name])}
        for needed in sorted(named & set(names)):
            visit(needed, (*path, name))
        ordered.append(name)

    for name in sorted(names):
        visit(name, ())
    return ordered


def drop(server: Server, schema: str, items: Iterable[Definition], doing: str) -> None:
    """Drop objects, those that need others first."""
    for item in sorted(items, key=lambda item: -KINDS.index(item.kind)):
        server.query(f"DROP {item.kind} IF EXISTS {quote(schema)}.{quote(item.name)}", doing=doing)


def install(server: Server, schema: str, wanted: Sequence[Definition], doing: str, lock_wait: int = 0) -> None:
    """Make a schema have these objects and no others.

    What is there in the very same form stays, and with it what is granted on it. A view that is there changes in one
    step, so that whoever reads it never finds it missing.

    :param lock_wait: how long a statement waits for transactions that use what it changes, in seconds; 0: for ever.
    :raises ServerError: one could not be made; those before it were.
    """
    present = {item.key: item for item in read(server, schema, doing)}
    keys = {item.key for item in wanted}
    drop(server, schema, [item for key, item in present.items() if key not in keys], doing)
    changed = [item for item in wanted if present.get(item.key) != item]
    _make_all(server, schema, changed, set(present), doing, lock_wait)


def add_missing(server: Server, schema: str, wanted: Sequence[Definition], doing: str) -> list[Definition]:
    """Make those of these objects that a schema lacks; return them."""
    present = {item.key for item in read(server, schema, doing)}
    missing = [item for item in wanted if item.key not in present]
    _make_all(server, schema, missing, present, doing)
    return missing


def _make_all(
    server: Server,
    schema: str,
    items: Sequence[Definition],
    present: set[tuple[str, str]],
    doing: str,
    lock_wait: int = 0,
) -> None:
    connection = server.connect(doing, schema)
    try:
        if lock_wait:
            server.query(f"SET SESSION lock_wait_timeout = {lock_wait}", (), doing, connection)
        for item in items:
            if item.kind in _ROUTINES:
                _make(server, connection, item, item.key in present, doing)
        _make_views(server, connection, [item for item in items if item.kind == "VIEW"], doing)
        for item in items:
            if item.kind in ("TRIGGER", "EVENT"):
                _make(server, connection, item, item.key in present, doing)
    finally:
        connection.close()


def _make_views(server: Server, connection: Any, views: Sequence[Definition], doing: str) -> None:
    """Make views, whichever needs which: those that can't be made yet are tried again after the others."""
    waiting = list(views)
    while waiting:
        left, failure = [], None
        for view in waiting:
            try:
                _make(server, connection, view, True, doing)
            except ServerError as error:
                if error.code not in _NOT_YET:
                    raise
                left.append(view)
                failure = error
        if failure is not None and len(left) == len(waiting):
            raise failure
        waiting = left


def _make(server: Server, connection: Any, item: Definition, replacing: bool, doing: str) -> None:
    what = f"{doing}: making the {item.kind.lower()} {item.name}"
    settings = [f"character_set_client = {item.client}", f"sql_mode = '{item.sql_mode}'"]
    if item.collation:
        settings.append(f"collation_connection = {item.collation}")
    if item.time_zone:
        settings.append(f"time_zone = '{item.time_zone}'")
    statement = item.statement.encode("latin-1")
    # MariaDB keeps what is granted on a routine that is replaced; MySQL can only drop it.
    or_replace = item.kind == "VIEW" or (replacing and server.mariadb and item.kind != "EVENT")
    if or_replace:
        statement = statement.replace(b"CREATE ", b"CREATE OR REPLACE ", 1)
    elif replacing:
        server.query(f"DROP {item.kind} IF EXISTS {quote(item.name)}", (), what, connection)
    server.query(f"SET SESSION {', '.join(settings)}", (), what, connection)
    try:
        server.send(statement, connection, what)
    finally:
        with contextlib.suppress(ServerError):
            server.query(f"SET SESSION character_set_client = utf8mb4, sql_mode = '{PLAIN_MODE}'", (), what, connection)
