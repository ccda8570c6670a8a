# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The databases beside the live one: the scratch database of a pull, and what earlier pulls replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import EnvSyncError
from .access import Access
from .client import ServerError
from .names import literal, quote
from .properties import Properties
from .sessions import terminate_by_name

#: the first bytes of a name of ours; what stands under such a name and carries our comment may be dropped
SCRATCH_PREFIX = "env_sync_scratch_"
OLD_PREFIX = "env_sync_old_"
OLDER_PREFIX = "env_sync_older_"

#: how the comments begin that tell our databases from others
MARK = "env_sync: "
KEPT = "kept as it was before the pull"
DOOMED = "replaced by a pull, about to be dropped"


@dataclass(frozen=True)
class Names:
    """What the databases of a pull are called.

    ``old`` is for the one that is replaced, ``older`` for one that an earlier pull kept under that name.
    """

    live: str
    scratch: str
    old: str
    older: str

    @classmethod
    def beside(cls, live: str) -> Names:
        """Return the names for a live database: its own as far as there is room, and a digest of it."""
        tail = f"_{hashlib.sha256(live.encode()).hexdigest()[:8]}"
        # The server cuts names at 63 bytes; cut in the middle of a character, they are not valid.
        room = 63 - len(SCRATCH_PREFIX) - len(tail)
        stem = live.encode()[:room].decode("utf-8", "ignore")
        return cls(live, *(f"{prefix}{stem}{tail}" for prefix in (SCRATCH_PREFIX, OLD_PREFIX, OLDER_PREFIX)))


class Beside:
    """The databases beside the live one, on its server."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._server = access.server
        self.names = Names.beside(access.database)
        self._signature = f"run {access.run}"
        #: why what an earlier pull replaced could not be dropped
        self.stuck: list[str] = []

    def sweep(self) -> list[str]:
        """Drop the scratch database and a replaced one that a killed run left; they carry our comment.

        :returns: what was dropped.
        :raises ServerError: the scratch database could not be.
        """
        names = self.names
        left = [name for name in (names.scratch, names.old, names.older) if self.is_ours(name)]
        if names.old in left and not self._comment(names.old).endswith(DOOMED):
            left.remove(names.old)
        removed = []
        for name in left:
            try:
                self._drop(name)
            except ServerError as error:
                if name == names.scratch:
                    raise
                self.stuck.append(str(error))  # it is in nobody's way, as long as there is but one
            else:
                removed.append(f"database {name}")
        return removed

    def exists(self, name: str) -> bool:
        """Say whether there is a database of that name."""
        return bool(self._server.query("SELECT 1 FROM pg_database WHERE datname = %s", (name,)))

    def is_ours(self, name: str) -> bool:
        """Say whether there is such a database, and it carries our comment or was about to get it."""
        found = self._server.query(
            """SELECT coalesce(shobj_description(oid, 'pg_database') LIKE %s, NOT datallowconn) FROM pg_database
                WHERE datname = %s""",
            (MARK + "%", name),
            f"looking for what an interrupted pull left on {self._server.name}",
        )
        return bool(found and found[0][0])

    def _comment(self, name: str) -> str:
        found = self._server.query(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", (name,)
        )
        return str(found[0][0] or "") if found else ""

    def create(self, details: Mapping[str, Any], live: Properties | None, doing: str) -> None:
        """Create the scratch database: with the point's encoding and locale, and nobody else let in.

        :param details: what the manifest says of the database, located as the task asks for.
        :param live: the database that it will replace, whose tablespace it gets; None where there is none.
        """
        version = self._access.version
        # Nobody may connect before PUBLIC has lost the right to: such a session would see data not sanitised yet.
        options = [f"TEMPLATE {quote(self._access.options.template)}", "ALLOW_CONNECTIONS false"]
        if not details.get("encoding") and live is not None:
            details = {"encoding": live.encoding, "collate": live.collate, "ctype": live.ctype, **details}
        for option, key in (("ENCODING", "encoding"), ("LC_COLLATE", "collate"), ("LC_CTYPE", "ctype")):
            if details.get(key):
                options.append(f"{option} {literal(details[key])}")
        provider = details.get("locale_provider")
        if provider == "i" and version >= 150000:
            options.append(f"LOCALE_PROVIDER icu ICU_LOCALE {literal(details['locale'])}")
        elif provider == "b" and version >= 170000:
            options.append(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {literal(details['locale'])}")
        elif provider == "c" and version >= 150000:
            options.append("LOCALE_PROVIDER libc")  # the template's may be another
        if live is not None and live.tablespace != "pg_default":
            options.append(f"TABLESPACE {quote(live.tablespace)}")
        name = quote(self.names.scratch)
        comment = literal(f"{MARK}scratch database of a pull of {self.names.live}, {self._signature}")
        for statement in (
            f"CREATE DATABASE {name} {' '.join(options)}",
            f"COMMENT ON DATABASE {name} IS {comment}",
            f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS true",
        ):
            self._server.query(statement, doing=doing)

    def drop_scratch(self) -> None:
        """Drop the scratch database, if it is this run's."""
        scratch = self.names.scratch
        if self.is_ours(scratch):
            comment = self._comment(scratch)
            if not comment or comment.endswith(self._signature):
                self._drop(scratch)

    def drop_replaced(self, name: str, warnings: list[str]) -> bool:
        """Drop what the pull has replaced; say whether that was possible, and in ``warnings`` why not."""
        try:
            self._drop(name)
            return True
        except EnvSyncError as error:
            # The pull has succeeded: what could not be dropped is in nobody's way, and the next pull tries again.
            warnings.append(f"the replaced database is still there as {name}: {error}")
            return False

    def _drop(self, name: str) -> None:
        force = " WITH (FORCE)" if self._access.version >= 130000 else ""
        if not force:
            terminate_by_name(self._server, name)
        self._server.query(
            f"DROP DATABASE IF EXISTS {quote(name)}{force}", doing=f"dropping {name} on {self._server.name}"
        )
