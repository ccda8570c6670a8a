# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the command says it: tables, plans, sums of what was done, sizes and durations."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..catalogue import Point
from ..errors import one_line, visible
from ..host.progress import Snapshot
from ..points.name import how_long, iso_utc
from ..points.rules import stored_by_server


def progress(snapshot: Snapshot) -> str:
    """Return how far a running task is: its phase, members, bytes, rate, and when it will be through."""
    parts = []
    if snapshot.members_total:
        parts.append(f"{snapshot.members_done}/{snapshot.members_total} members")
    elif snapshot.members_done:
        parts.append(f"{snapshot.members_done} member{'s' if snapshot.members_done > 1 else ''}")
    if snapshot.bytes_total:
        percent = min(100, 100 * snapshot.bytes_done // snapshot.bytes_total)
        parts.append(f"{size(snapshot.bytes_done)} of {size(snapshot.bytes_total)} ({percent}%)")
    elif snapshot.bytes_done:
        parts.append(size(snapshot.bytes_done))
    if snapshot.rate:
        parts.append(f"{size(snapshot.rate)}/s")
    if snapshot.remaining and snapshot.remaining >= 1:
        parts.append(f"about {how_long(round(snapshot.remaining))} left")
    elapsed = int(time.time() - snapshot.phase_started) if snapshot.phase_started else 0
    if elapsed and not parts:
        parts.append(how_long(elapsed))
    if snapshot.waiting:
        parts = [f"waiting for {snapshot.waiting}"]
    return ", ".join([snapshot.phase or "starting", *parts])


def size(count: float) -> str:
    """Return bytes as people say them: ``17 B``, ``1.2 GiB``."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1023.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, the head first; each column is as wide as its widest cell.

    :param rows: each with as many cells as the head; what can't be printed is escaped in them, not in the head.
    """
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [head, *rows]]


def pushed(result: Mapping[str, Any]) -> str:
    """Return in one sentence what a push did, from its result."""
    return f"pushed {result['point']} to {result['store']}: {_volume(result)}"


def pulled(result: Mapping[str, Any]) -> str:
    """Return in one sentence what a pull did and what it replaced, from its result."""
    age = how_long(result["point_age_seconds"])
    text = f"pulled {result['point']} into {result['database']}: {_volume(result)}; the point is {age} old"
    replaced = result["replaced"]
    if replaced is None:
        return f"{text}; there was no {result['database']} before"
    fate = f"kept as {result['kept']}" if result["kept"] else "dropped"
    seconds = result["name_away_seconds"]
    away = f"away for {how_long(seconds)}" if seconds else "never away"
    return f"{text}; replaced {size(replaced['size_bytes'])}, {fate}; the name was {away}"


def synced(result: Mapping[str, Any]) -> str:
    """Return in one sentence what a bucket sync did, from its result."""
    return (
        f"synced {result['source']} to {result['destination']}: {result['copied']} objects copied "
        f"({size(result['copied_bytes'])}), {result['unchanged']} unchanged, {result['deleted']} removed, "
        f"in {how_long(result['durations']['total'])}"
    )


def _volume(result: Mapping[str, Any]) -> str:
    return (
        f"{size(result['raw_bytes'])} ({size(result['stored_bytes'])} stored) "
        f"in {how_long(result['durations']['total'])}, {size(result['rate'])}/s"
    )


def verified(result: Mapping[str, Any]) -> str:
    """Return in one sentence what is known of a point that was read, from the result of its verification."""
    if stored_by_server(result["manifest"]):
        return (
            f"{result['point']} in {result['store']} is whole, by what its server says of it: "
            "that its files can be read shows only when it is restored"
        )
    return (
        f"{result['point']} in {result['store']} is good: {size(result['stored_bytes'])} in "
        f"{len(result['manifest']['members'])} members{_rows(result['manifest'])}, "
        f"read in {how_long(result['durations']['total'])}"
    )


def _rows(manifest: Mapping[str, Any]) -> str:
    """Say what the manifest counts; nothing where it counts nothing."""
    rows = [table["rows"] for table in manifest["tables"] if "rows" in table]
    return f", {sum(rows)} rows in {len(rows)} tables" if rows else ""


def pruned(database: str, result: Mapping[str, Any], dry_run: bool) -> str:
    """Return in one sentence which points were removed, or with ``dry_run`` would be."""
    if not result["removed"]:
        return f"nothing to prune of {database} in {result['store']}: {result['skipped']}"
    done = "would remove" if dry_run else "removed"
    return f"{done} from {result['store']}: {', '.join(result['removed'])}"


def checked(result: Mapping[str, Any]) -> list[str]:
    """Return the table of a store's check, and a line that sums it up."""
    rows = [
        (found["check"], found["severity"], one_line(found["result"]), one_line(found["advice"]) or "-")
        for found in result["checks"]
    ]
    words = (("failed", "failed"), ("warning", "look at"))
    named = [(word, [row[0] for row in rows if row[1] == severity]) for severity, word in words]
    parts = [f"{word}: {', '.join(names)}" for word, names in named if names]
    summary = f"checked {result['store']}: {'; '.join(parts) or f'all of {len(rows)} checks are good'}"
    return [*table(("CHECK", "STATE", "RESULT", "WHAT TO DO"), rows), summary]


def plan(title: str, result: Mapping[str, Any]) -> list[str]:
    """Return the lines that say what a task would do."""
    if result.get("skipped"):
        return [f"nothing to do: {result['skipped']}"]
    lines = [f"{title} would:"]
    lines += [f"{number:3}. {one_line(step)}" for number, step in enumerate(result["steps"], start=1)]
    if "point_age_seconds" in result:
        lines.append(f"The point is {how_long(result['point_age_seconds'])} old.")
    lines += [f"warning: {warning}" for warning in result["warnings"]]
    lines += result.get("policy", ())
    return [*lines, "Nothing was changed."]


def points(found: Sequence[Point]) -> list[str]:
    """Return a table of points; nothing where there are none."""
    rows = [
        (
            point.timestamp,
            point.database,
            f"{point.state}, from the future" if point.from_future else point.state,
            size(point.raw_bytes) if point.raw_bytes else "-",
            size(point.stored_bytes),
            point.environment or "-",
            "yes" if point.sanitised else "-",
        )
        for point in found
    ]
    return table(("TIMESTAMP", "DATABASE", "STATE", "RAW", "STORED", "ENVIRONMENT", "SANITISED"), rows) if rows else []


def statuses(found: Sequence[Snapshot]) -> list[str]:
    """Return a table of the tasks' statuses; nothing where there are none."""
    rows = [
        (
            status.title,
            status.state,
            iso_utc(status.started)[:-1].replace("T", " "),
            how_long((time.time() if status.state == "running" else status.updated) - status.started),
            progress(status) if status.state == "running" else one_line(status.message),
        )
        for status in found
    ]
    return table(("TASK", "STATE", "SINCE (UTC)", "TOOK", "WHAT"), rows) if rows else []
