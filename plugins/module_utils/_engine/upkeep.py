# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done with points that exist: verify, prune, copy, sweep."""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from . import catalogue, claims, guards, removal
from .catalogue import COMPLETE, INCOMPLETE, LEGACY, Point
from .databases import database_class
from .errors import EnvSyncError
from .host import locks
from .host.journal import Journal
from .host.progress import Host
from .members import PointSource, VerifyingReader
from .points.manifest import Manifest, Member
from .points.name import iso_utc, manifest_name, parse
from .run import Run, result, running, work_dir
from .stores import ReadableStore, Store, open_store
from .stores.dry_run import DryRunStore
from .streams.pipeline import Group
from .streams.reader import blocks
from .tasks.task import Task

#: an interrupted push that no journal here knows of may be running on another host; after this many hours it isn't
ABANDONED_HOURS = 48


def _as(task: Task, operation: str) -> Task:
    """Return the task as one of its own, so that the status of the push or pull that it is of stays as it is."""
    return replace(task, name="", action=operation)


def verify(task: Task, host: Host) -> dict[str, Any]:
    """Read a point wholly: sizes, SHA-256, and the DBMS's own tool over its contents; raise when anything is wrong."""
    with running(_as(task, "verify"), host) as run:
        store: ReadableStore = open_store(task, host.cancelled)
        store.preflight(write=False)
        point = catalogue.choose(store, task.database, task.timestamp, task.timezone, run.warn)
        run.progress.point(point.name)
        manifest = catalogue.manifest_of(store, point, task.dbms)
        if point.state != LEGACY:
            guards.same_dbms("verifying", manifest, task.dbms)
        key = f"verify {store.url()} {task.database}"
        with (
            locks.hold(key, f"the verification of {task.database}", task.lock_wait, host.cancelled),
            work_dir(task.temppath, key) as directory,
            run.phase("verifying", point.stored_bytes, len(manifest.members)),
            Group(host.cancelled) as group,
        ):
            source = PointSource(group, store, point.name, manifest, run.progress.add)
            database_class(task.dbms).verify(group, source, directory)
        run.progress.finish("done", f"{store.url(point.name)} is good")
        return result(
            run,
            changed=False,
            skipped="",
            point=point.name,
            store=store.url(),
            manifest=manifest.to_dict(),
            stored_bytes=point.stored_bytes,
            raw_bytes=manifest.raw_bytes,
        )


def prune(task: Task, host: Host, keep: int) -> dict[str, Any]:
    """Remove the oldest complete points of the task's database but for the newest ``keep``.

    Points without a manifest are not counted and not touched: the last good one can't be pushed out by bad ones. Nor
    are those that claim a time later than now, which a wrong clock or a stranger made.

    :returns: ``changed``, ``skipped``, ``store``, ``removed`` (names of points, oldest first), ``before`` and ``after``
        (the complete points), ``warnings``, ``durations`` (seconds).
    """
    _require_one(task, keep)
    with running(_as(task, "prune"), host) as run:
        return _prune(open_store(task, host.cancelled), task, run, keep)


def plan_prune(task: Task, host: Host, keep: int) -> dict[str, Any]:
    """Return what :func:`prune` would; change nothing."""
    _require_one(task, keep)
    with running(_as(task, "prune"), host, dry_run=True) as run:
        return _prune(DryRunStore(open_store(task, host.cancelled)), task, run, keep)


def _require_one(task: Task, keep: int) -> None:
    if keep < 1:
        raise EnvSyncError(f"pruning {task.database}", f"keep is {keep}", "Keep at least one point.")


def _prune(store: Store, task: Task, run: Run, keep: int) -> dict[str, Any]:
    store.preflight(write=True)
    points = catalogue.list_points(store, task.database, timezone=task.timezone)
    complete = [p for p in points if p.state == COMPLETE and not p.from_future]
    for point in points:
        if point.from_future and point.state == COMPLETE:
            run.warn(
                f"{store.url(point.name)} claims a time later than now: it is not counted, and stays. "
                f"{catalogue.WHAT_OF_FUTURE}"
            )
    doomed = complete[:-keep]
    for point in doomed:
        removal.remove_point(store, point)
    run.progress.finish("done", f"{len(doomed)} points removed")
    return result(
        run,
        changed=bool(doomed),
        skipped="" if doomed else f"there are {len(complete)} complete points",
        store=store.url(),
        removed=[point.name for point in doomed],
        before={"points": [point.name for point in complete]},
        after={"points": [point.name for point in complete[-keep:]]},
    )


@dataclass(frozen=True)
class _Copying:
    """A point on its way from one store to another: ``values`` is what the result says of it, done or planned."""

    point: Point
    manifest: Manifest
    there_already: bool
    values: dict[str, Any]


def copy(task: Task, target: Task, host: Host) -> dict[str, Any]:
    """Copy a point from the task's store to the target's, verified on both sides, the manifest last.

    A copy that fails removes what it stored, and what a killed one left is removed by the next.

    :returns: ``changed``, ``skipped``, ``point``, ``store``, ``destination``, ``manifest``, ``stored_bytes`` (where
        something is copied), ``before`` and ``after`` (the destination's complete points), ``warnings``, ``durations``.
    """
    with running(_as(task, "copy"), host) as run:
        source, destination = open_store(task, host.cancelled), open_store(target, host.cancelled)
        copying = _choose_copy(source, destination, task, run)
        if not copying.there_already:
            _copy(source, destination, copying, task, run)
        return _copied(source, destination, copying, run)


def plan_copy(task: Task, target: Task, host: Host) -> dict[str, Any]:
    """Return what :func:`copy` would; change nothing, and read no member."""
    with running(_as(task, "copy"), host, dry_run=True) as run:
        source = open_store(task, host.cancelled)
        destination = DryRunStore(open_store(target, host.cancelled))
        return _copied(source, destination, _choose_copy(source, destination, task, run), run)


def _choose_copy(source: ReadableStore, destination: ReadableStore, task: Task, run: Run) -> _Copying:
    """Choose the point to copy, and see whether the destination has it.

    :raises EnvSyncError: the point has no manifest, or the destination has another one of its name.
    """
    source.preflight(write=False)
    destination.preflight(write=True)
    point = catalogue.choose(source, task.database, task.timestamp, task.timezone, run.warn)
    run.progress.point(point.name)
    if point.state != COMPLETE:
        raise EnvSyncError(
            f"copying {source.url(point.name)}", "it has no manifest", "Only points with one are copied."
        )
    manifest = catalogue.read_manifest(source, point)
    there = {p.name for p in catalogue.list_points(destination, task.database) if p.state == COMPLETE}
    last = manifest_name(point.name)
    if point.name in there and destination.get_bytes(last) != source.get_bytes(last):
        raise EnvSyncError(
            f"copying {source.url(point.name)} to {destination.url()}",
            "there is another point of that name, or its manifest is damaged",
            "Remove that one, or copy to another path.",
        )
    values = {
        "point": point.name,
        "store": source.url(),
        "destination": destination.url(),
        "manifest": manifest.to_dict(),
        "before": {"points": sorted(there)},
        "after": {"points": sorted(there | {point.name})},
    }
    return _Copying(point, manifest, point.name in there, values)


def _copied(source: ReadableStore, destination: ReadableStore, copying: _Copying, run: Run) -> dict[str, Any]:
    where = destination.url(copying.point.name)
    if copying.there_already:
        run.progress.finish("done", "nothing to do")
        return result(run, changed=False, skipped=f"{where} is there already", **copying.values)
    run.progress.finish("done", f"copied to {where}")
    return result(run, changed=True, skipped="", stored_bytes=copying.point.stored_bytes, **copying.values)


def _copy(source: ReadableStore, destination: Store, copying: _Copying, task: Task, run: Run) -> None:
    """Copy the members, then the manifest; the destination is locked against other copies from this host meanwhile."""
    name = copying.point.name
    stop = run.host.cancelled
    key = f"copy {destination.url()} {task.database}"
    journal = Journal(run.state_dir, destination.url(), key)
    what = f"copies of {task.database}"
    with (
        locks.hold(key, what, task.lock_wait, stop),
        journal.held(what, task.lock_wait, stop),
        run.phase("copying", copying.point.stored_bytes, len(copying.manifest.members)),
    ):
        removal.sweep(destination, task.database, journal, run)
        remove = functools.partial(removal.remove_begun, destination, run=run)
        with journal.entry(name, secrets.token_hex(8), remove) as begun:
            if not claims.take(destination, name, begun.entry.run, stop):
                raise EnvSyncError(
                    f"copying {source.url(name)} to {destination.url()}",
                    "another host is making a point of that name there",
                    "Wait for it to end. What a killed copy left, operation sweep removes after two days.",
                )
            begun.claim()
            _copy_members(source, destination, copying.manifest, task.worker_count + 2, run)
            destination.put_bytes(manifest_name(name), source.get_bytes(manifest_name(name)))
            claims.give(destination, name, begun.entry.run)


def _copy_members(source: ReadableStore, destination: Store, manifest: Manifest, at_once: int, run: Run) -> None:
    """Copy the members, each of them read back from the destination before it counts.

    That they are the point's own was checked when the manifest was read: no name of another point is written.
    """

    def copy_one(member: Member) -> None:
        with contextlib.closing(VerifyingReader(source, member)) as reader:
            destination.put(member.name, reader, member.size)
        with contextlib.closing(VerifyingReader(destination, member)) as reader:
            for _block in blocks(reader):
                pass
        run.progress.add(member.size, 1)

    def copy_all(members: Iterator[Member]) -> None:
        for member in members:
            copy_one(member)

    with Group(run.host.cancelled) as group:
        group.each(copy_all, manifest.members, at_once)


def sweep(task: Task, host: Host) -> dict[str, Any]:
    """Remove interrupted pushes of the task's database that are older than two days.

    A younger one may be running on another host; those begun on this host go with the next push anyway. What the legacy
    script may have stored is left alone: it is not a point of ours, but nothing else has that data.

    :returns: ``changed``, ``skipped``, ``store``, ``removed`` (names of points), ``warnings``, ``durations`` (seconds).
    """
    with running(_as(task, "sweep"), host) as run:
        return _sweep(open_store(task, host.cancelled), task, run)


def plan_sweep(task: Task, host: Host) -> dict[str, Any]:
    """Return what :func:`sweep` would; change nothing."""
    with running(_as(task, "sweep"), host, dry_run=True) as run:
        return _sweep(DryRunStore(open_store(task, host.cancelled)), task, run)


def _sweep(store: Store, task: Task, run: Run) -> dict[str, Any]:
    store.preflight(write=True)
    doomed = _abandoned(store, task.database, iso_utc(run.started - ABANDONED_HOURS * 3600))
    for point, objects in doomed.items():
        store.delete(objects)
        store.sweep(point)
    run.progress.finish("done", f"{len(doomed)} interrupted pushes removed")
    return result(
        run,
        changed=bool(doomed),
        skipped="" if doomed else "there are no old interrupted pushes",
        store=store.url(),
        removed=sorted(doomed),
    )


def _abandoned(store: ReadableStore, database: str, limit: str) -> dict[str, tuple[str, ...]]:
    """Return the points whose push ended before ``limit`` (ISO 8601) with no manifest, each with its objects.

    One that was killed in its first member has none, but an upload that was begun.
    """
    points = catalogue.list_points(store, database)
    there = {point.name for point in points}
    found = {
        point.name: point.objects
        for point in points
        if point.state == INCOMPLETE and point.finished < limit and not _may_be_legacy(point)
    }
    for begun in store.begun():
        name = parse(begun.name)
        if name is None or name.database != database or name.point in there:
            continue
        if iso_utc(begun.modified) < limit:
            found[name.point] = ()
    return found


def _may_be_legacy(point: Point) -> bool:
    """Say whether a point is one object, named as the legacy script names its dumps."""
    found = [parse(name) for name in point.objects]
    return all(name is not None and name.role == "legacy" for name in found)
