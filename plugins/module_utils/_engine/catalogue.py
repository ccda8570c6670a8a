# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The points of a store: which there are, which one to take, how old it is.

A point's name says when it was made, and that is only a claim: a host's clock may be wrong, and whoever may write to
the store may write any name. So a point that claims a time later than now is shown as such, and nothing chooses, keeps
or counts it, unless somebody gives its very timestamp.
"""

from __future__ import annotations

import datetime
import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Callable

from .databases import database_class
from .errors import EnvSyncError, NoPoint
from .points.manifest import Manifest, Member
from .points.name import TIMESTAMP_FORM, iso_utc, manifest_name, moment, parse, point_name
from .stores.base import ReadableStore

COMPLETE = "complete"
INCOMPLETE = "incomplete"
LEGACY = "legacy"
UNREADABLE = "unreadable"

#: how far the clocks of two hosts may be apart, in seconds
TOLERANCE = 15 * 60

#: all offsets of local times from UTC that there are, and what they are multiples of, in seconds
_OFFSETS = (-12 * 3600, 14 * 3600)
_OFFSET_STEP = 15 * 60

WHAT_OF_FUTURE = (
    "Check the clocks of the hosts that push, and who may write to the store; where pushes use local time, set "
    "timezone to local."
)

#: how many points a message about a wrong timestamp shows
NEAREST_SHOWN = 3


@dataclass(frozen=True)
class Point:
    """One point, as the listing of its store shows it.

    ``state`` is ``complete`` (it has a manifest), ``legacy`` (an object of the legacy script, which wrote none) or
    ``incomplete`` (an interrupted push, never chosen); where manifests are read, also ``unreadable`` (it has one that
    is damaged, or of a newer version). ``from_future`` says that it claims a time later than now. ``stored_bytes`` is
    the size of its members in the store; ``finished`` is ISO 8601 in UTC, when the last object was written.
    ``raw_bytes`` and ``dbms`` come from the manifest and are filled
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
    from_future: bool = False

    @property
    def name(self) -> str:
        return point_name(self.timestamp, self.database)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, without the names of the single objects."""
        values = asdict(self)
        values.pop("objects")
        return dict(values, name=self.name)


def list_points(store: ReadableStore, database: str = "", details: bool = False, timezone: str = "utc") -> list[Point]:
    """Return the points of ``database`` (of all databases where empty), oldest first.

    :param details: also read every manifest, for sizes before compression and the like.
    :param timezone: what the timestamps are in, ``utc`` or ``local`` (this host's).
    """
    now = time.time()
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
        point = replace(point, from_future=_from_future(store, point, timezone, now))
        points.append(with_manifest(store, point) if details and state == COMPLETE else point)
    return points


def _from_future(store: ReadableStore, point: Point, timezone: str, now: float) -> bool:
    """Say whether a point claims a time later than now.

    One whose name does may be of a host whose local time is ahead of ours: its manifest, which says in UTC when it was
    made, is read only then.
    """
    try:
        if moment(point.timestamp, timezone) <= now + TOLERANCE:
            return False
        if point.state != COMPLETE:
            return True
        return made(point.timestamp, read_manifest(store, point), timezone) > now + TOLERANCE
    except (ValueError, OverflowError):  # no such day
        return True
    except EnvSyncError:  # no manifest that could say otherwise
        return True


def made(timestamp: str, manifest: Manifest | None, timezone: str = "utc") -> float:
    """Return when a point was made, in seconds since the epoch.

    Its timestamp says so, in UTC or in the local time of the host that pushed: in which shows by the manifest, where it
    has one, as the timestamp is from between the start and the end of the push. Where it is from neither (a push that
    was given another timestamp), and without a manifest, ``timezone`` says what it is in.
    """
    if manifest is not None and manifest.started:
        stated = moment(timestamp)
        started, finished = moment(manifest.started.rstrip("Z")), moment(manifest.finished.rstrip("Z"))
        offset = (stated - started) // _OFFSET_STEP * _OFFSET_STEP
        for utc in (stated, stated - offset):
            ahead = stated - utc
            if started - 1 <= utc <= finished + 1 and _OFFSETS[0] <= ahead <= _OFFSETS[1]:
                return utc
    return moment(timestamp, timezone)


def age(point: Point, manifest: Manifest | None, timezone: str = "utc") -> int:
    """Return how old a point is, in seconds; 0 for one that claims to be from the future."""
    return max(0, round(time.time() - made(point.timestamp, manifest, timezone)))


def with_manifest(store: ReadableStore, point: Point) -> Point:
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


def read_manifest(store: ReadableStore, point: Point) -> Manifest:
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


def manifest_of(store: ReadableStore, point: Point, dbms: str) -> Manifest:
    """Return the point's manifest; for a legacy point, which has none, what its name and size say.

    :param dbms: what the legacy point is of: its name does not say.
    :raises EnvSyncError: the manifest is damaged, or another point's.
    """
    if point.state != LEGACY:
        return read_manifest(store, point)
    form, compression = database_class(dbms).legacy
    return Manifest(
        tool_version="",
        dbms="",
        database=point.database,
        timestamp=point.timestamp,
        environment="",
        host="",
        server={},
        client_version="",
        format=form,
        compression=compression,
        jobs=1,
        started="",
        finished=point.finished,
        raw_bytes=0,
        stored_bytes=point.stored_bytes,
        members=(Member(point.objects[0], point.stored_bytes, "", point.stored_bytes),),
    )


def choose(
    store: ReadableStore,
    database: str,
    timestamp: str = "",
    timezone: str = "utc",
    warn: Callable[[str], None] = lambda text: None,
) -> Point:
    """Return the newest point of ``database``, or the one of ``timestamp`` (to the second or to the minute).

    One that claims a time later than now is taken only where ``timestamp`` names it.

    :param warn: takes a line about a point from the future, whether passed over or taken.
    :raises EnvSyncError: there is none; the message shows the points nearest to the timestamp.
    """
    points = list_points(store, database, timezone=timezone)
    usable = [point for point in points if point.state != INCOMPLETE]
    doing = f"choosing a point of {database} in {store.url()}"
    if not usable:
        if points:
            why = f"there are only interrupted pushes ({', '.join(p.timestamp for p in points[-NEAREST_SHOWN:])})"
        else:
            why = "there is none"
        raise NoPoint(doing, why, "Push the database first, or check url and path.")
    if not timestamp:
        return _newest(usable, doing, warn)
    matching = [point for point in usable if point.timestamp.startswith(timestamp)]
    if matching:
        if matching[-1].from_future:
            warn(f"{matching[-1].name} claims a time later than now, and is taken because its timestamp was given")
        return matching[-1]
    if any(point.timestamp.startswith(timestamp) for point in points):
        raise EnvSyncError(
            doing, f"the push of {timestamp} was interrupted, it has no manifest", _nearest(usable, timestamp)
        )
    raise EnvSyncError(doing, f"there is none of {timestamp}", _nearest(usable, timestamp))


def _newest(usable: list[Point], doing: str, warn: Callable[[str], None]) -> Point:
    """Return the newest point that does not claim a time later than now; tell of those that do."""
    later = [point for point in usable if point.from_future]
    sure = [point for point in usable if not point.from_future]
    shown = ", ".join(point.timestamp for point in later[-NEAREST_SHOWN:])
    if not sure:
        raise EnvSyncError(
            doing,
            f"there are only points that claim a time later than now ({shown})",
            f"{WHAT_OF_FUTURE} To take one all the same, give its timestamp.",
        )
    if later:
        passed = "1 point is" if len(later) == 1 else f"{len(later)} points are"
        warn(f"{passed} passed over, with a time later than now ({shown}). {WHAT_OF_FUTURE}")
    return sure[-1]


def _nearest(points: list[Point], timestamp: str) -> str:
    wanted = _moment(timestamp)
    nearest = sorted(points, key=lambda point: abs(_moment(point.timestamp) - wanted))[:NEAREST_SHOWN]
    return f"The nearest points are {', '.join(sorted(point.timestamp for point in nearest))}."


def _moment(timestamp: str) -> datetime.timedelta:
    form = TIMESTAMP_FORM if len(timestamp) > 16 else "%Y-%m-%dT%H:%M"
    try:
        return datetime.datetime.strptime(timestamp, form) - datetime.datetime(1970, 1, 1)
    except ValueError:
        return datetime.timedelta(0)
