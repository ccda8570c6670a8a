# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a bucket sync counts. Buckets have millions of objects: what is kept of them in memory is bounded."""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

from ...errors import EnvSyncError
from ...host.ownership import temporary_folder, workplace
from .compare import Listed

#: how many names a plan shows of each kind
_SHOWN = 100


class Tally:
    """What there is to do, or has been done: numbers of objects, and the first names of those that are changed.

    :param surplus: where the names of what the destination alone has are kept; None: only how many there are.
    """

    def __init__(self, surplus: IO[bytes] | None = None) -> None:
        self.copied = 0
        self.copied_bytes = 0
        self.unchanged = 0
        self.unseen = 0
        self.archived = 0
        self.vanished = 0
        self.seen = 0
        self.extra = 0
        self.extra_names: list[str] = []
        self.names: list[str] = []
        self._surplus = surplus
        self._lock = threading.Lock()

    def copy(self, item: Listed) -> None:
        with self._lock:
            self.copied += 1
            self.copied_bytes += item.size
            if len(self.names) < _SHOWN:
                self.names.append(item.name)

    def keep(self, unseen: bool = False) -> None:
        """:param unseen: it is only supposed to be the same, as it could not be looked at."""
        with self._lock:
            self.unchanged += 1
            self.unseen += unseen

    def only_there(self, name: str) -> None:
        self.extra += 1
        if len(self.extra_names) < _SHOWN:
            self.extra_names.append(name)
        if self._surplus is not None:
            try:
                self._surplus.write(json.dumps(name).encode() + b"\n")
            except OSError as error:
                raise _no_room(error) from error

    def surplus(self) -> Iterator[str]:
        """Yield the names of what the destination alone has."""
        if self._surplus is not None:
            try:
                self._surplus.seek(0)
            except OSError as error:  # what was written last
                raise _no_room(error) from error
            yield from map(json.loads, self._surplus)


def _no_room(error: OSError) -> EnvSyncError:
    return EnvSyncError(
        "noting which objects are to be removed", str(error.strerror), "Set temppath to a folder with more room."
    )


@contextlib.contextmanager
def surplus_file(temppath: str) -> Iterator[IO[bytes]]:
    """Give a temporary file for the names of what is to be removed, which may be millions."""
    with contextlib.ExitStack() as opened:
        try:
            file = opened.enter_context(tempfile.TemporaryFile(dir=workplace(temppath or temporary_folder())))
        except OSError as error:
            raise _no_room(error) from error
        yield file
