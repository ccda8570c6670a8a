# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task wants of an Elasticsearch database."""

from __future__ import annotations

from dataclasses import dataclass

from ...tasks.task import Task


@dataclass(frozen=True)
class Options:
    """What a task says of its database, but for how to reach the server.

    ``repository`` is the snapshot repository's name. ``wanted`` has patterns of the indices (none: all but the server's
    own), ``excluded`` patterns of what is left out. ``as_index`` gives restored indices the live names themselves, in
    place of aliases.
    """

    database: str
    repository: str
    wanted: tuple[str, ...]
    excluded: tuple[str, ...]
    environment: str
    timezone: str
    keep_old: bool
    as_index: bool
    allow_source: bool

    @classmethod
    def from_task(cls, task: Task) -> Options:
        return cls(
            database=task.database,
            repository=task.url,
            wanted=task.indices,
            excluded=task.excluded_tables,
            environment=task.environment,
            timezone=task.timezone,
            keep_old=task.old_database == "keep",
            as_index=task.restore_as == "index",
            allow_source=task.allow_restore_to_source,
        )
