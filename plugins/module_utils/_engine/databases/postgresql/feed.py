# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Feed a directory-format archive to ``pg_restore`` straight from the store.

``pg_restore -Fd -jN`` opens a file for each table. Here most of these are named pipes: whichever of them it opens is
fed from the store at that moment, so that a parallel restore needs no copy of the data on disk. Small members are
written as plain files beforehand, because finding out that a pipe was opened costs a look at each one that waits.

Newer minor releases (15.20 is one) refuse whatever is not a plain file. Which kind is installed is tried; for these,
all of the data is written to disk first.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, cast

from ...errors import EnvSyncError, advice
from ...members import PointSource, widen
from ...streams.pipeline import Group, Stage, Worker
from ...streams.reader import BLOCK, Reader, blocks

#: members of at most this size (bytes, before compression) are written as plain files, up to a total of SMALL_TOTAL
SMALL = 256 * 1024
SMALL_TOTAL = 32 * 1024 * 1024

#: how many small members are fetched at once: each is little data and a round trip
_FETCHERS = 8

#: so many small large objects are written as files between two pipes, up to so many bytes
_BATCH = 256
_BATCH_BYTES = 4 * 1024 * 1024

#: how long to wait between two looks for opened pipes, at first and at most, in seconds
_TICK = 0.002
_LONGEST_TICK = 0.05

#: how many pipes are looked at each time, and at which look all of them
_NEAR = 16
_ROUND = 50


#: what pg_dump calls a table's data, or a list of large objects (its manual, "Output Files"; pg_backup_directory.c)
_DATA_FILE = re.compile(r"(\d+\.dat|blobs(_\d+)?\.toc)\Z", re.ASCII)

#: and a large object
_OBJECT_FILE = re.compile(r"blob_\d+\.dat\Z", re.ASCII)


@dataclass(frozen=True)
class _Batch:
    """Large objects that are files now, the pipe that is read after them, and what comes after that."""

    files: list[str]
    pipe: tuple[tarfile.TarInfo, Reader] | None
    rest: Iterator[tuple[tarfile.TarInfo, Reader]]


# Feeding pg_restore, so that it takes for files what comes from the store at that moment:
#
# 1. Try whether this pg_restore takes a named pipe for a file. Where it does not, all members become files in 2,
#    and of what follows only 5 is done.
# 2. Write the small members, and the lists of large objects, as files.
# 3. Make a named pipe for each other member, under the name that pg_restore will open.
# 4. Start pg_restore. Again and again, try to open the pipes for writing without waiting (O_NONBLOCK): that fails with
#    ENXIO until pg_restore has opened one for reading. Then a thread sends that member through it, and closes it at its
#    end: that is the end of the file for pg_restore. The largest are opened first, so these are looked at each time.
# 5. Wait for pg_restore, then for the threads: each has compared its member's size and SHA-256.
# 6. Raise where a pipe was never opened: pg_restore ended well, and has not read everything.
#
# Large objects are many, and read one after the other in the order of their list. A thread of their own writes the next
# few small ones as files, makes one pipe behind them, and waits until that is opened: then all before it have been
# read. It removes these and the pipe's name, writes the next few files while pg_restore still reads the pipe, and only
# then closes it.


class Feeder:
    """The members of a point as the files of a directory archive.

    :param directory: where the files and pipes go; exists and is empty but for ``toc.dat``.
    :param files: the names (``3041.dat``) of the members that will be read, each with its entry's dump ID.
    :param program: the path of the ``pg_restore`` that will read them.
    """

    def __init__(
        self, group: Group, source: PointSource, directory: str, files: Mapping[str, int], program: str
    ) -> None:
        self._numbers = files
        self._program = program
        self._group = group
        self._source = source
        self._directory = directory
        self._pipes: dict[str, int] = {}
        self._restored = False
        strange = [name for name in files if not _DATA_FILE.match(name)]
        if strange:
            raise EnvSyncError("restoring", f"{strange[0]!r} is no name of a data file", "Choose another point.")
        self._large_objects: list[str] = [name for name in files if name.endswith(".toc")]
        self._small: list[str] = []
        room = SMALL_TOTAL
        for name in sorted((name for name in files if not name.endswith(".toc")), key=self._raw_size):
            size = self._raw_size(name)
            if size <= min(SMALL, room):
                self._small.append(name)
                room -= size
            else:
                self._pipes[name] = size

    def prepare(self) -> None:
        """Write the small members, and make the pipes for the others."""
        probed = next(iter([*self._pipes, *self._large_objects]), "")
        with_pipes = not probed or self._reads_pipes(probed)
        if not with_pipes:
            self._take_as_files()
        self._group.each(self._fetch_all, self._small + self._large_objects, _FETCHERS)
        for name in self._pipes:
            os.mkfifo(self._path(name), 0o600)
        if with_pipes and len(self._large_objects) == 1:
            order = self._object_order(self._large_objects[0])
            batch = self._next_batch(self._in_order(self._packed_objects(), order))
            self._group.start(self._feed_large_objects, batch)
        elif self._large_objects:
            # Newer archives hold several lists, read by several workers in an order of their own.
            self._unpack_large_objects()

    def run(self, restore: Stage) -> None:
        """Feed until ``restore`` has ended; raise when it did not read everything."""
        # pg_restore takes the largest first: the next ones are looked at each time, the others now and then.
        waiting = sorted(self._pipes, key=lambda name: -self._pipes[name])
        senders: list[Worker] = []
        pause = _TICK
        for look in itertools.count():
            if not waiting or restore.ended():
                break
            near = waiting if look % _ROUND == 0 else waiting[:_NEAR]
            opened = [(name, descriptor) for name in near for descriptor in self._try_open(name)]
            sending = [sender for sender in senders if sender.alive()]
            # After a member's end another one is opened soon; else the processors are left to those who need them.
            pause = _TICK if opened or len(sending) < len(senders) else min(pause * 1.1, _LONGEST_TICK)
            senders = sending
            for name, descriptor in opened:
                waiting.remove(name)
                senders.append(self._group.start(self._source.send, f"/{name}", descriptor))
            self._group.sleep(0.0 if opened else pause)
        restore.wait()
        self._restored = True
        self._group.wait()
        if waiting:
            raise EnvSyncError("restoring", f"pg_restore did not read {len(waiting)} members ({waiting[0]}...)")

    def _reads_pipes(self, name: str) -> bool:
        """Tell whether this ``pg_restore`` takes a pipe for a file: it is given an empty one, and no database."""
        path, listing = self._path(name), f"{self._directory}.list"
        with open(listing, "w", encoding="ascii") as stream:
            stream.write(f"{self._numbers[name]};\n")
        os.mkfifo(path, 0o600)
        try:
            argv = [self._program, "-f", "/dev/null", "-L", listing, self._directory]
            stage = self._group.run(argv, "trying how pg_restore reads", checked=False)
            opened = None
            while opened is None and not stage.ended():
                self._group.sleep(_TICK)
                opened = open_if_read(path)
            if opened is not None:
                os.close(opened)
            stage.join()
        finally:
            os.unlink(path)
            os.unlink(listing)
        return opened is not None

    def _take_as_files(self) -> None:
        """Have all members written to disk; raise where there is no room for them."""
        size = sum(self._pipes.values())
        room = shutil.disk_usage(self._directory).free
        if size > room:
            raise EnvSyncError(
                f"writing the tables' data into {self._directory}",
                f"this pg_restore reads plain files only, which take {size} bytes, and {room} are free",
                "Make room, or set temppath to a folder with more.",
            )
        self._small = [*sorted(self._pipes, key=lambda name: -self._pipes[name]), *self._small]
        self._pipes = {}

    def _raw_size(self, name: str) -> int:
        return self._source.member(f"/{name}").raw_size

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def _fetch_all(self, names: Iterator[str]) -> None:
        for name in names:
            self._fetch(name)

    def _fetch(self, name: str) -> None:
        reader = self._source.open(f"/{name}")
        try:
            self._write(name, reader)
        finally:
            reader.close()

    def _write(self, name: str, reader: Reader) -> None:
        path = self._path(name)
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                _copy(reader, stream)
        except OSError as error:
            raise EnvSyncError(
                f"writing {path}",
                str(error.strerror),
                advice(error, "Make room, or set temppath to a folder with more."),
            ) from error

    def _try_open(self, name: str) -> Iterator[int]:
        """Yield a descriptor when somebody has opened the pipe for reading."""
        descriptor = open_if_read(self._path(name))
        if descriptor is not None:
            yield descriptor

    def _object_order(self, list_name: str) -> list[str]:
        with open(self._path(list_name), encoding="ascii", errors="replace") as stream:
            lines = [line.split() for line in stream if line.strip()]
        strange = [line for line in lines if len(line) != 2]
        if strange:
            raise EnvSyncError(
                f"reading the list of large objects {list_name}",
                f"it is damaged: {' '.join(strange[0])[:100]!r} is no entry",
                "Choose another point (--list shows them).",
            )
        return [name for _number, name in lines]

    def _feed_large_objects(self, batch: _Batch) -> None:
        """Have each pipe read, and meanwhile write the files that are read after it, up to the next pipe."""
        while batch.pipe is not None:
            info, data = batch.pipe
            path = self._path(info.name)
            with open(self._wait_open(path), "wb") as stream:
                # They are read one after the other: what comes before the pipe has been read now. The pipe itself goes
                # before its end, so that its reader's next object can't be taken for this one's.
                for name in [*batch.files, info.name]:
                    os.unlink(self._path(name))
                _copy(data, stream)
                batch = self._next_batch(batch.rest)

    def _next_batch(self, objects: Iterator[tuple[tarfile.TarInfo, Reader]]) -> _Batch:
        """Write the next few small objects as files, and make a pipe for the one after them."""
        files: list[str] = []
        room = _BATCH_BYTES
        for info, data in objects:
            if info.size > room or len(files) >= _BATCH:
                os.mkfifo(self._path(info.name), 0o600)
                return _Batch(files, (info, data), objects)
            self._write(info.name, data)
            files.append(info.name)
            room -= info.size
        return _Batch(files, None, objects)

    def _in_order(
        self, objects: Iterator[tuple[tarfile.TarInfo, Reader]], order: Sequence[str]
    ) -> Iterator[tuple[tarfile.TarInfo, Reader]]:
        """Pass the objects on; raise unless they are those of the list, in its order."""
        position = 0
        for position, (info, data) in enumerate(objects, start=1):
            if position > len(order) or info.name != order[position - 1]:
                raise EnvSyncError("restoring the large objects", f"{info.name} is not where the list has it")
            yield info, data
        if position != len(order):
            raise EnvSyncError(
                "restoring the large objects", f"the point has {position} of the {len(order)} that it lists"
            )

    def _wait_open(self, path: str) -> int:
        pause = _TICK / 20
        while True:
            descriptor = open_if_read(path)
            if descriptor is not None:
                return descriptor
            if self._restored:
                raise EnvSyncError("restoring the large objects", f"pg_restore did not read {os.path.basename(path)}")
            self._group.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_TICK)

    def _unpack_large_objects(self) -> None:
        size = self._source.member("/blobs.tar").raw_size
        room = shutil.disk_usage(self._directory).free
        if size > room:
            raise EnvSyncError(
                f"unpacking the large objects in {self._directory}",
                f"they take {size} bytes, and {room} are free",
                "Make room, or set temppath to a folder with more.",
            )
        for info, data in self._packed_objects():
            self._write(info.name, data)

    def _packed_objects(self) -> Iterator[tuple[tarfile.TarInfo, Reader]]:
        reader = self._source.open("/blobs.tar")
        try:
            with tarfile.open(fileobj=cast(IO[bytes], reader), mode="r|", bufsize=BLOCK) as tar:
                for info in tar:
                    data = tar.extractfile(info) if info.isreg() and _OBJECT_FILE.match(info.name) else None
                    if data is None:
                        raise EnvSyncError(
                            "restoring the large objects",
                            f"their pack holds {info.name!r}, which no push puts there",
                            "Choose another point (--list shows them).",
                        )
                    yield info, cast(Reader, data)
                for _block in blocks(reader):
                    pass  # to the end, where the member is verified
        except tarfile.TarError as error:
            raise EnvSyncError("restoring the large objects", f"their pack is damaged: {error}") from error
        finally:
            reader.close()


def open_if_read(path: str) -> int | None:
    """Open a named pipe for writing if somebody has it open for reading, else return None."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
    widen(descriptor)
    return descriptor


def _copy(reader: Reader, stream: IO[bytes]) -> None:
    for block in blocks(reader):
        stream.write(block)
