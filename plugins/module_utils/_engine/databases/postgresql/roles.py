# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles of a target server, and what the restoring role may do with them."""

from __future__ import annotations

from dataclasses import dataclass

from .access import Access


@dataclass(frozen=True)
class Here:
    """The target: its roles, those that ``user`` may make owners, and ``user``, which made the database."""

    user: str
    roles: frozenset[str]
    assumable: frozenset[str]


def look(access: Access, doing: str) -> Here:
    """Return the roles of the server."""
    ask = access.server.query
    return Here(
        str(ask("SELECT current_user", (), doing)[0][0]),
        frozenset(name for (name,) in ask("SELECT rolname FROM pg_roles", (), doing)),
        frozenset(
            name
            for (name,) in ask("SELECT rolname FROM pg_roles WHERE pg_has_role(oid, %s)", (_assume(access),), doing)
        ),
    )


def may_rename(access: Access, owner: str) -> bool:
    """Say whether this role may rename a database of that owner's, and give another one to it."""
    rows = access.server.query(
        """SELECT rolsuper OR (pg_has_role(current_user, %s, %s) AND pg_has_role(current_user, %s, 'USAGE'))
             FROM pg_roles WHERE rolname = current_user""",
        (owner, _assume(access), owner),
    )
    return bool(rows[0][0])


def _assume(access: Access) -> str:
    """Return what ``pg_has_role`` calls the right to make a role an owner: since 16 a membership may lack it."""
    return "SET" if access.version >= 160000 else "MEMBER"
