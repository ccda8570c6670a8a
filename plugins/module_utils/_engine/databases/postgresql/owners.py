# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a role that is not a superuser does after ``pg_restore``: it gives the objects to their owners, and grants.

Each change of an owner holds locks until its transaction ends, and the server has room for a number of locks that an
administrator chose (``max_locks_per_transaction``). So there are many small transactions: the database is thrown away
where one of them fails, and nobody else sees it before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from .client import Server, ServerError
from .fit import FIRST, GRANTS, LAST, Adapted, Later
from .names import quote
from .notes import left_out_lines, listed
from .sql import tokens, unquoted

#: so many changes are tried in one transaction; half as many, and so on, where the server's lock table is full
BATCH = 32

_INSUFFICIENT_PRIVILEGE = "42501"
_OUT_OF_MEMORY = "53200"


@dataclass(frozen=True)
class _Unit:
    """Statements that belong together; ``key`` tells the caller what was refused."""

    key: Any
    statements: tuple[str, ...]
    optional: bool = False


class Giving:
    """Puts in order what an archive's owners and grants are to be, in one restored database.

    :param connection: to that database, as the role that restored it.
    :param database: its name.
    """

    def __init__(self, server: Server, connection: Any, database: str, doing: str) -> None:
        self._server = server
        self._connection = connection
        self._database = database
        self._doing = doing
        self._left_out: dict[str, list[str]] = {}

    def run(self, adapted: Adapted) -> list[str]:
        """Do all that ``adapted`` has for after the restore; return warnings."""
        self._ask("SELECT set_config('synchronous_commit', 'off', false)")
        self._ask("SELECT set_config('client_min_messages', 'warning', false)")
        self._do(adapted.later, FIRST)
        warnings = self._give(adapted.owners)
        self._do(adapted.later, GRANTS)
        self._do(adapted.later, LAST)
        return warnings + left_out_lines(self._left_out)

    def _ask(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._server.query(statement, parameters, self._doing, self._connection)

    def _do(self, later: Sequence[Later], stage: str) -> None:
        """Do what belongs to a stage; what the server does not permit is left out, with what is about it."""
        items = [item for item in later if item.stage == stage]
        objects = [item for item in items if not item.about]
        reasons = {item.label: item.reason or _refusal(why) for item, why in self._try(objects)}
        for label, reason in reasons.items():
            self._left_out.setdefault(reason, []).append(label)
        for item in items:
            if item.about in reasons:
                self._left_out[reasons[item.about]].append(item.label)
        for item, why in self._try([item for item in items if item.about and item.about not in reasons]):
            if not self._says_so_already(item):
                self._left_out.setdefault(item.reason or _refusal(why), []).append(item.label)

    def _says_so_already(self, item: Later) -> bool:
        """Say whether an extension has the comment that it comes with: archives have that of each extension."""
        if not item.about.startswith("EXTENSION ") or len(item.statements) != 1:
            return False
        words = tokens(item.statements[0])
        if len(words) < 6 or words[4].lower() != "is" or words[:3] != ["COMMENT", "ON", "EXTENSION"]:
            return False
        found = self._ask(
            "SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = %s", (unquoted(words[3]),)
        )
        return found == self._ask(f"SELECT {''.join(words[5:])}")

    def _try(self, items: Sequence[Later]) -> list[tuple[Any, str]]:
        units = [_Unit(item, item.statements, item.optional) for item in items]
        return _batches(self._ask_strictly if items and items[0].stage == GRANTS else self._ask, units)

    def _ask_strictly(self, statements: str) -> None:
        """Run grants. The server only warns where it grants nothing, to a role that has the right itself.

        :raises ServerError: it warned.
        """
        del self._connection.notices[:]
        self._ask(statements)
        said = [str(notice).partition(":")[2].strip() for notice in self._connection.notices]
        if said:
            raise ServerError(self._doing, said[0], "", _INSUFFICIENT_PRIVILEGE)

    def _give(self, owners: Sequence[tuple[str, str]]) -> list[str]:
        """Give the restored objects to their owners; return warnings.

        A new owner must be allowed to create in the object's schema, and in the database to own a publication: where it
        is not, it is for that moment. Sequences follow the tables that own them, and schemas the last grant on them.
        """
        if not owners:
            return []
        lent = self._lent(owners)
        schemas = [item for item in owners if item[0].startswith("SCHEMA ")]
        others = [item for item in owners if not item[0].startswith("SCHEMA ")]
        others.sort(key=lambda item: item[0].startswith("SEQUENCE "))
        self._all(f"GRANT CREATE ON {what} TO {quote(role)}" for what, role in lent)
        refused = self._change_owners(others)
        self._all(f"REVOKE CREATE ON {what} FROM {quote(role)}" for what, role in lent)
        refused += self._change_owners(schemas)
        kept: dict[tuple[str, str], list[str]] = {}
        for (name, owner), why in refused:
            kept.setdefault((owner, why), []).append(name)
        return [
            f"not given to {owner}, {_refusal(why)}: {listed(names)}" for (owner, why), names in sorted(kept.items())
        ]

    def _change_owners(self, owners: Sequence[tuple[str, str]]) -> list[tuple[Any, str]]:
        units = [_Unit(item, (f"ALTER {item[0]} OWNER TO {quote(item[1])}",)) for item in owners]
        return _batches(self._ask, units)

    def _lent(self, owners: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return where (``SCHEMA "app"``) which roles lack the right to create that they need to become owners."""
        lacking = self._ask(
            """SELECT n.nspname, r.rolname FROM pg_namespace n, pg_roles r
                WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND r.rolname = ANY (%s)
                  AND NOT has_schema_privilege(r.oid, n.oid, 'CREATE')
                  AND (pg_has_role(n.nspowner, 'USAGE') OR n.nspowner = (SELECT oid FROM pg_roles
                                                                          WHERE rolname = 'pg_database_owner'))""",
            (sorted({owner for _name, owner in owners}),),
        )
        lent = [(f"SCHEMA {quote(schema)}", str(role)) for schema, role in lacking]
        publishers = sorted({owner for name, owner in owners if name.startswith("PUBLICATION ")})
        may = self._ask("SELECT rolname FROM pg_roles WHERE has_database_privilege(oid, current_database(), 'CREATE')")
        able = {name for (name,) in may}
        return lent + [(f"DATABASE {quote(self._database)}", role) for role in publishers if role not in able]

    def _all(self, statements: Iterable[str]) -> None:
        for _unused, why in _batches(self._ask, [_Unit(None, (statement,)) for statement in statements]):
            raise ServerError(self._doing, why, "", _INSUFFICIENT_PRIVILEGE)


def _refusal(why: str) -> str:
    return f"as the server refused it ({why})"


def _batches(ask: Callable[[str], Any], units: Sequence[_Unit]) -> list[tuple[Any, str]]:
    """Run the units, several in a transaction; return the keys of those that the server refused, and its words."""
    refused: list[tuple[Any, str]] = []
    size, done = BATCH, 0
    while done < len(units):
        batch = units[done : done + size]
        try:
            # Several statements in one string are one transaction, which an error takes back.
            ask(";\n".join(statement for unit in batch for statement in unit.statements))
        except ServerError as error:
            denied = error.sqlstate == _INSUFFICIENT_PRIVILEGE
            if len(batch) > 1 and error.sqlstate == _OUT_OF_MEMORY:
                size = max(1, len(batch) // 2)
                continue
            if len(batch) > 1 and (denied or any(unit.optional for unit in batch)):
                for unit in batch:
                    refused += _batches(ask, [unit])
            elif denied or (batch[0].optional and error.sqlstate):
                refused.append((batch[0].key, error.why.splitlines()[0]))
            else:
                raise
        done += len(batch)
    return refused
