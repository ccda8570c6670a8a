# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock on pulls into a cluster, against other hosts: a document with a holder and an end.

Elasticsearch has no lock that dies with its holder. The holder keeps moving the end on; after the holder's death it is
anybody's within a minute, and at once its own host's, where the kernel's lock tells that the holder is gone.
"""

from __future__ import annotations

import socket
import threading
import uuid
from typing import Any

from ..errors import EnvSyncError
from ..es_client import Client, ServerError, path
from .es_swap import LOCK, owner_of

#: how long a holder that says nothing is taken to live, in seconds
LIFE = 60

_CONFLICT = 409


class Lease:
    """The document of one database in the index ``env_sync-lock``."""

    def __init__(self, client: Client, database: str) -> None:
        self._client = client
        self._id = owner_of(database)
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        #: one writer at a time, lest the two threads of this holder take each other for another host
        self._writing = threading.Lock()
        self._beating: threading.Thread | None = None
        self._doing = f"locking {database} on {client.name}"

    def take(self) -> None:
        """Become the holder; raises when another host's pull is."""
        self._make_index()
        found = self._find()
        holder = found.get("_source", {})
        if holder and holder["host"] != socket.gethostname() and holder["until"] > self._now():
            raise EnvSyncError(
                self._doing, f"{holder['host']} is pulling into it", "Wait for that pull to end, or for a minute."
            )
        self._write(found)
        self._beating = threading.Thread(target=self._beat, daemon=True, name="lease")
        self._beating.start()

    def renew(self) -> None:
        """Move the end on; raises when the lock was lost."""
        with self._writing:
            found = self._find()
            if found.get("_source", {}).get("token") != self._token:
                raise EnvSyncError(
                    self._doing, "another host has taken the lock, as this one was silent", "Run it again."
                )
            self._write(found)

    def release(self) -> None:
        """Give the lock up."""
        self._stop.set()
        if self._beating is not None:
            self._beating.join(10)
        found = self._find()
        if found.get("_source", {}).get("token") == self._token:
            self._client.delete(self._path(), self._doing, **self._unchanged(found))

    def _make_index(self) -> None:
        settings: dict[str, Any] = {"number_of_shards": 1, "auto_expand_replicas": "0-1"}
        if self._client.version(self._doing).has_hidden:
            settings["hidden"] = True
        try:
            self._client.put(path(LOCK), self._doing, {"settings": {"index": settings}})
        except ServerError as error:
            # index_already_exists_exception before Elasticsearch 6
            if error.kind not in ("resource_already_exists_exception", "index_already_exists_exception"):
                raise

    def _path(self) -> str:
        return path(LOCK, "lock" if self._client.version(self._doing).has_types else "_doc", self._id)

    def _find(self) -> dict[str, Any]:
        """Return the document with its version, or an empty mapping."""
        try:
            found: dict[str, Any] = self._client.get(self._path(), self._doing)
            return found if found.get("found") else {}
        except ServerError as error:
            if error.status == 404:
                return {}
            raise

    def _unchanged(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return the condition that nobody has written since ``found`` was read."""
        if self._client.version(self._doing).has_sequence_numbers:
            return {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}
        return {"version": found["_version"]}

    def _write(self, found: dict[str, Any]) -> None:
        condition = self._unchanged(found) if found else {"op_type": "create"}
        document = {"host": socket.gethostname(), "token": self._token, "until": self._now() + LIFE}
        try:
            self._client.put(self._path(), self._doing, document, **condition)
        except ServerError as error:
            if error.status != _CONFLICT:
                raise
            raise EnvSyncError(
                self._doing, "another host has just begun to pull into it", "Wait for that pull to end."
            ) from None

    def _now(self) -> int:
        """The server's clock, in seconds: those of two hosts may differ."""
        return int(self._client.get("/_cat/health", self._doing, format="json", h="epoch")[0]["epoch"])

    def _beat(self) -> None:
        while not self._stop.wait(LIFE / 4):
            try:
                self.renew()
            except EnvSyncError:
                # A moment without the server is no loss yet; a lost lock is found before the swap.
                continue
