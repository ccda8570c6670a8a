# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Removal of points: all of one, or what an interrupted push or copy has left of it.

The manifest goes first: without one there is no point, so an interruption of the removal leaves none that is broken.
"""

from __future__ import annotations

from . import claims
from .catalogue import Point
from .errors import EnvSyncError
from .host.journal import Begun, Entry, Journal
from .points.name import belongs, manifest_name, parse
from .run import Run
from .stores.base import Store


def remove_point(store: Store, point: Point) -> None:
    """Remove a point with all its objects.

    :raises EnvSyncError: the store refused.
    """
    _delete(store, point.name, list(point.objects))


def _delete(store: Store, point: str, names: list[str]) -> None:
    """Delete a point's objects, its manifest first, whatever happens next."""
    manifest = manifest_name(point)
    store.delete([name for name in names if name == manifest])
    store.delete([name for name in names if name != manifest])


def remove_begun(store: Store, begun: Begun, run: Run) -> list[str] | None:
    """Remove what this very run has left, as :func:`remove_unfinished` does; note what may still write to it."""
    removed = remove_unfinished(store, begun.entry, run)
    if run.stop.stragglers or store.straggling(begun.entry.point):
        begun.straggle()
    return removed


def remove_unfinished(store: Store, entry: Entry, run: Run) -> list[str] | None:
    """Remove all that a push without a manifest has left.

    What another run's push has of the same name stays. Never raises, as it runs when something failed.

    :returns: what was removed, for people to read (URLs, unfinished uploads); None where it could not be removed.
    """
    point = entry.point
    left = f"what is left of {store.url(point)}"
    try:
        with run.stop.cleaning(left):
            run.stop.settle()
            removed = _remove_own(store, entry)
            if run.stop.stragglers or store.straggling(point):
                raise EnvSyncError(
                    f"removing {left}", "something that did not end in time may still write to it", "Push again."
                )
        return removed
    except EnvSyncError as error:
        run.warn(f"{left} could not be removed: {error}")
        return None


def _remove_own(store: Store, entry: Entry) -> list[str]:
    point = entry.point
    claim = claims.claim_name(point, entry.run) if store.claims and entry.run else ""
    if not entry.claimed:
        if claim:
            store.unclaim(claim)
        return []
    if not store.made_by(point, entry.run):
        return []
    removed = remove_objects(store, point)
    if claim:
        store.unclaim(claim)
    return removed


def remove_objects(store: Store, point: str) -> list[str]:
    """Remove all of a point but the claims to it, which go last; return what there was, for people to read.

    :raises EnvSyncError: the store refused.
    """
    names = [found.name for found in store.list(point) if belongs(found.name, point)]
    _delete(store, point, [name for name in names if not claims.is_claim(name, point)])
    # After these, as it takes a right (to list unfinished uploads) that nothing else here needs.
    return store.sweep(point) + [store.url(name) for name in names]


def sweep(store: Store, database: str, journal: Journal, run: Run) -> None:
    """Remove what killed and failed pushes of this database left: it is in the journal, and has no manifest.

    The caller holds the journal's lock: none of them is at work. Something of one that gave up may still write: that
    entry stays until its process is gone.
    """
    for entry in journal.unfinished():
        point = entry.point
        noted = parse(manifest_name(point))
        if noted is None or (noted.point, noted.database) != (point, database):
            continue  # not a note of ours: others than root may write to the journal's folder
        if not entry.claimed or store.stat(manifest_name(point)) is None:
            removed = remove_unfinished(store, entry, run)
            if removed is None:
                continue
            if removed:
                run.host.log(
                    "info", f"removed what an interrupted push left: {store.url(point)}, {len(removed)} objects"
                )
            if entry.may_write():
                continue
        journal.clear(point)
