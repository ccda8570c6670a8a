# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Elasticsearch and OpenSearch: snapshots that the server itself makes, in a repository that is registered there.

A task's database is a name for the indices that go together: all of the cluster's, or those that ``indices`` matches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ...errors import EnvSyncError
from ...host.stopping import Stop
from ...members import PointSource, StoreSink
from ...points.manifest import Manifest
from ...points.scripts import Effect, Script
from ...search.client import Client, path
from ...streams.pipeline import Group
from ...tasks.task import Task
from ..base import Database, DumpFacts, Identity, Plan
from ..lease import DocumentStorage, Lease
from .cluster import Cluster
from .concrete import take_name
from .dump import Dump
from .lease import LockDocument
from .names import KEPT, made_by_pull
from .options import Options
from .purge import purge
from .restore import Incoming, Restore
from .scripts import read_script, run_script
from .swap import Swap, plan_swap


class Elasticsearch(Database):
    """The indices of one cluster that a task means: what push and pull ask for, in the order in which they do."""

    kind = "elasticsearch"

    def __init__(self, client: Client, options: Options) -> None:
        self._client = client
        self._options = options
        self._cluster = Cluster(client)
        self._dump = Dump(client, options)
        self._restore = Restore(client, options)
        lock = DocumentStorage(LockDocument(client, options.database))
        self._lease = Lease(lock, f"locking {options.database} on {client.name}", lambda: self.cancelled)
        self._incoming = Incoming()

    @classmethod
    def from_task(cls, task: Task, work_dir: str | None) -> Elasticsearch:
        if task.storagebackend != "es_snapshot":
            raise EnvSyncError(
                f"opening {task.database}",
                f"dbms elasticsearch is stored as a snapshot, not by storagebackend {task.storagebackend}",
                "Set storagebackend to es_snapshot, and url to the name of the snapshot repository.",
            )
        return cls(Client.from_task(task), Options.from_task(task))

    # -- both ways ---------------------------------------------------------------------------------------------------

    def identity(self) -> Identity:
        return self._cluster.identity()

    def obey(self, stop: Stop) -> None:
        super().obey(stop)
        self._client.stop = stop

    def close(self) -> None:
        self._client.close()

    @property
    def database_name(self) -> str:
        return self._options.database

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        return self._lease.held()

    @classmethod
    def verify(cls, group: Group, source: PointSource, work_dir: str) -> None:
        """Have the server vouch for its snapshot; what is in it shows only when it is restored."""
        source.attest()

    def check_scripts(self, scripts: Sequence[Script]) -> None:
        for script in scripts:
            read_script(script, f"preparing to restore {self._options.database} on {self._client.name}")

    # -- push --------------------------------------------------------------------------------------------------------

    def preflight_dump(self) -> Mapping[str, Any]:
        return self._dump.preflight()

    def prepare(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        return self._dump.prepare(scripts, group)

    def dump(self, group: Group, sink: StoreSink) -> DumpFacts:
        return self._dump.run(group, sink.by_server())

    # -- pull --------------------------------------------------------------------------------------------------------

    def preflight_restore(self, manifest: Manifest | None) -> Plan:
        doing = f"preparing to restore {self._options.database} on {self._client.name}"
        if manifest is None:
            raise EnvSyncError(doing, "the point has no manifest", "Choose another point (--list shows them).")
        self._restore.check(manifest, doing)
        incoming = self._restore.incoming(manifest, doing)
        swap = self._plan_swap(incoming, self._options.keep_old, doing)
        self._check_swap(swap, doing)
        stats = self._cluster.stats(doing)
        size = sum(stats[index]["size_bytes"] for index in swap.replaces if index in stats)
        replaces = {"tables": len(swap.replaces), "size_bytes": size} if swap.replaces else None
        warnings = []
        if swap.concrete and not self._options.as_index:
            warnings.append(f"the index {swap.concrete[0]} becomes an alias (see restore_as)")
        warnings += [_clash(alias) for alias in swap.clashing]
        if not manifest.server.get("system"):
            warnings.append("the snapshot does not say which cluster it is of: nothing tells whether it is this one")
        step = f"restore {len(incoming.indices)} indices as {incoming.prefix}* on {self._client.name}"
        step += ", to be copied under the live names" if self._options.as_index else ""
        return Plan(f"{incoming.prefix}*", replaces, (step,), (*self._client.warnings, *warnings))

    def _check_swap(self, swap: Swap, doing: str) -> None:
        """Raise where the task asks for a swap that the server cannot do."""
        if self._options.as_index and self._options.keep_old:
            raise EnvSyncError(
                doing,
                "an index that has its name itself cannot be renamed and so not be kept",
                "Set old_database to drop, or restore_as to alias.",
            )
        if self._options.as_index and not self._client.version(doing).has_clone:
            raise EnvSyncError(
                doing, "only Elasticsearch 7.4 and newer, and OpenSearch, copy an index", "Set restore_as to alias."
            )
        if self._options.keep_old and swap.concrete:
            raise EnvSyncError(
                doing,
                f"{swap.concrete[0]} is an index itself, which cannot be renamed and so not be kept",
                "Set old_database to drop for the first pull. After it the name is an alias, and what it had is kept.",
            )

    def sweep(self) -> list[str]:
        doing = f"looking for what is left of a pull into {self._options.database}"
        doomed = self._scratch(doing)
        for index in doomed:
            self._lease.prove()
            self._client.delete(path(index), doing)
        return [f"index {index}" for index in doomed]

    def restore(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        doing = f"restoring {source.manifest.timestamp}-{source.manifest.database} on {self._client.name}"
        # Before the restore: what it has begun when it fails is to be discarded.
        self._incoming = self._restore.incoming(source.manifest, doing)
        return {"warnings": self._restore.run(group, source, self._incoming, doing)}

    def sanitise(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the scripts; one that fails half-way leaves scratch indices that the pull then throws away."""
        doing = f"running the transformation on the scratch indices of {self._options.database}"
        indices = self._incoming.indices
        names: dict[str, tuple[str, ...]] = {live: (index,) for live, index in indices.items()}
        for alias, about in self._incoming.aliases.items():
            names.setdefault(alias, tuple(indices[live] for live in about["indices"] if live in indices))
        return [run_script(script, self._client, names, group, doing) for script in scripts]

    def purge(self, effects: Sequence[Effect], group: Group) -> Sequence[str]:
        """Rewrite what holds documents that the scripts replaced or deleted; see :mod:`.purge`."""
        doing = f"removing from the files of {self._options.database} what the scripts replaced"
        changed = {live for effect in effects for live in effect.tables}
        return purge(self._client, {live: self._incoming.indices[live] for live in sorted(changed)}, group, doing)

    def check(self, group: Group) -> Mapping[str, Any]:
        doing = f"checking the scratch indices of {self._options.database}"
        self._cluster.refresh(self._incoming.scratch, doing)
        found = self._cluster.indices(doing, hidden=True)
        stats = self._cluster.stats(doing)
        for live, index in self._incoming.indices.items():
            if index not in found or index not in stats or found[index]["health"] == "red":
                raise EnvSyncError(doing, f"the index {live} is gone or lacks shards", "Look into the server's log.")
        mine = [stats[index] for index in self._incoming.scratch]
        return {
            "tables": len(mine),
            "rows": sum(about["rows"] for about in mine),
            "size_bytes": sum(about["size_bytes"] for about in mine),
        }

    def swap(self, keep_old: bool) -> Mapping[str, Any]:
        self.cancelled.check(f"swapping {self._options.database}")
        with self.cancelled.cleaning():  # from here on, finishing is safer than undoing
            return self._swap(keep_old)

    # The swap:
    # 1. Plan it on the aliases as they are now: they may have changed since the preflight.
    # 2. Prove that the lock is held.
    # 3. Show the scratch indices, which were hidden until they were sanitised. This comes before the names move, as it
    #    may fail, and costs nothing then; so a search for * finds the old and the new for a moment.
    # 4. Move all names in one request to _aliases, which the server carries out wholly or not at all. With its answer
    #    the pull has succeeded: nothing is scratch any more, and what fails after it is a warning.
    # 5. Drop what was replaced, one index at a time, with the lock proven before each.
    # 6. Where the live names are to be indices, copy each; concrete.py has that recipe.

    def _swap(self, keep_old: bool) -> Mapping[str, Any]:
        doing = f"swapping {self._options.database} in on {self._client.name}"
        swap = self._plan_swap(self._incoming, keep_old, doing)
        if keep_old and swap.concrete:
            raise EnvSyncError(doing, f"{swap.concrete[0]} has become an index, which cannot be kept", "Pull again.")
        self._lease.prove()
        self._cluster.show(self._incoming.scratch, doing)
        self._client.post("/_aliases", doing, {"actions": swap.actions})
        live_indices, self._incoming = self._incoming.indices, Incoming()
        warnings = [f"the index {name} has lost its alias to the new one, and is left" for name in swap.left]
        warnings += [_clash(alias) for alias in swap.clashing]
        for index in swap.drop:
            try:
                self._lease.prove()
                self._client.delete(path(index), doing)
            except EnvSyncError as error:
                warnings.append(f"the index {index}, which was replaced, is left: {error}")
        away = 0.0
        if self._options.as_index:
            aliases = self._cluster.aliases(doing)
            for live, index in live_indices.items():
                others = {alias: properties for alias, properties in aliases[index].items() if alias != live}
                seconds, warning = take_name(self._client, live, index, others, doing)
                away = max(away, seconds)
                warnings += [warning] if warning else []
        return {
            "name_away_seconds": round(away, 3),
            "kept": f"{KEPT}*" if swap.kept else "",
            "warnings": warnings,
        }

    def discard(self) -> None:
        # What is this run's own by its name is nobody else's, whoever has the lock by now.
        doing = f"dropping the scratch indices of {self._options.database}"
        try:
            self._lease.regain()
        finally:
            for index in self._scratch(doing, self._incoming.scratch):
                self._client.delete(path(index), doing)

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _plan_swap(self, incoming: Incoming, keep_old: bool, doing: str) -> Swap:
        return plan_swap(
            incoming.indices,
            self._cluster.aliases(doing),
            incoming.aliases,
            self._options.database,
            keep_old,
            lambda live: incoming.vanishes(live, self._options),
        )

    def _scratch(self, doing: str, only: Collection[str] | None = None) -> list[str]:
        """Return what a pull of this database made and no alias makes live, or kept.

        :param only: these alone.
        """
        return [
            index
            for index, aliases in self._cluster.aliases(doing).items()
            if made_by_pull(index, self._options.database) and not aliases and (only is None or index in only)
        ]


def _clash(alias: str) -> str:
    return f"the alias {alias} is not set, as there is an index of that name"
