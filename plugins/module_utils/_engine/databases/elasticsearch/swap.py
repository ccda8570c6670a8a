# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of names when restored indices go live.

Elasticsearch cannot rename an index. A restored one keeps its scratch name for good, and the live name is an alias of
it: all of these change hands in one request, which is atomic.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ...search.client import Client, ServerError, path

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


_CONFLICT = 409


class LockDocument:
    """The lock on pulls into a cluster's indices: a document of one database in the index ``env_sync-lock``."""

    def __init__(self, client: Client, database: str) -> None:
        self._client = client
        self._id = owner_of(database)
        self._doing = f"locking {database} on {client.name}"

    def read(self) -> tuple[Mapping[str, Any], Any]:
        try:
            found = self._client.get(self._path(), self._doing)
        except ServerError as error:
            if error.status == 404:
                return {}, None
            raise
        if not found.get("found"):
            return {}, None
        if self._client.version(self._doing).has_sequence_numbers:
            return dict(found["_source"]), {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}
        return dict(found["_source"]), {"version": found["_version"]}

    def write(self, fields: Mapping[str, Any], state: Any) -> bool:
        if state is None:
            self._make_index()
        try:
            self._client.put(self._path(), self._doing, dict(fields), **(state or {"op_type": "create"}))
        except ServerError as error:
            if error.status != _CONFLICT:
                raise
            return False
        return True

    def remove(self, state: Any) -> None:
        self._client.delete(self._path(), self._doing, **state)

    def now(self) -> float:
        return float(self._client.get("/_cat/health", self._doing, format="json", h="epoch")[0]["epoch"])

    def _make_index(self) -> None:
        settings: dict[str, Any] = {"number_of_shards": 1, "auto_expand_replicas": "0-1"}
        if self._client.version(self._doing).has_hidden:
            settings["hidden"] = True
        try:
            self._client.put(path(LOCK), self._doing, {"settings": {"index": settings}})
        except ServerError as error:
            # index_already_exists_exception before Elasticsearch 6
            if error.kind not in ("resource_already_exists_exception", "index_already_exists_exception"):
                raise

    def _path(self) -> str:
        return path(LOCK, "lock" if self._client.version(self._doing).has_types else "_doc", self._id)


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


@dataclass
class Swap:
    """What to do: ``actions`` in one atomic request to ``_aliases``, then ``drop`` indices one by one.

    ``replaces`` are the indices that lose a live name, ``concrete`` those of them that carry it themselves: the request
    drops these. ``kept`` is whether anything is kept. ``left`` are indices of others that are left without any alias.
    """

    actions: list[dict[str, Any]] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    replaces: list[str] = field(default_factory=list)
    concrete: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    clashing: list[str] = field(default_factory=list)
    kept: bool = False


def plan_swap(
    restored: Mapping[str, str],
    there: Aliases,
    of_point: Mapping[str, Mapping[str, Any]],
    database: str,
    keep: bool,
    vanishes: Callable[[str], bool],
) -> Swap:
    """Return what gives ``restored`` their live names.

    :param restored: scratch names by live name.
    :param there: the aliases of every index of the server.
    :param of_point: the aliases of the point: ``indices`` (live names), ``whole``, ``properties``, and in ``others``
        those of indices that have other ones.
    :param vanishes: says of a live name, which an earlier pull of this database made and the point does not have,
        whether it is to go.
    """
    swap = Swap()
    scratch = set(restored.values())
    final: dict[str, dict[str, Mapping[str, Any]]] = {index: {} for index in scratch}
    remaining = {index: dict(aliases) for index, aliases in there.items() if index not in scratch}

    def take(alias: str, index: str) -> Mapping[str, Any]:
        swap.actions.append({"remove": {"index": index, "alias": alias}})
        return remaining[index].pop(alias)

    for live, index in restored.items():
        if live in remaining:
            # An alias cannot be called like an index: this one goes in the very request.
            swap.concrete.append(live)
            swap.replaces.append(live)
            swap.actions.append({"remove_index": {"index": live}})
            final[index].update(remaining.pop(live))
        for old in [name for name, aliases in remaining.items() if live in aliases]:
            take(live, old)
            if old not in swap.replaces:
                swap.replaces.append(old)
            if made_by_pull(old, database):
                final[index].update(remaining[old])
    for old in list(remaining):
        live = live_name(old)
        if made_by_pull(old, database) and live in remaining[old] and live not in restored and vanishes(live):
            swap.replaces.append(old)
    for alias, about in of_point.items():
        if alias in remaining or alias in restored:
            swap.clashing += [alias] if alias in remaining else []
            continue
        if about["whole"]:
            for old in [name for name, aliases in remaining.items() if alias in aliases]:
                take(alias, old)
                if not remaining[old] and old not in swap.replaces:
                    (swap.drop if made_by_pull(old, database) else swap.left).append(old)
        for live in about["indices"]:
            if live in restored:
                final[restored[live]][alias] = about.get("others", {}).get(live, about["properties"])
    for old in swap.replaces:
        if old in swap.concrete:
            continue
        if made_by_pull(old, database):
            for alias in list(remaining[old]):
                take(alias, old)
        if not remaining[old]:
            _retire(swap, old, keep)
    _drop_kept(swap, remaining, {live_name(old) for old in swap.replaces} | set(restored))
    for live, index in restored.items():
        final[index][live] = {}
        for alias, properties in final[index].items():
            swap.actions.append({"add": {"index": index, "alias": alias, **properties}})
    return swap


def _retire(swap: Swap, old: str, keep: bool) -> None:
    if keep:
        swap.kept = True
        swap.actions.append({"add": {"index": old, "alias": KEPT + live_name(old)}})
    else:
        swap.drop.append(old)


def _drop_kept(swap: Swap, remaining: Aliases, lives: set[str]) -> None:
    """Have what an earlier pull kept dropped: one generation is kept."""
    for index, aliases in remaining.items():
        if set(aliases) and all(alias.startswith(KEPT) and alias[len(KEPT) :] in lives for alias in aliases):
            swap.drop.append(index)


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
