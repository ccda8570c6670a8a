# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One class for each DBMS; they know nothing of stores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

from ..errors import EnvSyncError
from ..host.stopping import Stop
from ..tasks.task import Task
from .base import Database

__all__ = ["DATABASES", "Database", "Keys", "database_class", "open_database", "server_keys"]

# Each is imported when it is asked for: with it come the DBMS's libraries, which take half a second together.


def _documentdb() -> type[Database]:
    from .mongo.documentdb import DocumentDB

    return DocumentDB


def _elasticsearch() -> type[Database]:
    from .elasticsearch.database import Elasticsearch

    return Elasticsearch


def _files() -> type[Database]:
    from .files.database import Files

    return Files


def _mongo() -> type[Database]:
    from .mongo.database import Mongo

    return Mongo


def _mysql() -> type[Database]:
    from .mysql.database import MySQL

    return MySQL


def _postgresql() -> type[Database]:
    from .postgresql.database import PostgreSQL

    return PostgreSQL


#: what ``dbms`` can be, and what returns its class
DATABASES: dict[str, Callable[[], type[Database]]] = {
    "documentdb": _documentdb,
    "elasticsearch": _elasticsearch,
    "files": _files,
    "mongo": _mongo,
    "mysql": _mysql,
    "postgresql": _postgresql,
}


def database_class(dbms: str) -> type[Database]:
    """Return the class that knows this DBMS."""
    if dbms not in DATABASES:
        raise EnvSyncError("opening the database", f"there is no dbms {dbms}", f"Known are {', '.join(DATABASES)}.")
    return DATABASES[dbms]()


@dataclass(frozen=True)
class Keys:
    """What the host's lock on a task's database goes by, and the journal of its pushes.

    ``former`` is what version 0.3 had for both.
    """

    lock: str
    journal: str
    former: str


def server_keys(task: Task, cancelled: Callable[[], bool] = lambda: False) -> Keys:
    """Return the keys of the task's database: the same for every way to spell its host, as the server itself is asked.

    :raises EnvSyncError: it cannot be reached.
    """
    with open_database(task, None, cancelled) as database:
        former = f"{task.dbms} {task.connection.host} {task.connection.port} {task.tree}"
        return Keys(database.lock_key(), database.journal_key(), former)


@contextlib.contextmanager
def open_database(
    task: Task, work_dir: str | None, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[Database]:
    """Give the task's database, closed afterwards.

    :param work_dir: an empty directory for this run; None where nothing but a plan is made.
    :param cancelled: says whether the run is to stop.
    """
    database = database_class(task.dbms).from_task(task, work_dir)
    database.obey(Stop.of(cancelled))
    try:
        yield database
    finally:
        database.close()
