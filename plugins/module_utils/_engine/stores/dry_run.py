# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A dry run as a store: what it is asked to read, it reads; what it is asked to change, it notes."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator

from ..streams.reader import Reader
from .base import ReadableStore, Store, Stored, StoredObject


class DryRunStore(Store):
    """A store around another one, of which it has the half that reads.

    The code that plans a change is that which makes it, given such a store.

    ``noted`` has what would have been done, in order: the kind of the change (``put``, ``delete``, ``sweep``) and the
    name or the prefix that it is about.
    """

    #: nothing is begun, so nobody has to be kept from beginning the same
    claims = False

    def __init__(self, store: ReadableStore) -> None:
        self._store = store
        self.kind = store.kind
        self.noted: builtins.list[tuple[str, str]] = []

    # -- what is read ------------------------------------------------------------------------------------------------

    def url(self, name: str = "") -> str:
        return self._store.url(name)

    def preflight(self, write: bool) -> None:
        """Raise unless the store can be read; whether it looks writable does not matter to a dry run."""
        self._store.preflight(write=False)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        return self._store.list(prefix)

    def stat(self, name: str) -> StoredObject | None:
        return self._store.stat(name)

    def open(self, name: str, size: int | None = None) -> Reader:
        return self._store.open(name, size)

    def get_bytes(self, name: str, limit: int | None = None) -> bytes:
        return self._store.get_bytes(name) if limit is None else self._store.get_bytes(name, limit)

    def begun(self) -> Iterator[StoredObject]:
        return self._store.begun()

    # -- what is noted -----------------------------------------------------------------------------------------------

    def put(self, name: str, source: Reader, size_hint: int | None = None) -> Stored:
        """Note the object. Nothing is read of ``source``, so its size is what the hint says, and it has no SHA-256."""
        self.noted.append(("put", name))
        return Stored(name, size_hint or 0, "")

    def delete(self, names: Iterable[str]) -> None:
        self.noted += [("delete", name) for name in names]

    def sweep(self, prefix: str) -> builtins.list[str]:
        """Note the prefix; what would be found there does not show, so nothing is returned."""
        self.noted.append(("sweep", prefix))
        return []
