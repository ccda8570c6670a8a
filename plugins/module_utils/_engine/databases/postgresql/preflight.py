# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a pull checks before it changes anything: whether the point can be restored here, and put in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import EnvSyncError
from ...points.manifest import Manifest
from ..base import Plan
from . import checks, first_pull, leave_out, roles, superuser
from .access import Access
from .client import ServerError
from .messages import refuse_one_database_only
from .names import quote
from .properties import (
    Properties,
    describe,
    prepared_transactions,
    read_properties,
    replication_slots,
    subscriptions,
)
from .scratch import Beside
from .versions import PULL_INTO_NEWER, archive_version, no_large_objects


class Preflight:
    """The checks of one pull. Each raises where the pull would fail; all of them only ask."""

    def __init__(self, access: Access, beside: Beside, live: Properties | None) -> None:
        self._access = access
        self._server = access.server
        self._options = access.options
        self._beside = beside
        self._live = live
        self._doing = f"preparing to restore {access.database} on {access.server.name}"

    def run(self, manifest: Manifest | None) -> Plan:
        """Return what the pull will do.

        :param manifest: None for a legacy point, of which nothing is known.
        :raises EnvSyncError: the point can't be restored here, or not by this role, or the live database not replaced.
        """
        doing, names = self._doing, self._beside.names
        checks.writable(self._server, doing)
        if self._server.pooled:
            why = f"a pooler answers at {self._server.name}, and a restore takes sessions of the server's own"
            raise EnvSyncError(doing, why, "Give the server's own address in database_hostname and database_port.")
        major = self._access.restore_programs(doing).version[0]
        if manifest and manifest.details.get("large_objects") and _written_as(manifest) > archive_version(major):
            raise no_large_objects(major, doing, PULL_INTO_NEWER)
        self._check_rights()
        steps = [
            f"create the scratch database {names.scratch}",
            f"restore the point into it with {self._options.jobs} jobs",
        ]
        for name in (names.scratch, names.old, names.older):
            if self._beside.exists(name) and not self._beside.is_ours(name):
                raise EnvSyncError(doing, f"there is a database {name} that is not env_sync's", "Rename or drop it.")
        warnings = [f"what an earlier pull replaced is still there: {text}" for text in self._beside.stuck]
        if manifest:
            steps += self._check_extensions(manifest)
            steps += self._check_roles(manifest)
            self._check_place(manifest, steps, warnings)
        if self._live is not None:
            warnings += self._check_replaceable(self._live)
        elif manifest:
            here = roles.look(self._access, doing)
            steps += first_pull.steps(manifest.details, here)
            warnings += first_pull.warnings(manifest.details, here)
        return Plan(names.scratch, describe(self._live) if self._live else None, tuple(steps), tuple(warnings))

    def _check_rights(self) -> None:
        """Raise when this role may not create the scratch database, or not put it in the live one's place."""
        may_create = self._server.query(
            "SELECT rolcreatedb OR rolsuper, current_user FROM pg_roles WHERE rolname = current_user", doing=self._doing
        )
        if not may_create or not may_create[0][0]:
            raise EnvSyncError(
                self._doing,
                f"the role {may_create[0][1]} may not create databases",
                "ALTER ROLE ... CREATEDB, as a superuser.",
            )
        if self._live is not None and not roles.may_rename(self._access, self._live.owner):
            raise EnvSyncError(
                self._doing,
                f"the database belongs to {self._live.owner}, whose rights this role does not have",
                f"GRANT {quote(self._live.owner)} TO the role of login_user (one that inherits), as a superuser.",
            )

    def _check_roles(self, manifest: Manifest) -> list[str]:
        """Return what is done about roles that own something in the point and do not exist here."""
        known = {name for (name,) in self._server.query("SELECT rolname FROM pg_roles", doing=self._doing)}
        absent = [role for role in manifest.roles if role not in known]
        if not absent:
            return []
        return [
            f"give what roles own that do not exist on {self._server.name} ({', '.join(absent)}) to the "
            "database's owner, and leave out what they were granted"
        ]

    def _check_place(self, manifest: Manifest, steps: list[str], warnings: list[str]) -> None:
        """Check locales, collations, tablespaces and room; add to what the plan says."""
        wanted = located(self._options.locale, manifest.details)
        warnings += checks.locale(self._server, wanted, self._doing)
        if self._options.locale and wanted != manifest.details:
            steps.append(f"have it sort by {self._options.locale}, and not by {checks.sorts_by(manifest.details)}")
        left_out = bool(self._options.excluded.objects or self._options.excluded.extensions)
        warnings += checks.collations(self._server, manifest.details, left_out, self._doing)
        steps += checks.tablespaces(self._server, manifest.details, self._doing)
        size = int(manifest.details.get("size_bytes", 0))
        tablespace = self._live.tablespace if self._live is not None else "pg_default"
        warnings += checks.room(self._server, tablespace, size, manifest.raw_bytes, self._doing)

    def _check_extensions(self, manifest: Manifest) -> list[str]:
        """Raise when the server cannot have an extension of the point; return what is left out of them."""
        needed = [str(item["name"]) for item in manifest.extensions]
        left_out = [name for name in needed if leave_out.names_extension(self._options.excluded.extensions, name)]
        available = {
            name for (name,) in self._server.query("SELECT name FROM pg_available_extensions", doing=self._doing)
        }
        wanted = [name for name in needed if name not in left_out]
        refuse_one_database_only(wanted, self._doing)
        leave_out.refuse_missing(wanted, available, self._doing)
        there = self._check_template(located(self._options.locale, manifest.details))
        if there is not None:
            superuser.refuse_forbidden(self._server, wanted, there, self._doing)
        left_out += manifest.details.get("excluded_extensions", ())
        return [f"leave out the extensions {', '.join(left_out)}, and what depends on them"] if left_out else []

    def _check_replaceable(self, live: Properties) -> list[str]:
        """Raise when the live database can't make room for another; return what will be lost with it."""
        names = self._beside.names
        if self._beside.exists(names.old) and self._beside.exists(names.older):
            raise EnvSyncError(
                self._doing,
                f"{names.old} and {names.older}, which earlier pulls replaced, are still there",
                f"Drop {names.older}; the pull's warning told why that was not possible.",
            )
        prepared = prepared_transactions(self._server, live.oid)
        if prepared:
            raise EnvSyncError(
                self._doing,
                f"the database has prepared transactions ({prepared}), with which it can't be renamed",
                "COMMIT PREPARED or ROLLBACK PREPARED them.",
            )
        subscribed = subscriptions(self._server, live.oid)
        if subscribed:
            raise EnvSyncError(
                self._doing,
                f"the database has subscriptions ({subscribed}): they would not go on with the new one, and their "
                "publisher would keep its log for them",
                "DROP SUBSCRIPTION first.",
            )
        slots = replication_slots(self._server, live.oid)
        return [f"its logical replication slots ({slots}) go with the replaced database"] if slots else []

    def _check_template(self, details: Mapping[str, Any]) -> frozenset[str] | None:
        """Return the extensions that the scratch database has from the start; None where nobody may look.

        :raises EnvSyncError: it can't be made from its template.
        """
        chosen = self._options.template
        if chosen == "template0":
            return frozenset({"plpgsql"})
        template = read_properties(self._server, chosen)
        name = f"{chosen} (template_database)"
        if template is None:
            raise EnvSyncError(self._doing, f"there is no database {name}", checks.databases_there(self._server))
        if not template.is_template and not roles.may_rename(self._access, template.owner):
            raise EnvSyncError(
                self._doing,
                f"the role of login_user may not copy the database {name}, which belongs to {template.owner}",
                f"ALTER DATABASE {quote(chosen)} IS_TEMPLATE true, as its owner.",
            )
        has = (template.encoding, template.collate, template.ctype, template.provider, template.locale)
        needs = tuple(details.get(key) or "" for key in ("encoding", "collate", "ctype", "locale_provider", "locale"))
        if details.get("encoding") and has != needs:
            raise EnvSyncError(
                self._doing,
                f"the database {name} has another encoding or locale than the point: {_joined(has)}",
                f"Create it again from template0, with those of the point: {_joined(needs)}.",
            )
        try:
            with self._access.inside(chosen, self._doing) as connection:
                return superuser.look(self._access.asking(connection, self._doing)).extensions
        except ServerError:
            return None  # it may take no connections, and can be copied all the same


def located(locale: str, details: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the manifest says of the database, with the locale that the task asks for in place of its own."""
    if not locale:
        return details
    return {**details, "collate": locale, "ctype": locale, "locale_provider": "c", "locale": ""}


def _written_as(manifest: Manifest) -> tuple[int, int]:
    """Return the version of the point's archive, going by the ``pg_dump 15.4`` that wrote it."""
    major = manifest.client_version.rpartition(" ")[2].partition(".")[0]
    return archive_version(int(major) if major.isdigit() else 0)


def _joined(values: Sequence[str]) -> str:
    return ", ".join(value for value in values if value)
