# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The moment in which scratch collections take the live names, and how it is taken back.

MongoDB renames one collection at a time. With ``dropTarget`` the new one replaces the old one in one step. Where the
old ones are kept, or a server lacks ``dropTarget`` (FerretDB), each goes through two renames; then all is taken back
when something fails in between.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Collection as Names
from collections.abc import Mapping
from typing import Any, Callable

from ...errors import EnvSyncError
from .archive import VIEW, Collection
from .client import LACKING, Server, ServerError

#: the first characters of a name of ours; what stands under such a name beside our mark may be dropped
SCRATCH_PREFIX = "env_sync_scratch_"
OLD_PREFIX = "env_sync_old_"
#: the collection that holds the mark and lock of a pull
MARK = "env_sync_pull"
#: the collection in which a script that ran to its end leaves a mark, for a moment
END = "env_sync_mark"


_DUPLICATE_KEY = 11000


class LockDocument:
    """The lock on pulls into a database, and the mark that its scratch collections are ours: in ``env_sync_pull``."""

    def __init__(self, server: Server, database: str) -> None:
        self._server = server
        self._database = database
        self._doing = f"locking {database} on {server.name}"

    def read(self) -> tuple[Mapping[str, Any], Any]:
        answer = self._server.command(self._database, {"find": MARK, "filter": {"_id": "pull"}}, self._doing)
        batch = answer["cursor"]["firstBatch"]
        if not batch:
            return {}, None
        found = dict(batch[0])
        state = {name: found.get(name) for name in ("token", "until")}
        return {**found, "until": _seconds(found.get("until"))}, state

    def write(self, fields: Mapping[str, Any], state: Any) -> bool:
        values = {**fields, "until": datetime.datetime.fromtimestamp(float(fields["until"]), datetime.timezone.utc)}
        if state is None:
            command = {"insert": MARK, "documents": [{"_id": "pull", **values}]}
        else:
            command = {"update": MARK, "updates": [{"q": {"_id": "pull", **state}, "u": {"$set": values}}]}
        answer = self._server.command(self._database, command, self._doing)
        errors = answer.get("writeErrors") or []
        if errors and errors[0].get("code") != _DUPLICATE_KEY:
            raise ServerError(self._doing, str(errors[0].get("errmsg")), int(errors[0].get("code", 0)))
        return not errors and int(answer.get("n", 0)) == 1

    def remove(self, state: Any) -> None:
        """Drop the collection that has nothing but the document; its holder has just said that it lives."""
        self._server.command(self._database, {"drop": MARK}, self._doing)

    def now(self) -> float:
        return _seconds(self._server.hello(self._doing)["localTime"])


def _seconds(moment: Any) -> float:
    """Return a time of the server's, which has no zone and is UTC, in seconds since the epoch."""
    if not isinstance(moment, datetime.datetime):
        return 0.0
    return moment.replace(tzinfo=moment.tzinfo or datetime.timezone.utc).timestamp()


def is_ours(name: str) -> bool:
    return name.startswith((SCRATCH_PREFIX, OLD_PREFIX)) or name in (MARK, END)


def is_system(name: str) -> bool:
    """Say whether a collection is the server's own: it cannot be renamed."""
    return name.startswith("system.")


class Swap:
    """One exchange of a database's collections.

    :param scratch: what the names of this run's scratch collections begin with.
    :param prove: raises unless the lock is held; called before whatever cannot be taken back.
    """

    def __init__(self, server: Server, database: str, scratch: str, keep_old: bool, prove: Callable[[], None]) -> None:
        self._server = server
        self._scratch = scratch
        self._prove = prove
        self._database = database
        self._doing = f"swapping {database} in on {server.name}"
        self._two_steps = keep_old
        self._replaced = 0
        self.away = 0.0

    def run(self, views: Mapping[str, Collection], spared: Names[str]) -> None:
        """Exchange all, then drop what vanished at the source.

        :param views: the point's views, by name.
        :param spared: collections that were left out of the dump: the live ones stay.
        :raises EnvSyncError: says whether live collections were replaced already.
        """
        there = self._server.collections(self._database, self._doing)
        incoming = sorted(name[len(self._scratch) :] for name in there if name.startswith(self._scratch))
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
        self._prove()
        if not replaces:
            self._rename(self._scratch + name, name)
            return
        if not self._two_steps:
            try:
                self._rename(self._scratch + name, name, dropTarget=True)
                self._replaced += 1
                return
            except ServerError as error:
                if error.code not in LACKING or self._replaced:
                    raise
                self._two_steps = True
        started = time.monotonic()
        self._rename(name, OLD_PREFIX + name)
        try:
            self._rename(self._scratch + name, name)
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

    def drop_old(self) -> None:
        for name in self._server.collections(self._database, self._doing):
            if name.startswith(OLD_PREFIX):
                self._drop(name)

    def _rename(self, old: str, new: str, **options: Any) -> None:
        rename(self._server, self._database, old, new, self._doing, **options)

    def _drop(self, name: str) -> None:
        self._prove()
        self._command({"drop": name})

    def _command(self, command: Mapping[str, Any]) -> None:
        self._server.command(self._database, command, self._doing)


def rename(server: Server, database: str, old: str, new: str, doing: str, **options: Any) -> None:
    """Rename one collection; both names are in ``database``."""
    command = {"renameCollection": f"{database}.{old}", "to": f"{database}.{new}", **options}
    server.command("admin", command, doing)


def put_back(
    server: Server, database: str, scratch: str, new: Names[str], prove: Callable[[], None], doing: str
) -> list[str]:
    """Give the live names back to the old collections of a swap that did not end; return them.

    What came with the swap becomes a scratch collection again.

    :param scratch: what scratch names begin with.
    :param new: the names that came with the swap and replaced nothing.
    :param prove: raises unless the lock is held; called before each step.
    """
    there = server.collections(database, doing)
    restored = []
    for name in sorted(there):
        came = OLD_PREFIX + name in there or name in new
        if came and there[name].get("type") != VIEW and not is_ours(name) and not is_system(name):
            prove()
            if scratch + name in there:
                server.command(database, {"drop": scratch + name}, doing)
            rename(server, database, name, scratch + name, doing)
    for name in sorted(there):
        if name.startswith(OLD_PREFIX):
            prove()
            rename(server, database, name, name[len(OLD_PREFIX) :], doing)
            restored.append(name[len(OLD_PREFIX) :])
    return restored
