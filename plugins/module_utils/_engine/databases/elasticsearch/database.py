# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Elasticsearch and OpenSearch: snapshots that the server itself makes, in a repository that is registered there.

A task's database is a name for the indices that go together: all of the cluster's, or those that ``indices`` matches.
"""

from __future__ import annotations

import contextlib
import datetime
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ...errors import EnvSyncError, NothingToDo
from ...host.stopping import Stop
from ...members import PointSource, ServerSink, StoreSink
from ...points.manifest import Manifest
from ...points.name import now, parse, point_name
from ...points.scripts import Effect, Script
from ...search.client import Client, ServerError, path, version_of
from ...search.points import (
    IN_PROGRESS,
    MEMBER,
    Note,
    fault,
    read_note,
    snapshot_name,
    timestamp_and_database,
    total_bytes,
)
from ...streams.pipeline import Group
from ...tasks.task import Task
from ...version import VERSION
from ..base import Database, DumpFacts, Identity, Plan
from ..lease import DocumentStorage, Lease
from . import swap as es_swap
from .concrete import take_name
from .purge import purge
from .scripts import read_script, run_script

#: what cron starts on several hosts at the same minute begins within so many seconds
_SAME_MINUTE = 60

#: seconds between two looks at what the server does, at first and later
_POLL_FIRST = 0.1
_POLL = 2.0

#: how long a shard may go without a node that works on it before a restore is given up, in seconds
_STALLED = 60.0

#: how long a shard may stay failed, in seconds: what the server tries again, it does at once
_FAILED = 3.0

#: an index's name has 255 bytes at most
_LONGEST_NAME = 255


class Elasticsearch(Database):
    """The indices of one cluster that a task means.

    :param repository: the snapshot repository's name.
    :param wanted: patterns of the indices; empty: all but the server's own.
    :param excluded: patterns of what a push leaves out.
    :param scripts: the transformation scripts, to be checked before a restore begins.
    """

    kind = "elasticsearch"

    def __init__(
        self,
        client: Client,
        database: str,
        repository: str,
        wanted: Sequence[str],
        excluded: Sequence[str],
        environment: str,
        timezone: str,
        keep_old: bool,
        as_index: bool,
        allow_source: bool,
    ) -> None:
        self._client = client
        self._database = database
        self._repository = repository
        self._wanted = tuple(wanted)
        self._excluded = tuple(excluded)
        self._environment = environment
        self._timezone = timezone
        self._keep_old = keep_old
        self._as_index = as_index
        self._allow_source = allow_source
        lock = DocumentStorage(es_swap.LockDocument(client, database))
        self._lease = Lease(lock, f"locking {database} on {client.name}", lambda: self.cancelled)
        self._sanitised: list[dict[str, Any]] = []
        #: scratch names by live name
        self._restored: dict[str, str] = {}
        self._of_point: dict[str, dict[str, Any]] = {}
        self._spared: tuple[str, ...] | None = None

    @classmethod
    def from_task(cls, task: Task, work_dir: str | None) -> Elasticsearch:
        if task.storagebackend != "es_snapshot":
            raise EnvSyncError(
                f"opening {task.database}",
                f"dbms elasticsearch is stored as a snapshot, not by storagebackend {task.storagebackend}",
                "Set storagebackend to es_snapshot, and url to the name of the snapshot repository.",
            )
        return cls(
            client=Client.from_task(task),
            database=task.database,
            repository=task.url,
            wanted=task.indices,
            excluded=task.excluded_tables,
            environment=task.environment,
            timezone=task.timezone,
            keep_old=task.old_database == "keep",
            as_index=task.restore_as == "index",
            allow_source=task.allow_restore_to_source,
        )

    # -- both ways ---------------------------------------------------------------------------------------------------

    def identity(self) -> Identity:
        doing = f"asking {self._client.name} who it is"
        cluster = str(self._client.about(doing).get("cluster_uuid", ""))
        if not cluster or cluster == "_na_":
            raise EnvSyncError(doing, "it belongs to no cluster yet", "Look into the server's log.")
        return Identity(self.kind, cluster, self._client.version(doing).text, self._client.name)

    def obey(self, stop: Stop) -> None:
        super().obey(stop)
        self._client.stop = stop

    def close(self) -> None:
        self._client.close()

    @property
    def database_name(self) -> str:
        return self._database

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        return self._lease.held()

    @classmethod
    def verify(cls, group: Group, source: PointSource, work_dir: str) -> None:
        """Have the server vouch for its snapshot; what is in it shows only when it is restored."""
        source.attest()

    # -- push --------------------------------------------------------------------------------------------------------

    def preflight_dump(self) -> Mapping[str, Any]:
        doing = f"preparing to snapshot {self._database} on {self._client.name}"
        moment = now(self._timezone)
        snapshot_name(point_name(moment, self._database))
        other = self._of_other_hosts(moment, doing)
        if other:
            return {"skip": other[0]}
        names = self._to_dump(doing)
        red = [
            index
            for index, about in self._indices(doing, hidden=True).items()
            if index in names and about["health"] == "red"
        ]
        if red:
            raise EnvSyncError(doing, f"the index {red[0]} is red: it lacks shards", "Mend it, or leave it out.")
        stats = self._stats(doing)
        size = sum(stats[index]["size_bytes"] for index in names if index in stats)
        return {"size_bytes": size, "tables": len(names), "jobs": 1, "warnings": self._client.warnings}

    def check_scripts(self, scripts: Sequence[Script]) -> None:
        for script in scripts:
            read_script(script, f"preparing to restore {self._database} on {self._client.name}")

    def prepare(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        doing = f"running the pre-dump scripts on {self._database}"
        names = {live: (index,) for index, live in self._to_dump(doing).items()}
        effects = [run_script(script, self._client, names, group, doing) for script in scripts]
        self._sanitised = [effect.to_dict() for effect in effects]
        return effects

    def dump(self, group: Group, sink: StoreSink) -> DumpFacts:
        """Have the server make the snapshot: of each shard as it is when its turn comes."""
        doing = f"making a snapshot of {self._database} on {self._client.name}"
        noted = sink.by_server()
        names = self._to_dump(doing)
        snapshot = snapshot_name(noted.point)
        facts = DumpFacts(format="snapshot", jobs=1)
        note = self._note(names, facts, noted.run, doing)
        self._begin(noted.point, names, note, facts, doing)
        self._give_way(noted.point, doing)
        self._finish(snapshot, group, noted, doing)
        status = self._status(snapshot, doing)
        size = total_bytes(status)
        noted.record(MEMBER, size)
        facts.tables = [
            {"name": index, **({"rows": note.rows[index]} if index in note.rows else {})} for index in sorted(names)
        ]
        facts.details = {
            "snapshot": snapshot,
            "excluded_tables": list(self._excluded),
            "aliases": dict(note.aliases),
        }
        return facts

    def _to_dump(self, doing: str) -> dict[str, str]:
        """Return the live names of the indices to dump, by index.

        :raises EnvSyncError: there is none, or one that was named is not there, or closed.
        """
        aliases = self._aliases(doing)
        found = self._indices(doing, hidden=any(pattern.startswith(".") for pattern in self._wanted))
        lives: dict[str, str] = {}
        for index in found:
            live = es_swap.live_name(index)
            # What a pull made is live by its alias alone: without, it is a scratch index, or one that is kept.
            if live == index or live in aliases.get(index, {}):
                lives[live] = index
        taken = es_swap.chosen(list(lives), self._wanted, self._excluded)
        for pattern in self._excluded:
            if not es_swap.matching(list(lives), [pattern]):
                # To go on would store what somebody asked to leave out.
                raise EnvSyncError(doing, f"excluded_tables names {pattern}, and there is no such index", "Correct it.")
        if not taken:
            raise EnvSyncError(
                doing,
                "there is no index to dump",
                f"Check indices. There are {', '.join(sorted(lives)[:10]) or 'none'}.",
            )
        closed = [live for live in taken if found[lives[live]]["status"] == "close"]
        if closed:
            raise EnvSyncError(doing, f"the index {closed[0]} is closed", "Open it, or put it into excluded_tables.")
        return {lives[live]: live for live in taken}

    def _note(self, names: Mapping[str, str], facts: DumpFacts, run: str, doing: str) -> Note:
        with contextlib.suppress(ServerError):
            # So that documents that nobody could search for yet are counted; the right to do it may be missing.
            for group in _groups(list(names)):
                self._client.post(path(",".join(group), "_refresh"), doing)
        stats = self._stats(doing)
        identity = self.identity()
        streams = [name for name in self._indices(doing, hidden=True) if name.startswith(".ds-")]
        if streams and not self._wanted:
            facts.warnings.append(f"data streams are not in the snapshot ({len(streams)} indices, {streams[0]})")
        return Note(
            tool=VERSION,
            database=self._database,
            cluster=identity.system,
            version=identity.version,
            environment=self._environment,
            host=socket.gethostname(),
            size=sum(stats[index]["size_bytes"] for index in names if index in stats),
            run=run,
            sanitised=self._sanitised,
            excluded=self._excluded,
            rows={index: stats[index]["rows"] for index in names if index in stats},
            aliases=es_swap.aliases_of_point(names, self._aliases(doing)),
        )

    def _begin(self, point: str, names: Mapping[str, str], note: Note, facts: DumpFacts, doing: str) -> None:
        snapshot = snapshot_name(point)
        body: dict[str, Any] = {
            "indices": sorted(names),
            "ignore_unavailable": False,
            "include_global_state": False,
            "partial": False,
        }
        if self._client.version(doing).has_metadata:
            body["metadata"], without = note.encode(sorted(names))
            if without:
                facts.warnings.append(f"a snapshot has room for 1 KB of notes: {' and '.join(without)} are not in it")
        try:
            self._client.put(self._snapshot_path(snapshot), doing, body, wait_for_completion=False)
        except ServerError:
            found = self._snapshot(snapshot, doing)
            of = read_note(found or {})
            if of is not None and of.run == note.run:
                return  # ours: what failed is the answer on its way here
            if found is not None:
                # Not ours: it must not be taken for what this push has to remove.
                raise NothingToDo(doing, "another host is making it") from None
            # Or one that was of that name has given way to another host's.
            self._give_way(point, doing)
            raise

    def _give_way(self, point: str, doing: str) -> None:
        """Remove the snapshot just begun when another host began one of the same minute before it."""
        found = parse(point + MEMBER)
        other = self._of_other_hosts(found.timestamp if found else "", doing, snapshot_name(point))
        if other:
            self._client.delete(self._snapshot_path(snapshot_name(point)), doing)
            raise NothingToDo(doing, other[0])

    def _of_other_hosts(self, moment: str, doing: str, before: str = "") -> list[str]:
        """Say which snapshots of the database other hosts began in this minute, and are good or may become so.

        :param moment: the timestamp to compare with.
        :param before: only those that were begun before this snapshot.
        """
        try:
            where = path("_snapshot", self._repository, "_all")
            snapshots = self._client.get(where, doing, ignore_unavailable=True)["snapshots"]
        except ServerError as error:
            if error.kind == "repository_missing_exception":
                return []  # a plan: the run will register it
            raise
        own = next((found for found in snapshots if found["snapshot"] == before), None)
        said = []
        for snapshot in snapshots:
            about = timestamp_and_database(snapshot, self._database)
            note = read_note(snapshot)
            if (
                about is None
                or about[1] != self._database
                or abs(_seconds(about[0]) - _seconds(moment)) >= _SAME_MINUTE
                or (note is not None and note.host == socket.gethostname())
                or (fault(snapshot) and snapshot.get("state") != IN_PROGRESS)
                or snapshot["snapshot"] == before
                or (own is not None and _order(own) < _order(snapshot))
            ):
                continue
            host = note.host if note else "a push of this minute"
            said.append(f"{host} has made or is making the snapshot {snapshot['snapshot']}")
        return said

    def _finish(self, snapshot: str, group: Group, sink: ServerSink, doing: str) -> None:
        """Wait for the snapshot; raise unless it is whole."""
        pause = _POLL_FIRST
        told = 0
        while True:
            found = self._snapshot(snapshot, doing)
            if found is None:
                why = f"the snapshot {snapshot} is gone: it could not be finished, or somebody has removed it"
                raise EnvSyncError(doing, why, "Look into the server's log, and push again.")
            if found["state"] != IN_PROGRESS:
                break
            with contextlib.suppress(ServerError):
                done = _processed(self._status(snapshot, doing))
                sink.advance(max(0, done - told))
                told = max(told, done)
            group.sleep(pause)
            pause = min(pause * 1.5, _POLL)
        why = fault(found)
        if why:
            raise EnvSyncError(doing, why, "Look into the server's log, and push again.")

    def _status(self, snapshot: str, doing: str) -> dict[str, Any]:
        found: dict[str, Any] = self._client.get(self._snapshot_path(snapshot, "_status"), doing)["snapshots"][0]
        return found

    def _snapshot(self, snapshot: str, doing: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._client.get(self._snapshot_path(snapshot), doing)["snapshots"][0]
            return found
        except ServerError as error:
            if error.status == 404:
                return None
            raise

    def _snapshot_path(self, snapshot: str, *more: str) -> str:
        return path("_snapshot", self._repository, snapshot, *more)

    # -- pull --------------------------------------------------------------------------------------------------------

    def preflight_restore(self, manifest: Manifest | None) -> Plan:
        doing = f"preparing to restore {self._database} on {self._client.name}"
        if manifest is None:
            raise EnvSyncError(doing, "the point has no manifest", "Choose another point (--list shows them).")
        self._check_source(manifest, doing)
        self._check_version(manifest, doing)
        lives = self._to_restore(manifest, doing)
        prefix = self._free_prefix(doing)
        for live in lives.values():
            if len((prefix + live).encode()) > _LONGEST_NAME:
                raise EnvSyncError(doing, f"with {prefix} before it, the name {live} is longer than 255 bytes")
        swap = self._plan_swap({live: prefix + live for live in lives.values()}, manifest, doing)
        if self._as_index and self._keep_old:
            raise EnvSyncError(
                doing,
                "an index that has its name itself cannot be renamed and so not be kept",
                "Set old_database to drop, or restore_as to alias.",
            )
        if self._as_index and not self._client.version(doing).has_clone:
            raise EnvSyncError(
                doing, "only Elasticsearch 7.4 and newer, and OpenSearch, copy an index", "Set restore_as to alias."
            )
        if self._keep_old and swap.concrete:
            raise EnvSyncError(
                doing,
                f"{swap.concrete[0]} is an index itself, which cannot be renamed and so not be kept",
                "Set old_database to drop for the first pull. After it the name is an alias, and what it had is kept.",
            )
        stats = self._stats(doing)
        size = sum(stats[index]["size_bytes"] for index in swap.replaces if index in stats)
        replaces = {"tables": len(swap.replaces), "size_bytes": size} if swap.replaces else None
        warnings = []
        if swap.concrete and not self._as_index:
            warnings.append(f"the index {swap.concrete[0]} becomes an alias (see restore_as)")
        warnings += [_clash(alias) for alias in swap.clashing]
        if not manifest.server.get("system"):
            warnings.append("the snapshot does not say which cluster it is of: nothing tells whether it is this one")
        step = f"restore {len(lives)} indices as {prefix}* on {self._client.name}"
        step += ", to be copied under the live names" if self._as_index else ""
        return Plan(f"{prefix}*", replaces, (step,), (*self._client.warnings, *warnings))

    def sweep(self) -> list[str]:
        doing = f"looking for what is left of a pull into {self._database}"
        doomed = self._scratch(doing)
        for index in doomed:
            self._lease.prove()
            self._client.delete(path(index), doing)
        return [f"index {index}" for index in doomed]

    def restore(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        manifest = source.manifest
        doing = f"restoring {manifest.timestamp}-{manifest.database} on {self._client.name}"
        lives = self._to_restore(manifest, doing)
        prefix = self._free_prefix(doing)
        body: dict[str, Any] = {
            "indices": sorted(lives),
            "ignore_unavailable": False,
            "include_global_state": False,
            "include_aliases": False,
            "partial": False,
            "rename_pattern": es_swap.RENAME,
            "rename_replacement": f"{prefix}$1",
            # A lock of the source's, or its full disk, is of no meaning here, and would keep the scripts out.
            "ignore_index_settings": ["index.blocks.*"],
        }
        if self._client.version(doing).has_hidden:
            # Until they are sanitised, no search for * is to find them.
            body["index_settings"] = {"index.hidden": True}
        self._restored = {live: prefix + live for live in lives.values()}
        self._note_point(manifest)
        snapshot = snapshot_name(point_name(manifest.timestamp, manifest.database))
        self._client.post(self._snapshot_path(snapshot, "_restore"), doing, body, wait_for_completion=False)
        self._await_shards(group, source, doing)
        return {"warnings": self._compare(manifest, lives, doing)}

    def _to_restore(self, manifest: Manifest, doing: str) -> dict[str, str]:
        """Return the live names of the point's indices, by index: those that the task means."""
        lives = {es_swap.live_name(str(table["name"])): str(table["name"]) for table in manifest.tables}
        taken = es_swap.chosen(list(lives), self._wanted, self._excluded)
        if not taken:
            has = ", ".join(sorted(lives)[:10])
            raise EnvSyncError(doing, "the point has none of the indices that are wanted", f"It has {has}.")
        return {lives[live]: live for live in taken}

    def _check_source(self, manifest: Manifest, doing: str) -> None:
        """Raise when nothing tells that the snapshot is not this cluster's own: neither a note, nor the repository."""
        if manifest.server.get("system") or self._allow_source:
            return
        about = self._client.get(path("_snapshot", self._repository), doing)[self._repository]
        # A repository of type url can only be read.
        if about["type"] != "url" and str(about["settings"].get("readonly")).lower() != "true":
            raise EnvSyncError(
                doing,
                "the snapshot does not say which cluster it is of, and this one may write to its repository",
                "Register the repository with readonly here, or set allow_restore_to_source if you mean it.",
            )

    def _check_version(self, manifest: Manifest, doing: str) -> None:
        """Raise when the server cannot read the snapshot; where there is no note, only the restore shows it."""
        said = manifest.server.get("version", "")
        if not manifest.server.get("system") or not said:
            return
        of_point, here = version_of(said), self._client.version(doing)
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
        there = self._indices(doing, hidden=True)
        while True:
            prefix = es_swap.scratch_prefix(self._database, moment.strftime("%Y%m%d%H%M%S"))
            if not any(index.startswith(prefix) for index in there):
                return prefix
            moment += datetime.timedelta(seconds=1)

    def _note_point(self, manifest: Manifest) -> None:
        """Remember what the swap needs to know of the point."""
        aliases = manifest.details.get("aliases", {})
        self._of_point = {
            alias: {
                **about,
                "indices": [es_swap.live_name(index) for index in about["indices"]],
                "others": {es_swap.live_name(index): found for index, found in about.get("others", {}).items()},
            }
            for alias, about in aliases.items()
        }
        for about in self._of_point.values():
            about["whole"] = about["whole"] and set(about["indices"]) <= set(self._restored)
        noted = bool(manifest.tool_version)
        self._spared = tuple(manifest.details.get("excluded_tables", ())) if noted else None

    def _vanishes(self, live: str) -> bool:
        """Say whether a name that the point does not have goes: not where it, or this task, left the index out."""
        if self._spared is None:
            return False
        return bool(es_swap.chosen([live], self._wanted, (*self._spared, *self._excluded)))

    def _await_shards(self, group: Group, source: PointSource, doing: str) -> None:
        """Wait until every primary shard is there; raise when the server gives one up, or none is worked on."""
        scratch = set(self._restored.values())
        pause, told = _POLL_FIRST, 0
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
            done = self._recovered(doing)
            source.advance(max(0, done - told))
            told = max(told, done)
            group.sleep(pause)
            pause = min(pause * 1.5, _POLL)

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
        return f"shard {shard['shard']} of {es_swap.live_name(shard['index'])} cannot be restored: {cause[:500]}"

    def _recovered(self, doing: str) -> int:
        """Return how many bytes of the scratch indices have been read."""
        prefix = next(iter(self._restored.values()))[: -len(next(iter(self._restored)))]
        try:
            found = self._client.get(path(f"{prefix}*", "_recovery"), doing, expand_wildcards="all")
        except ServerError:
            return 0
        shards = [shard for about in found.values() for shard in about["shards"] if shard["primary"]]
        return sum(int(shard["index"]["size"]["recovered_in_bytes"]) for shard in shards)

    def _compare(self, manifest: Manifest, lives: Mapping[str, str], doing: str) -> list[str]:
        """Compare documents with what there was when the snapshot began; it may have been written to since then."""
        stats = self._stats(doing)
        said = []
        for table in manifest.tables:
            live = lives.get(str(table["name"]))
            if live is None or "rows" not in table:
                continue
            count, noted = stats[self._restored[live]]["rows"], int(table["rows"])
            if noted and not count:
                raise EnvSyncError(
                    doing, f"{live} is empty, and had {noted} documents", "Choose another point (--list shows them)."
                )
            if count < noted:
                said.append(f"{live} has {count} documents, and had {noted} when the snapshot began")
        return said

    def sanitise(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the scripts; one that fails half-way leaves scratch indices that the pull then throws away."""
        doing = f"running the transformation on the scratch indices of {self._database}"
        names: dict[str, tuple[str, ...]] = {live: (index,) for live, index in self._restored.items()}
        for alias, about in self._of_point.items():
            names.setdefault(alias, tuple(self._restored[i] for i in about["indices"] if i in self._restored))
        return [run_script(script, self._client, names, group, doing) for script in scripts]

    def purge(self, effects: Sequence[Effect], group: Group) -> Sequence[str]:
        """Rewrite what holds documents that the scripts replaced or deleted; see :mod:`.purge`."""
        doing = f"removing from the files of {self._database} what the scripts replaced"
        changed = {live for effect in effects for live in effect.tables}
        return purge(self._client, {live: self._restored[live] for live in sorted(changed)}, group, doing)

    def check(self, group: Group) -> Mapping[str, Any]:
        doing = f"checking the scratch indices of {self._database}"
        for some in _groups(sorted(self._restored.values())):
            self._client.post(path(",".join(some), "_refresh"), doing)
        found = self._indices(doing, hidden=True)
        stats = self._stats(doing)
        for live, index in self._restored.items():
            if index not in found or index not in stats or found[index]["health"] == "red":
                raise EnvSyncError(doing, f"the index {live} is gone or lacks shards", "Look into the server's log.")
        mine = [stats[index] for index in self._restored.values()]
        return {
            "tables": len(mine),
            "rows": sum(about["rows"] for about in mine),
            "size_bytes": sum(about["size_bytes"] for about in mine),
        }

    def swap(self, keep_old: bool) -> Mapping[str, Any]:
        self.cancelled.check(f"swapping {self._database}")
        with self.cancelled.cleaning():  # from here on it is sooner completed than undone
            return self._swap(keep_old)

    def _swap(self, keep_old: bool) -> Mapping[str, Any]:
        """Move all names in one atomic request; what comes after it is no reason to fail."""
        doing = f"swapping {self._database} in on {self._client.name}"
        swap = es_swap.plan_swap(
            self._restored, self._aliases(doing), self._of_point, self._database, keep_old, self._vanishes
        )
        if keep_old and swap.concrete:
            raise EnvSyncError(doing, f"{swap.concrete[0]} has become an index, which cannot be kept", "Pull again.")
        self._lease.prove()
        if self._client.version(doing).has_hidden:
            # Before the names move: what comes after that may fail no more. A search for * finds both for a moment.
            for some in _groups(sorted(self._restored.values())):
                self._client.put(path(",".join(some), "_settings"), doing, {"index.hidden": None})
        self._client.post("/_aliases", doing, {"actions": swap.actions})
        live_indices, self._restored = self._restored, {}  # nothing is scratch any more
        warnings = [f"the index {name} has lost its alias to the new one, and is left" for name in swap.left]
        warnings += [_clash(alias) for alias in swap.clashing]
        for index in swap.drop:
            try:
                self._lease.prove()
                self._client.delete(path(index), doing)
            except EnvSyncError as error:
                warnings.append(f"the index {index}, which was replaced, is left: {error}")
        away = 0.0
        if self._as_index:
            aliases = self._aliases(doing)
            for live, index in live_indices.items():
                others = {alias: properties for alias, properties in aliases[index].items() if alias != live}
                seconds, warning = take_name(self._client, live, index, others, doing)
                away = max(away, seconds)
                warnings += [warning] if warning else []
        return {
            "name_away_seconds": round(away, 3),
            "kept": f"{es_swap.KEPT}*" if swap.kept else "",
            "warnings": warnings,
        }

    def discard(self) -> None:
        # What is this run's own by its name is no other's, whoever has the lock by now.
        doing = f"dropping the scratch indices of {self._database}"
        try:
            self._lease.regain()
        finally:
            for index in self._scratch(doing, set(self._restored.values())):
                self._client.delete(path(index), doing)

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _plan_swap(self, restored: Mapping[str, str], manifest: Manifest, doing: str) -> es_swap.Swap:
        self._restored = dict(restored)
        self._note_point(manifest)
        return es_swap.plan_swap(
            restored, self._aliases(doing), self._of_point, self._database, self._keep_old, self._vanishes
        )

    def _scratch(self, doing: str, only: Collection[str] | None = None) -> list[str]:
        """Return what a pull of this database made and no alias makes live, or kept.

        :param only: these alone.
        """
        return [
            index
            for index, aliases in self._aliases(doing).items()
            if es_swap.made_by_pull(index, self._database) and not aliases and (only is None or index in only)
        ]

    def _everything(self, doing: str) -> dict[str, str]:
        """Return what has hidden indices shown, where there are such."""
        return {"expand_wildcards": "all"} if self._client.version(doing).has_hidden else {}

    def _indices(self, doing: str, hidden: bool) -> dict[str, dict[str, str]]:
        """Return ``health`` and ``status`` of every index, or of every one that is not hidden."""
        more = self._everything(doing) if hidden else {}
        shown = self._client.get("/_cat/indices", doing, format="json", h="index,health,status", **more)
        return {str(about["index"]): about for about in shown}

    def _aliases(self, doing: str) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the aliases of every index, hidden ones too."""
        found = self._client.get("/_all/_alias", doing, **self._everything(doing))
        return {
            index: {str(n): es_swap.properties_of(p) for n, p in found.get(index, {}).get("aliases", {}).items()}
            for index in self._indices(doing, hidden=True)
        }

    def _stats(self, doing: str) -> dict[str, dict[str, int]]:
        """Return ``rows`` (documents, nested ones too) and ``size_bytes`` (of the primary shards) of every index."""
        found = self._client.get("/_stats/docs,store", doing, level="indices", **self._everything(doing))
        return {
            str(index): {
                "rows": int(about["primaries"]["docs"]["count"]),
                "size_bytes": int(about["primaries"]["store"]["size_in_bytes"]),
            }
            for index, about in found["indices"].items()
        }


def _groups(names: Sequence[str], longest: int = 3000) -> Iterator[list[str]]:
    """Give the names in groups that fit into a request's first line, which servers limit to 4 KB."""
    group: list[str] = []
    for name in names:
        if group and sum(len(other) + 1 for other in group) + len(name) > longest:
            yield group
            group = []
        group.append(name)
    if group:
        yield group


def _clash(alias: str) -> str:
    return f"the alias {alias} is not set, as there is an index of that name"


def _seconds(timestamp: str) -> float:
    moment = datetime.datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%S")
    return moment.replace(tzinfo=datetime.timezone.utc).timestamp()


def _order(snapshot: Mapping[str, Any]) -> tuple[int, str]:
    """Return what tells which of two snapshots was begun first, by the clock of the cluster's master."""
    return int(snapshot["start_time_in_millis"]), str(snapshot["snapshot"])


def _processed(status: Mapping[str, Any]) -> int:
    """Return how many bytes of a running snapshot are stored."""
    stats = status["stats"]
    return int((stats.get("processed") or {}).get("size_in_bytes", stats.get("processed_size_in_bytes", 0)))
