# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an archive is fitted to: a server, and the rights that the restoring role has there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .access import Access
from .roles import Here
from .superuser import Fresh


@dataclass(frozen=True)
class Target:
    """What an archive is fitted to.

    ``assumable`` are the roles that ``user`` may give objects to, ``inherited`` those whose rights it has without
    becoming them; ``database_owner`` is the role that gets what belongs to nobody on this server; ``public_owner`` owns
    the schema public of a fresh database here. ``tablespaces`` are those in which ``user`` may create. ``schemas`` are
    those that the database had when it was made, from its template; ``untrusted_languages`` those that take a
    superuser. ``closed_wrappers`` are foreign-data wrappers that ``user`` may not use. Foreign keys are (schema, table,
    name): the excluded ones lead to tables that are left out, the rowless ones to tables without their rows.
    ``left_out`` are entries that the operator leaves out, by their numbers, each with the reason; ``in_full`` are
    reasons for which all are named.
    """

    user: str
    superuser: bool
    roles: frozenset[str]
    assumable: frozenset[str]
    database_owner: str
    extensions_available: frozenset[str]
    tablespaces: frozenset[str]
    public_owner: str
    excluded_foreign_keys: frozenset[tuple[str, str, str]] = frozenset()
    keep_foreign_servers: bool = False
    inherited: frozenset[str] = frozenset()
    schemas: frozenset[str] = frozenset()
    untrusted_languages: frozenset[str] = frozenset({"c", "internal"})
    closed_wrappers: frozenset[str] = frozenset()
    rowless_foreign_keys: frozenset[tuple[str, str, str]] = frozenset()
    left_out: Mapping[int, str] = field(default_factory=dict)
    in_full: frozenset[str] = frozenset()

    def owner_for(self, owner: str) -> str:
        """Return the role that gets what belonged to ``owner``."""
        if owner in self.roles and (self.superuser or owner in self.assumable):
            return owner
        return self.database_owner if self.superuser or self.database_owner in self.assumable else self.user


def look(access: Access, fresh: Fresh, here: Here, owner: str, doing: str) -> Target:
    """Return the server and the rights of its role as they are, with nothing left out.

    :param fresh: what the scratch database had when it was made.
    :param owner: the role that will own the database.
    """
    ask = access.server.query
    user, superuser = ask("SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user", (), doing)[0]

    def names(statement: str) -> frozenset[str]:
        return frozenset(str(name) for (name,) in ask(statement, (), doing))

    return Target(
        user=str(user),
        superuser=bool(superuser),
        roles=here.roles,
        assumable=here.assumable,
        database_owner=owner,
        extensions_available=names("SELECT name FROM pg_available_extensions"),
        tablespaces=names("SELECT spcname FROM pg_tablespace WHERE has_tablespace_privilege(oid, 'CREATE')"),
        public_owner=fresh.public_owner,
        inherited=names("SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'USAGE')"),
        schemas=fresh.schemas,
        untrusted_languages=fresh.untrusted_languages,
        closed_wrappers=fresh.closed_wrappers,
    )
