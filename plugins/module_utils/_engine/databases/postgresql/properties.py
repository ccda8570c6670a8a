# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a database is apart from its contents: what ``pg_dump`` without ``--create`` does not carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .client import Server
from .names import literal, quote


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


def describe(properties: Properties) -> Mapping[str, Any]:
    """Return what a plan says of the database that will be replaced."""
    return {
        "owner": properties.owner,
        "size_bytes": properties.size,
        "encoding": properties.encoding,
        "connection_limit": properties.connection_limit,
    }
