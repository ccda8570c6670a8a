# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One class for each DBMS; they know nothing of stores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..errors import EnvSyncError
from ..task import Task
from .base import Database
from .postgresql import PostgreSQL, verify_archive

__all__ = ["DATABASES", "Database", "open_database", "server_key", "verify_archive"]


def server_key(task: Task) -> str:
    """Return what the lock on the task's database goes by: one push or pull of it at a time on a host."""
    return f"{task.dbms} {task.connection.host} {task.connection.port} {task.database}"


@contextlib.contextmanager
def open_database(task: Task, work_dir: str) -> Iterator[Database]:
    """Give the task's database, closed afterwards.

    :param work_dir: an empty directory for this run; may be empty where nothing but a plan is made.
    """
    if task.dbms not in DATABASES:
        raise EnvSyncError(
            "opening the database", f"there is no dbms {task.dbms}", f"Known are {', '.join(DATABASES)}."
        )
    database = DATABASES[task.dbms](
        connection=task.connection,
        database=task.database,
        work_dir=work_dir,
        jobs=task.worker_count,
        dump_format=task.format,
        compression=task.compression,
        compression_level=task.compression_level,
        excluded_tables=task.excluded_tables,
        analyze=task.analyze,
    )
    try:
        yield database
    finally:
        database.close()


#: what ``dbms`` can be
DATABASES = {"postgresql": PostgreSQL}
