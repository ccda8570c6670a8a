# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps a user or a server from making a complete dump, found out before it begins; nothing is changed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ...errors import EnvSyncError
from .client import Server, quote
from .errors import ServerError

#: a trigger can't be made, whatever the right TRIGGER: of a user without another right; on a server that only reads
_NOT_MADE = (1419, 1290, 1792, 1836)

#: what the server says of a view that needs something which is not there, or that its definer may not use
_INVALID_VIEW = 1356


def require_database(server: Server, database: str, doing: str) -> None:
    """Raise when there is no such database, or none that this user may see."""
    if not server.query("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s", (database,)):
        names = [str(name) for (name,) in server.query("SHOW DATABASES")]
        raise EnvSyncError(
            doing,
            f"there is no database {database} (or none that this user may see)",
            f"The server has {', '.join(names[:10])}.",
        )


def require_all_rows(server: Server, doing: str) -> None:
    """Raise when the server or its administrator has defaults with which a dump program would not see all rows."""
    hiding = server.what_hides_rows(doing)
    if hiding:
        raise EnvSyncError(
            doing,
            f"sessions there begin with {' and '.join(hiding)}; mysqldump can't change that: rows would be missing",
            f"Run SET GLOBAL {hiding[0].partition(' ')[0]} = DEFAULT on the server, and look at its init_connect.",
        )


def require_triggers(server: Server, database: str, doing: str) -> None:
    """Raise when this user lacks the right TRIGGER: then there seem to be none, and none would be dumped.

    A trigger on a table that is not there is refused for the right that is missing, before anything else; but by a
    MySQL with a binary log for another right that making one would need, and by a server that only reads because
    it does.
    """
    name = f"{quote(database)}.`env_sync_no_such_table`"
    try:
        server.query(f"CREATE TRIGGER {name} BEFORE INSERT ON {name} FOR EACH ROW SET @a = 1", doing=doing)
    except ServerError as error:
        if error.code in (1044, 1142, 1227):
            raise
        if error.code in _NOT_MADE and not server.has_right("TRIGGER", database):
            raise ServerError(doing, 1142, f"TRIGGER command denied to this user on {database}") from error


def require_routines(server: Server, database: str, doing: str) -> None:
    """Raise when routines may be hidden from this user: they are, where it may neither run nor read them.

    A call of a routine that is not there is refused for the right that is missing, before anything else.
    """
    ask = server.query
    try:
        ask(f"CALL {quote(database)}.`env_sync_no_such_routine`()", doing=doing)
    except ServerError as error:
        if error.code != 1370:
            return
        with contextlib.suppress(ServerError):  # where MariaDB and MySQL 5.7 have them all
            ask("SELECT 1 FROM mysql.proc LIMIT 1")
            return
        if not server.has_right("SHOW_ROUTINE"):
            raise


def require_valid_views(server: Server, database: str, views: Sequence[str], doing: str) -> None:
    """Raise where a view is not valid: a dump program ends at the first such."""
    broken: dict[str, ServerError] = {}
    for name in views:
        try:
            server.query(f"SHOW FIELDS FROM {quote(database)}.{quote(name)}", doing=doing)
        except ServerError as error:
            if error.code != _INVALID_VIEW:
                raise
            broken[name] = error
    if broken:
        raise EnvSyncError(
            doing,
            f"views can't be dumped as they are: {'; '.join(error.why for error in list(broken.values())[:3])}",
            f"Correct them, or leave them out of the push: excluded_tables: {','.join(broken)}",
        )
