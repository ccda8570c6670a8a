# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows are counted: what a restore has made of a point is compared with what its manifest says, table by table.

Each DBMS counts in its own way, of the dump's own state at the push and of the scratch database after the restore,
before any script runs; docs/reference/manifest.md has the table. This module compares the counts and words the
differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import EnvSyncError

#: how many tables a message names
_SHOWN = 5

#: what is counted, and of what
_TABLES = ("table", "rows")


def require_equal(
    noted: Mapping[str, int], found: Mapping[str, int], doing: str, cause: str, what: tuple[str, str] = _TABLES
) -> None:
    """Raise unless every table has as many rows as was noted.

    :param noted: the rows of each table, by its name, as the manifest has them.
    :param found: those that the scratch database has; a table that is not in it is missing there.
    :param cause: what a difference may come from, and what to do: a sentence or two.
    :param what: what a table and its rows are called.
    :raises EnvSyncError: names the tables that differ, with both counts.
    """
    require_all(noted, found, doing, cause, what[0])
    wrong = [
        f"{what[0]} {name} has {found[name]} {what[1]}, and the point's manifest says {noted[name]}"
        for name in sorted(noted)
        if found[name] != noted[name]
    ]
    if wrong:
        raise EnvSyncError(doing, _listed(wrong), cause)


def require_all(noted: Iterable[str], found: Iterable[str], doing: str, cause: str, what: str = "table") -> None:
    """Raise unless every table that was noted was found."""
    _none(set(noted).difference(found), f"{what} {{}} was not restored, and the point's manifest has it", doing, cause)


def require_no_more(noted: Iterable[str], found: Iterable[str], doing: str, cause: str, what: str = "table") -> None:
    """Raise where there is a table that was not noted."""
    extra = set(found).difference(noted)
    _none(extra, f"{what} {{}} was restored, and the point's manifest does not have it", doing, cause)


def _none(names: set[str], fault: str, doing: str, cause: str) -> None:
    if names:
        raise EnvSyncError(doing, _listed([fault.replace("{}", name) for name in sorted(names)]), cause)


def _listed(faults: list[str]) -> str:
    more = len(faults) - _SHOWN
    return "; ".join(faults[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
