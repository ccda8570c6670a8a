# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a script's commands in their scope, and count by the server's answers what they change."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from .client import Server
from .scope import CHANGING, Refused, Scope, target_of, upserts, verb_of, writes

#: what a drop answers where there is nothing to drop: NamespaceNotFound, IndexNotFound
NOTHING_THERE = frozenset({26, 27})


class Commands:
    """What a script does to the collections of ``database`` whose names begin with ``prefix``.

    One command at a time, in one session, on a connection of our own; safe to use from several threads.

    ``changed`` counts documents by collection, ``altered`` names what else was changed, and ``failures`` what the
    server refused to write, whether or not the script goes on after that.

    :param doing: what messages say is done (``running sanitise.js on the scratch collections of app``).
    """

    def __init__(self, server: Server, database: str, prefix: str, doing: str) -> None:
        self.server = server
        self.database = database
        self.doing = doing
        self._lock = threading.Lock()
        self._session: Any = None
        self._connected = False
        self._there: set[str] = set()
        self.scope = Scope(database, prefix)
        self.changed: dict[str, int] = {}
        self.altered: list[str] = []
        self.failures: list[str] = []

    def run(self, database: str, command: Mapping[str, Any]) -> Any:
        """Run a command and return the server's answer (BSON), which may say that it failed.

        :raises Refused: it reaches beyond the scope, or changes a collection that is not there.
        :raises EnvSyncError: the server cannot be reached.
        """
        wanted = self.scope.translated(database, command)
        verb = verb_of(wanted)
        if not writes(wanted):
            with self._lock:
                return self._ask(database, wanted)
        name = self.scope.known(str(wanted[verb]).rpartition(f"{self.database}.")[2])
        with self._lock:
            self._must_be_there(verb, name, wanted)
            before = self._before(verb, wanted)
            answer = self._ask(database, wanted)
            self._note(verb, name, wanted, answer, before)
        return answer

    def _ask(self, database: str, command: Mapping[str, Any]) -> Any:
        if not self._connected:
            self._session = self.server.session(self.doing)
            self._connected = True
        return self.server.raw(database, command, self.doing, self._session)

    def _must_be_there(self, verb: str, name: str, command: Mapping[str, Any]) -> None:
        """Raise where a change could match nothing, as its collection's name is of none."""
        if (verb not in CHANGING and verb != "aggregate") or upserts(command):
            return
        if str(command[verb]) not in self._there:
            self._there = set(self.server.collections(self.database, self.doing))
        if str(command[verb]) not in self._there:
            raise Refused(f"there is no collection {name}")

    def _before(self, verb: str, command: Mapping[str, Any]) -> int:
        """Return how many documents a command is about to change whose answer does not tell."""
        if verb == "drop":
            answer = self._ask(self.database, {"count": command[verb]})
            return int(answer.get("n", 0))
        if verb == "aggregate":
            # Servers say nothing of what $out and $merge write.
            stages = [*command["pipeline"][:-1], {"$count": "n"}]
            options = {key: command[key] for key in ("allowDiskUse", "collation", "let", "hint") if key in command}
            answer = self._ask(self.database, {verb: command[verb], "pipeline": stages, "cursor": {}, **options})
            batch = (answer.get("cursor") or {}).get("firstBatch") or ()
            return int(batch[0]["n"]) if batch else 0
        return 0

    def _note(self, verb: str, name: str, command: Mapping[str, Any], answer: Any, before: int) -> None:
        code = _failed(answer)
        if code is not None and not (verb in ("drop", "dropIndexes") and code in NOTHING_THERE):
            self.failures.append(f"error {code} of {verb} of {name}")
        count = int(answer.get("n") or 0)
        if verb == "update":
            count = int(answer.get("nModified", count)) + len(answer.get("upserted") or ())
        elif verb == "findAndModify":
            count = int((answer.get("lastErrorObject") or {}).get("n") or 0)
        elif verb in ("drop", "aggregate"):
            count = before if code is None else 0
            name = self.scope.known(target_of(command)) if verb == "aggregate" else name
        elif verb not in ("insert", "delete"):
            count = 0
        if count:
            self.changed[name] = self.changed.get(name, 0) + count
        if code is None and verb == "drop":
            self.altered.append(f"{name} dropped")
            self._there.discard(str(command[verb]))
        if code is None and verb == "renameCollection":
            self.altered.append(f"{name} renamed")
            self._there.clear()


def _failed(answer: Any) -> int | None:
    """Return the code of what a command failed of, wholly or in part; None where it did not."""
    if not answer.get("ok"):
        return int(answer.get("code") or 0)
    errors = answer.get("writeErrors") or ()
    if errors:
        return int(errors[0].get("code") or 0)
    concern = answer.get("writeConcernError")
    return int(concern.get("code") or 0) if concern else None
