# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the lock on pulls into a cluster's indices is kept; what it means is in :mod:`..lease`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...search.client import Client, ServerError, path
from .names import LOCK, owner_of

_CONFLICT = 409


class LockDocument:
    """The lock on pulls into a cluster's indices: a document of one database in the index ``env_sync-lock``."""

    def __init__(self, client: Client, database: str) -> None:
        self._client = client
        self._id = owner_of(database)
        self._doing = f"locking {database} on {client.name}"

    def read(self) -> tuple[Mapping[str, Any], Any]:
        try:
            found = self._client.get(self._path(), self._doing)
        except ServerError as error:
            if error.status == 404:
                return {}, None
            raise
        if not found.get("found"):
            return {}, None
        if self._client.version(self._doing).has_sequence_numbers:
            return dict(found["_source"]), {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}
        return dict(found["_source"]), {"version": found["_version"]}

    def write(self, fields: Mapping[str, Any], state: Any) -> bool:
        if state is None:
            self._make_index()
        try:
            self._client.put(self._path(), self._doing, dict(fields), **(state or {"op_type": "create"}))
        except ServerError as error:
            if error.status != _CONFLICT:
                raise
            return False
        return True

    def remove(self, state: Any) -> None:
        self._client.delete(self._path(), self._doing, **state)

    def now(self) -> float:
        return float(self._client.get("/_cat/health", self._doing, format="json", h="epoch")[0]["epoch"])

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
