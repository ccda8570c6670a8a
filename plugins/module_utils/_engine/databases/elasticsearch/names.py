# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names: those that a pull gives to indices, those that a task means, and the aliases that lead to them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

#: before the live name, the alias by which an index that was replaced is kept
KEPT = "env_sync_old-"

#: the index that has the locks
LOCK = "env_sync-lock"

#: an index that a pull made: whose pull, when, for which live name
_OURS = re.compile(r"env_sync-(?P<owner>[0-9a-f]{8})-(?P<time>\d{14})-(?P<live>.+)\Z", re.DOTALL | re.ASCII)

#: the same for a server's ``rename_pattern``: the live name is its group
RENAME = r"^(?:env_sync-[0-9a-f]{8}-\d{14}-)?(.+)$"

#: what of an alias is given back when it is added
PROPERTIES = ("filter", "index_routing", "search_routing", "is_write_index", "is_hidden")

#: aliases by index: ``{index: {alias: properties}}``; every index of the server is there
Aliases = Mapping[str, Mapping[str, Mapping[str, Any]]]


def owner_of(database: str) -> str:
    """Return what stands for a database in the names of the indices that its pulls make."""
    return hashlib.sha256(database.encode()).hexdigest()[:8]


def scratch_prefix(database: str, time: str) -> str:
    """Return what the scratch names of one pull begin with.

    :param time: when it began, ``YYYYMMDDHHMMSS``.
    """
    return f"env_sync-{owner_of(database)}-{time}-"


def live_name(index: str) -> str:
    """Return the name by which an index is known: its own, or the alias of one that a pull made."""
    ours = _OURS.match(index)
    return ours["live"] if ours else index


def made_by_pull(index: str, database: str) -> bool:
    """Say whether a pull of that database made the index."""
    ours = _OURS.match(index)
    return ours is not None and ours["owner"] == owner_of(database)


def properties_of(alias: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has to be said of an alias when it is added again."""
    return {key: alias[key] for key in PROPERTIES if key in alias}


def aliases_of_point(names: Mapping[str, str], there: Aliases) -> dict[str, dict[str, Any]]:
    """Return the aliases that indices have, for the note in their snapshot.

    :param names: live names by index.
    """
    found: dict[str, dict[str, Any]] = {}
    for index, live in names.items():
        for alias, properties in there.get(index, {}).items():
            if alias != live:
                about = found.setdefault(alias, {"indices": [], "properties": dict(properties)})
                about["indices"].append(index)
                if properties != about["properties"]:
                    # Of an alias that is written to, one index has the writes.
                    about.setdefault("others", {})[index] = dict(properties)
    for alias, about in found.items():
        about["whole"] = {index for index, aliases in there.items() if alias in aliases} <= set(names)
    return found


def matching(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    """Return the names that match any of the patterns, in which ``*`` and ``?`` are wildcards."""
    rules = [re.compile(re.escape(p).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL) for p in patterns]
    return {name for name in names if any(rule.fullmatch(name) for rule in rules)}


def chosen(names: Sequence[str], wanted: Sequence[str], excluded: Sequence[str]) -> list[str]:
    """Return the names that a task means, in order: all but those that begin with a dot, which are the server's own.

    The index with the locks is never among them, though another's snapshot may have it.

    :param wanted: patterns; one that begins with a dot means the server's own, too.
    :param excluded: patterns of what is left out.
    """
    if wanted:
        plain = matching([name for name in names if not name.startswith(".")], wanted)
        taken = plain | matching(names, [pattern for pattern in wanted if pattern.startswith(".")])
    else:
        taken = {name for name in names if not name.startswith(".")}
    return sorted(taken - matching(names, excluded) - {LOCK})
