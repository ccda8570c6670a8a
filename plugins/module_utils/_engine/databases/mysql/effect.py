# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a script changed: what the server said of its statements, and how the schema looks before and after it.

Which tables were changed shows in ``UPDATE_TIME`` of ``information_schema.TABLES``: InnoDB sets it, to the second, with
each commit that changed a row, in whatever way (a trigger, a cascade, a procedure), and not when it was undone. It is
NULL for tables that nobody changed since they were opened, and for partitioned ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...points.scripts import Effect
from ...points.scripts import Script as File
from ...streams.pipeline import Group
from . import swap
from .client import Server, quote
from .runner import Counts

#: how many tables are asked at once whether they have rows
_AT_ONCE = 100

#: how long the server's clock may take to a full second, and then some, in seconds
_SECOND = 1.5

_LOOK = 0.05


@dataclass(frozen=True)
class Picture:
    """How a schema looks. ``changed`` has of each table its ``UPDATE_TIME`` and ``CREATE_TIME``.

    ``columns`` has what changes when a column does; ``filled`` are the tables that have rows.
    """

    changed: dict[str, tuple[Any, Any]]
    columns: dict[str, str]
    filled: frozenset[str]
    views: frozenset[str]


def take_picture(server: Server, schema: str, doing: str) -> Picture:
    """Look at a schema."""
    rows = server.query(
        """SELECT TABLE_NAME, TABLE_TYPE, UPDATE_TIME, CREATE_TIME FROM information_schema.TABLES
            WHERE TABLE_SCHEMA = %s""",
        (schema,),
        doing,
    )
    ours = (swap.MARK_TABLE, swap.JOURNAL)
    kept = [(str(name), str(kind), (updated, created)) for name, kind, updated, created in rows if name not in ours]
    changed = {name: times for name, kind, times in kept if kind in ("BASE TABLE", "SYSTEM VERSIONED")}
    columns: dict[str, str] = {}
    for table, *column in server.query(
        """SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, GENERATION_EXPRESSION
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s ORDER BY TABLE_NAME, ORDINAL_POSITION""",
        (schema,),
        doing,
    ):
        columns[str(table)] = columns.get(str(table), "") + repr(column)
    return Picture(
        changed,
        {name: columns.get(name, "") for name in changed},
        _filled(server, schema, sorted(changed), doing),
        frozenset(name for name, kind, _times in kept if kind.endswith("VIEW")),
    )


def _filled(server: Server, schema: str, tables: Sequence[str], doing: str) -> frozenset[str]:
    """Return the tables that have a row."""
    found: set[str] = set()
    for begin in range(0, len(tables), _AT_ONCE):
        some = tables[begin : begin + _AT_ONCE]
        asked = ", ".join(f"EXISTS (SELECT 1 FROM {quote(schema)}.{quote(table)})" for table in some)
        (answers,) = server.query(f"SELECT {asked}", doing=doing)
        found.update(table for table, there in zip(some, answers) if there)
    return frozenset(found)


def wait_for_clock(group: Group, server: Server, picture: Picture, doing: str) -> None:
    """Wait until what changes from now on has another ``UPDATE_TIME`` than what the picture shows."""
    latest = max((updated for updated, _created in picture.changed.values() if updated), default=None)
    for _unused in range(round(_SECOND / _LOOK)):
        if latest is None or server.query("SELECT NOW()", doing=doing)[0][0] > latest:
            return
        group.sleep(_LOOK)


def effect(file: File, before: Picture, after: Picture, counts: Counts) -> Effect:
    """Return what a script did.

    ``tables`` has all tables whose files may hold former rows, some of them with none: of these it is not known
    how many rows were changed.
    """
    both = before.changed.keys() & after.changed.keys()
    moved = {name for name in both if before.changed[name] != after.changed[name]}
    unknown = {
        name
        for name in both - moved
        if after.changed[name][0] is None and name in before.filled | after.filled
    }  # fmt: skip
    made = after.changed.keys() - before.changed.keys()
    altered = {name for name in both if before.columns[name] != after.columns[name]}
    emptied = (before.filled - after.filled) & both
    partitioned = _real(counts.partitioned, after.changed)
    rows, unassigned = _assigned(counts, before, after, moved | made | altered, unknown)
    if not moved | made | altered | (unknown if counts.opaque or unassigned else set()):
        unassigned = 0  # a procedure or a view changed rows, of temporary tables or for nothing
    touched = moved | (made & after.filled) | altered | emptied | partitioned | rows.keys()
    if counts.opaque or unassigned:
        touched |= unknown
    tables = {name: rows.get(name, 0) for name in sorted(touched)}
    uncounted = [name for name, number in tables.items() if not number and name in moved]
    if unassigned and len(uncounted) == 1:
        tables[uncounted[0]] = unassigned
    changed = sum(rows.values()) + unassigned
    if not changed and counts.uncounted:
        changed = len(moved - altered - emptied - partitioned)  # a row of each at least
    words = [f"{name} dropped" for name in sorted(before.changed.keys() - after.changed.keys())]
    words += [f"columns of {name} changed" for name in sorted(altered)]
    words += [f"{name} emptied" for name in sorted(emptied) if not rows.get(name)]
    words += [f"partitions of {name} emptied, dropped or exchanged" for name in sorted(partitioned)]
    return Effect(file, changed, tables, tuple(words))


def _assigned(
    counts: Counts, before: Picture, after: Picture, seen: set[str], unknown: set[str]
) -> tuple[dict[str, int], int]:
    """Return the rows changed in each table that there is, and the number of those that are of no known table.

    Rows of a table that did not change are not counted: a temporary table of the same name was meant.
    """
    names = {name.lower(): name for name in [*after.views, *before.changed, *after.changed]}
    temporary = {name.lower() for name in counts.temporary}
    rows: Counter[str] = Counter()
    unassigned = 0
    for written, number in counts.rows.items():
        name = names.get(written.lower(), "")
        if written == "" or name in after.views:
            unassigned += number
        elif name in after.changed and (name in seen or (name in unknown and name.lower() not in temporary)):
            rows[name] += number
    return {name: number for name, number in rows.items() if number}, unassigned


def _real(names: set[str], tables: dict[str, tuple[Any, Any]]) -> set[str]:
    wanted = {name.lower() for name in names}
    return {name for name in tables if name.lower() in wanted}
