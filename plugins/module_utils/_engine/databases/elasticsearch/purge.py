# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have an index's files hold no document any more that a script replaced or deleted.

A server writes documents anew, and keeps the old ones in their segments until it merges these: a tenth of a segment may
stay deleted for good (``expunge_deletes_allowed``). So that is set to nothing, and the segments with deleted documents
are merged. ``max_num_segments=1`` would do as well, but rewrites all of an index, and leaves a segment that no later
merge touches.

Servers with soft deletes (Elasticsearch 7, OpenSearch) keep what a copy of the shard may still ask for; the copies say
every 30 s what they have (``index.soft_deletes.retention_lease.sync_interval``). Therefore it is tried more than once.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import EnvSyncError
from ...search.client import Client, ServerError, path
from ...streams.pipeline import Group

_ALLOWED = "index.merge.policy.expunge_deletes_allowed"

#: how long to wait, beyond the merges themselves, for a server to let go of what was deleted, in seconds
_PATIENCE = 60.0

#: between two tries, in seconds
_PAUSE = 2.0


def purge(client: Client, indices: Mapping[str, str], group: Group, doing: str) -> list[str]:
    """Merge away the deleted documents of indices; return a warning for each index that still has some.

    :param indices: the indices by the names that they will have.
    """
    for index in indices.values():
        client.put(path(index, "_settings"), doing, {_ALLOWED: 0})
    left = dict(indices)
    waited = 0.0
    while True:
        for index in left.values():
            _merge(client, index, group, doing)
        left = {live: index for live, index in left.items() if _deleted(client, index, doing)}
        if not left or waited > _PATIENCE:
            break
        group.sleep(_PAUSE)
        waited += _PAUSE
    for index in indices.values():
        client.put(path(index, "_settings"), doing, {_ALLOWED: None})
    return [
        f"{live} still has, in its files, documents that the transformation replaced, until the server merges them"
        for live in left
    ]


def _merge(client: Client, index: str, group: Group, doing: str) -> None:
    """Merge the segments that have deleted documents, and write down that the old ones are not needed any more."""
    try:
        client.post(path(index, "_forcemerge"), doing, only_expunge_deletes=True)
    except ServerError as error:
        if error.status not in (429, 502, 503, 504):
            raise
    except EnvSyncError:
        pass  # the answer has not come in time: the server goes on, and is asked when it has ended
    while _merging(client, index, doing):
        group.sleep(_PAUSE)
    for name in ("_refresh", "_flush"):
        client.post(path(index, name), doing, **({"force": True} if name == "_flush" else {}))


def _merging(client: Client, index: str, doing: str) -> bool:
    found = client.get("/_tasks", doing, actions="indices:admin/forcemerge*", detailed=True).get("nodes") or {}
    tasks = [task for node in found.values() for task in node["tasks"].values()]
    return any(index in str(task.get("description", "")) for task in tasks)


def _deleted(client: Client, index: str, doing: str) -> int:
    """Return how many documents are deleted and still there."""
    found = client.get(path(index, "_stats", "docs"), doing)["indices"]
    return sum(int(about["primaries"]["docs"]["deleted"]) for about in found.values())
