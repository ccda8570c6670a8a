# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A push: have the server make a snapshot of the indices that a task means, once of all hosts that begin together."""

from __future__ import annotations

import contextlib
import datetime
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import EnvSyncError, NothingToDo
from ...members import ServerSink
from ...points.name import now, parse, point_name
from ...points.scripts import Effect, Script
from ...search.client import Client, ServerError
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
from ...search.repository import Repository
from ...streams.pipeline import Group
from ...version import VERSION
from ..base import DumpFacts
from .cluster import POLL, POLL_FIRST, Cluster
from .names import aliases_of_point, chosen, live_name, matching
from .options import Options
from .scripts import run_script

#: what cron starts on several hosts at the same minute begins within so many seconds
_SAME_MINUTE = 60


class Dump:
    """The push of one task."""

    def __init__(self, client: Client, options: Options) -> None:
        self._client = client
        self._options = options
        self._cluster = Cluster(client)
        self._repository = Repository(client, options.repository)
        #: what the pre-dump scripts did, for the note
        self._sanitised: list[dict[str, Any]] = []

    def preflight(self) -> Mapping[str, Any]:
        """Return facts for the plan, as :meth:`..base.Database.preflight_dump` does."""
        options = self._options
        doing = f"preparing to snapshot {options.database} on {self._client.name}"
        moment = now(options.timezone)
        snapshot_name(point_name(moment, options.database))
        other = self._of_other_hosts(moment, doing)
        if other:
            return {"skip": other[0]}
        names = self._to_dump(doing)
        red = [
            index
            for index, about in self._cluster.indices(doing, hidden=True).items()
            if index in names and about["health"] == "red"
        ]
        if red:
            raise EnvSyncError(doing, f"the index {red[0]} is red: it lacks shards", "Mend it, or leave it out.")
        stats = self._cluster.stats(doing)
        size = sum(stats[index]["size_bytes"] for index in names if index in stats)
        return {"size_bytes": size, "tables": len(names), "jobs": 1, "warnings": self._client.warnings}

    def prepare(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the pre-dump scripts on the live indices; return what each did."""
        doing = f"running the pre-dump scripts on {self._options.database}"
        names = {live: (index,) for index, live in self._to_dump(doing).items()}
        effects = [run_script(script, self._client, names, group, doing) for script in scripts]
        self._sanitised = [effect.to_dict() for effect in effects]
        return effects

    def run(self, group: Group, sink: ServerSink) -> DumpFacts:
        """Have the server make the snapshot, and wait for it.

        It has each shard as that is when its turn comes, and not all of them as they are at one moment.

        :raises NothingToDo: another host makes one of the same minute.
        :raises EnvSyncError: there is nothing to dump, or the server did not store every shard.
        """
        doing = f"making a snapshot of {self._options.database} on {self._client.name}"
        names = self._to_dump(doing)
        snapshot = snapshot_name(sink.point)
        facts = DumpFacts(format="snapshot", jobs=1)
        note = self._note(names, facts, sink.run, doing)
        # Two hosts of one minute: each has begun before it looks, so at least one sees the other. Whose snapshot the
        # server began later removes it.
        # 1. Begin the snapshot; its name is taken once only, whoever asks.
        # 2. Look at all others of this minute, and give way to one that was begun before.
        # 3. Wait until the server has finished, and see that it stored every shard.
        self._begin(sink.point, names, note, facts, doing)
        self._give_way(sink.point, doing)
        self._finish(snapshot, group, sink, doing)
        sink.record(MEMBER, total_bytes(self._repository.status(snapshot, doing)))
        facts.tables = [
            {"name": index, **({"rows": note.rows[index]} if index in note.rows else {})} for index in sorted(names)
        ]
        facts.details = {
            "snapshot": snapshot,
            "excluded_tables": list(self._options.excluded),
            "aliases": dict(note.aliases),
        }
        return facts

    def _to_dump(self, doing: str) -> dict[str, str]:
        """Return the live names of the indices to dump, by index.

        :raises EnvSyncError: there is none, or one that was named is not there, or closed.
        """
        wanted, excluded = self._options.wanted, self._options.excluded
        aliases = self._cluster.aliases(doing)
        found = self._cluster.indices(doing, hidden=any(pattern.startswith(".") for pattern in wanted))
        lives: dict[str, str] = {}
        for index in found:
            live = live_name(index)
            # What a pull made is live by its alias alone: without, it is a scratch index, or one that is kept.
            if live == index or live in aliases.get(index, {}):
                lives[live] = index
        taken = chosen(list(lives), wanted, excluded)
        for pattern in excluded:
            if not matching(list(lives), [pattern]):
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
            self._cluster.refresh(list(names), doing)
        stats = self._cluster.stats(doing)
        identity = self._cluster.identity()
        streams = [name for name in self._cluster.indices(doing, hidden=True) if name.startswith(".ds-")]
        if streams and not self._options.wanted:
            facts.warnings.append(f"data streams are not in the snapshot ({len(streams)} indices, {streams[0]})")
        return Note(
            tool=VERSION,
            database=self._options.database,
            cluster=identity.system,
            version=identity.version,
            environment=self._options.environment,
            host=socket.gethostname(),
            size=sum(stats[index]["size_bytes"] for index in names if index in stats),
            run=run,
            sanitised=self._sanitised,
            excluded=self._options.excluded,
            rows={index: stats[index]["rows"] for index in names if index in stats},
            aliases=aliases_of_point(names, self._cluster.aliases(doing)),
        )

    def _begin(self, point: str, names: Mapping[str, str], note: Note, facts: DumpFacts, doing: str) -> None:
        """Ask the server to begin the snapshot; raises NothingToDo where another host has begun it."""
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
            self._client.put(self._repository.path(snapshot), doing, body, wait_for_completion=False)
        except ServerError:
            found = self._repository.snapshot(snapshot, doing)
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
            self._client.delete(self._repository.path(snapshot_name(point)), doing)
            raise NothingToDo(doing, other[0])

    def _of_other_hosts(self, moment: str, doing: str, before: str = "") -> list[str]:
        """Say which snapshots of the database other hosts began in this minute, and are good or may become so.

        :param moment: the timestamp to compare with.
        :param before: only those that were begun before this snapshot.
        """
        database = self._options.database
        # A plan may ask for a repository that the run will register.
        snapshots = self._repository.snapshots(doing, missing_ok=True)
        own = next((found for found in snapshots if found["snapshot"] == before), None)
        others = []
        for snapshot in snapshots:
            about = timestamp_and_database(snapshot, database)
            note = read_note(snapshot)
            if (
                about is None
                or about[1] != database
                or abs(_seconds(about[0]) - _seconds(moment)) >= _SAME_MINUTE
                or (note is not None and note.host == socket.gethostname())
                or (fault(snapshot) and snapshot.get("state") != IN_PROGRESS)
                or snapshot["snapshot"] == before
                or (own is not None and _order(own) < _order(snapshot))
            ):
                continue
            host = note.host if note else "a push of this minute"
            others.append(f"{host} has made or is making the snapshot {snapshot['snapshot']}")
        return others

    def _finish(self, snapshot: str, group: Group, sink: ServerSink, doing: str) -> None:
        """Wait for the snapshot; raise unless it is whole."""
        pause = POLL_FIRST
        told = 0
        while True:
            found = self._repository.snapshot(snapshot, doing)
            if found is None:
                why = f"the snapshot {snapshot} is gone: it could not be finished, or somebody has removed it"
                raise EnvSyncError(doing, why, "Look into the server's log, and push again.")
            if found["state"] != IN_PROGRESS:
                break
            with contextlib.suppress(ServerError):
                done = _processed(self._repository.status(snapshot, doing))
                sink.advance(max(0, done - told))
                told = max(told, done)
            group.sleep(pause)
            pause = min(pause * 1.5, POLL)
        why = fault(found)
        if why:
            raise EnvSyncError(doing, why, "Look into the server's log, and push again.")


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
