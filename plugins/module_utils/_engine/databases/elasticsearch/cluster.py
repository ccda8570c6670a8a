# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster has: its indices, their aliases and their sizes, hidden ones too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import EnvSyncError
from ...search.client import Client, path
from ..base import Identity
from .names import properties_of

#: seconds between two looks at what the server does, at first and later
POLL_FIRST = 0.1
POLL = 2.0

#: names that fit into a request's first line, in characters: servers limit it to 4 KB
_LONGEST_LIST = 3000


class Cluster:
    """The indices of the cluster that a client reaches. Every method raises EnvSyncError where it can't be asked.

    ``doing``, which each takes, is what messages say is done.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def identity(self) -> Identity:
        """Return which cluster it is, by its ``cluster_uuid``.

        :raises EnvSyncError: a node that has joined no cluster yet has none.
        """
        doing = f"asking {self._client.name} who it is"
        cluster = str(self._client.about(doing).get("cluster_uuid", ""))
        if not cluster or cluster == "_na_":
            raise EnvSyncError(doing, "it belongs to no cluster yet", "Look into the server's log.")
        return Identity("elasticsearch", cluster, self._client.version(doing).text, self._client.name)

    def indices(self, doing: str, hidden: bool) -> dict[str, dict[str, str]]:
        """Return ``health`` and ``status`` of every index, or of every one that is not hidden, by its name."""
        more = self._everything(doing) if hidden else {}
        shown = self._client.get("/_cat/indices", doing, format="json", h="index,health,status", **more)
        return {str(about["index"]): about for about in shown}

    def aliases(self, doing: str) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the aliases of every index: ``{index: {alias: properties}}``."""
        found = self._client.get("/_all/_alias", doing, **self._everything(doing))
        return {
            index: {str(n): properties_of(p) for n, p in found.get(index, {}).get("aliases", {}).items()}
            for index in self.indices(doing, hidden=True)
        }

    def stats(self, doing: str) -> dict[str, dict[str, int]]:
        """Return ``rows`` (documents, nested ones too) and ``size_bytes`` (of the primary shards) of every index."""
        found = self._client.get("/_stats/docs,store", doing, level="indices", **self._everything(doing))
        return {
            str(index): {
                "rows": int(about["primaries"]["docs"]["count"]),
                "size_bytes": int(about["primaries"]["store"]["size_in_bytes"]),
            }
            for index, about in found["indices"].items()
        }

    def refresh(self, names: Sequence[str], doing: str) -> None:
        """Have what was written to these indices counted and found."""
        for some in _lists(names):
            self._client.post(path(some, "_refresh"), doing)

    def show(self, names: Sequence[str], doing: str) -> None:
        """Have a search for ``*`` find these indices, where the server has hidden ones."""
        if self._client.version(doing).has_hidden:
            for some in _lists(names):
                self._client.put(path(some, "_settings"), doing, {"index.hidden": None})

    def _everything(self, doing: str) -> dict[str, str]:
        """Return what has hidden indices listed, where the server has such."""
        return {"expand_wildcards": "all"} if self._client.version(doing).has_hidden else {}


def _lists(names: Sequence[str]) -> Iterator[str]:
    """Give the names in lists (with commas between them) of which each fits into a request."""
    some: list[str] = []
    for name in names:
        if some and sum(len(other) + 1 for other in some) + len(name) > _LONGEST_LIST:
            yield ",".join(some)
            some = []
        some.append(name)
    if some:
        yield ",".join(some)
