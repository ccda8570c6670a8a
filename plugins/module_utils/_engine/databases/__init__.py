# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One class for each DBMS; they know nothing of stores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Callable

from ..errors import EnvSyncError
from ..task import Task
from .base import Database
from .documentdb import DocumentDB
from .elasticsearch import Elasticsearch
from .files import Files
from .mongo import Mongo
from .mysql import MySQL
from .postgresql import PostgreSQL

__all__ = ["DATABASES", "Database", "database_class", "open_database", "server_key"]


#: what ``dbms`` can be
DATABASES: dict[str, type[Database]] = {
    "documentdb": DocumentDB,
    "elasticsearch": Elasticsearch,
    "files": Files,
    "mongo": Mongo,
    "mysql": MySQL,
    "postgresql": PostgreSQL,
}


def database_class(dbms: str) -> type[Database]:
    """Return the class that knows this DBMS."""
    if dbms not in DATABASES:
        raise EnvSyncError("opening the database", f"there is no dbms {dbms}", f"Known are {', '.join(DATABASES)}.")
    return DATABASES[dbms]


def server_key(task: Task) -> str:
    """Return what the lock on the task's database goes by: one push or pull of it at a time on a host."""
    return f"{task.dbms} {task.connection.host} {task.connection.port} {task.tree}"


@contextlib.contextmanager
def open_database(task: Task, work_dir: str, cancelled: Callable[[], bool] = lambda: False) -> Iterator[Database]:
    """Give the task's database, closed afterwards.

    :param work_dir: an empty directory for this run; may be empty where nothing but a plan is made.
    :param cancelled: says whether the run is to stop.
    """
    database = database_class(task.dbms).from_task(task, work_dir)
    database.cancelled = cancelled
    try:
        yield database
    finally:
        database.close()
