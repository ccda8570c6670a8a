# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must never happen, checked before anything is touched."""

from __future__ import annotations

from collections.abc import Sequence

from .databases.base import Identity
from .errors import EnvSyncError
from .manifest import Manifest


def not_the_source(manifest: Manifest, target: Identity, database: str, allowed: bool) -> None:
    """Refuse to restore a point into the server and database that it came from."""
    if allowed or database != manifest.database:
        return
    if manifest.server.get("system") == target.system:
        raise EnvSyncError(
            f"pulling {manifest.timestamp}-{manifest.database} into {target.host}",
            f"that is the server it was pushed from (system identifier {target.system})",
            "Check database_hostname; set allow_restore_to_source if you mean it.",
        )


def sanitised(required: bool, scripts: Sequence[str], manifest: Manifest) -> None:
    """Refuse to make data live that nobody sanitised, where that is required."""
    if required and not scripts and not manifest.sanitised:
        raise EnvSyncError(
            f"pulling {manifest.timestamp}-{manifest.database}",
            "this environment requires sanitised data, the task has no transformation SQL and the point was not "
            "sanitised when it was pushed",
            "Set transformation_sql_filename.",
        )


def same_dbms(doing: str, manifest: Manifest, dbms: str) -> None:
    """Refuse a point of another DBMS.

    :param doing: what is done to points (``pulling``).
    """
    if manifest.dbms != dbms:
        raise EnvSyncError(
            f"{doing} {manifest.timestamp}-{manifest.database}",
            f"it is a point of {manifest.dbms}, not of {dbms}",
            "Check dbms and path.",
        )
