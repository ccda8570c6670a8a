# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The manifest of a point: what was stored, written last. A point without one is not a point.

The format is JSON, ``manifest_version`` 1; docs/reference/manifest.md describes every key. Whoever may write to a store
may write a manifest, so what one says is checked here, where it is read, by :mod:`.manifest_rules`: nothing behind this
module has to doubt a type, a name or a size again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import EnvSyncError
from . import rules
from .rules import Fault

VERSION = 1

#: a manifest with more bytes than this is not read, in bytes; one of 100,000 tables has a quarter of it
LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True)
class Member:
    """One stored object of a point.

    ``name`` is relative to the store's path; ``size`` and ``sha256`` are of the bytes as stored (compressed);
    ``raw_size`` is the number of bytes before compression; ``facts`` is what the DBMS adds (``table``...).
    """

    name: str
    size: int
    sha256: str
    raw_size: int
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What a point is: see DESIGN's C7. Times are ISO 8601 in UTC, sizes are bytes."""

    tool_version: str
    dbms: str
    database: str
    timestamp: str
    environment: str
    host: str
    server: Mapping[str, str]
    client_version: str
    format: str
    compression: str
    jobs: int
    started: str
    finished: str
    raw_bytes: int
    stored_bytes: int
    members: tuple[Member, ...]
    tables: tuple[Mapping[str, Any], ...] = ()
    extensions: tuple[Mapping[str, str], ...] = ()
    roles: tuple[str, ...] = ()
    sanitised: tuple[Mapping[str, str], ...] = ()
    peak_temporary_bytes: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as plain JSON types, as it is stored and as the modules return it."""
        data: dict[str, Any] = {"manifest_version": VERSION}
        data.update(asdict(self))
        data["members"] = [
            {"name": m.name, "size": m.size, "sha256": m.sha256, "raw_size": m.raw_size, **m.facts}
            for m in self.members
        ]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}

    def to_json(self) -> bytes:
        """Return the bytes that are stored."""
        data = self.to_dict()
        data["checksum"] = _checksum(data)
        return json.dumps(data, indent=1, sort_keys=False, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Manifest:
        """Return the manifest in ``data``, after all that it says of itself was checked.

        Keys that this version does not know are left alone: a later one may add some.

        :param where: what to call the object in a message.
        :raises EnvSyncError: it is not a manifest, or of a newer version than this program understands, or a field of
            it is wrong (its type, another point's member...); the message names the field.
        """
        doing = f"reading the manifest {where}"
        try:
            if len(data) >= LARGEST:
                raise Fault("", f"has {LARGEST} bytes or more")
            values = rules.parse(data)
            version = values.pop("manifest_version", None)
            if version != VERSION or isinstance(version, bool):
                if isinstance(version, int) and version > VERSION:
                    raise EnvSyncError(
                        doing,
                        f"it is of version {version}, this program reads version {VERSION}",
                        "Upgrade env_sync here.",
                    )
                raise Fault("manifest_version", f"is not {VERSION}")
            if "checksum" in values and values.pop("checksum") != _checksum({"manifest_version": version, **values}):
                raise Fault("checksum", "is not that of the other fields")
            rules.check(values)
        except Fault as fault:
            raise EnvSyncError(doing, f"it is damaged: {fault}", "Choose another point (--list shows them).") from fault
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        known["members"] = tuple(_member(item) for item in values["members"])
        for name in ("tables", "extensions", "roles", "sanitised"):
            known[name] = tuple(known.get(name, ()))
        return cls(**known)


def _checksum(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of the values, however their JSON is laid out: a changed byte is to be noticed."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _member(item: Mapping[str, Any]) -> Member:
    facts = dict(item)
    return Member(
        name=facts.pop("name"),
        size=facts.pop("size"),
        sha256=facts.pop("sha256"),
        raw_size=facts.pop("raw_size"),
        facts=facts,
    )


def totals(members: Sequence[Member]) -> tuple[int, int]:
    """Return the members' bytes before compression and as stored."""
    return sum(m.raw_size for m in members), sum(m.size for m in members)
