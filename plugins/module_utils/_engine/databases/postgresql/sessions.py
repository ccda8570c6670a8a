# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sessions on a database: ending them, and saying whose they are."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from ...errors import EnvSyncError
from .client import Server

#: sessions of these roles belong to the cloud; they can't be ended, and don't have to be
_CLOUD_ROLES = ("rdsadmin", "rdsrepladmin", "cloudsqladmin", "azuresu", "azure_superuser")


def terminate_by_name(server: Server, database: str) -> None:
    """End the sessions on the database that has this name now."""
    terminate(server, oids_of(server, database))


def oids_of(server: Server, database: str) -> list[int]:
    """Return the OID of the database that has this name now, or none."""
    return [int(oid) for (oid,) in server.query("SELECT oid FROM pg_database WHERE datname = %s", (database,))]


def terminate(server: Server, oids: Sequence[int], connection: Any = None) -> None:
    """End the sessions on databases, but for the cloud's own and those that this role may not end.

    The databases go by their OIDs, because a name may be another's a moment later.
    """
    server.query(
        """SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid
            WHERE a.datid = ANY (%s::oid[]) AND a.pid <> pg_backend_pid()
              AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
              AND (a.usename IS NULL OR NOT a.usename = ANY (%s))
              AND ((SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                   OR (NOT r.rolsuper AND (pg_has_role(a.usesysid, 'MEMBER')
                                           OR pg_has_role('pg_signal_backend', 'MEMBER'))))""",
        (list(oids), list(_CLOUD_ROLES)),
        "ending sessions",
        connection,
    )


def keep_ending(server: Server, oids: Sequence[int], stop: threading.Event) -> None:
    """End the sessions on some databases again and again: some take a while, some were about to begin."""
    try:
        connection = server.another_control("ending sessions")
    except EnvSyncError:
        return  # the rename itself then says what is the matter
    try:
        while not stop.is_set():
            terminate(server, oids, connection)
            stop.wait(0.02)
    except EnvSyncError:
        return
    finally:
        connection.close()


def whose(server: Server, oid: int) -> str:
    """Return the roles and applications whose sessions are on a database, for a message."""
    rows = server.query(
        # What is nobody's is the server's own (autovacuum), and goes when it is asked to.
        """SELECT usename, application_name, count(*) FROM pg_stat_activity
            WHERE datid = %s AND usename IS NOT NULL GROUP BY 1, 2 LIMIT 5""",
        (oid,),
    )
    return ", ".join(f"{count} of {user} {application}".rstrip() for user, application, count in rows) or "none seen"
