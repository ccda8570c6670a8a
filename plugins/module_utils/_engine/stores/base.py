# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a store is: a flat set of named objects below one path, written whole or not at all."""

from __future__ import annotations

import abc
import builtins
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..streams.reader import BLOCK, BytesReader, Reader
from .inspector import Inspector


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing shows it.

    ``name`` is relative to the store's path; ``size`` is in bytes; ``modified`` is seconds since the epoch (UTC).
    """

    name: str
    size: int
    modified: float


@dataclass(frozen=True)
class Stored:
    """What was written: ``size`` in bytes and ``sha256`` (hex) of the bytes as they are in the store."""

    name: str
    size: int
    sha256: str


class ReadableStore(abc.ABC):
    """One place for points: a bucket and prefix, a directory, a directory on another host. This half of it reads.

    A pull, a verification and the catalogue hold no more than this half, and so cannot write: the type checker sees
    to that.

    Every method raises :class:`..errors.EnvSyncError` when the store cannot do what is asked.
    Methods may be called from several threads at once.
    """

    #: the name in ``storagebackend``
    kind = ""

    @abc.abstractmethod
    def url(self, name: str = "") -> str:
        """Return the address of the store, or of an object in it, for messages, without any secret: ``s3://b/p/name``."""

    @abc.abstractmethod
    def preflight(self, write: bool) -> None:
        """Raise unless the store is there and can be read (and, where ``write``, looks writable). Writes nothing.

        :raises EnvSyncError: it is not; the message says what to correct.
        """

    def prepare(self, write: bool) -> None:
        """Begin a run: as :meth:`preflight`, and a server that has to be told of the store first is told.

        A plan calls :meth:`preflight` instead.
        """
        self.preflight(write)

    @abc.abstractmethod
    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every finished object whose name starts with ``prefix``, in order of name, folders entered."""

    @abc.abstractmethod
    def stat(self, name: str) -> StoredObject | None:
        """Return the object of that exact name, or None."""

    @abc.abstractmethod
    def open(self, name: str, size: int | None = None) -> Reader:
        """Return a reader over the object. A connection cut half-way is resumed or raised, never taken for the end.

        :param size: the object's size in bytes, where the caller knows it; saves a look.
        """

    def get_bytes(self, name: str, limit: int = 64 * BLOCK) -> bytes:
        """Return a small object as a whole: at most its first ``limit`` bytes, which are 64 MiB unless given."""
        reader = self.open(name)
        try:
            blocks: list[bytes] = []
            room = limit
            while room > 0:
                block = reader.read(min(BLOCK, room))
                if not block:
                    break
                blocks.append(block)
                room -= len(block)
            return b"".join(blocks)
        finally:
            reader.close()

    def begun(self) -> Iterator[StoredObject]:
        """Yield what writers have begun and not finished, as far as that shows: its name or the like, and since when.

        It may be of a writer that is at work.
        """
        return iter(())


class Store(ReadableStore):
    """A store with the half that writes: what a push, a copy and a removal of points need."""

    #: whether two runs can begin an object of one name at once, so that each has to claim its point
    claims = True

    #: the name of the right to delete, where a writer may be without it; empty where whoever writes may delete
    delete_right = ""

    @property
    def peak_temporary_bytes(self) -> int:
        """What the store's own temporary files on this host took at most, in bytes."""
        return 0

    def inspector(self) -> Inspector:
        """Return what tells a check of the store how it is set up."""
        return Inspector()

    @abc.abstractmethod
    def put(self, name: str, source: Reader, size_hint: int | None = None) -> Stored:
        """Store all that ``source`` gives, under ``name``: wholly, or not at all.

        The object appears under its name only after ``source`` came to its end without raising.
        Whatever was stored until then is taken away again when anything fails.

        :param size_hint: about how many bytes will come, an upper bound where one is known; a store may use it to
            choose part sizes, and must still work when it is wrong or None.
        """

    def put_bytes(self, name: str, data: bytes) -> Stored:
        """Store ``data`` under ``name``."""
        return self.put(name, BytesReader(data), len(data))

    @abc.abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Remove these objects; one that is not there is not an error."""

    @abc.abstractmethod
    def sweep(self, prefix: str) -> builtins.list[str]:
        """Remove what interrupted writers left below ``prefix``: temporary names, unfinished multipart uploads.

        Finished objects are never touched.

        :returns: what was removed, for people to read: addresses of files, ``an unfinished upload of s3://...``.
        """

    def straggling(self, prefix: str) -> bool:
        """Say whether a writer that was given up, here or by a process that is gone, may still write below ``prefix``.

        Asked after :meth:`sweep`.
        """
        return False

    def claim(self, name: str) -> None:
        """Leave a mark of this name, for :meth:`claimed` to show to whoever asks."""
        self.put_bytes(name, b"")

    def claimed(self, prefix: str) -> set[str]:
        """Return the names of the marks below a folder; others may be among them."""
        return {found.name for found in self.list(prefix)}

    def unclaim(self, name: str) -> None:
        """Take a mark away; one that is not there is not an error."""
        self.delete([name])

    def made_by(self, point: str, run: str) -> bool:
        """Say whether what there is of a point may be the run's; where runs claim points, the claim has told."""
        return True


class SelfStoring(Store):
    """A store whose server takes the data from the DBMS by itself, and hands none of it out.

    :meth:`Store.put` and :meth:`Store.open` always raise. A point's objects are what the server says that it keeps, and
    its manifest is made of that whenever it is read: :meth:`Store.get_bytes` returns it.
    """

    @abc.abstractmethod
    def commit(self, point: str) -> None:
        """Return only when the server says that all of the point is stored; it counts from then on.

        :raises EnvSyncError: something of it is missing, or the server cannot be reached.
        """

    @abc.abstractmethod
    def attest(self, name: str) -> None:
        """Have the server look at all that it keeps of a member, in place of reading it.

        :param name: the member's name, relative to the store's path.
        :raises EnvSyncError: something of it is missing or failed, or the server cannot be reached.
        """
