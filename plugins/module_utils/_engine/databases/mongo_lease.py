# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock on pulls into a database, which is also the mark that its scratch collections are ours.

MongoDB has no lock that dies with its connection. This one is a document with a holder and an end, which the holder
keeps moving on; after the holder's death it is anybody's within a minute, and at once its own host's, where the
kernel's lock tells that the holder is gone.
"""

from __future__ import annotations

import datetime
import socket
import threading
import uuid
from collections.abc import Mapping
from typing import Any

from ..errors import EnvSyncError
from .mongo_client import Server, ServerError
from .mongo_swap import MARK

#: how long a holder that says nothing is taken to live, in seconds
LIFE = 60

_DUPLICATE_KEY = 11000


class Lease:
    """The document in the collection ``env_sync_pull`` of the database that is pulled into."""

    def __init__(self, server: Server, database: str) -> None:
        self._server = server
        self._database = database
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None
        self._doing = f"locking {database} on {server.name}"
        #: what a holder before us left in it; empty when there was none
        self.found: Mapping[str, Any] = {}

    def take(self) -> None:
        """Become the holder; raises when another host's pull is."""
        now = self._now()
        found = self._find()
        if found and found.get("host") != socket.gethostname() and found.get("until", now) > now:
            raise EnvSyncError(
                self._doing, f"{found.get('host')} is pulling into it", "Wait for that pull to end, or for a minute."
            )
        self.found = found
        taken = self._update({"token": found.get("token", self._token)}, self._fields(now), upsert=not found)
        if not taken:
            raise EnvSyncError(self._doing, "another host has just begun to pull into it", "Wait for that pull to end.")
        self._beating = threading.Thread(target=self._beat, daemon=True, name="lease")
        self._beating.start()

    def note(self, **values: Any) -> None:
        """Write down what the next run has to know if this one dies now; raises when the lock was lost."""
        if not self._update({"token": self._token}, {**self._fields(self._now()), **values}, upsert=False):
            raise EnvSyncError(self._doing, "another host has taken the lock, as this one was silent", "Run it again.")

    def release(self, keep: bool) -> None:
        """Give the lock up.

        :param keep: leave the mark there, as there are still collections of ours (old ones that are kept, and what
            could not be dropped).
        """
        self._stop.set()
        if self._beating is not None:
            self._beating.join(10)
        if keep:
            self._update({"token": self._token}, {"until": self._now(), "host": ""}, upsert=False)
        elif self._find().get("token") == self._token:
            self._server.command(self._database, {"drop": MARK}, self._doing)

    def _fields(self, now: datetime.datetime) -> dict[str, Any]:
        until = now + datetime.timedelta(seconds=LIFE)
        return {"token": self._token, "host": socket.gethostname(), "until": until}

    def _now(self) -> datetime.datetime:
        """The server's clock: those of two hosts may differ."""
        now: datetime.datetime = self._server.hello(self._doing)["localTime"]
        return now

    def _find(self) -> dict[str, Any]:
        answer = self._server.command(self._database, {"find": MARK, "filter": {"_id": "pull"}}, self._doing)
        batch = answer["cursor"]["firstBatch"]
        return dict(batch[0]) if batch else {}

    def _update(self, condition: Mapping[str, Any], values: Mapping[str, Any], upsert: bool) -> bool:
        change = {"q": {"_id": "pull", **condition}, "u": {"$set": dict(values)}, "upsert": upsert}
        answer = self._server.command(self._database, {"update": MARK, "updates": [change]}, self._doing)
        errors = answer.get("writeErrors") or []
        if errors and errors[0].get("code") != _DUPLICATE_KEY:
            raise ServerError(self._doing, str(errors[0].get("errmsg")), int(errors[0].get("code", 0)))
        return not errors and int(answer.get("n", 0)) == 1

    def _beat(self) -> None:
        while not self._stop.wait(LIFE / 4):
            try:
                self.note()
            except EnvSyncError:
                # A moment without the server is no loss yet; a lost lock is found before the swap.
                continue
