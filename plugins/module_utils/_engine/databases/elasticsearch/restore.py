# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A restore: have the server put a point's indices under scratch names, and see that they are whole."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import EnvSyncError
from ...members import PointSource
from ...points.manifest import Manifest
from ...points.name import point_name
from ...search.client import Client, ServerError, path
from ...search.points import snapshot_name
from ...search.repository import Repository, is_readonly
from ...search.version import version_of
from ...streams.pipeline import Group
from .cluster import POLL, POLL_FIRST, Cluster
from .names import RENAME, chosen, live_name, scratch_prefix
from .options import Options

#: how long a shard may go without a node that works on it before a restore is given up, in seconds
_STALLED = 60.0

#: how long a shard may stay failed, in seconds: what the server tries again, it does at once
_FAILED = 3.0

#: an index's name has 255 bytes at most
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Incoming:
    """What a pull brings: its scratch indices, and what their swap has to know of the point.

    ``indices`` has scratch names by live name, and all of them begin with ``prefix``. ``aliases`` has those of the
    point: of each the ``indices`` (live names), whether these are all that it had (``whole``), its ``properties``, and
    in ``others`` those of indices that have other ones. ``left_out`` has patterns of what the push left out; it is None
    where the point does not say.
    """

    prefix: str = ""
    indices: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    left_out: tuple[str, ...] | None = None

    @classmethod
    def of(cls, manifest: Manifest, prefix: str, lives: Sequence[str]) -> Incoming:
        """Return what a point brings.

        :param lives: the live names of the indices that are wanted of it.
        """
        indices = {live: prefix + live for live in lives}
        aliases: dict[str, dict[str, Any]] = {}
        for alias, about in manifest.details.get("aliases", {}).items():
            of_alias = [live_name(index) for index in about["indices"]]
            aliases[alias] = {
                **about,
                "indices": of_alias,
                "others": {live_name(index): found for index, found in about.get("others", {}).items()},
                "whole": about["whole"] and set(of_alias) <= set(indices),
            }
        noted = bool(manifest.tool_version)
        left_out = tuple(manifest.details.get("excluded_tables", ())) if noted else None
        return cls(prefix, indices, aliases, left_out)

    @property
    def scratch(self) -> list[str]:
        """The names of the scratch indices, in order."""
        return sorted(self.indices.values())

    def vanishes(self, live: str, options: Options) -> bool:
        """Say whether a name that the point does not have goes: not where it, or this task, left the index out."""
        if self.left_out is None:
            return False
        return bool(chosen([live], options.wanted, (*self.left_out, *options.excluded)))


class Restore:
    """The restore of one task."""

    def __init__(self, client: Client, options: Options) -> None:
        self._client = client
        self._options = options
        self._cluster = Cluster(client)
        self._repository = Repository(client, options.repository)

    def check(self, manifest: Manifest, doing: str) -> None:
        """Raise where the point may be this cluster's own, or is of a server that this one cannot read."""
        self._check_source(manifest, doing)
        self._check_version(manifest, doing)

    def incoming(self, manifest: Manifest, doing: str) -> Incoming:
        """Return what the point brings, under scratch names that are free.

        :raises EnvSyncError: it has nothing that is wanted, or a name gets too long.
        """
        lives = self._to_restore(manifest, doing)
        prefix = self._free_prefix(doing)
        for live in lives.values():
            if len((prefix + live).encode()) > _LONGEST_NAME:
                raise EnvSyncError(doing, f"with {prefix} before it, the name {live} is longer than 255 bytes")
        return Incoming.of(manifest, prefix, list(lives.values()))

    def run(self, group: Group, source: PointSource, incoming: Incoming, doing: str) -> list[str]:
        """Have the server restore, and wait until every primary shard is there; return warnings.

        :raises EnvSyncError: a shard cannot be restored, or an index is empty that had documents.
        """
        manifest = source.manifest
        lives = self._to_restore(manifest, doing)
        body: dict[str, Any] = {
            "indices": sorted(lives),
            "ignore_unavailable": False,
            "include_global_state": False,
            "include_aliases": False,
            "partial": False,
            "rename_pattern": RENAME,
            "rename_replacement": f"{incoming.prefix}$1",
            # A lock of the source's, or its full disk, is of no meaning here, and would keep the scripts out.
            "ignore_index_settings": ["index.blocks.*"],
        }
        if self._client.version(doing).has_hidden:
            # Until they are sanitised, no search for * is to find them.
            body["index_settings"] = {"index.hidden": True}
        snapshot = snapshot_name(point_name(manifest.timestamp, manifest.database))
        self._client.post(self._repository.path(snapshot, "_restore"), doing, body, wait_for_completion=False)
        self._await_shards(group, source, incoming, doing)
        return self._compare(manifest, lives, incoming, doing)

    def _to_restore(self, manifest: Manifest, doing: str) -> dict[str, str]:
        """Return the live names of the point's indices, by index: those that the task means."""
        lives = {live_name(str(table["name"])): str(table["name"]) for table in manifest.tables}
        taken = chosen(list(lives), self._options.wanted, self._options.excluded)
        if not taken:
            has = ", ".join(sorted(lives)[:10])
            raise EnvSyncError(doing, "the point has none of the indices that are wanted", f"It has {has}.")
        return {lives[live]: live for live in taken}

    def _check_source(self, manifest: Manifest, doing: str) -> None:
        """Raise when nothing tells that the snapshot is not this cluster's own: neither a note, nor the repository."""
        if manifest.server.get("system") or self._options.allow_source:
            return
        about = self._repository.registration(doing) or {}
        # A repository of type url can only be read.
        if about.get("type") != "url" and not is_readonly(about):
            raise EnvSyncError(
                doing,
                "the snapshot does not say which cluster it is of, and this one may write to its repository",
                "Register the repository with readonly here, or set allow_restore_to_source if you mean it.",
            )

    def _check_version(self, manifest: Manifest, doing: str) -> None:
        """Raise when the server cannot read the snapshot; where there is no note, only the restore shows it."""
        noted = manifest.server.get("version", "")
        if not manifest.server.get("system") or not noted:
            return
        of_point, here = version_of(noted), self._client.version(doing)
        if of_point.distribution != here.distribution and here.distribution != "opensearch":
            why = "Elasticsearch reads no snapshot of OpenSearch"
        elif of_point.distribution == here.distribution and of_point.number[:2] > here.number[:2]:
            why = "a server reads no snapshot of a newer one"
        else:
            return
        raise EnvSyncError(
            doing,
            f"the snapshot is of {of_point.text}, the server is {here.text}: {why}",
            "Pull into one that is as new.",
        )

    def _free_prefix(self, doing: str) -> str:
        """Return what scratch names begin with: the time, or the next second that no pull has taken."""
        moment = datetime.datetime.now(datetime.timezone.utc)
        there = self._cluster.indices(doing, hidden=True)
        while True:
            prefix = scratch_prefix(self._options.database, moment.strftime("%Y%m%d%H%M%S"))
            if not any(index.startswith(prefix) for index in there):
                return prefix
            moment += datetime.timedelta(seconds=1)

    def _await_shards(self, group: Group, source: PointSource, incoming: Incoming, doing: str) -> None:
        """Wait until every primary shard is there; raise when the server gives one up, or none is worked on."""
        scratch = set(incoming.scratch)
        pause, told = POLL_FIRST, 0
        failing = stalled = time.monotonic()
        query = {"format": "json", "h": "index,shard,prirep,state,unassigned.reason,unassigned.details"}
        while True:
            shards = self._client.get("/_cat/shards", doing, **query)
            primaries = [shard for shard in shards if shard["index"] in scratch and shard["prirep"] == "p"]
            waiting = [shard for shard in primaries if shard["state"] not in ("STARTED", "RELOCATING")]
            if not waiting and {shard["index"] for shard in primaries} == scratch:
                return
            if any(shard["state"] == "INITIALIZING" for shard in waiting):
                stalled = time.monotonic()
            failed = [shard for shard in waiting if shard["unassigned.reason"] == "ALLOCATION_FAILED"]
            if not any(shard["state"] == "UNASSIGNED" for shard in failed):
                failing = time.monotonic()
            if time.monotonic() - failing > _FAILED or time.monotonic() - stalled > _STALLED:
                raise EnvSyncError(doing, self._explain([*failed, *waiting], doing), "Choose another point (--list).")
            done = self._recovered(incoming, doing)
            source.advance(max(0, done - told))
            told = max(told, done)
            group.sleep(pause)
            pause = min(pause * 1.5, POLL)

    def _explain(self, shards: Sequence[Mapping[str, Any]], doing: str) -> str:
        """Return why the server does not restore the first of these shards."""
        if not shards:
            return "the restored indices are gone"
        shard = shards[0]
        why = str(shard["unassigned.details"] or "")
        if shard["unassigned.reason"] != "ALLOCATION_FAILED":
            body = {"index": shard["index"], "shard": int(shard["shard"]), "primary": True}
            with contextlib.suppress(EnvSyncError):
                why = str(self._client.post("/_cluster/allocation/explain", doing, body)["allocate_explanation"])
        # A Java exception names its cause last.
        cause = why.rpartition("nested: ")[2].strip(" ;")
        return f"shard {shard['shard']} of {live_name(shard['index'])} cannot be restored: {cause[:500]}"

    def _recovered(self, incoming: Incoming, doing: str) -> int:
        """Return how many bytes of the scratch indices have been read."""
        try:
            found = self._client.get(path(f"{incoming.prefix}*", "_recovery"), doing, expand_wildcards="all")
        except ServerError:
            return 0
        shards = [shard for about in found.values() for shard in about["shards"] if shard["primary"]]
        return sum(int(shard["index"]["size"]["recovered_in_bytes"]) for shard in shards)

    def _compare(self, manifest: Manifest, lives: Mapping[str, str], incoming: Incoming, doing: str) -> list[str]:
        """Compare documents with what there was when the snapshot began; it may have been written to since then."""
        stats = self._cluster.stats(doing)
        warnings = []
        for table in manifest.tables:
            live = lives.get(str(table["name"]))
            if live is None or "rows" not in table:
                continue
            count, noted = stats[incoming.indices[live]]["rows"], int(table["rows"])
            if noted and not count:
                raise EnvSyncError(
                    doing, f"{live} is empty, and had {noted} documents", "Choose another point (--list shows them)."
                )
            if count < noted:
                warnings.append(f"{live} has {count} documents, and had {noted} when the snapshot began")
        return warnings
