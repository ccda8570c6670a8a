# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a push is about to leave in a store, written down before the first byte of it.

A push that ends by itself strikes out its entry, unless it fails and what it stored can't be removed, or something of
it may still write. The next push of the same database holds the journal's lock, so no other one lives that has it; it
takes away exactly what the journal names.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Callable

from ..errors import EnvSyncError
from . import locks
from .linux import Process, process_from, this_process
from .ownership import make_folders, read_small, remove_file, write_small


@dataclass(frozen=True)
class Entry:
    """One push that began.

    ``run`` tells it from all others; empty in what version 0.3 wrote. ``claimed`` is whether all that the store has of
    the point is this push's: before, nothing but its claim is. ``straggling`` says that its ``process`` gave up on
    something that may still write.
    """

    point: str
    run: str = ""
    claimed: bool = True
    straggling: bool = False
    process: Process | None = None

    def may_write(self) -> bool:
        """Say whether something of it may still be written to the store."""
        return self.straggling and self.process is not None and not self.process.gone()


class Begun:
    """The entry of a push that is under way."""

    def __init__(self, journal: Journal, entry: Entry) -> None:
        self._journal = journal
        self.entry = entry

    def claim(self) -> None:
        """Note that from now on all that the store has of the point is this push's."""
        self._change(replace(self.entry, claimed=True))

    def straggle(self) -> None:
        """Note that something was given up that may still write: the entry stays."""
        self._change(replace(self.entry, straggling=True))

    def _change(self, entry: Entry) -> None:
        self.entry = entry
        self._journal._put(self.entry)


class Journal:
    """The entries of one host, for one store and one database of one server; a file in the state directory.

    :param key: names server and database; the one whose lock the caller holds.
    """

    def __init__(self, state_dir: str, store_url: str, key: str) -> None:
        digest = hashlib.sha256(f"{store_url}\n{key}".encode()).hexdigest()[:16]
        self._folder = os.path.join(state_dir, "journal")
        self._path = os.path.join(self._folder, f"{digest}.json")
        self._lock = f".{digest}.lock"
        self._store_url = store_url

    @contextlib.contextmanager
    def held(self, what: str, wait: float = 0.0, cancelled: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Hold the journal's lock: whoever has this state directory, of whichever user, sees who is at work.

        :param what: what is locked, for the message.
        :param wait: how many seconds to wait for another holder.
        """
        try:
            make_folders(self._folder)
        except OSError as error:
            raise self._error(error) from error
        busy = "another push of it to the same place is running"
        with locks.hold_file(self._folder, self._lock, what, busy, wait, cancelled):
            yield

    def unfinished(self) -> list[Entry]:
        """Return the pushes that began here and did not end."""
        try:
            found = json.loads(read_small(self._path))
            entries = {str(point): Entry(str(point)) for point in found["points"]}
            for values in found.get("entries", ()):
                entry = Entry(
                    str(values["point"]),
                    run
                    if re.fullmatch("[A-Za-z0-9-]+", run := str(values["run"]))
                    else "",  # it becomes part of a name
                    bool(values["claimed"]),
                    bool(values["straggling"]),
                    process_from(values["process"] or {}),
                )
                entries[entry.point] = entry
            return list(entries.values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return []

    @contextlib.contextmanager
    def entry(self, point: str, run: str, remove: Callable[[Begun], Any]) -> Iterator[Begun]:
        """Note ``point`` as begun; the note goes when the block ends by itself.

        :param run: what tells this push from all others.
        :param remove: removes what a block that failed has left; the note stays when it returns None, as it could not.
        """
        begun = Begun(self, Entry(point, run, claimed=False, process=this_process()))
        self._put(begun.entry)
        try:
            yield begun
        except BaseException:
            if remove(begun) is not None and not begun.entry.straggling:
                self.clear(point)
            raise
        self.clear(point)

    def clear(self, point: str) -> None:
        """Strike ``point`` out."""
        self._write([other for other in self.unfinished() if other.point != point])

    def _put(self, entry: Entry) -> None:
        self._write([*(other for other in self.unfinished() if other.point != entry.point), entry])

    def _write(self, entries: list[Entry]) -> None:
        values = {
            "store": self._store_url,
            # What version 0.3 reads.
            "points": [entry.point for entry in entries if entry.claimed],
            "entries": [
                {**vars(entry), "process": entry.process.to_dict() if entry.process else None} for entry in entries
            ],
        }
        try:
            if entries:
                make_folders(self._folder)
                write_small(self._path, json.dumps(values).encode(), durable=True)
            else:
                with contextlib.suppress(FileNotFoundError):
                    remove_file(self._path)
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> EnvSyncError:
        return EnvSyncError(
            f"writing the journal {self._path}", str(error.strerror), "Set state_dir to a folder of this user's."
        )
