# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names of points in a store.

A point is called ``<timestamp>-<database>``. Its only member adds a suffix to that name, or its several members are
below that name and a slash; its manifest is ``<timestamp>-<database>.manifest.json``. All names are relative to the
store's path.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

MANIFEST_SUFFIX = ".manifest.json"

#: what the legacy script wrote: one object, no manifest
LEGACY_SUFFIX = ".gz"

#: the only member of a point of ours, before the compression's suffix
SINGLE_SUFFIX = ".dump"

_SINGLE_SUFFIXES = (SINGLE_SUFFIX, SINGLE_SUFFIX + ".zst")

#: how a timestamp is written, as ``strftime`` has it
TIMESTAMP_FORM = "%Y-%m-%dT%H:%M:%S"

_NAME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})-(.+)\Z", re.DOTALL | re.ASCII)


def encode(database: str) -> str:
    """Return the database's name as it stands in object names: a slash would read as a folder."""
    return database.replace("%", "%25").replace("/", "%2F")


def decode(name: str) -> str:
    """Return the database's name that :func:`encode` made ``name`` of."""
    return name.replace("%2F", "/").replace("%25", "%")


def point_name(timestamp: str, database: str) -> str:
    """Return the name of the point; ``timestamp`` is to the second."""
    return f"{timestamp}-{encode(database)}"


def manifest_name(point: str) -> str:
    """Return the name of a point's manifest."""
    return point + MANIFEST_SUFFIX


def belongs(name: str, point: str) -> bool:
    """Say whether an object of that name is the point's own: its manifest, its only member, or one of several.

    The names of other databases' points may begin like this one's; and a name with ``..``, an empty part or a control
    character is no point's, wherever it leads.
    """
    if not name.startswith(point):
        return False
    tail = name[len(point) :]
    if any(ord(character) < 32 or ord(character) == 127 for character in tail):
        return False
    if tail.startswith("/"):
        return not {"", ".", ".."} & set(tail[1:].split("/"))
    return tail in (MANIFEST_SUFFIX, LEGACY_SUFFIX, *_SINGLE_SUFFIXES)


def now(timezone: str = "utc") -> str:
    """Return the present as a timestamp, in UTC or in the host's local time (``local``, as the original has it)."""
    moment = datetime.datetime.now(datetime.timezone.utc)
    if timezone == "local":
        moment = moment.astimezone()
    return moment.strftime(TIMESTAMP_FORM)


def moment(timestamp: str, timezone: str = "utc") -> float:
    """Return a timestamp (to the second) as seconds since the epoch, read in UTC or in this host's local time.

    :raises ValueError: there is no such time.
    """
    read = datetime.datetime.strptime(timestamp, TIMESTAMP_FORM)
    if timezone == "local":
        return read.astimezone().timestamp()
    return read.replace(tzinfo=datetime.timezone.utc).timestamp()


def how_long(seconds: float) -> str:
    """Return seconds as people say them: ``12 ms``, ``3.4 s``, ``2 min 05 s``, ``1 h 20 min``, ``3 days 4 h``."""
    if 0 < seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.0f} s" if seconds == int(seconds) else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    if minutes <= 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // 1440} days {minutes // 60 % 24} h"


def iso_utc(seconds: float) -> str:
    """Return the moment ``seconds`` after the epoch as ISO 8601 in UTC, to the second."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime(TIMESTAMP_FORM + "Z")


@dataclass(frozen=True)
class ObjectName:
    """What an object's name says: which point it belongs to, and as what.

    ``role`` is ``manifest``, ``member`` or ``legacy`` (one object, as the original names it; also the form of a
    single member that the original can read).
    """

    timestamp: str
    database: str
    role: str

    @property
    def point(self) -> str:
        return point_name(self.timestamp, self.database)


def parse(name: str) -> ObjectName | None:
    """Return what the object ``name`` is to a point, or None when it belongs to none."""
    match = _NAME.match(name)
    if not match:
        return None
    timestamp, rest = match.groups()
    if "/" in rest:
        return ObjectName(timestamp, decode(rest.split("/", 1)[0]), "member")
    if rest.endswith(MANIFEST_SUFFIX):
        return ObjectName(timestamp, decode(rest[: -len(MANIFEST_SUFFIX)]), "manifest")
    for suffix in _SINGLE_SUFFIXES:
        if rest.endswith(suffix):
            return ObjectName(timestamp, decode(rest[: -len(suffix)]), "member")
    if rest.endswith(LEGACY_SUFFIX):
        return ObjectName(timestamp, decode(rest[: -len(LEGACY_SUFFIX)]), "legacy")
    return None
