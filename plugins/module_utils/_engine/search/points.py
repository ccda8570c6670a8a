# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a snapshot is to us: a point, named in lower case, with a note of ours among its metadata.

The note is what the server cannot know (environment, tool, scripts) or does not give out before a restore (aliases,
numbers of documents). Elasticsearch before 7.3 keeps no metadata: its snapshots are points that say less.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import EnvSyncError
from ..points.name import decode, encode

#: the key of the note among a snapshot's metadata
NOTE = "env_sync"

#: A server takes 1024 bytes of metadata; what it adds by itself to an empty mapping is in the difference.
NOTE_BYTES = 1000

#: what follows a point's name in that of its only member
MEMBER = "/snapshot"

IN_PROGRESS = "IN_PROGRESS"

_SNAPSHOT = re.compile(r"(\d{4}-\d{2}-\d{2})t(\d{2}:\d{2}:\d{2})-(.+)\Z", re.DOTALL | re.ASCII)

# Elasticsearch: SnapshotsService.validate and Strings.INVALID_FILENAME_CHARS; OpenSearch has the same.
_FORBIDDEN = re.compile(r"[\s,#\\/*?\"<>|]")


def snapshot_name(point: str) -> str:
    """Return what the snapshot of a point is called.

    :raises EnvSyncError: a snapshot can't be called so.
    """
    name = point.lower()
    if _FORBIDDEN.search(name) or len(name.encode()) > 255:
        raise EnvSyncError(
            f"naming the snapshot {name!r}",
            "a snapshot's name has no blanks, commas or any of # \\ / * ? \" < > |, and 255 bytes at most",
            "Correct database.",
        )
    return name


@dataclass(frozen=True)
class Note:
    """What a push writes into the snapshot's metadata.

    ``size`` is the size of the primary shards in bytes and ``rows`` the number of documents by index, when the snapshot
    began. ``run`` tells the push that made it from all others: two hosts may have one name. ``aliases`` says of each
    alias which indices it has (``indices``), whether these are all that it has at the source (``whole``), its
    ``properties`` (filter, routing...), and those of indices that have other ones (``others``).
    """

    tool: str
    database: str
    cluster: str
    version: str
    environment: str
    host: str
    size: int
    sanitised: Sequence[Mapping[str, str]] = ()
    excluded: Sequence[str] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    aliases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    run: str = ""

    def encode(self, indices: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """Return the snapshot's metadata, and what found no room in it.

        :param indices: the snapshot's indices; the note refers to them by their place in alphabetical order.
        :raises EnvSyncError: there is no room for what has to be there.
        """
        order = {name: place for place, name in enumerate(sorted(indices))}
        aliases = {
            name: [[order[i] for i in about["indices"]], int(about["whole"]), about["properties"]]
            for name, about in self.aliases.items()
        }
        others = {
            name: {str(order[index]): found for index, found in about["others"].items()}
            for name, about in self.aliases.items()
            if about.get("others")
        }
        rows = [self.rows.get(name, -1) for name in order]
        without: list[str] = []
        for left_out in ("", "numbers of documents", "aliases"):
            if left_out:
                without.append(left_out)
            more = {
                "sanitised": [dict(script) for script in self.sanitised],
                "excluded": list(self.excluded),
                "rows": None if "numbers of documents" in without else rows,
                "aliases": None if "aliases" in without else aliases,
                # A key of its own: an older version reads the rest.
                **({"others": others} if others and "aliases" not in without else {}),
            }
            packed = zlib.compress(json.dumps(more, separators=(",", ":")).encode(), 9)
            note = {
                "v": 1,
                "tool": self.tool,
                "database": self.database,
                "cluster": self.cluster,
                "version": self.version,
                "environment": self.environment,
                "host": self.host,
                "size": self.size,
                **({"run": self.run} if self.run else {}),
                "more": base64.b64encode(packed).decode(),
            }
            if len(json.dumps({NOTE: note}).encode()) <= NOTE_BYTES:
                return {NOTE: note}, without
        raise EnvSyncError(
            f"noting what the snapshot of {self.database} is",
            f"a snapshot has room for {NOTE_BYTES} bytes, and the names of scripts and excluded indices take more",
            "Join the scripts, or use wildcards in excluded_tables.",
        )


def read_note(snapshot: Mapping[str, Any]) -> Note | None:
    """Return the note of a snapshot (as the server lists it); None where it has none that can be read."""
    note = (snapshot.get("metadata") or {}).get(NOTE)
    if not isinstance(note, dict) or note.get("v") != 1:
        return None
    indices = sorted(str(name) for name in snapshot.get("indices", ()))
    try:
        more = json.loads(zlib.decompress(base64.b64decode(note["more"])))
        aliases = {
            name: {"indices": [indices[place] for place in places], "whole": bool(whole), "properties": properties}
            for name, (places, whole, properties) in (more["aliases"] or {}).items()
        }
        for name, found in more.get("others", {}).items():
            aliases[name]["others"] = {indices[int(place)]: properties for place, properties in found.items()}
        rows = dict(zip(indices, more["rows"] or ()))
        return Note(
            tool=str(note["tool"]),
            database=str(note["database"]),
            cluster=str(note["cluster"]),
            version=str(note["version"]),
            environment=str(note["environment"]),
            host=str(note["host"]),
            size=int(note["size"]),
            run=str(note.get("run", "")),
            sanitised=[{str(key): value for key, value in script.items()} for script in more["sanitised"]],
            excluded=[str(name) for name in more["excluded"]],
            rows={name: count for name, count in rows.items() if count >= 0},
            aliases=aliases,
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, zlib.error):
        return None


def timestamp_and_database(snapshot: Mapping[str, Any], wanted: str = "") -> tuple[str, str] | None:
    """Return whose point a snapshot is, or None when it is not named like one.

    :param wanted: a database whose name, in lower case, is also that of a snapshot with no note: it is this one's.
    """
    match = _SNAPSHOT.match(str(snapshot.get("snapshot", "")))
    if match is None:
        return None
    day, time, rest = match.groups()
    note = read_note(snapshot)
    spellings = [name for name in (wanted, note.database if note else "") if encode(name).lower() == rest]
    return f"{day}T{time}", spellings[-1] if spellings else decode(rest)


def fault(snapshot: Mapping[str, Any]) -> str:
    """Say why a snapshot is not whole; empty when it is: in the state SUCCESS, and every shard with it."""
    shards = snapshot.get("shards") or {}
    state = str(snapshot.get("state", "unknown"))
    failures = [str(failure.get("reason", failure)) for failure in snapshot.get("failures") or ()]
    if state == "SUCCESS" and not shards.get("failed") and shards.get("successful") == shards.get("total"):
        return ""
    told = f", {shards['failed']} of {shards.get('total')} shards failed" if shards.get("failed") else ""
    return f"its state is {state}{told}{': ' + failures[0] if failures else ''}"


def total_bytes(status: Mapping[str, Any]) -> int:
    """Return the size of a snapshot's files in bytes, those included that it shares with others."""
    stats = status["stats"]
    # before Elasticsearch 6.4 there is but one size
    return int(stats["total"]["size_in_bytes"] if "total" in stats else stats.get("total_size_in_bytes", 0))
