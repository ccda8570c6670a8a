# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock on pulls into a MongoDB database: a document in a collection of that database."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from .client import Server, ServerError
from .names import MARK

_DUPLICATE_KEY = 11000


class LockDocument:
    """The lock on pulls into a database, and the mark that its scratch collections are ours: in ``env_sync_pull``."""

    def __init__(self, server: Server, database: str) -> None:
        self._server = server
        self._database = database
        self._doing = f"locking {database} on {server.name}"

    def read(self) -> tuple[Mapping[str, Any], Any]:
        answer = self._server.command(self._database, {"find": MARK, "filter": {"_id": "pull"}}, self._doing)
        batch = answer["cursor"]["firstBatch"]
        if not batch:
            return {}, None
        found = dict(batch[0])
        state = {name: found.get(name) for name in ("token", "until")}
        return {**found, "until": _seconds(found.get("until"))}, state

    def write(self, fields: Mapping[str, Any], state: Any) -> bool:
        values = {**fields, "until": datetime.datetime.fromtimestamp(float(fields["until"]), datetime.timezone.utc)}
        if state is None:
            command = {"insert": MARK, "documents": [{"_id": "pull", **values}]}
        else:
            command = {"update": MARK, "updates": [{"q": {"_id": "pull", **state}, "u": {"$set": values}}]}
        answer = self._server.command(self._database, command, self._doing)
        errors = answer.get("writeErrors") or []
        if errors and errors[0].get("code") != _DUPLICATE_KEY:
            raise ServerError(self._doing, str(errors[0].get("errmsg")), int(errors[0].get("code", 0)))
        return not errors and int(answer.get("n", 0)) == 1

    def remove(self, state: Any) -> None:
        """Drop the collection that has nothing but the document; its holder has just said that it lives."""
        self._server.command(self._database, {"drop": MARK}, self._doing)

    def now(self) -> float:
        return _seconds(self._server.hello(self._doing)["localTime"])


def _seconds(moment: Any) -> float:
    """Return a time of the server's, which has no zone and is UTC, in seconds since the epoch."""
    if not isinstance(moment, datetime.datetime):
        return 0.0
    return moment.replace(tzinfo=moment.tzinfo or datetime.timezone.utc).timestamp()
