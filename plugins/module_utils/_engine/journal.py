# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a push is about to leave in a store, written down before the first byte of it.

A push that ends by itself strikes out its entry, unless it fails and what it stored can't be removed. The next push of
the same database (which holds the lock, so no other one lives) takes away exactly what the journal names.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any, Callable

from .errors import EnvSyncError
from .ownership import make_folders, read_small, remove_file, write_small


class Journal:
    """The entries of one host, for one store and one database of one server; a file in the state directory.

    :param key: names server and database; the one whose lock the caller holds.
    """

    def __init__(self, state_dir: str, store_url: str, key: str) -> None:
        digest = hashlib.sha256(f"{store_url}\n{key}".encode()).hexdigest()[:16]
        self._path = os.path.join(state_dir, "journal", f"{digest}.json")
        self._store_url = store_url

    def unfinished(self) -> list[str]:
        """Return the points whose push began here and did not end."""
        try:
            return [str(point) for point in json.loads(read_small(self._path))["points"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    @contextlib.contextmanager
    def entry(self, point: str, remove: Callable[[], Any]) -> Iterator[None]:
        """Note ``point`` as begun; the note goes when the block ends by itself.

        :param remove: removes what a block that failed has left; the note stays when it returns None, as it could not.
        """
        self._write([*self.unfinished(), point])
        try:
            yield
        except BaseException:
            if remove() is not None:
                self.clear(point)
            raise
        self.clear(point)

    def clear(self, point: str) -> None:
        """Strike ``point`` out."""
        self._write([other for other in self.unfinished() if other != point])

    def _write(self, points: list[str]) -> None:
        content = json.dumps({"store": self._store_url, "points": points}).encode()
        try:
            if points:
                make_folders(os.path.dirname(self._path))
                write_small(self._path, content, durable=True)
            else:
                with contextlib.suppress(FileNotFoundError):
                    remove_file(self._path)
        except OSError as error:
            raise EnvSyncError(
                f"writing the journal {self._path}", str(error.strerror), "Set state_dir to a folder of this user's."
            ) from error
