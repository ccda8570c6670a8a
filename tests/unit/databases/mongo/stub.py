# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A MongoDB server in memory, for what no server at hand does or can be made to do."""

from __future__ import annotations

from typing import Any

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.client import ServerError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.database import Mongo
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.names import (
    SCRATCH_PREFIX,
    Collections,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.options import Options
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task


class StubServer:
    """A server that plays what FerretDB lacks: ``dropTarget``, views, secondaries."""

    name = "stub:27017"

    def __init__(self, primary: bool = True, collections: tuple[str, ...] = (), views: Any = None) -> None:
        self.primary = primary
        self.there: dict[str, dict[str, Any]] = {name: {"type": "collection"} for name in collections}
        self.there.update({name: {"type": "view", "options": options} for name, options in (views or {}).items()})
        self.commands: list[dict[str, Any]] = []
        self.fails_at = ""

    def hello(self, doing: str) -> dict[str, Any]:
        return {"isWritablePrimary": self.primary}

    def collections(self, database: str, doing: str) -> dict[str, dict[str, Any]]:
        return dict(self.there)

    def command(self, database: str, command: dict[str, Any], doing: str) -> dict[str, Any]:
        if self.fails_at and self.fails_at in str(command):
            raise ServerError(doing, "it failed", 1)
        self.commands.append(command)
        return {}

    def done(self) -> list[str]:
        """Return the commands in few words."""
        return [" ".join(f"{value}" for value in command.values()) for command in self.commands]


def collections(server: Any) -> Collections:
    """Return the stub's collections as a run sees them whose scratch names are the same each time."""
    return Collections(server, "app", SCRATCH_PREFIX)


def mongo(server: Any, **values: Any) -> Mongo:
    """Return the database of a task (keys in ``values``) on a stub."""
    given = {"action": "push", "dbms": "mongo", "database": "app", "dest": "/nowhere", **values}
    database = Mongo(server, Options.from_task(Task.from_mapping(given), ""))
    database._collections = collections(server)
    return database
