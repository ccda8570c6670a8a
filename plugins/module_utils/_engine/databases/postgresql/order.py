# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order in which a parallel ``pg_restore`` takes the entries of an archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .toc import Entry, Toc

# as pg_backup.h numbers it
_SECTION_POST_DATA = 4

#: what reads a table's rows while it is made
_CHECKING = frozenset({"CHECK CONSTRAINT", "CONSTRAINT", "FK CONSTRAINT", "INDEX"})


def row_security_last(entries: tuple[Entry, ...], chosen: set[int]) -> tuple[Entry, ...]:
    """Have tables protect their rows only when all that reads them for a check has been made.

    A parallel ``pg_restore`` may take them in any order that their dependencies allow, and pg_dump notes none between a
    table's row security and its foreign keys; with FORCE, the table's owner can't make the key any more. One entry
    waits for all, and the others for that one.
    """
    checks = tuple(str(one.dump_id) for one in entries if one.desc in _CHECKING and one.dump_id in chosen)
    gate = next((one.dump_id for one in entries if one.desc == "ROW SECURITY" and one.dump_id in chosen), None)
    if gate is None or not checks:
        return entries
    return tuple(
        replace(one, dependencies=one.dependencies + (checks if one.dump_id == gate else (str(gate),)))
        if one.desc == "ROW SECURITY"
        else one
        for one in entries
    )


def largest_first(toc: Toc, sizes: Mapping[str, int]) -> Toc:
    """Number the entries anew, so that a parallel ``pg_restore`` begins with the largest tables and their indexes.

    It goes by the sizes of the data files, to have no large one left at the end; but a named pipe's size is 0. Among
    equals it goes by number (``TocEntrySizeCompareQsort`` in ``pg_backup_archiver.c``).

    :param sizes: what the data files hold, in bytes.
    """
    weights: dict[int, int] = {}
    tables: dict[str | None, int] = {}
    for file, entry in toc.data_members().items():
        weights[entry.dump_id] = sizes.get(file, 0)
        if entry.desc == "TABLE DATA" and entry.dependencies:
            tables[entry.dependencies[0]] = weights[entry.dump_id]
    for entry in toc.entries:
        if entry.section == _SECTION_POST_DATA:
            weights[entry.dump_id] = max((tables.get(table, 0) for table in entry.dependencies), default=0)
    numbers = sorted(weights)
    anew = dict(zip(sorted(numbers, key=lambda number: -weights[number]), numbers))
    depended = {str(old): str(new) for old, new in anew.items()}
    entries = (
        replace(
            entry,
            dump_id=anew.get(entry.dump_id, entry.dump_id),
            dependencies=tuple(depended.get(number or "", number) for number in entry.dependencies),
        )
        for entry in toc.entries
    )
    return replace(toc, entries=tuple(entries))
