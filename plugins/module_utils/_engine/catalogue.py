# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The points of a store: which there are, which one to take."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass, replace
from typing import Any

from .errors import EnvSyncError
from .manifest import Manifest
from .point import iso_utc, manifest_name, parse, point_name
from .stores.base import Store

COMPLETE = "complete"
INCOMPLETE = "incomplete"
LEGACY = "legacy"
UNREADABLE = "unreadable"

#: how many points a message about a wrong timestamp shows
NEAREST_SHOWN = 3


@dataclass(frozen=True)
class Point:
    """One point, as the listing of its store shows it.

    ``state`` is ``complete`` (it has a manifest), ``legacy`` (an object of the original's: it never had one) or
    ``incomplete`` (an interrupted push, never chosen); where manifests are read, also ``unreadable`` (it has one that
    is damaged, or of a newer version). ``stored_bytes`` is the size of its members in the store; ``finished`` is
    ISO 8601 in UTC, when the last object was written. ``raw_bytes`` and ``dbms`` come from the manifest and are filled
    in by :func:`with_manifest` only.
    """

    timestamp: str
    database: str
    state: str
    stored_bytes: int
    objects: tuple[str, ...]
    finished: str = ""
    raw_bytes: int = 0
    dbms: str = ""
    environment: str = ""
    sanitised: bool = False

    @property
    def name(self) -> str:
        return point_name(self.timestamp, self.database)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, without the names of the single objects."""
        values = asdict(self)
        values.pop("objects")
        return dict(values, name=self.name)


def list_points(store: Store, database: str = "", details: bool = False) -> list[Point]:
    """Return the points of ``database`` (of all databases where empty), oldest first.

    :param details: also read every manifest, for sizes before compression and the like.
    """
    objects: dict[tuple[str, str], list[tuple[str, str, int, float]]] = {}
    for found in store.list():
        name = parse(found.name)
        if name is not None and (not database or name.database == database):
            objects.setdefault((name.timestamp, name.database), []).append(
                (name.role, found.name, found.size, found.modified)
            )
    with_manifests = {key[1] for key, found in objects.items() if any(role == "manifest" for role, *_unused in found)}
    points = []
    for (timestamp, of_database), parts in sorted(objects.items()):
        roles = {role for role, *_unused in parts}
        if "manifest" in roles:
            state = COMPLETE
        elif roles == {"legacy"} and of_database not in with_manifests:
            state = LEGACY
        else:
            state = INCOMPLETE
        point = Point(
            timestamp=timestamp,
            database=of_database,
            state=state,
            stored_bytes=sum(size for role, _name, size, _modified in parts if role != "manifest"),
            objects=tuple(object_name for _role, object_name, _size, _modified in parts),
            finished=iso_utc(max(modified for *_unused, modified in parts)),
        )
        points.append(with_manifest(store, point) if details and state == COMPLETE else point)
    return points


def with_manifest(store: Store, point: Point) -> Point:
    """Return the point with what its manifest adds; without, as unreadable, where that is damaged or too new."""
    try:
        manifest = read_manifest(store, point)
    except EnvSyncError:
        return replace(point, state=UNREADABLE)
    return replace(
        point,
        raw_bytes=manifest.raw_bytes,
        dbms=manifest.dbms,
        environment=manifest.environment,
        finished=manifest.finished,
        sanitised=bool(manifest.sanitised),
    )


def read_manifest(store: Store, point: Point) -> Manifest:
    """Return the manifest of a complete point; raises when it is damaged or says that it is another point's."""
    name = manifest_name(point.name)
    manifest = Manifest.from_json(store.get_bytes(name), store.url(name))
    if (manifest.timestamp, manifest.database) != (point.timestamp, point.database):
        raise EnvSyncError(
            f"reading the manifest {store.url(name)}",
            f"it describes {manifest.timestamp}-{manifest.database}",
            "Choose another point (--list shows them).",
        )
    return manifest


def choose(store: Store, database: str, timestamp: str = "") -> Point:
    """Return the newest point of ``database``, or the one of ``timestamp`` (to the second or to the minute).

    :raises EnvSyncError: there is none; the message shows the points nearest to the timestamp.
    """
    points = list_points(store, database)
    usable = [point for point in points if point.state != INCOMPLETE]
    doing = f"choosing a point of {database} in {store.url()}"
    if not usable:
        if points:
            why = f"there are only interrupted pushes ({', '.join(p.timestamp for p in points[-NEAREST_SHOWN:])})"
        else:
            why = "there is none"
        raise EnvSyncError(doing, why, "Push the database first, or check url and path.")
    if not timestamp:
        return usable[-1]
    matching = [point for point in usable if point.timestamp.startswith(timestamp)]
    if matching:
        return matching[-1]
    if any(point.timestamp.startswith(timestamp) for point in points):
        raise EnvSyncError(
            doing, f"the push of {timestamp} was interrupted, it has no manifest", _nearest(usable, timestamp)
        )
    raise EnvSyncError(doing, f"there is none of {timestamp}", _nearest(usable, timestamp))


def _nearest(points: list[Point], timestamp: str) -> str:
    wanted = _moment(timestamp)
    nearest = sorted(points, key=lambda point: abs(_moment(point.timestamp) - wanted))[:NEAREST_SHOWN]
    return f"The nearest points are {', '.join(sorted(point.timestamp for point in nearest))}."


def _moment(timestamp: str) -> datetime.timedelta:
    form = "%Y-%m-%dT%H:%M:%S" if len(timestamp) > 16 else "%Y-%m-%dT%H:%M"
    try:
        return datetime.datetime.strptime(timestamp, form) - datetime.datetime(1970, 1, 1)
    except ValueError:
        return datetime.timedelta(0)
