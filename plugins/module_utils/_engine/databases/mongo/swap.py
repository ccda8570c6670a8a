# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The moment in which scratch collections take the live names, and how it is taken back.

MongoDB renames one collection at a time. With ``dropTarget`` the new one replaces the old one in one step. Where the
old ones are kept, or a server lacks ``dropTarget`` (FerretDB), each goes through two renames; then all is taken back
when something fails in between.
"""

from __future__ import annotations

import time
from collections.abc import Collection as Names
from collections.abc import Mapping
from typing import Any, Callable, Protocol

from ...errors import EnvSyncError
from .archive import VIEW, Collection
from .client import LACKING, ServerError
from .names import OLD_PREFIX, Collections, is_ours, is_system


class Note(Protocol):
    """Writes down in the lock's document what the next run has to know if this one dies now."""

    def __call__(self, **values: Any) -> None:
        """Raise :class:`LockLost` where the lock is no longer held."""


class Swap:
    """One exchange of a database's collections.

    :param prove: raises unless the lock is held; called before whatever cannot be taken back.
    """

    def __init__(self, collections: Collections, prove: Callable[[], None], note: Note, keep_old: bool) -> None:
        self._collections = collections
        self._prove = prove
        self._note = note
        self._keep_old = keep_old
        self._doing = f"swapping {collections.database} in on {collections.server.name}"
        self._two_steps = keep_old
        self._replaced = 0
        self._new: list[str] = []
        self._under_way = False
        #: for how long a name was away, at most, in seconds
        self.away = 0.0

    # 1. Drop what an earlier pull kept, lest step 3 finds the old names taken.
    # 2. Note in the lock's document that a swap is under way, and which names it adds. From here until step 6 a run
    #    that finds this note gives the old collections their names back (put_back); the names are noted because
    #    nothing else tells a collection that came with the swap from one that an application has made since.
    # 3. Give each scratch collection its live name: in one step with dropTarget, or in two (live to old, scratch to
    #    live), in which case a second rename that fails is undone at once. A live view of that name is dropped first.
    # 4. Make the views what they are at the source; they read collections that are there by now.
    # 5. Drop what has vanished at the source, or rename it to its old name; views first.
    # 6. Note that the swap is over.
    # 7. Drop the old collections, unless they are to be kept. Not before step 6: a run that dies after dropping some
    #    would otherwise have the next one put back the rest beside the new ones.
    #
    # The lock is proved before each rename and drop.
    def run(self, views: Mapping[str, Collection], spared: Names[str]) -> str:
        """Exchange all: each collection at once, but not all of them in one moment.

        :param views: the point's views, by name.
        :param spared: collections that were left out of the dump: the live ones stay.
        :returns: what the replaced collections are called now, as a pattern; empty where none is kept.
        :raises EnvSyncError: says whether live collections were replaced already.
        """
        collections = self._collections
        self._drop_old()
        live = set(collections.live(self._doing))
        incoming = {name[len(collections.scratch) :] for name in collections.named(collections.scratch, self._doing)}
        self._new = sorted(incoming - live)
        self._note(swapping=True, new=self._new, kept=False)
        self._under_way = True
        self._exchange_all(views, spared)
        self._note(swapping=False, kept=self._keep_old)
        self._under_way = False
        if not self._keep_old:
            self._drop_old()
        return f"{collections.database}.{OLD_PREFIX}*" if self._keep_old and live else ""

    def take_back(self, doing: str) -> None:
        """Give the old collections their names back, where the swap failed half-way."""
        if self._under_way:
            put_back(self._collections, self._new, self._prove, doing)
            self._under_way = False
            self._note(swapping=False)

    def _exchange_all(self, views: Mapping[str, Collection], spared: Names[str]) -> None:
        scratch = self._collections.scratch
        there = self._collections.all(self._doing)
        incoming = sorted(name[len(scratch) :] for name in there if name.startswith(scratch))
        live = {name: about for name, about in there.items() if not is_ours(name) and not is_system(name)}
        try:
            for name in incoming:
                if live.get(name, {}).get("type") == VIEW:
                    self._drop(name)
                    del live[name]
                self._exchange(name, name in live)
            self._views(views, live)
            # Views first: one that reads a collection about to be dropped would read nothing for a moment.
            gone = [name for name in live if name not in incoming and name not in views and name not in spared]
            for name in sorted(gone, key=lambda name: live[name].get("type") != VIEW):
                self._remove(name, live[name].get("type") == VIEW)
        except EnvSyncError as error:
            if self._replaced:
                raise EnvSyncError(
                    self._doing,
                    f"{self._replaced} of {len(incoming)} collections were replaced, then: {error.why}",
                    "The others are as they were; run the pull again.",
                ) from error
            raise

    def _exchange(self, name: str, replaces: bool) -> None:
        scratch = self._collections.scratch + name
        self._prove()
        if not replaces:
            self._rename(scratch, name)
            return
        if not self._two_steps:
            try:
                self._rename(scratch, name, dropTarget=True)
                self._replaced += 1
                return
            except ServerError as error:
                if error.code not in LACKING or self._replaced:
                    raise
                self._two_steps = True
        started = time.monotonic()
        self._rename(name, OLD_PREFIX + name)
        try:
            self._rename(scratch, name)
        except EnvSyncError:
            self._rename(OLD_PREFIX + name, name)
            raise
        self.away = max(self.away, time.monotonic() - started)

    def _views(self, views: Mapping[str, Collection], live: Mapping[str, Mapping[str, Any]]) -> None:
        """Make the live views what the point's are; one that is right already is left alone."""
        for name, view in views.items():
            there = live.get(name)
            if there is None:
                self._command({"create": name, **view.options})
            elif there.get("type") == VIEW:
                self._change(name, there.get("options", {}), view.options)
            else:
                self._remove(name, is_view=False)
                self._command({"create": name, **view.options})

    def _change(self, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        if dict(old) == dict(new):
            return
        if old.get("collation") == new.get("collation"):
            self._command({"collMod": name, "viewOn": new["viewOn"], "pipeline": new.get("pipeline", [])})
        else:  # the one thing that collMod cannot change
            self._command({"drop": name})
            self._command({"create": name, **new})

    def _remove(self, name: str, is_view: bool) -> None:
        if self._two_steps and not is_view:
            self._prove()
            self._rename(name, OLD_PREFIX + name)
        else:
            self._drop(name)

    def _drop_old(self) -> None:
        self._collections.drop(self._collections.named(OLD_PREFIX, self._doing), self._doing, self._prove)

    def _drop(self, name: str) -> None:
        self._collections.drop([name], self._doing, self._prove)

    def _rename(self, old: str, new: str, **options: Any) -> None:
        self._collections.rename(old, new, self._doing, **options)

    def _command(self, command: Mapping[str, Any]) -> None:
        self._collections.server.command(self._collections.database, command, self._doing)


def put_back(collections: Collections, new: Names[str], prove: Callable[[], None], doing: str) -> list[str]:
    """Give the live names back to the old collections of a swap that did not end; return them.

    What came with the swap becomes a scratch collection again.

    :param new: the names that came with the swap and replaced nothing.
    :param prove: raises unless the lock is held; called before each step.
    """
    scratch = collections.scratch
    there = collections.all(doing)
    restored = []
    for name in sorted(there):
        came = OLD_PREFIX + name in there or name in new
        if came and there[name].get("type") != VIEW and not is_ours(name) and not is_system(name):
            prove()
            if scratch + name in there:
                collections.drop([scratch + name], doing)
            collections.rename(name, scratch + name, doing)
    for name in sorted(there):
        if name.startswith(OLD_PREFIX):
            prove()
            collections.rename(name, name[len(OLD_PREFIX) :], doing)
            restored.append(name[len(OLD_PREFIX) :])
    return restored
