# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Push: dump a database, store it, and say so in a manifest when every byte of it is known to be good."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from . import catalogue, claims, guards, removal
from .catalogue import COMPLETE, Point
from .databases import Database, open_database, server_keys
from .databases.base import DumpAgain, DumpFacts, Identity
from .errors import EnvSyncError, NothingToDo
from .host import locks
from .host.journal import Begun, Journal
from .host.progress import Host
from .host.stopping import attempts
from .members import StoreSink
from .points.manifest import Manifest, Member, totals
from .points.name import belongs, encode, iso_utc, manifest_name, moment, now, point_name
from .points.scripts import Effect, Script, read_scripts
from .run import Run, nothing_to_do, result, running, work_dir
from .stores import Store, open_store
from .stores.base import SelfStoring
from .streams.compression import Compression
from .streams.pipeline import Group
from .tasks import policy
from .tasks.task import Task
from .version import VERSION

_LONG_TIMESTAMP = "YYYY-MM-DDTHH:MM:SS"

#: how many seconds, one after another, are tried where other hosts' pushes have taken them
_TRIES = 10

#: how often a push dumps, all in all, where what others do at the database makes dumps fail
_DUMPS = 3


def plan(task: Task, host: Host) -> dict[str, Any]:
    """Say what a push would do; check what can be checked; change nothing."""
    rules = policy.read_policy()
    task = rules.apply(task)
    scripts = read_scripts(task.pre_dump_transformation_sql)
    store = open_store(task, host.cancelled)
    store.preflight(write=True)
    with open_database(task, None, host.cancelled) as database:
        identity, place = database.identity(), database.place
        facts = database.preflight_dump()
        database.check_scripts(scripts)
    if facts.get("skip"):
        return {"changed": False, "skipped": str(facts["skip"]), "point": "", "store": store.url(), "steps": []}
    point = _new_point(task)
    points = catalogue.list_points(store, task.database, timezone=task.timezone)
    before = [found.name for found in points]
    steps = [f"run {script} on {task.database} itself" for script in task.pre_dump_transformation_sql]
    steps.append(f"dump {task.database} from {place} ({identity.dbms} {identity.version})")
    steps += facts.get("notes", ())
    steps.append(f"store it as {store.url(point)}")
    return {
        "changed": True,
        "skipped": "",
        "point": point,
        "store": store.url(),
        "steps": steps,
        "warnings": [*facts.get("warnings", ()), *_warnings(task, store, points, point)],
        "policy": rules.lines(),
        "facts": dict(facts),
        "before": {"points": before},
        "after": {"points": [*before, point]},
    }


def push(task: Task, host: Host) -> dict[str, Any]:
    """Dump the task's database into its store.

    Nothing counts before the manifest is there, which is written last: a push that fails removes what it stored, and
    what a killed one left is removed by the next.

    :returns: ``changed``, ``point``, ``store``, ``manifest``, ``raw_bytes``, ``stored_bytes``, ``rate`` (bytes before
        compression a second), ``durations`` (seconds), ``warnings``, ``before`` and ``after`` (the store's points).
    """
    with running(task, host) as run:
        task = policy.read_policy().apply(task)
        scripts = read_scripts(task.pre_dump_transformation_sql)
        store = open_store(task, host.cancelled)
        store.prepare(write=True)
        with _alone(task, run, store) as (database, journal):
            identity = database.identity()
            points = catalogue.list_points(store, task.database, timezone=task.timezone)
            before = [found.name for found in points]
            # After the listing: a point that another host begins in between is a reason to skip, and no clash.
            facts = database.preflight_dump()
            if facts.get("skip"):
                return nothing_to_do(run, str(facts["skip"]), point="", store=store.url())
            database.check_scripts(scripts)
            with _beginning(task, run, store, journal, before) as begun:
                point = begun.entry.point
                for note in facts.get("notes", ()):
                    host.log("info", f"the push is to {note}")
                for warning in (*facts.get("warnings", ()), *_warnings(task, store, points, point)):
                    run.warn(warning)
                run.progress.point(point)
                this = _Push(task, run, store, database, begun)
                try:
                    manifest = _dump_and_store(this, identity, int(facts["size_bytes"]), scripts)
                except NothingToDo as found:
                    return nothing_to_do(run, str(found), point="", store=store.url())
                claims.give(store, point, begun.entry.run)
            run.progress.finish("done", f"stored {store.url(point)}", {"stored_bytes": manifest.stored_bytes})
            return _pushed(run, store, manifest, before, point)


@contextlib.contextmanager
def _alone(task: Task, run: Run, store: Store) -> Iterator[tuple[Database, Journal]]:
    """Give the database and the journal, with every other push of it kept out, and what earlier ones left removed."""
    cancelled = run.host.cancelled
    keys = server_keys(task, cancelled)
    journal = Journal(run.state_dir, store.url(), keys.journal)
    what = f"{task.database} on this host"
    with (
        locks.hold(keys.lock, what, task.lock_wait, cancelled),
        journal.held(what, task.lock_wait, cancelled),
        work_dir(task.temppath, keys.lock) as directory,
        open_database(task, directory, cancelled) as database,
        database.alone(task.lock_wait),
    ):
        database.observe(run.waiting)
        removal.sweep(store, task.database, journal, run)
        removal.sweep(store, task.database, Journal(run.state_dir, store.url(), keys.former), run)
        yield database, journal


def _pushed(run: Run, store: Store, manifest: Manifest, before: Sequence[str], point: str) -> dict[str, Any]:
    return result(
        run,
        changed=True,
        skipped="",
        point=point,
        store=store.url(),
        manifest=manifest.to_dict(),
        raw_bytes=manifest.raw_bytes,
        stored_bytes=manifest.stored_bytes,
        rate=round(manifest.raw_bytes / run.seconds),
        before={"points": before},
        after={"points": [*before, point]},
    )


def _warnings(task: Task, store: Store, points: Sequence[Point], point: str) -> list[str]:
    """Return what is odd about making this point now: a clock that was set back, or that of another host."""
    if task.timestamp:
        if moment(point[: len(_LONG_TIMESTAMP)], task.timezone) <= time.time() + catalogue.TOLERANCE:
            return []
        return [
            f"{store.url(point)} gets a time later than now: until then, a pull takes it only where its timestamp is "
            "given, and prune neither counts nor removes it"
        ]
    later = [found for found in points if found.state == COMPLETE and found.name > point]
    from_future = [found for found in later if found.from_future]
    newer = [found for found in later if not found.from_future]
    warnings = []
    if newer:
        warnings.append(
            f"{store.url(newer[-1].name)} is of a later time than this push: a pull takes that one, unless it is given "
            "a timestamp. Check the clocks of the hosts that push"
        )
    if from_future:
        warnings.append(
            f"{store.url(from_future[-1].name)} claims a time later than now: until that time comes, no pull takes it "
            "without being given its timestamp, and prune leaves it alone. Check the clocks of the hosts that push, "
            "and who may write to the store"
        )
    return warnings


def _new_point(task: Task) -> str:
    """Return the name of the point to make; a timestamp given to the minute means its first second."""
    timestamp = task.timestamp or now(task.timezone)
    return point_name(timestamp if len(timestamp) == len(_LONG_TIMESTAMP) else f"{timestamp}:00", task.database)


@contextlib.contextmanager
def _beginning(task: Task, run: Run, store: Store, journal: Journal, before: Sequence[str]) -> Iterator[Begun]:
    """Give a point that is this push's alone, noted in the journal; another second's where that of now is taken.

    :param before: the points that there were.
    """
    for _last in attempts([1.0] * (_TRIES - 1), run.host.cancelled, "pushing"):
        point = _new_point(task)
        why = "there is such a point already" if point in before else ""
        if not why:
            with journal.entry(
                point, secrets.token_hex(8), lambda begun: removal.remove_begun(store, begun, run)
            ) as begun:
                if claims.take(store, point, begun.entry.run, run.host.cancelled):
                    begun.claim()
                    yield begun
                    return
            why = "another host is making such a point at this moment"
        if task.timestamp:
            break
    raise EnvSyncError(f"pushing {store.url(point)}", why, "Choose another timestamp, or push again later.")


@dataclass(frozen=True)
class _Push:
    """One push that has its point: what all of its steps work with."""

    task: Task
    run: Run
    store: Store
    database: Database
    begun: Begun

    @property
    def point(self) -> str:
        return self.begun.entry.point


def _dump_and_store(this: _Push, identity: Identity, size: int, scripts: Sequence[Script]) -> Manifest:
    """Run the scripts, store the members and then the manifest, from which on there is a point.

    :param size: about how large the database is, in bytes.
    :raises NothingToDo: there turned out to be nothing to dump.
    """
    run, store = this.run, this.store
    effects: Sequence[Effect] = ()
    if scripts:
        with run.phase("running the pre-dump SQL"), Group(run.host.cancelled) as group:
            effects = this.database.prepare(scripts, group)
        for warning in guards.changed_nothing(effects, this.task.may_change_nothing):
            run.warn(warning)
    facts, members = _dump(this, size)
    facts.peak_temporary_bytes += store.peak_temporary_bytes
    for warning in facts.warnings:
        run.warn(warning)
    with run.phase("writing the manifest"):
        manifest = _manifest(this, identity, facts, members, effects)
        if isinstance(store, SelfStoring):
            store.commit(this.point)  # its server has written down what a manifest is made of
        else:
            store.put_bytes(manifest_name(this.point), manifest.to_json())
    return manifest


def _dump(this: _Push, size: int) -> tuple[DumpFacts, Sequence[Member]]:
    """Dump into the store; all of it anew where what others do at the database made that fail."""
    task, run, store, point = this.task, this.run, this.store, this.point
    cleared = True
    for attempt in itertools.count(1):
        try:
            with run.phase("dumping", bytes_total=size), Group(run.host.cancelled, task.stall_timeout) as group:
                compression = Compression(task.compression, task.compression_level)
                sink = StoreSink(group, store, point, compression, run.progress.add, this.begun.entry.run)
                facts = this.database.dump(group, sink)
            if not cleared:
                _require_only(store, point, sink.members)
            return facts, sink.members
        except DumpAgain as error:
            if attempt == _DUMPS:
                raise
            run.stop.settle()
            run.warn(f"{error.doing}: {error.why}: {error.how}")
            cleared = _make_way(store, point, run) and cleared
            if run.stop.stragglers or store.straggling(point):
                raise  # something of it may still write, under the names that the next one would have
    raise AssertionError("the last attempt returns or raises")


def _make_way(store: Store, point: str, run: Run) -> bool:
    """Take away what a failed dump has stored, before the next one stores under the same names.

    A push need not have the right to delete where that is one of its own: the next dump may overwrite all that stays.

    :returns: whether nothing stays.
    """
    try:
        removal.remove_objects(store, point)
        return True
    except EnvSyncError as error:
        if not store.delete_right:
            raise
        store.sweep(point)
        run.warn(f"objects of the dump that failed stay in {store.url(point)}: {error}")
        return False


def _require_only(store: Store, point: str, members: Sequence[Member]) -> None:
    """Raise where a point has objects that are not this dump's.

    The manifest does not have them, but who restores the point by hand takes all that is there.
    """
    own = {member.name for member in members}
    names = {found.name for found in store.list(point) if belongs(found.name, point)}
    left = sorted(name for name in names - own if not claims.is_claim(name, point))
    if left:
        raise EnvSyncError(
            f"pushing {store.url(point)}",
            f"{len(left)} objects of a dump that failed could not be removed, and the dump that followed has not "
            f"overwritten them: {', '.join(left[:5])}",
            f"Allow {store.delete_right} to this push, or push while no tables are created, altered or dropped.",
        )


def _manifest(
    this: _Push, identity: Identity, facts: DumpFacts, members: Sequence[Member], effects: Sequence[Effect]
) -> Manifest:
    task, run = this.task, this.run
    raw_bytes, stored_bytes = totals(members)
    finished = run.started + run.seconds
    return Manifest(
        tool_version=VERSION,
        dbms=identity.dbms,
        database=task.database,
        timestamp=this.point[: -len(encode(task.database)) - 1],
        environment=task.environment,
        host=socket.gethostname(),
        server={"system": identity.system, "version": identity.version, "host": identity.host},
        client_version=facts.client_version,
        format=facts.format,
        compression=task.compression,
        jobs=facts.jobs,
        started=iso_utc(run.started),
        finished=iso_utc(finished),
        raw_bytes=raw_bytes,
        stored_bytes=stored_bytes,
        members=tuple(sorted(members, key=lambda member: member.name)),
        tables=tuple(facts.tables),
        extensions=tuple(facts.extensions),
        roles=tuple(facts.roles),
        sanitised=tuple(effect.to_dict() for effect in effects),
        peak_temporary_bytes=facts.peak_temporary_bytes,
        details=facts.details,
    )
