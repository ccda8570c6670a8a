# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a database is apart from its contents, and the moment in which two databases change places."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import EnvSyncError
from .client import Server, ServerError, literal, quote

#: how the comments begin that tell our databases from others
MARK = "env_sync: "
KEPT = "kept as it was before the pull"
DOOMED = "replaced by a pull, about to be dropped"

#: PostgreSQL gives a rename five seconds to find the database without sessions; so many of these are tried
SWAP_TRIES = 6

#: sessions of these roles belong to the cloud; they can't be ended, and don't have to be
_CLOUD_ROLES = ("rdsadmin", "rdsrepladmin", "cloudsqladmin", "azuresu", "azure_superuser")


@dataclass(frozen=True)
class Properties:
    """A database's own properties: what ``pg_dump`` without ``--create`` does not carry.

    ``oid`` tells the database from another that has taken its name.
    ``acl`` is None for the default, else (grantee, privilege, grantable) with '' for PUBLIC; ``settings`` are
    (role, assignments) with '' for all roles.
    """

    oid: int
    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str
    locale: str
    tablespace: str
    connection_limit: int
    allow_connections: bool
    is_template: bool
    acl: tuple[tuple[str, str, bool], ...] | None
    settings: tuple[tuple[str, tuple[str, ...]], ...]
    comment: str
    size: int


_OBJECT_IN_USE = "55006"
_INSUFFICIENT_PRIVILEGE = "42501"


def read_properties(server: Server, database: str) -> Properties | None:
    """Return the properties of a database, None when it does not exist."""
    version = _version(server)
    if version >= 170000:
        locale = "datlocprovider::text, datlocale"
    elif version >= 150000:
        locale = "datlocprovider::text, daticulocale"
    else:
        locale = "'c', NULL"
    rows = server.query(
        f"""SELECT d.oid, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype, {locale},
                   t.spcname, datconnlimit, datallowconn, datistemplate, datacl IS NULL,
                   shobj_description(d.oid, 'pg_database')
              FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = %s""",
        (database,),
        f"looking at database {database} on {server.name}",
    )
    if not rows:
        return None
    oid, owner, encoding, collate, ctype, provider, icu, tablespace, limit, allow, template, default_acl, comment = (
        rows[0]
    )
    acl = None
    if not default_acl:
        acl = tuple(
            (str(grantee or ""), str(privilege), bool(grantable))
            for grantee, privilege, grantable in server.query(
                """SELECT r.rolname, privilege_type, is_grantable
                     FROM pg_database d, aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
                    WHERE d.oid = %s ORDER BY 1 NULLS FIRST, 2""",
                (oid,),
            )
        )
    settings = tuple(
        (str(role or ""), tuple(assignments))
        for role, assignments in server.query(
            """SELECT r.rolname, setconfig FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
                WHERE s.setdatabase = %s ORDER BY 1 NULLS FIRST""",
            (oid,),
        )
    )
    return Properties(
        oid=oid,
        owner=owner,
        encoding=encoding,
        collate=collate,
        ctype=ctype,
        provider=provider,
        locale=icu or "",
        tablespace=tablespace,
        connection_limit=limit,
        allow_connections=allow,
        is_template=template,
        acl=acl,
        settings=settings,
        comment=comment or "",
        size=_size(server, oid),
    )


def _size(server: Server, oid: int) -> int:
    """Return the database's size in bytes, 0 where this role may not know it."""
    rows = server.query(
        """SELECT CASE WHEN has_database_privilege(%s::oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')
                       THEN pg_database_size(%s::oid) ELSE 0 END""",
        (oid, oid),
    )
    return int(rows[0][0])


def _version(server: Server) -> int:
    return int(server.control().server_version)


def carry_over(properties: Properties, database: str) -> list[str]:
    """Return the statements that give ``database`` these properties: owner, grants, limit, comment."""
    name = quote(database)
    statements = [
        f"ALTER DATABASE {name} OWNER TO {quote(properties.owner)}",
        f"ALTER DATABASE {name} CONNECTION LIMIT {properties.connection_limit}",
        f"ALTER DATABASE {name} IS_TEMPLATE {str(properties.is_template).lower()}",
        f"COMMENT ON DATABASE {name} IS {literal(properties.comment) if properties.comment else 'NULL'}",
    ]
    if not properties.allow_connections:
        statements.append(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    if properties.acl is None:
        statements.append(f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO PUBLIC")
    else:
        statements.append(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC, {quote(properties.owner)}")
        for grantee, privilege, grantable in properties.acl:
            option = " WITH GRANT OPTION" if grantable and grantee else ""
            to = quote(grantee) if grantee else "PUBLIC"
            statements.append(f"GRANT {privilege} ON DATABASE {name} TO {to}{option}")
    return statements


@dataclass(frozen=True)
class Attempt:
    """A statement that this role may not be allowed; ``shown`` is what a message has of it, empty for all of it."""

    statement: str
    shown: str = ""


def settings_of(properties: Properties, database: str) -> list[Attempt]:
    """Return the statements that give ``database`` the old one's settings, for all roles and for single ones."""
    statements = []
    for role, assignments in properties.settings:
        for assignment in assignments:
            setting, _equals, value = assignment.partition("=")
            statements.append(setting_statement(database, role, setting, value))
    return statements


def setting_statement(database: str, role: str, setting: str, value: str) -> Attempt:
    """Return what gives a setting of the database (in it, of a role) a value, as ``pg_db_role_setting`` has that.

    Messages do not have the value: a setting of an application may be a secret.
    """
    name = quote(database)
    target = f"ALTER ROLE {quote(role)} IN DATABASE {name}" if role else f"ALTER DATABASE {name}"
    shown = f"{target} SET {_setting_name(setting)}"
    return Attempt(f"{shown} TO {_setting_value(setting, value)}", shown)


#: settings that hold lists: their stored form is already a list of quoted names (pg_dump's own exception, dumputils.c)
_LISTS = frozenset(
    {
        "datestyle",
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)


def _setting_name(setting: str) -> str:
    return ".".join(quote(part) for part in setting.split("."))


def _setting_value(setting: str, value: str) -> str:
    if setting.lower() not in _LISTS:
        return literal(value)
    return ", ".join(literal(item) for item in _split_names(value)) or "''"


def _split_names(value: str) -> list[str]:
    """Split a list of names as the server stores it: ``"$user", public``; doubled quotes stand for one."""
    names: list[str] = []
    current, quoted, position = "", False, 0
    while position < len(value):
        character = value[position]
        if character == '"':
            if quoted and value[position + 1 : position + 2] == '"':
                current += '"'
                position += 1
            else:
                quoted = not quoted
        elif character == "," and not quoted:
            names.append(current)
            current = ""
        elif quoted or not character.isspace():
            current += character
        position += 1
    names.append(current)
    return [name for name in names if name]


@dataclass(frozen=True)
class Names:
    """What the databases of a pull are called.

    ``old`` is for the one that is replaced, ``older`` for one that an earlier pull kept under that name.
    """

    live: str
    scratch: str
    old: str
    older: str


def swap(
    server: Server,
    names: Names,
    properties: Properties | None,
    kept_before: bool,
    keep_old: bool,
    first: Sequence[Attempt] = (),
) -> tuple[float, list[str]]:
    """Give ``scratch`` the name ``live``, what was called ``live`` the name ``old``, and what was that ``older``.

    One transaction renames all. It takes the lock on the live database first: from then on new connections wait, and
    end with the error that the database was renamed, while a second connection ends the sessions that are there. As
    nothing is committed until all names are right, a client finds either the old database or the new one, and when
    this process dies the server takes everything back.

    :param properties: what the live database has, for the new one to have too; None when there is no live database.
    :param first: what makes the new database as the source's was, where there is no live database.
    :param kept_before: there is a database called ``old``, which a swap that fails must not cost.
    :returns: the seconds it took, and what could not be carried over.
    :raises EnvSyncError: some session could not be ended; the live database is as it was.
    """
    live, scratch, old = names.live, names.scratch, names.old
    doing = f"swapping {live} in on {server.name}"
    terminate_by_name(server, scratch)
    if properties is None:
        statements = [
            f"ALTER DATABASE {quote(scratch)} RENAME TO {quote(live)}",
            f"COMMENT ON DATABASE {quote(live)} IS NULL",
        ]
        return _transaction(server, statements, first, doing, _NOT_THE_STATEMENTS_FAULT)
    before = []
    oids = [properties.oid]
    if kept_before:
        oids += _oids(server, old)
        before.append(f"ALTER DATABASE {quote(old)} RENAME TO {quote(names.older)}")
        before.append(f"COMMENT ON DATABASE {quote(names.older)} IS {literal(f'{MARK}{live}, {DOOMED}')}")
    if properties.is_template:
        before.append(f"ALTER DATABASE {quote(live)} IS_TEMPLATE false")
    purpose = KEPT if keep_old else DOOMED
    after = [
        f"ALTER DATABASE {quote(scratch)} RENAME TO {quote(live)}",
        *carry_over(properties, live),
        f"ALTER DATABASE {quote(old)} ALLOW_CONNECTIONS false",
        f"COMMENT ON DATABASE {quote(old)} IS {literal(f'{MARK}{live}, {purpose}')}",
    ]
    rename = f"ALTER DATABASE {quote(live)} RENAME TO {quote(old)}"
    why = ""
    for _unused in range(SWAP_TRIES):
        stop = threading.Event()
        ending = threading.Thread(target=_keep_ending, args=(server, oids, stop), daemon=True)
        ending.start()
        try:
            return _transaction(server, [*before, rename, *after], settings_of(properties, live), doing)
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
        f"Sessions on it could not be ended ({_sessions(server, properties.oid)}). The old database still serves. "
        "End them, or GRANT pg_signal_backend TO the role of login_user; those of superusers only a superuser can end.",
    )


#: classes of errors that say nothing of a statement: the connection, an operator, the system, the server's resources
_NOT_THE_STATEMENTS_FAULT = ("", "08", "40", "53", "57", "58", "XX")


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


def _keep_ending(server: Server, oids: Sequence[int], stop: threading.Event) -> None:
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


def terminate_by_name(server: Server, database: str) -> None:
    """End the sessions on the database that has this name now."""
    terminate(server, _oids(server, database))


def _oids(server: Server, database: str) -> list[int]:
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


def prepared_transactions(server: Server, oid: int) -> str:
    """Return the prepared transactions of a database: while it has any, it can't be renamed."""
    return _listed(
        server, "SELECT gid FROM pg_prepared_xacts JOIN pg_database d ON d.datname = database WHERE d.oid = %s", oid
    )


def subscriptions(server: Server, oid: int) -> str:
    """Return the subscriptions of a database: while it has any, it can't be dropped."""
    return _listed(server, "SELECT subname FROM pg_subscription WHERE subdbid = %s", oid)


def replication_slots(server: Server, oid: int) -> str:
    """Return the logical replication slots of a database."""
    return _listed(server, "SELECT slot_name FROM pg_replication_slots WHERE datoid = %s", oid)


def _listed(server: Server, statement: str, oid: int) -> str:
    return ", ".join(sorted(str(name) for (name,) in server.query(statement, (oid,))))


def _sessions(server: Server, oid: int) -> str:
    rows = server.query(
        # What is nobody's is the server's own (autovacuum), and goes when it is asked to.
        """SELECT usename, application_name, count(*) FROM pg_stat_activity
            WHERE datid = %s AND usename IS NOT NULL GROUP BY 1, 2 LIMIT 5""",
        (oid,),
    )
    return ", ".join(f"{count} of {user} {application}".rstrip() for user, application, count in rows) or "none seen"


def describe(properties: Properties) -> Mapping[str, Any]:
    """Return what a plan says of the database that will be replaced."""
    return {
        "owner": properties.owner,
        "size_bytes": properties.size,
        "encoding": properties.encoding,
        "connection_limit": properties.connection_limit,
    }
