# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Push: dump a database, store it, and say so in a manifest when every byte of it is known to be good."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Any

from . import catalogue, guards, locks, policy
from .catalogue import COMPLETE, Point
from .databases import Database, open_database, server_key
from .databases.base import DumpFacts, Identity
from .errors import EnvSyncError, NothingToDo
from .journal import Journal
from .manifest import Manifest, totals
from .members import StoreSink
from .pipeline import Group
from .point import belongs, encode, iso_utc, manifest_name, moment, now, point_name
from .progress import Host
from .run import Run, nothing_to_do, result, running, work_dir
from .scripts import Effect, Script, read_scripts
from .stopping import pause
from .stores import Store, open_store
from .task import Task
from .version import VERSION

_LONG_TIMESTAMP = "YYYY-MM-DDTHH:MM:SS"


def plan(task: Task, host: Host) -> dict[str, Any]:
    """Say what a push would do; check what can be checked; change nothing."""
    rules = policy.read_policy()
    task = rules.apply(task)
    scripts = read_scripts(task.pre_dump_transformation_sql)
    store = open_store(task, host.cancelled)
    store.preflight(write=True)
    with open_database(task, None, host.cancelled) as database:
        identity = database.identity()
        facts = database.preflight_dump()
        database.check_scripts(scripts)
    if facts.get("skip"):
        return {"changed": False, "skipped": str(facts["skip"]), "point": "", "store": store.url(), "steps": []}
    point = _new_point(task)
    points = catalogue.list_points(store, task.database, timezone=task.timezone)
    before = [found.name for found in points]
    steps = [f"run {script} on {task.database} itself" for script in task.pre_dump_transformation_sql]
    steps.append(f"dump {task.database} from {identity.host} ({identity.dbms} {identity.version})")
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
        key = server_key(task)
        with (
            locks.hold(key, f"{task.database} on this host", task.lock_wait, host.cancelled),
            work_dir(task.temppath, key) as directory,
            open_database(task, directory, host.cancelled) as database,
        ):
            identity = database.identity()
            journal = Journal(run.state_dir, store.url(), key)
            sweep(store, task.database, journal, run)
            points = catalogue.list_points(store, task.database, timezone=task.timezone)
            before = [found.name for found in points]
            # After the listing: a point that another host begins in between is a reason to skip, and no clash.
            facts = database.preflight_dump()
            if facts.get("skip"):
                return nothing_to_do(run, str(facts["skip"]), point="", store=store.url())
            database.check_scripts(scripts)
            point = _new_point(task)
            if point in before and not task.timestamp:
                pause(1.0, host.cancelled, "pushing")  # the last push is of this very second
                point = _new_point(task)
            if point in before:
                raise EnvSyncError(
                    f"pushing {store.url(point)}", "there is such a point already", "Choose another timestamp."
                )
            for warning in (*facts.get("warnings", ()), *_warnings(task, store, points, point)):
                run.warn(warning)
            run.progress.point(point)
            with journal.entry(point, lambda: remove(store, point, run)):
                try:
                    manifest = _dump_and_store(
                        task, run, database, store, point, identity, int(facts["size_bytes"]), scripts
                    )
                except NothingToDo as found:
                    return nothing_to_do(run, str(found), point="", store=store.url())
            run.progress.finish("done", f"stored {store.url(point)}", {"stored_bytes": manifest.stored_bytes})
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
    """Return the name of the point to make; of a minute that was asked for, it is the first second."""
    timestamp = task.timestamp or now(task.timezone)
    return point_name(timestamp if len(timestamp) == len(_LONG_TIMESTAMP) else f"{timestamp}:00", task.database)


def _dump_and_store(
    task: Task,
    run: Run,
    database: Database,
    store: Store,
    point: str,
    identity: Identity,
    size: int,
    scripts: Sequence[Script],
) -> Manifest:
    effects: Sequence[Effect] = ()
    if scripts:
        with run.phase("running the pre-dump SQL"), Group(run.host.cancelled) as group:
            effects = database.prepare(scripts, group)
        for warning in guards.changed_nothing(effects, task.may_change_nothing):
            run.warn(warning)
    with run.phase("dumping", bytes_total=size), Group(run.host.cancelled, task.stall_timeout) as group:
        sink = StoreSink(group, store, point, task.compression, task.compression_level, run.progress.add)
        facts = database.dump(group, sink)
    facts.peak_temporary_bytes += store.peak_temporary_bytes
    for warning in facts.warnings:
        run.warn(warning)
    with run.phase("writing the manifest"):
        manifest = _manifest(task, run, identity, point, facts, sink, effects)
        store.put_bytes(manifest_name(point), manifest.to_json())
    return manifest


def _manifest(
    task: Task,
    run: Run,
    identity: Identity,
    point: str,
    facts: DumpFacts,
    sink: StoreSink,
    effects: Sequence[Effect],
) -> Manifest:
    raw_bytes, stored_bytes = totals(sink.members)
    finished = run.started + run.seconds
    return Manifest(
        tool_version=VERSION,
        dbms=identity.dbms,
        database=task.database,
        timestamp=point[: -len(encode(task.database)) - 1],
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
        members=tuple(sorted(sink.members, key=lambda member: member.name)),
        tables=tuple(facts.tables),
        extensions=tuple(facts.extensions),
        roles=tuple(facts.roles),
        sanitised=tuple(effect.to_dict() for effect in effects),
        peak_temporary_bytes=facts.peak_temporary_bytes,
        details=facts.details,
    )


def remove(store: Store, point: str, run: Run) -> list[str] | None:
    """Take away all that belongs to a point without a manifest, and return what that was; None where it could not be.

    Never raises, as it runs when something failed.
    """
    left = f"what is left of {store.url(point)}"
    try:
        with run.stop.cleaning(left):
            run.stop.settle()
            names = [found.name for found in store.list(point) if belongs(found.name, point)]
            # The manifest goes first: from then on the point is no point, whatever happens next.
            store.delete([name for name in names if name == manifest_name(point)])
            store.delete(names)
            # Last, as it takes a right (to list unfinished uploads) that nothing else here needs.
            removed = store.sweep(point)
            if run.stop.stragglers:
                raise EnvSyncError(
                    f"removing {left}", "something that did not end in time may still write to it", "Push again."
                )
        return removed + [store.url(name) for name in names]
    except EnvSyncError as error:
        run.warn(f"{left} could not be removed: {error}")
        return None


def sweep(store: Store, database: str, journal: Journal, run: Run) -> None:
    """Remove what a killed push of this database left: it is in the journal, and has no manifest."""
    for point in journal.unfinished():
        if store.stat(manifest_name(point)) is None:
            removed = remove(store, point, run)
            if removed is None:
                continue
            if removed:
                run.host.log(
                    "info", f"removed what an interrupted push left: {store.url(point)}, {len(removed)} objects"
                )
        journal.clear(point)
