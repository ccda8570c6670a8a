# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One state of a database for all that a push reads of it: facts, counts, and the data itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .client import Server, ServerError

#: how long the sizes of tables may be waited for, as a table that is locked would keep them waiting, in seconds
_SIZES_WAIT = 1

_LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True)
class Snapshot:
    """A transaction that sees one state of the database: ``name`` is what ``pg_dump --snapshot`` takes.

    ``connection`` is in that transaction, which is read-only. It must stay open until every process of the dump has
    taken the snapshot over, so it does until the dump's end.
    """

    name: str
    connection: Any


@contextlib.contextmanager
def held(server: Server, connection: Any, doing: str) -> Iterator[Snapshot]:
    """Export a snapshot from a connection, and hold it; also on a standby (PostgreSQL 10 and newer)."""
    server.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", (), doing, connection)
    try:
        name = server.query("SELECT pg_export_snapshot()", (), doing, connection)[0][0]
        yield Snapshot(str(name), connection)
    finally:
        # The connection may be gone by now, and is of no use to anybody else.
        with contextlib.suppress(ServerError):
            server.query("ROLLBACK", (), doing, connection)


def largest_table(server: Server, connection: Any, doing: str) -> int:
    """Return about how many bytes the largest table has (large objects are one).

    The size of a file is asked for with a lock. Where a table is locked for longer than a moment, what the last VACUUM
    or ANALYZE noted has to do.
    """
    of = "FROM pg_class WHERE relkind IN ('r', 'm') AND (oid >= 16384 OR relname = 'pg_largeobject')"
    try:
        server.query("BEGIN", (), doing, connection)
        server.query(f"SET LOCAL lock_timeout = '{_SIZES_WAIT}s'", (), doing, connection)
        return int(server.query(f"SELECT coalesce(max(pg_table_size(oid)), 0) {of}", (), doing, connection)[0][0])
    except ServerError as error:
        if error.sqlstate != _LOCK_NOT_AVAILABLE:
            raise
    finally:
        with contextlib.suppress(ServerError):
            server.query("ROLLBACK", (), doing, connection)
    noted = f"SELECT coalesce(max(relpages::bigint), 0) * current_setting('block_size')::bigint {of}"
    return int(server.query(noted.replace("('r', 'm')", "('r', 'm', 't')"), (), doing, connection)[0][0])
