# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pull: restore a point into a scratch database, sanitise and check it there, and only then swap it in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from . import catalogue, guards
from .catalogue import LEGACY, Point
from .databases import Database, database_class, open_database, server_keys
from .databases.base import Plan
from .databases.lease import LockLost
from .errors import Cancelled, EnvSyncError
from .host import locks
from .host.progress import Host
from .members import PointSource
from .points.manifest import Manifest
from .points.name import how_long
from .points.scripts import Effect, Script, read_scripts
from .run import Run, nothing_to_do, result, running, work_dir
from .stores import ReadableStore, open_store
from .streams.pipeline import Group
from .tasks import policy
from .tasks.task import Task


def plan(task: Task, host: Host) -> dict[str, Any]:
    """Say what a pull would do; check what can be checked; change nothing."""
    rules = policy.read_policy()
    task = rules.apply(task)
    scripts = read_scripts(task.transformation_sql)
    store: ReadableStore = open_store(task, host.cancelled)
    store.preflight(write=False)
    warnings: list[str] = []
    point = catalogue.choose(store, task.database, task.timestamp, task.timezone, warnings.append)
    manifest = catalogue.manifest_of(store, point, task.dbms)
    age = _age(point, manifest, task)
    policy.check_point(task, manifest, age, f"pulling {store.url(point.name)}")
    with open_database(task, None, host.cancelled) as database:
        prepared = _preflight(task, manifest, database)
        database.check_scripts(scripts)
        place = database.place
    if prepared.skip:
        return {"changed": False, "skipped": prepared.skip, "point": point.name, "store": store.url(), "steps": []}
    steps = [f"read {store.url(point.name)}", *prepared.steps]
    steps += [f"run {script} on the scratch database" for script in task.transformation_sql]
    steps.append("check the scratch database")
    if prepared.replaces is None:
        steps.append(f"create {task.database} on {place} from it")
    else:
        kept = "keep" if task.old_database == "keep" else "drop"
        steps.append(f"swap it in as {task.database} on {place}, and {kept} what is there now")
    return {
        "changed": True,
        "skipped": "",
        "point": point.name,
        "store": store.url(),
        "manifest": manifest.to_dict(),
        "point_age_seconds": age,
        "database": task.database,
        "replaces": prepared.replaces,
        "steps": steps,
        "warnings": [*warnings, *prepared.warnings],
        "policy": rules.lines(),
        "before": {"database": prepared.replaces},
        "after": {"database": {"point": point.name}},
    }


def pull(task: Task, host: Host) -> dict[str, Any]:
    """Restore a point under the task's database.

    The live database serves, untouched, until the swap; whatever fails before that leaves it as it is.

    :returns: ``changed``, ``point``, ``store``, ``manifest``, ``point_age_seconds``, ``database``, ``replaced`` (what
        was under the name, or None), ``kept`` (the name that it has now, or empty), ``name_away_seconds``,
        ``sanitised``, ``raw_bytes``, ``stored_bytes``, ``rate`` (bytes before compression a second), ``durations``
        (seconds), ``warnings``.
    """
    with running(task, host) as run:
        task = policy.read_policy().apply(task)
        scripts = read_scripts(task.transformation_sql)
        store: ReadableStore = open_store(task, host.cancelled)
        store.prepare(write=False)
        point = catalogue.choose(store, task.database, task.timestamp, task.timezone, run.warn)
        run.progress.point(point.name)
        manifest = catalogue.manifest_of(store, point, task.dbms)
        age = _age(point, manifest, task)
        policy.check_point(task, manifest, age, f"pulling {store.url(point.name)}")
        host.log("info", f"taking {store.url(point.name)}, which is {how_long(age)} old")
        with _alone(task, run) as (database, directory):
            prepared = _preflight(task, manifest, database)
            if prepared.skip:
                return nothing_to_do(run, prepared.skip, point=point.name, store=store.url())
            database.check_scripts(scripts)
            for warning in prepared.warnings:
                run.warn(warning)
            if point.state == LEGACY:
                _verify_legacy(run, task.dbms, store, point, manifest, directory)
            try:
                _restore(run, database, store, point, manifest)
                effects = _sanitise(task, run, database, scripts, manifest)
                checked = _check(run, database)
                with run.phase("swapping"):
                    swapped = dict(database.swap(keep_old=task.old_database == "keep"))
            except BaseException as error:
                _discard(database, task, host, error)
                raise
        _finish(run, task.database, point, swapped)
        raw_bytes = manifest.raw_bytes or point.stored_bytes
        return result(
            run,
            changed=True,
            skipped="",
            point=point.name,
            store=store.url(),
            manifest=manifest.to_dict(),
            point_age_seconds=age,
            database=task.database,
            replaced=prepared.replaces,
            sanitised=[effect.to_dict() for effect in effects],
            raw_bytes=raw_bytes,
            stored_bytes=point.stored_bytes,
            rate=round(raw_bytes / run.seconds),
            before={"database": prepared.replaces},
            after={"database": {"point": point.name, **checked}},
            **swapped,
        )


@contextlib.contextmanager
def _alone(task: Task, run: Run) -> Iterator[tuple[Database, str]]:
    """Give the database, every other run on it kept out and what interrupted pulls left removed, and a directory."""
    cancelled = run.host.cancelled
    key = server_keys(task, cancelled).lock
    with (
        locks.hold(key, f"{task.database} on this host", task.lock_wait, cancelled),
        work_dir(task.temppath, key) as directory,
        open_database(task, directory, cancelled) as database,
        database.alone(task.lock_wait),
        database.exclusive(),
    ):
        database.observe(run.waiting)
        for left in database.sweep():
            run.host.log("info", f"removed what an interrupted pull left: {left}")
        yield database, directory


def _finish(run: Run, database: str, point: Point, swapped: dict[str, Any]) -> None:
    """Say that the pull is done; what the swap warns of is taken out of ``swapped``."""
    for warning in swapped.pop("warnings", ()):
        run.warn(warning)
    away = f"was away for {swapped['name_away_seconds']} s" if swapped["name_away_seconds"] else "was never away"
    message = f"{database} now serves {point.name}; its name {away}"
    run.progress.finish("done", message, {"stored_bytes": point.stored_bytes})


def _discard(database: Database, task: Task, host: Host, error: BaseException) -> None:
    """Drop what a pull that failed has restored.

    :raises LockLost: that is another run's to do, and why the pull failed.
    """
    try:
        with host.stop.cleaning(f"the scratch database of {task.database}"):
            database.discard()
    except EnvSyncError as left:
        # Anything else is noted for the next run.
        if isinstance(left, LockLost) and not isinstance(error, (Cancelled, LockLost)):
            raise left from error


def _age(point: Point, manifest: Manifest, task: Task) -> int:
    """Return how old the point is, in seconds."""
    return catalogue.age(point, None if point.state == LEGACY else manifest, task.timezone)


def _preflight(task: Task, manifest: Manifest, database: Database) -> Plan:
    legacy = not manifest.dbms
    if not legacy:
        guards.same_dbms("pulling", manifest, task.dbms)
        guards.not_the_source(manifest, database.identity(), task.database, task.allow_restore_to_source)
    guards.sanitised(task, manifest)
    return database.preflight_restore(None if legacy else manifest)


def _verify_legacy(run: Run, dbms: str, store: ReadableStore, point: Point, manifest: Manifest, directory: str) -> None:
    """Read all of an object that has no manifest: nothing else tells whether it is whole."""
    try:
        with run.phase("verifying", bytes_total=point.stored_bytes), Group(run.host.cancelled) as group:
            source = PointSource(group, store, point.name, manifest, run.progress.add)
            database_class(dbms).verify(group, source, directory)
    except Cancelled:
        raise
    except EnvSyncError as error:
        raise EnvSyncError(
            f"verifying {store.url(point.objects[0])}", f"it is damaged ({error})", "Choose another point (--list)."
        ) from error


def _restore(run: Run, database: Database, store: ReadableStore, point: Point, manifest: Manifest) -> None:
    with run.phase("restoring", point.stored_bytes, len(manifest.members)), Group(run.host.cancelled) as group:
        restored = database.restore(group, PointSource(group, store, point.name, manifest, run.progress.add))
    for warning in restored.get("warnings", ()):
        run.warn(warning)


def _sanitise(
    task: Task, run: Run, database: Database, scripts: Sequence[Script], manifest: Manifest
) -> Sequence[Effect]:
    """Run the scripts in the scratch database, and leave nothing there that shows what they changed."""
    if not scripts:
        return ()
    with run.phase("sanitising"), Group(run.host.cancelled) as group:
        effects = database.sanitise(scripts, group)
    for effect in effects:
        run.host.log("info", effect.sentence)
    for warning in guards.changed_nothing(effects, task.may_change_nothing):
        run.warn(warning)
    guards.sanitised_something(task, effects, manifest)
    with run.phase("rewriting"), Group(run.host.cancelled) as group:
        for warning in database.purge(effects, group):
            run.warn(warning)
    return effects


def _check(run: Run, database: Database) -> dict[str, Any]:
    with run.phase("checking"), Group(run.host.cancelled) as group:
        return dict(database.check(group))
