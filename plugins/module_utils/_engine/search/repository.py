# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A snapshot repository as a server has it registered: what the store and the database both ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .client import Client, ServerError, path


class Repository:
    """The repository that a server knows by ``name``."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self.name = name

    def path(self, *more: str) -> str:
        """Return the path of the repository's own requests, or of those of a snapshot in it."""
        return path("_snapshot", self.name, *more)

    def registration(self, doing: str) -> dict[str, Any] | None:
        """Return what it is registered as (``type``, ``settings``); None where it is not.

        :raises ServerError: the account may not ask.
        """
        try:
            found: dict[str, Any] = self._client.get(self.path(), doing)[self.name]
            return found
        except ServerError as error:
            if error.status == 404:
                return None
            raise

    def snapshots(self, doing: str, missing_ok: bool) -> list[dict[str, Any]]:
        """Return all snapshots as the server lists them (``snapshot``, ``state``, ``shards``, ``metadata``...).

        One that is damaged does not hide the others: it is not in the list.

        :param missing_ok: a repository that is not registered has none, in place of an error.
        """
        try:
            found = self._client.get(self.path("_all"), doing, ignore_unavailable=True)
        except ServerError as error:
            if missing_ok and error.kind == "repository_missing_exception":
                return []
            raise
        return list(found["snapshots"])

    def snapshot(self, name: str, doing: str) -> dict[str, Any] | None:
        """Return one snapshot as the server lists it, or None."""
        try:
            found: dict[str, Any] = self._client.get(self.path(name), doing)["snapshots"][0]
            return found
        except ServerError as error:
            if error.status == 404:
                return None
            raise

    def status(self, name: str, doing: str) -> dict[str, Any]:
        """Return what the server knows of a snapshot's shards (``stats``, ``shards_stats``), which it looks up in them.

        :raises ServerError: there is no such snapshot, or the server is too old for it.
        """
        found: dict[str, Any] = self._client.get(self.path(name, "_status"), doing)["snapshots"][0]
        return found


def is_readonly(registration: Mapping[str, Any]) -> bool:
    """Say of a repository's registration whether the server may only read."""
    return str(registration.get("settings", {}).get("readonly")).lower() == "true"
