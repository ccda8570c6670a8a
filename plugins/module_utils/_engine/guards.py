# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must never happen, checked before anything is touched."""

from __future__ import annotations

from collections.abc import Sequence

from .databases.base import Identity
from .errors import EnvSyncError
from .points.manifest import Manifest
from .points.scripts import Effect
from .tasks.task import Task


def not_the_source(manifest: Manifest, target: Identity, database: str, allowed: bool) -> None:
    """Refuse to restore a point into the server and database that it came from."""
    if allowed or database != manifest.database:
        return
    if manifest.server.get("system") == target.system:
        what, key = ("tree", "directory") if target.dbms == "files" else ("server", "database_hostname")
        raise EnvSyncError(
            f"pulling {manifest.timestamp}-{manifest.database} into {target.host}",
            f"that is the {what} it was pushed from (system identifier {target.system})",
            f"Check {key}; set allow_restore_to_source if you mean it.",
        )


def sanitised(task: Task, manifest: Manifest) -> None:
    """Refuse, before anything is restored, to make data live that nobody sanitises, where that is required."""
    if not task.require_sanitised or task.transformation_sql or _proven(manifest, task.may_change_nothing):
        return
    if manifest.sanitised:
        why = "the scripts that ran when the point was pushed are not known to have changed anything"
    else:
        why = "the task has no transformation SQL and the point was not sanitised when it was pushed"
    raise EnvSyncError(
        f"pulling {manifest.timestamp}-{manifest.database}",
        f"this environment requires sanitised data, {why}",
        "Set transformation_sql_filename.",
    )


def _proven(manifest: Manifest, may_change_nothing: bool) -> bool:
    """Say whether scripts are known to have sanitised the point before it was stored."""
    return any(may_change_nothing or script.get("changed") or script.get("altered") for script in manifest.sanitised)


def sanitised_something(task: Task, effects: Sequence[Effect], manifest: Manifest) -> None:
    """Refuse to make data live that the scripts left as it was, where sanitised data is required."""
    if not task.require_sanitised or task.may_change_nothing or _proven(manifest, False):
        return
    if effects and all(effect.nothing for effect in effects):
        raise EnvSyncError(
            f"sanitising {manifest.timestamp}-{manifest.database}",
            f"{_listed(effects)} ran to the end and changed nothing, and this environment requires sanitised data",
            "Correct the script, or set may_change_nothing if that is right for this database.",
        )


def changed_nothing(effects: Sequence[Effect], allowed: bool) -> list[str]:
    """Return a warning for each script that left everything as it was, unless that is allowed."""
    if allowed:
        return []
    return [f"{effect.script.path} ran to the end and changed nothing" for effect in effects if effect.nothing]


def _listed(effects: Sequence[Effect]) -> str:
    return ", ".join(effect.script.path for effect in effects)


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
