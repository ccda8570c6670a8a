# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Members on their way into a store and out of it: compressed, counted, hashed, verified."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import threading
from typing import IO, Any, Callable

from .errors import EnvSyncError
from .points.manifest import Manifest, Member
from .stores.base import ReadableStore, SelfStoring, Store
from .streams.compression import SUFFIXES, Compressing, Compression, Decompressing, compressor, decompressor, in_process
from .streams.pipeline import Group, Stage, StageReader
from .streams.reader import BLOCK, HashingReader, Reader, blocks, write_all

#: how much is written at once to who restores it, in bytes: little enough to be still in the processor's cache there
SEND_BLOCK = 256 * 1024

_F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", 1031)


def widen(pipe: IO[bytes] | int) -> None:
    """Give a pipe room for 1 MiB, so that both ends switch less often; it does not matter when the kernel refuses."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, BLOCK)


class StoreSink:
    """Where a dump goes: members of one point in one store.

    :param progress: called with the number of bytes before compression that have come, and of members finished.
    :param run: what tells this push from all others.
    """

    def __init__(
        self,
        group: Group,
        store: Store,
        point: str,
        compression: Compression,
        progress: Callable[[int, int], None],
        run: str = "",
    ) -> None:
        self._group = group
        self._store = store
        self._point = point
        self._compression = compression
        self._progress = progress
        self._lock = threading.Lock()
        self._run = run
        self.members: list[Member] = []

    def by_server(self) -> ServerSink:
        """Return where a server notes what it stores by itself, in place of :meth:`member`.

        :raises EnvSyncError: the store takes bytes only.
        """
        _self_storing(self._store, "storing", self._point)
        return ServerSink(self._point, self._run, self.members, self._progress)

    def member(
        self,
        name: str,
        source: Reader,
        raw_size_hint: int | None = None,
        packed: bool = False,
        threads: int = 1,
        **facts: Any,
    ) -> Member:
        """Store all that ``source`` gives as a member, and return what was stored.

        :param name: what follows the point's name: ``/3041.dat`` for one of several, ``.dump`` for the only one.
        :param raw_size_hint: about how many bytes will come.
        :param packed: the data is compressed already, store it as it is.
        :param threads: how many threads may compress it: more than one where it would be waited for.
        :param facts: what else the manifest says of this member.
        """
        counting = _Counting(source, lambda size: self._progress(size, 0))
        if packed:
            facts["packed"] = True
        full_name = self._point + name + ("" if packed else self._compression.suffix)
        reader = counting if packed or not self._compression.suffix else self._compress(full_name, counting, threads)
        try:
            stored = self._store.put(full_name, reader, raw_size_hint)
        finally:
            reader.close()
        member = Member(stored.name, stored.size, stored.sha256, counting.size, facts)
        with self._lock:
            self.members.append(member)
        self._progress(0, 1)
        return member

    def _compress(self, name: str, source: Reader, threads: int) -> Reader:
        if in_process(self._compression.kind):
            return Compressing(source, self._compression.level, threads)
        stage = self._group.run(
            compressor(self._compression.kind, self._compression.level, threads),
            f"compressing {name}",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        widen(stage.stdin)
        widen(stage.stdout)
        self._group.start(_feed, self._group, source, stage)
        return StageReader(stage)


class ServerSink:
    """Where a dump goes that a server stores by itself: its members are noted, and their bytes seen by nobody here.

    :param members: takes what :meth:`record` notes.
    :param progress: called with the number of bytes stored, and of members finished.
    """

    def __init__(self, point: str, run: str, members: list[Member], progress: Callable[[int, int], None]) -> None:
        #: the point's name
        self.point = point
        #: what tells this push from all others
        self.run = run
        self._members = members
        self._progress = progress

    def advance(self, size: int) -> None:
        """Count ``size`` bytes that the server has stored."""
        self._progress(size, 0)

    def record(self, name: str, size: int) -> None:
        """Note a member that the server has stored.

        :param name: what follows the point's name.
        :param size: its size in bytes.
        """
        self._members.append(Member(self.point + name, size, "", size))
        self._progress(0, 1)


def _self_storing(store: ReadableStore, what: str, name: str) -> SelfStoring:
    """Return the store, whose server stores by itself; raises where it takes bytes only."""
    if isinstance(store, SelfStoring):
        return store
    raise EnvSyncError(f"{what} {store.url(name)}", "this store takes bytes only", "Choose another storagebackend.")


class _Counting:
    """A reader that tells how many bytes passed."""

    def __init__(self, source: Reader, tell: Callable[[int], None]) -> None:
        self._source = source
        self._tell = tell
        self.size = 0

    def read(self, size: int) -> bytes:
        block = self._source.read(size)
        self.size += len(block)
        self._tell(len(block))
        return block

    def close(self) -> None:
        self._source.close()


def _feed(group: Group, source: Reader, stage: Stage) -> None:
    """Copy ``source`` into a stage. When it fails, the group knows before the stage can see an end of its input."""
    descriptor = stage.stdin.fileno()
    try:
        _copy(source, descriptor, BLOCK)
    except BaseException as error:
        group.fail_unless_consequence(error)
        raise
    finally:
        source.close()
        stage.stdin.close()


def _copy(source: Reader, descriptor: int, size: int) -> None:
    for block in blocks(source, size):
        write_all(descriptor, block)


class VerifyingReader:
    """A member as it is in the store. Its last block is given out only after size and SHA-256 agree with the manifest.

    Legacy objects have no SHA-256 on record (it is empty): of these, only the size is compared.
    """

    def __init__(self, store: ReadableStore, member: Member) -> None:
        self._source = HashingReader(store.open(member.name, member.size))
        self._member = member
        self._url = store.url(member.name)
        self._given = memoryview(b"")
        self._ahead: bytes | None = None

    def read(self, size: int) -> bytes:
        if not self._given:
            block = self._source.read(BLOCK) if self._ahead is None else self._ahead
            self._ahead = self._source.read(BLOCK) if block else b""
            if not self._ahead:
                self._verify()
            self._given = memoryview(block)
        block, self._given = bytes(self._given[:size]), self._given[size:]
        return block

    def close(self) -> None:
        self._source.close()

    def _verify(self) -> None:
        member = self._member
        if self._source.size != member.size:
            why = f"it has {self._source.size} bytes, the manifest says {member.size}"
        elif member.sha256 and self._source.sha256 != member.sha256:
            why = f"its SHA-256 is {self._source.sha256}, the manifest says {member.sha256}"
        else:
            return
        raise EnvSyncError(
            f"reading {self._url}", f"{why}: it is damaged", "Choose another point (--list shows them) or push again."
        )


class PointSource:
    """Where a restore comes from: the members of one point, verified while they are read.

    :param point: the point's name.
    :param progress: called with the number of stored bytes read, and of members finished.
    """

    def __init__(
        self, group: Group, store: ReadableStore, point: str, manifest: Manifest, progress: Callable[[int, int], None]
    ) -> None:
        self._group = group
        self._store = store
        self._progress = progress
        self.manifest = manifest
        self._members: dict[str, Member] = {}
        if manifest.compression not in SUFFIXES:
            raise EnvSyncError(
                f"reading the point {store.url(point)}",
                f"this program does not know the compression {manifest.compression}",
                "Upgrade env_sync here.",
            )
        suffix = SUFFIXES[manifest.compression]
        for member in manifest.members:
            name = member.name[len(point) :]
            self._members[name[: -len(suffix)] if suffix and name.endswith(suffix) else name] = member

    def names(self) -> list[str]:
        """Return the members' names as the dump gave them (``/3041.dat``)."""
        return list(self._members)

    def member(self, name: str) -> Member:
        """Return what the manifest says of a member; raises when it says nothing."""
        try:
            return self._members[name]
        except KeyError:
            raise EnvSyncError(
                f"reading the point {self._store.url(self.manifest.timestamp)}",
                f"it has no member {name.lstrip('/')}",
                "Choose another point (--list shows them).",
            ) from None

    def advance(self, size: int) -> None:
        """Count ``size`` stored bytes that a server has read by itself."""
        self._progress(size, 0)

    def attest(self) -> None:
        """Have the store's own server vouch for the members, which it never hands out, in place of reading them.

        :raises EnvSyncError: it does not, or the store is one that hands out bytes only.
        """
        for member in self._members.values():
            _self_storing(self._store, "verifying", member.name).attest(member.name)

    def open(self, name: str) -> Reader:
        """Return a reader over the member's bytes before compression."""
        member = self.member(name)
        stored = self._stored(member)
        if not self._compressed(member):
            return stored
        if in_process(self.manifest.compression):
            return Decompressing(stored, member.raw_size, self._decompressing(member))
        stage = self._decompress(member, stored, subprocess.PIPE)
        widen(stage.stdout)
        return StageReader(stage)

    def send(self, name: str, descriptor: int) -> None:
        """Write the member's bytes before compression to ``descriptor``, which is closed at the end."""
        try:
            member = self.member(name)
            if self._compressed(member) and not in_process(self.manifest.compression):
                self._decompress(member, self._stored(member), descriptor).wait()
            else:
                with contextlib.closing(self.open(name)) as reader:
                    _copy(reader, descriptor, SEND_BLOCK)
        except BaseException as error:
            # Before the descriptor is closed: the group knows of a failure when the other side can see an end.
            self._group.fail_unless_consequence(error)
            raise
        finally:
            os.close(descriptor)
        self._group.check()
        self._progress(0, 1)

    def _stored(self, member: Member) -> Reader:
        return _Counting(VerifyingReader(self._store, member), lambda size: self._progress(size, 0))

    def _compressed(self, member: Member) -> bool:
        suffix = SUFFIXES[self.manifest.compression]
        return bool(suffix) and not member.facts.get("packed") and member.name.endswith(suffix)

    def _decompressing(self, member: Member) -> str:
        return f"decompressing {self._store.url(member.name)}"

    def _decompress(self, member: Member, stored: Reader, stdout: int) -> Stage:
        stage = self._group.run(
            decompressor(self.manifest.compression), self._decompressing(member), stdin=subprocess.PIPE, stdout=stdout
        )
        widen(stage.stdin)
        self._group.start(_feed, self._group, stored, stage)
        return stage
