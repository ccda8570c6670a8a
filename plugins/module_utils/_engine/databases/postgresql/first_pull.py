# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A first pull makes the database as the source's was: owner, grants, settings, connection limit, comment.

The manifest has them. It holds no secret: so a setting whose name has a dot, which may be an application's own and hold
one, is there without its value, and that is read from the archive (``DATABASE PROPERTIES``), as all data is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .names import literal, quote
from .properties import Attempt, Properties, setting_statement
from .roles import Here
from .sql import split_statements, tokens, unquoted
from .toc import Toc

#: names that a setting can have (``valid_custom_variable_name`` in ``guc.c``)
SETTING = re.compile(r"[^\W\d][\w$]*(\.[^\W\d][\w$]*)*\Z")

#: (role, setting): the role is empty for all roles
Values = Mapping[tuple[str, str], str]


def facts(properties: Properties) -> dict[str, Any]:
    """Return what the manifest has of these properties, beside the owner."""
    settings = []
    for role, assignments in properties.settings:
        for assignment in assignments:
            name, _equals, value = assignment.partition("=")
            if SETTING.match(name):
                settings.append({"role": role, "name": name, "value": None if "." in name else value})
    acl = properties.acl
    return {
        "acl": None
        if acl is None
        else [
            {"grantee": grantee, "privilege": privilege, "grantable": grantable}
            for grantee, privilege, grantable in acl
        ],
        "settings": settings,
        "connection_limit": max(properties.connection_limit, -1),
        "comment": properties.comment,
    }


def values_in(toc: Toc) -> Values:
    """Return the values of the settings that an archive has for its database."""
    found: dict[tuple[str, str], str] = {}
    for entry in toc.entries:
        if entry.desc != "DATABASE PROPERTIES":
            continue
        for statement in split_statements(entry.defn or ""):
            words = tokens(statement)
            upper = [word.upper() for word in words]
            # ALTER DATABASE x SET name TO value, ALTER ROLE r IN DATABASE x SET name TO value
            place = 3 if upper[:2] == ["ALTER", "DATABASE"] else 6
            if upper[place : place + 1] != ["SET"] or upper[place + 2 : place + 3] not in (["TO"], ["="]):
                continue
            value = words[place + 3 :]
            escapes = value[0].upper() == "E" if value else False
            if len(value) != (2 if escapes else 1) or not value[-1].startswith("'"):
                continue
            text = value[-1][1:-1].replace("''", "'")
            role = unquoted(words[2]) if place == 6 else ""
            found[role, unquoted(words[place + 1])] = text.replace("\\\\", "\\") if escapes else text
    return found


def owner_of(details: Mapping[str, Any], here: Here) -> str:
    """Return who will own the database."""
    owner = str(details.get("owner", ""))
    return owner if owner in here.roles and owner in here.assumable else here.user


def warnings(details: Mapping[str, Any], here: Here) -> list[str]:
    """Return what the database can't have that the source's had."""
    found = []
    owner = str(details.get("owner", ""))
    if owner in here.roles and owner not in here.assumable:
        found.append(
            f"the database will belong to {here.user}, who may not give it to {owner}, its owner in the source"
        )
    elif owner and owner not in here.roles:
        found.append(f"the database will belong to {here.user}: its owner in the source, {owner}, does not exist here")
    noted = details.get("database") or {}
    absent = sorted({item["grantee"] for item in noted.get("acl") or ()} - here.roles - {"", owner})
    if absent:
        found.append(f"grants on the database left out: these roles do not exist here: {', '.join(absent)}")
    absent = sorted({item["role"] for item in noted.get("settings", ())} - here.roles - {""})
    if absent:
        found.append(f"settings in the database left out: these roles do not exist here: {', '.join(absent)}")
    return found


def steps(details: Mapping[str, Any], here: Here) -> list[str]:
    """Return what a plan says of it."""
    noted = details.get("database") or {}
    has = [f"owner {owner_of(details, here)}"]
    if noted.get("acl") is not None:
        has.append("grants")
    names = [
        f"{item['name']} of {item['role']}" if item["role"] else item["name"] for item in noted.get("settings", ())
    ]
    has += [f"setting {name}" for name in names]
    if noted.get("connection_limit", -1) != -1:
        has.append(f"connection limit {noted['connection_limit']}")
    if noted.get("comment"):
        has.append("comment")
    return [f"give the new database what the source's has: {', '.join(has)}"]


def lacking(details: Mapping[str, Any], values: Values) -> list[str]:
    """Return a warning of the settings whose values are neither in the manifest nor in the archive."""
    noted = (details.get("database") or {}).get("settings", ())
    names = [item["name"] for item in noted if item["value"] is None and (item["role"], item["name"]) not in values]
    return [f"settings of the database left out: the archive has no value of {', '.join(names)}"] if names else []


def attempts(details: Mapping[str, Any], database: str, here: Here, values: Values) -> list[Attempt]:
    """Return the statements that make the new database as the source's was, in their order.

    The owner comes last: until then it is ``here.user``, who may grant, and whose own rights go to the new owner.
    """
    name = quote(database)
    noted = details.get("database") or {}
    found = []
    if noted.get("connection_limit", -1) != -1:
        found.append(Attempt(f"ALTER DATABASE {name} CONNECTION LIMIT {int(noted['connection_limit'])}"))
    if noted.get("comment"):
        found.append(Attempt(f"COMMENT ON DATABASE {name} IS {literal(noted['comment'])}"))
    if noted.get("acl") is None:
        found.append(Attempt(f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO PUBLIC"))
    else:
        found += _grants(noted["acl"], str(details.get("owner", "")), name, here)
    for item in noted.get("settings", ()):
        role, setting = item["role"], item["name"]
        value = values.get((role, setting)) if item["value"] is None else item["value"]
        if value is not None and (not role or role in here.roles):
            found.append(setting_statement(database, role, setting, value))
    owner = owner_of(details, here)
    if owner != here.user:
        found.append(Attempt(f"ALTER DATABASE {name} OWNER TO {quote(owner)}"))
    return found


def _grants(acl: Sequence[Mapping[str, Any]], owner: str, name: str, here: Here) -> list[Attempt]:
    found = [Attempt(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC, {quote(here.user)}")]
    for item in acl:
        grantee = here.user if item["grantee"] == owner else item["grantee"]
        if grantee and grantee not in here.roles:
            continue
        option = " WITH GRANT OPTION" if item["grantable"] and grantee and grantee != here.user else ""
        to = quote(grantee) if grantee else "PUBLIC"
        found.append(Attempt(f"GRANT {item['privilege']} ON DATABASE {name} TO {to}{option}"))
    return found
