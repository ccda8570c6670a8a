# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The moment in which two databases change places."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from ...errors import EnvSyncError
from .client import Server, ServerError
from .names import literal, quote
from .properties import Attempt, Properties, carry_over, prepared_transactions, settings_of
from .scratch import DOOMED, KEPT, MARK, Names
from .sessions import keep_ending, oids_of, terminate_by_name, whose

#: PostgreSQL gives a rename five seconds to find the database without sessions; so many of these are tried
SWAP_TRIES = 6

_OBJECT_IN_USE = "55006"
_INSUFFICIENT_PRIVILEGE = "42501"

#: classes of errors that say nothing of a statement: the connection, an operator, the system, the server's resources
_NOT_THE_STATEMENTS_FAULT = ("", "08", "40", "53", "57", "58", "XX")


# How two databases change places. All of it is one transaction, but for 1 and 2:
#
# 1. Sessions on the scratch database are ended: none can be renamed that has any.
# 2. On a second connection, a thread begins to end the sessions on the live database, and on the kept one, again and
#    again: some take a while to end, some were about to begin.
# 3. BEGIN. What an earlier pull kept makes way: old becomes older, to be dropped after the swap.
# 4. live becomes old. PostgreSQL locks the live database first: from here on new connections to it wait. It gives a
#    rename five seconds to find the database without sessions, which 2 sees to.
# 5. scratch becomes live, and gets the properties of the one that it replaces: owner, grants, limit, comment.
# 6. old is closed to connections, and its comment says whether it is kept or about to be dropped.
# 7. live gets the old one's settings, each behind a savepoint: what this role may not set is left out and said.
# 8. COMMIT: only now do others see the new names. Connections that waited since 4 end with an error that says that the
#    database was renamed; their next attempt finds the new one.
#
# Where 4 finds the database in use all the same, all is rolled back, and tried again from 2, SWAP_TRIES times. Who dies
# before 8 leaves everything as it was: the server rolls back by itself.


def swap(
    server: Server,
    names: Names,
    properties: Properties | None,
    kept_before: bool,
    keep_old: bool,
    first: Sequence[Attempt] = (),
) -> tuple[float, list[str]]:
    """Give ``scratch`` the name ``live``, what was called ``live`` the name ``old``, and what was that ``older``.

    A client finds either the old database or the new one, whenever it looks and whatever dies meanwhile.

    :param properties: what the live database has, for the new one to have too; None when there is no live database.
    :param kept_before: there is a database called ``old``, which a swap that fails must not cost.
    :param keep_old: the replaced database is to stay, until the next pull.
    :param first: what makes the new database as the source's was, where there is no live database.
    :returns: the seconds it took, and what could not be carried over.
    :raises EnvSyncError: some session could not be ended; the live database is as it was.
    """
    doing = f"swapping {names.live} in on {server.name}"
    terminate_by_name(server, names.scratch)
    if properties is None:
        statements = [
            f"ALTER DATABASE {quote(names.scratch)} RENAME TO {quote(names.live)}",
            f"COMMENT ON DATABASE {quote(names.live)} IS NULL",
        ]
        return _transaction(server, statements, first, doing, _NOT_THE_STATEMENTS_FAULT)
    statements = _renaming(names, properties, kept_before, KEPT if keep_old else DOOMED)
    in_the_way = [properties.oid, *(oids_of(server, names.old) if kept_before else ())]
    why = ""
    for _unused in range(SWAP_TRIES):
        stop = threading.Event()
        ending = threading.Thread(target=keep_ending, args=(server, in_the_way, stop), daemon=True)
        ending.start()
        try:
            return _transaction(server, statements, settings_of(properties, names.live), doing)
        except ServerError as error:
            if error.sqlstate != _OBJECT_IN_USE:
                raise
            why = error.why
            prepared = prepared_transactions(server, properties.oid)
            if prepared:
                hint = f"COMMIT PREPARED or ROLLBACK PREPARED {prepared}. The old database still serves."
                raise EnvSyncError(doing, why, hint) from error
        finally:
            stop.set()
            ending.join(10)
    raise EnvSyncError(
        doing,
        why,
        f"Sessions on it could not be ended ({whose(server, properties.oid)}). The old database still serves. "
        "End them, or GRANT pg_signal_backend TO the role of login_user; those of superusers only a superuser can end.",
    )


def _renaming(names: Names, properties: Properties, kept_before: bool, purpose: str) -> list[str]:
    """Return the statements that have the databases change places: steps 3 to 6.

    :param purpose: what the comment says of the replaced one.
    """
    live, scratch, old, older = (quote(name) for name in (names.live, names.scratch, names.old, names.older))
    statements = []
    if kept_before:
        statements.append(f"ALTER DATABASE {old} RENAME TO {older}")
        statements.append(f"COMMENT ON DATABASE {older} IS {literal(f'{MARK}{names.live}, {DOOMED}')}")
    if properties.is_template:
        statements.append(f"ALTER DATABASE {live} IS_TEMPLATE false")
    return [
        *statements,
        f"ALTER DATABASE {live} RENAME TO {old}",
        f"ALTER DATABASE {scratch} RENAME TO {live}",
        *carry_over(properties, names.live),
        f"ALTER DATABASE {old} ALLOW_CONNECTIONS false",
        f"COMMENT ON DATABASE {old} IS {literal(f'{MARK}{names.live}, {purpose}')}",
    ]


def _transaction(
    server: Server,
    statements: Sequence[str],
    attempts: Sequence[Attempt],
    doing: str,
    fatal: Sequence[str] | None = None,
) -> tuple[float, list[str]]:
    """Run the statements, and those of ``attempts`` that this role may run; return seconds, and what it may not.

    :param fatal: classes of errors (the first two characters of SQLSTATE) that an attempt may not end with; None: all
        but missing rights.
    """
    refused: list[str] = []
    started = time.monotonic()
    server.query("BEGIN", doing=doing)
    try:
        for statement in statements:
            server.query(statement, doing=doing)
        for attempt in attempts:
            server.query("SAVEPOINT attempt", doing=doing)
            try:
                server.query(attempt.statement, doing=doing)
            except ServerError as error:
                other = error.sqlstate != _INSUFFICIENT_PRIVILEGE if fatal is None else error.sqlstate[:2] in fatal
                if other:
                    raise
                server.query("ROLLBACK TO SAVEPOINT attempt", doing=doing)
                why = error.why.splitlines()[0]
                refused.append(f"not carried over: {attempt.shown or attempt.statement} ({why})")
        server.query("COMMIT", doing=doing)
    except BaseException:
        try:
            server.query("ROLLBACK", doing=doing)
        except EnvSyncError:
            server.close()  # the connection is gone, and the transaction with it
        raise
    return time.monotonic() - started, refused
