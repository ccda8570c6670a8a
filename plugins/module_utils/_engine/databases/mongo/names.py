# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collections of one database by their names: those that serve, the server's own, and ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable

from ...errors import EnvSyncError
from .client import NAMESPACE_NOT_FOUND, Server, ServerError

#: how our own names begin; a collection of such a name may be dropped where our mark is there too
SCRATCH_PREFIX = "env_sync_scratch_"
OLD_PREFIX = "env_sync_old_"
#: the collection that holds the mark and lock of a pull
MARK = "env_sync_pull"
#: the collection in which a script that ran to its end leaves a mark, for a moment
END = "env_sync_mark"


def is_ours(name: str) -> bool:
    """Say whether a collection is one of env_sync's own: scratch, old, or a mark."""
    return name.startswith((SCRATCH_PREFIX, OLD_PREFIX)) or name in (MARK, END)


def is_system(name: str) -> bool:
    """Say whether a collection is the server's own: it cannot be renamed."""
    return name.startswith("system.")


def check_database_name(name: str, doing: str) -> None:
    """Raise unless MongoDB allows the name: the programs would read other characters as a pattern."""
    if not name or len(name.encode()) > 63 or any(character in '/\\. "$*<>:|?\0' for character in name):
        raise EnvSyncError(doing, f"{name!r} is no name for a MongoDB database", "Correct database.")


class Collections:
    """The collections and views of one database.

    :param scratch: what the names of this run's scratch collections begin with.
    """

    def __init__(self, server: Server, database: str, scratch: str) -> None:
        self.server = server
        self.database = database
        self.scratch = scratch

    def all(self, doing: str) -> dict[str, dict[str, Any]]:
        """Return what ``listCollections`` says of each, by name."""
        return self.server.collections(self.database, doing)

    def live(self, doing: str) -> dict[str, dict[str, Any]]:
        """Return the same of all but the server's own and ours."""
        return {name: about for name, about in self.all(doing).items() if not is_ours(name) and not is_system(name)}

    def named(self, prefix: str, doing: str) -> list[str]:
        """Return the names that begin with ``prefix``, sorted."""
        return sorted(name for name in self.all(doing) if name.startswith(prefix))

    def size(self, doing: str) -> int:
        """Return the size of all documents in bytes; 0 where this user may not know it."""
        try:
            return int(self.server.command(self.database, {"dbStats": 1}, doing).get("dataSize", 0))
        except ServerError:
            return 0

    def rename(self, old: str, new: str, doing: str, **options: Any) -> None:
        """Rename one collection within the database."""
        command = {"renameCollection": f"{self.database}.{old}", "to": f"{self.database}.{new}", **options}
        self.server.command("admin", command, doing)

    def drop(self, names: Iterable[str], doing: str, prove: Callable[[], None] | None = None) -> None:
        """Drop collections and views; one that has gone meanwhile counts as dropped.

        :param prove: raises unless the lock is held; called before each. None for scratch collections of this run:
            nobody else uses their names, whoever has the lock.
        """
        for name in names:
            if prove is not None:
                prove()
            try:
                self.server.command(self.database, {"drop": name}, doing)
            except ServerError as error:
                if error.code != NAMESPACE_NOT_FOUND:
                    raise
