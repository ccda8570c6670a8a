# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be known beforehand of a server and a role: whether a dump or a restore there would fail, or lose something.

Each function raises where it would fail, and returns warnings. All of them only ask.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ...errors import EnvSyncError
from .client import Server, ServerError, is_local

Ask = Callable[..., list[tuple[Any, ...]]]

#: what a server says of a locale that its system does not have (invalid_parameter_value)
_INVALID_VALUE = "22023"

#: how many names a message has
_NAMED = 5


def in_recovery(server: Server, doing: str) -> bool:
    """Say whether the server is a standby: it can be read and not written."""
    return bool(server.query("SELECT pg_is_in_recovery()", (), doing)[0][0])


def standby(server: Server, doing: str) -> list[str]:
    """Return what may become of a dump from here, where this is a standby."""
    if not in_recovery(server, doing):
        return []
    feedback, delay, shown = server.query(
        """SELECT current_setting('hot_standby_feedback')::bool, setting::int, current_setting(name)
             FROM pg_settings WHERE name = 'max_standby_streaming_delay'""",
        (),
        doing,
    )[0]
    if int(delay) < 0:
        return []
    what = "a lock that the primary takes" if feedback else "what the primary changes"
    more = "" if feedback else "hot_standby_feedback = on (against removed rows), or "
    return [
        f"{server.name} is a standby: it cancels a dump that keeps {what} from being replayed for longer than {shown}. "
        f"There, {more}max_standby_streaming_delay = -1 lets dumps come to their end"
    ]


def conflicts(server: Server, database: str, doing: str) -> int:
    """Return how often a standby has cancelled statements on a database to go on replaying; 0 on other servers."""
    rows = server.query(
        """SELECT confl_tablespace + confl_lock + confl_snapshot + confl_bufferpin + confl_deadlock
             FROM pg_stat_database_conflicts WHERE datname = %s""",
        (database,),
        doing,
    )
    return int(rows[0][0]) if rows else 0


def readable(
    ask: Ask,
    tables: Sequence[tuple[str, str]],
    rowless: Sequence[tuple[str, str]],
    excluded: Sequence[tuple[str, str]],
    doing: str,
) -> None:
    """Raise where the role may not read all rows of these tables and sequences: a dump is of all rows, or fails.

    :param rowless: those that are dumped without rows, which are locked all the same.
    :param excluded: those that are not dumped; sequences of their identity columns are not, either.
    """
    if not tables:
        return
    rows = ask(
        """SELECT n.nspname || '.' || c.relname, current_user, row_security_active(c.oid),
                  has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(%s::name[], %s::name[]))
              AND c.relkind IN ('r', 'p', 'S') AND NOT EXISTS (
                    SELECT FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid
                      JOIN pg_namespace tn ON tn.oid = t.relnamespace
                     WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i'
                       AND d.refclassid = 'pg_class'::regclass
                       AND (tn.nspname, t.relname) IN (SELECT * FROM unnest(%s::name[], %s::name[])))
              AND NOT EXISTS (
                    SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                     WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
                       AND d.refclassid = 'pg_extension'::regclass AND c.oid <> ALL (coalesce(e.extconfig, '{}')))
            ORDER BY 1""",
        (*_columns(tables), *_columns(excluded)),
        doing,
    )
    user = rows[0][1] if rows else ""
    refused = [str(name) for name, _user, _secured, allowed in rows if not allowed]
    if refused:
        raise EnvSyncError(
            doing,
            f"the role {user} may not read {_named(refused)}",
            "GRANT USAGE ON SCHEMA and SELECT ON ALL TABLES, and ON ALL SEQUENCES, IN SCHEMA to it (pg_read_all_data "
            "has both), or leave them out (excluded_tables).",
        )
    empty = {f"{schema}.{table}" for schema, table in rowless}
    secured = [str(name) for name, _user, active, _allowed in rows if active and name not in empty]
    if secured:
        raise EnvSyncError(
            doing,
            f"row security keeps rows of {_named(secured)} from the role {user}, and pg_dump refuses to leave any out",
            "Push as a role that has BYPASSRLS (ALTER ROLE ... BYPASSRLS, as a superuser), or owns them and is not "
            "subject to FORCE ROW LEVEL SECURITY, or leave them out (excluded_tables).",
        )


def writable(server: Server, doing: str) -> None:
    """Raise where nothing can be restored, as the server can only be read."""
    if in_recovery(server, doing):
        raise EnvSyncError(
            doing,
            f"{server.name} is a standby (in recovery), which nothing can be restored into",
            "Give the primary's address in database_hostname.",
        )


def locale(server: Server, details: Mapping[str, Any], doing: str) -> list[str]:
    """Raise where a database with the point's locale can't be made; return what will be otherwise.

    No catalogue says which locales the server's system has: its own check of a setting does.
    """
    version = int(server.control().server_version)
    names = {str(details[key]) for key in ("collate", "ctype") if details.get(key)}
    missing = sorted(name for name in names if not _has_locale(server, name, doing))
    if missing:
        raise EnvSyncError(
            doing,
            f"the database has the locale {' and '.join(missing)}, which the server's system does not have",
            "Install it there (Debian: locale-gen) and restart the server, or set locale to one that it has (C.UTF-8).",
        )
    provider, wanted = details.get("locale_provider"), details.get("locale")
    if provider == "i" and version >= 150000:
        if not server.query("SELECT 1 FROM pg_collation WHERE collprovider = 'i' LIMIT 1", (), doing):
            raise EnvSyncError(
                doing,
                f"the database sorts by ICU ({wanted}), which this server is built without",
                "Pull it into a server that has ICU.",
            )
    elif provider == "b" and version >= 170000:
        if wanted == "PG_UNICODE_FAST" and version < 180000:
            raise EnvSyncError(
                doing, f"the database has the locale {wanted}, which is new in 18", "Pull it into a newer server."
            )
    elif provider in ("i", "b"):
        kind = "ICU" if provider == "i" else "the server's own provider"
        return [
            f"the database sorts by {kind} ({wanted}), which this server's version does not know of databases: here it "
            f"sorts by {details.get('collate')}"
        ]
    return []


def sorts_by(details: Mapping[str, Any]) -> str:
    """Return what a database sorts by, as a person would say it."""
    if details.get("locale_provider") in ("i", "b"):
        return f"{details.get('locale')} ({'ICU' if details['locale_provider'] == 'i' else 'the server'})"
    return str(details.get("collate"))


def _has_locale(server: Server, name: str, doing: str) -> bool:
    try:
        # For this statement only; lc_monetary is anybody's to set, and of a locale like any other category.
        server.query("SELECT set_config('lc_monetary', %s, true)", (name,), doing)
    except ServerError as error:
        if error.sqlstate != _INVALID_VALUE:
            raise
        return False
    return True


def system_collations(ask: Ask, excluded: Sequence[tuple[str, str]], doing: str) -> list[str]:
    """Return the collations that the database uses and that came with the locales of its server's system.

    :param excluded: the tables that are not dumped: what these and their indexes use is no matter, nor is what
        extensions use.
    """
    rows = ask(
        """SELECT DISTINCT collname FROM pg_depend d JOIN pg_collation c ON c.oid = d.refobjid
             LEFT JOIN pg_index i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
             LEFT JOIN pg_class t ON d.classid = 'pg_class'::regclass AND t.oid = coalesce(i.indrelid, d.objid)
             LEFT JOIN pg_namespace n ON n.oid = t.relnamespace
            WHERE d.refclassid = 'pg_collation'::regclass AND c.collnamespace = 'pg_catalog'::regnamespace
              AND coalesce((n.nspname, t.relname) NOT IN (SELECT * FROM unnest(%s::name[], %s::name[])), true)
              AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.deptype = 'e'
                                 AND ((e.classid, e.objid) = (d.classid, d.objid) OR (e.classid = 'pg_class'::regclass
                                      AND e.objid = t.oid)))
            ORDER BY 1""",
        _columns(excluded),
        doing,
    )
    return [str(name) for (name,) in rows]


def collations(server: Server, details: Mapping[str, Any], some_left_out: bool, doing: str) -> list[str]:
    """Raise where columns or indexes use collations of the system's that the server does not have.

    :param some_left_out: the pull leaves objects out, which may be those: then it is a warning, which is returned.
    """
    known = {str(name) for (name,) in server.query("SELECT collname FROM pg_collation", (), doing)}
    missing = [str(name) for name in details.get("collations", ()) if name not in known]
    if not missing:
        return []
    why = f"columns or indexes use collations that the server does not have: {_named(missing)}"
    if some_left_out:
        return [f"{why}: the pull fails unless it leaves them out"]
    raise EnvSyncError(
        doing,
        why,
        "Install their locales on the database server's system, and have pg_import_system_collations make them in "
        "template0. Or leave out what uses them (excluded_objects).",
    )


def used_tablespaces(ask: Ask, doing: str) -> list[str]:
    """Return the tablespaces, other than the database's own, that it has tables or indexes in."""
    rows = ask(
        """SELECT DISTINCT spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
            WHERE spcname <> 'pg_global' ORDER BY 1""",
        (),
        doing,
    )
    return [str(name) for (name,) in rows]


def tablespaces(server: Server, details: Mapping[str, Any], doing: str) -> list[str]:
    """Return a step of the plan where tablespaces are missing, or the role may not create in them."""
    rows = server.query("SELECT spcname FROM pg_tablespace WHERE has_tablespace_privilege(oid, 'CREATE')", (), doing)
    usable = {str(name) for (name,) in rows}
    missing = [str(name) for name in details.get("tablespaces", ()) if name not in usable]
    if not missing:
        return []
    return [
        f"move what is in tablespaces that do not exist on {server.name}, or are not for this role to create in "
        f"({_named(missing)}), to the database's own"
    ]


def room(server: Server, tablespace: str, size: int, raw: int, doing: str) -> list[str]:
    """Return a warning where the server's disk may have no room for the restored database.

    It is known of a server on this host only, to a role that may see where its files are. No more than a warning, as
    the server behind a port of this host may be another's, and its disk may compress: a disk that does get full leaves
    the live database as it is.

    :param tablespace: the one that the database is made in.
    :param size: the bytes of the source, with its indexes, and with what dead rows take.
    :param raw: the bytes of its data as text.
    """
    if not is_local(server.control().info.host):
        return []
    found = server.query(
        """SELECT coalesce(nullif(pg_tablespace_location(t.oid), ''), s.setting)
             FROM pg_tablespace t, pg_settings s WHERE t.spcname = %s AND s.name = 'data_directory'""",
        (tablespace,),
        doing,
    )
    try:
        free = _free(str(found[0][0])) if found else None
    except OSError:
        free = None
    if free is None or free >= size:
        return []
    sure = "too little" if free < min(size, raw) else "maybe too little"
    return [
        f"the database has {_mib(size)} at its source, and {found[0][0]} has {_mib(free)} free, which is {sure}: make "
        "room on the database server, as the old database is there until the new one is"
    ]


def _mib(count: int) -> str:
    return f"{count / 1048576:.1f} MiB"


def _columns(tables: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [schema for schema, _table in tables], [table for _schema, table in tables]


def _free(folder: str) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def databases_there(server: Server) -> str:
    """Return which databases there are, as a hint where one is missing."""
    names = [name for (name,) in server.query("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1")]
    return f"The server has {', '.join(names[:10])}."
