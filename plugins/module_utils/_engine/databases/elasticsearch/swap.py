# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of names when restored indices go live.

Elasticsearch cannot rename an index. A restored one keeps its scratch name for good, and the live name is an alias of
it: all of these change hands in one request, which is atomic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from .names import KEPT, Aliases, live_name, made_by_pull


@dataclass
class Swap:
    """What to do: ``actions`` in one atomic request to ``_aliases``, then ``drop`` indices one by one.

    ``replaces`` are the indices that lose a live name, ``concrete`` those of them that carry it themselves: the request
    drops these. ``kept`` is whether anything is kept. ``left`` are indices of others that are left without any alias.
    ``clashing`` are aliases of the point that cannot be set, as there is an index of that name.
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
    :param keep: whether what is replaced is kept.
    :param vanishes: says of a live name, which an earlier pull of this database made and the point does not have,
        whether it is to go.
    """
    # The order counts: each step works on what those before it have left of the aliases.
    # 1. Take the live names from whatever has them. An index that is itself called so is removed by the very request
    #    that gives the name away, as an index and an alias cannot have one name.
    # 2. What an earlier pull of this database brought, and the source no longer has, is replaced by nothing.
    # 3. Move the point's other aliases. One that the push saw whole is taken from all that have it here.
    # 4. Of what was replaced, drop or keep what no alias needs any more.
    # 5. Drop what an earlier pull has kept of the same names: one generation is kept.
    # 6. Give the restored indices their names, last: all are free by then.
    planner = _Planner(restored, there, database, keep)
    planner.take_live_names()
    planner.replace_vanished(vanishes)
    planner.move_aliases(of_point)
    planner.retire_replaced()
    planner.drop_kept()
    planner.give_names()
    return planner.swap


class _Planner:
    """A plan in the making."""

    def __init__(self, restored: Mapping[str, str], there: Aliases, database: str, keep: bool) -> None:
        self.swap = Swap()
        self._restored = restored
        self._database = database
        self._keep = keep
        scratch = set(restored.values())
        #: the aliases that restored indices are to have
        self._final: dict[str, dict[str, Mapping[str, Any]]] = {index: {} for index in scratch}
        #: the aliases that all other indices still have
        self._remaining = {index: dict(aliases) for index, aliases in there.items() if index not in scratch}

    def take_live_names(self) -> None:
        swap, remaining = self.swap, self._remaining
        for live, index in self._restored.items():
            if live in remaining:
                swap.concrete.append(live)
                swap.replaces.append(live)
                swap.actions.append({"remove_index": {"index": live}})
                self._final[index].update(remaining.pop(live))
            for old in self._with_alias(live):
                self._take(live, old)
                if old not in swap.replaces:
                    swap.replaces.append(old)
                if self._ours(old):
                    self._final[index].update(remaining[old])

    def replace_vanished(self, vanishes: Callable[[str], bool]) -> None:
        for old, aliases in self._remaining.items():
            live = live_name(old)
            if self._ours(old) and live in aliases and live not in self._restored and vanishes(live):
                self.swap.replaces.append(old)

    def move_aliases(self, of_point: Mapping[str, Mapping[str, Any]]) -> None:
        swap, remaining = self.swap, self._remaining
        for alias, about in of_point.items():
            if alias in remaining or alias in self._restored:
                swap.clashing += [alias] if alias in remaining else []
                continue
            if about["whole"]:
                for old in self._with_alias(alias):
                    self._take(alias, old)
                    if not remaining[old] and old not in swap.replaces:
                        (swap.drop if self._ours(old) else swap.left).append(old)
            for live in about["indices"]:
                if live in self._restored:
                    properties = about.get("others", {}).get(live, about["properties"])
                    self._final[self._restored[live]][alias] = properties

    def retire_replaced(self) -> None:
        swap, remaining = self.swap, self._remaining
        for old in swap.replaces:
            if old in swap.concrete:
                continue
            if self._ours(old):
                for alias in list(remaining[old]):
                    self._take(alias, old)
            if remaining[old]:
                continue  # it is somebody's, by another alias
            if self._keep:
                swap.kept = True
                swap.actions.append({"add": {"index": old, "alias": KEPT + live_name(old)}})
            else:
                swap.drop.append(old)

    def drop_kept(self) -> None:
        lives = {live_name(old) for old in self.swap.replaces} | set(self._restored)
        for index, aliases in self._remaining.items():
            if aliases and all(alias.startswith(KEPT) and alias[len(KEPT) :] in lives for alias in aliases):
                self.swap.drop.append(index)

    def give_names(self) -> None:
        for live, index in self._restored.items():
            self._final[index][live] = {}
            for alias, properties in self._final[index].items():
                self.swap.actions.append({"add": {"index": index, "alias": alias, **properties}})

    def _with_alias(self, alias: str) -> list[str]:
        return [index for index, aliases in self._remaining.items() if alias in aliases]

    def _take(self, alias: str, index: str) -> None:
        """Take an alias away from an index."""
        self.swap.actions.append({"remove": {"index": index, "alias": alias}})
        del self._remaining[index][alias]

    def _ours(self, index: str) -> bool:
        return made_by_pull(index, self._database)
