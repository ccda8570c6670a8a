# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task says of one directory tree."""

from __future__ import annotations

from dataclasses import dataclass

from ...tasks.task import Task


@dataclass(frozen=True)
class Options:
    """Which tree to dump or restore, and how.

    ``tree`` is its absolute path, the last part of which may be a symbolic link; ``database`` is what points call it;
    ``excluded`` are patterns of names to leave out of a dump; ``keep_old``: what a pull replaces is kept; ``threads``
    is how many threads may compress; ``allow_special``: device nodes and programs with rights of their own are meant to
    be in the tree; ``work_dir`` is an empty directory of this run's own, None for a plan.
    """

    tree: str
    database: str
    excluded: tuple[str, ...]
    keep_old: bool
    threads: int
    allow_special: bool
    work_dir: str | None

    @classmethod
    def from_task(cls, task: Task, work_dir: str | None) -> Options:
        return cls(
            tree=task.tree,
            database=task.database,
            excluded=tuple(task.excluded_tables),
            keep_old=task.old_database == "keep",
            threads=task.worker_count,
            allow_special=task.allow_special_files,
            work_dir=work_dir,
        )
