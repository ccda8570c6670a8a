# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task says of one MongoDB database."""

from __future__ import annotations

from dataclasses import dataclass

from ...points.name import SINGLE_SUFFIX
from ...tasks.task import Task

#: more collections at once make mongorestore keep more of an archive in memory
_MOST_AT_ONCE = 4


@dataclass(frozen=True)
class Options:
    """Which database to dump or restore, and how.

    ``work_dir`` is an empty directory of this run's own, None for a plan; ``jobs`` is how many collections to dump or
    restore at once; ``member`` is what the archive's name has after that of the point and before the compression's
    suffix; ``excluded`` names the collections that a dump leaves out.
    """

    database: str
    work_dir: str | None
    jobs: int
    member: str
    excluded: tuple[str, ...]

    @classmethod
    def from_task(cls, task: Task, work_dir: str | None) -> Options:
        return cls(
            database=task.database,
            work_dir=work_dir,
            jobs=min(task.worker_count, _MOST_AT_ONCE),
            # A single gzipped member is called <point>.gz, not <point>.dump.gz.
            member="" if task.compression == "gzip" else SINGLE_SUFFIX,
            excluded=tuple(task.excluded_tables),
        )
