# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One class for each store; they know nothing of databases."""

from __future__ import annotations

from typing import Callable

from ..errors import EnvSyncError
from ..host.stopping import Stop
from ..tasks.task import Task
from .base import ReadableStore, Store

__all__ = ["STORES", "ReadableStore", "Store", "open_store"]

# Each is imported when it is asked for: with it come libraries that the others can do without.


def _directory(task: Task, stop: Stop) -> Store:
    from .directory import DirectoryStore

    return DirectoryStore(task.url, task.path)


def _es_snapshot(task: Task, stop: Stop) -> Store:
    from ..search.client import Client
    from .es_snapshot import SnapshotStore

    client = Client.from_task(task)
    client.stop = stop
    return SnapshotStore(client, task.url, task.elastic, task.database)


def _s3(task: Task, stop: Stop) -> Store:
    from .s3.store import S3Store

    return S3Store(task.url, task.path, task.s3, task.temppath, stop=stop)


def _rsync(task: Task, stop: Stop) -> Store:
    from .rsync.store import RsyncStore

    return RsyncStore(task.url, task.path, task.ssh, task.temppath, stop=stop)


#: what ``storagebackend`` can be
STORES = {"directory": _directory, "es_snapshot": _es_snapshot, "rsync": _rsync, "s3": _s3}


def open_store(task: Task, cancelled: Callable[[], bool] = lambda: False) -> Store:
    """Return the task's store; nothing is connected yet.

    :param cancelled: says whether the run is to stop.
    """
    if task.storagebackend not in STORES:
        raise EnvSyncError(
            "opening the store",
            f"there is no storagebackend {task.storagebackend!r}",
            f"Known are {', '.join(STORES)}.",
        )
    return STORES[task.storagebackend](task, Stop.of(cancelled))
