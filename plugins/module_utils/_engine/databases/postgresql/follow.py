# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Follow a running ``pg_dump -Fd``: its files become members while they grow, and give their disk space back.

``pg_dump`` in directory format writes each table to a file of its own that only grows. A follower reads behind its end
and punches holes where it has been, so that the temporary directory holds only what has not been stored yet. When that
becomes too much (a slow store), ``pg_dump`` is stopped (SIGSTOP) until it has been worked off.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import tarfile
import threading
import time
from dataclasses import dataclass
from typing import IO, cast

from ...errors import EnvSyncError
from ...host.linux import PAGE, children, punch_hole
from ...members import StoreSink
from ...streams.pipeline import Group, Stage
from ...streams.reader import BytesReader

#: how much is read at once behind the end of a growing file, in bytes
READ_BLOCK = 1024 * 1024

#: space is given back in steps of this many bytes: small steps cost the file system more than they free
PUNCH_STEP = 4 * 1024 * 1024

#: pg_dump is stopped when its files hold this much, and goes on when half of it is gone, in bytes
BACKLOG = 24 * 1024 * 1024

#: how often the dump's files are looked at, at least and, while nothing happens, at most, in seconds
_TICK = 0.02
_LONGEST_TICK = 0.2

#: how often a file that nothing can be read of is looked at, at first and at last, in seconds
_SHORTEST_WAIT = 0.005
_LONGEST_WAIT = 0.1

#: how pg_dump ends a table's data (dumpTableData_copy in pg_dump.c): without it, rows are missing
_END_OF_TABLE = b"\\.\n\n\n"


@dataclass(frozen=True)
class Limits:
    """How many files may be on their way to the store at once, and how many threads compress each of them.

    ``largest`` is an upper bound for one member's size in bytes, None where none is known.
    """

    files: int
    threads: int
    largest: int | None


class Follower:
    """Turns the files of one running ``pg_dump`` into members.

    :param directory: what ``pg_dump -f`` was given.
    """

    def __init__(self, group: Group, dump: Stage, directory: str, sink: StoreSink, limits: Limits) -> None:
        self._group = group
        self._dump = dump
        # As the kernel shows it: a folder that is reached by a link would hide that its files are open.
        self._directory = os.path.realpath(directory)
        self._sink = sink
        self._limits = limits
        self._files: dict[str, _GrowingFile] = {}
        self._emptied: set[str] = set()
        self._queue: queue.Queue[_GrowingFile | None] = queue.Queue()
        self._workers = [group.start(self._work) for _unused in range(limits.files)]
        group.on_stop(self._dismiss)
        self._large_objects: _LargeObjects | None = None
        self._stopped = False
        self.peak = 0
        #: how many lines each table's file had, by its name
        self.lines: dict[str, int] = {}

    # Following a dump, in turns, until pg_dump has ended:
    #
    # 1. See which files of the directory pg_dump and its workers have open (/proc). A file that is known already and
    #    that nobody has open any more is finished: pg_dump opens each once, and never comes back to it. What appears
    #    after this look is not known yet, so it counts as open until the next turn.
    # 2. Take up the files that have appeared: each waits in a queue for one of the threads that store files. (Large
    #    objects go into one tar, each when it is finished, as a tar has the size first.)
    # 3. Count what waits to be stored: pg_dump is stopped (SIGSTOP) where that is more than BACKLOG, and goes on
    #    (SIGCONT) when half of it is gone. The peak of what was on disk is for the manifest.
    # 4. Wait a little: longer while nothing is written, and long enough to take no more than a fifth of a processor.
    #
    # Meanwhile each of the threads takes a file, reads behind its end as it grows, gives back the disk space of what it
    # has read (punch_hole), and knows by 1 when the end is the end. It then requires what pg_dump ends a table with,
    # and empties the file.
    #
    # After pg_dump has ended, with zero:
    #
    # 5. Take up what has appeared since the last turn, and call everything finished.
    # 6. Let the threads end after the last file, and wait for them; then for the large objects, and the lists of them.
    # 7. Store the table of contents, which is complete only now.
    def run(self) -> None:
        """Follow until the dump has ended and everything is stored; the table of contents last.

        :raises EnvSyncError: the dump failed, a file is not whole, or the store refused one.
        """
        pause = _TICK
        written, since = (0, 0), time.monotonic()
        while not self._dump.ended():
            began = time.thread_time()
            # Looked at before new files are taken up: what appears in between counts as open until the next round.
            open_files = self._open_files()
            if open_files is not None:
                self._finish_all_but(open_files)
            self._take_up()
            self._bound_backlog()
            now = self._written(open_files or set())
            if now != written or self._stopped:
                written, since, pause = now, time.monotonic(), _TICK
            else:
                pause = min(pause * 1.2, _LONGEST_TICK)
                self._dump.note_silence(time.monotonic() - since)
            # There may be ten thousands of files to look at: that is not to take much of a processor.
            self._group.sleep(max(pause, 4 * (time.thread_time() - began)))
        self._dump.wait()
        self._take_up()
        self._finish_all_but(set())
        self._dismiss()
        self._bound_backlog()
        self._group.join(self._workers)
        if self._large_objects is not None:
            self._large_objects.finish()
            self._group.join([self._large_objects.worker])
        self._sink.member("/toc.dat", _PlainFile(os.path.join(self._directory, "toc.dat")))

    def _dismiss(self) -> None:
        """Let every worker end after what it is at."""
        for _unused in self._workers:
            self._queue.put(None)

    def _written(self, open_files: set[str]) -> tuple[int, int]:
        """Return what changes when the dump writes: how many files there were, and the bytes of those it is at."""
        sizes = 0
        for name in open_files & set(self._files):
            with contextlib.suppress(OSError):
                sizes += self._files[name].size()
        return len(self._files) + len(self._emptied), sizes

    def _take_up(self) -> None:
        """Begin to read every file that has appeared since the last time; forget those that are stored."""
        for name in [name for name, file in self._files.items() if file.stored.is_set()]:
            if not self._files.pop(name).is_large_object:
                self._emptied.add(name)
        for name in sorted(set(os.listdir(self._directory)).difference(self._files, self._emptied)):
            if not _is_data(name):
                continue
            file = _GrowingFile(self._group, os.path.join(self._directory, name), name)
            self._files[name] = file
            if not file.is_large_object:
                self._queue.put(file)
            elif self._large_objects is None:
                self._large_objects = _LargeObjects(self._group, self._sink, self._limits.largest)

    def _finish_all_but(self, open_files: set[str]) -> None:
        """Mark as finished the files that nobody has open any more."""
        for name, file in self._files.items():
            if name not in open_files:
                self._finish(file)

    def _finish(self, file: _GrowingFile) -> None:
        if not file.finished.is_set():
            file.finished.set()
            if self._large_objects is not None and file.is_large_object:
                self._large_objects.add(file)

    def _work(self) -> None:
        while True:
            file = self._queue.get()
            if file is None:
                return
            self._group.check()
            with contextlib.closing(file):
                threads = self._limits.threads if file.fills_a_block() else 1
                self._sink.member(f"/{file.name}", file, self._limits.largest, threads=threads)
            self.lines[file.name] = file.lines
            file.discard()

    def _open_files(self) -> set[str] | None:
        """Return the names of the dump's files that any of its processes has open; None where that can't be seen."""
        names: set[str] = set()
        try:
            for pid in [self._dump.popen.pid, *children(self._dump.popen.pid)]:
                folder = f"/proc/{pid}/fd"
                for descriptor in os.listdir(folder):
                    try:
                        target = os.readlink(os.path.join(folder, descriptor))
                    except FileNotFoundError:
                        continue
                    if os.path.dirname(target) == self._directory:
                        names.add(os.path.basename(target))
        except (FileNotFoundError, ProcessLookupError):
            return None  # a process has just ended; the next round sees a stable picture
        except OSError:
            return None
        return names

    def _bound_backlog(self) -> None:
        """Stop the dump while more waits to be stored than is good; what waits for the dump itself does not count."""
        files = self._files.values()
        self.peak = max(self.peak, sum(file.held() for file in files))
        waiting = sum(file.waiting() for file in files)
        if not self._stopped and waiting > BACKLOG:
            self._dump.signal(signal.SIGSTOP)
            self._stopped = True
        elif self._stopped and waiting < BACKLOG // 2:
            self._dump.signal(signal.SIGCONT)
            self._stopped = False


def _is_data(name: str) -> bool:
    """Say whether a dump's file holds data: not the table of contents, which is complete at the dump's end only."""
    return name != "toc.dat"


class _GrowingFile:
    """A file that another process appends to, as a reader whose end comes only when the writer has closed it.

    It is opened when it is first read: there may be more large objects than a process may have files open.
    """

    def __init__(self, group: Group, path: str, name: str) -> None:
        self._group = group
        self._path = path
        self.name = name
        self.finished = threading.Event()
        self.stored = threading.Event()
        self.is_large_object = name.startswith("blob")
        self._descriptor = -1
        self._discarding = False
        self._offset = 0
        self._punched = 0
        self._last = b""
        self.lines = 0

    def size(self) -> int:
        return self._status().st_size

    def _status(self) -> os.stat_result:
        return os.stat(self._path) if self._descriptor < 0 else os.fstat(self._descriptor)

    def fills_a_block(self) -> bool:
        """Wait until the file has a whole block or is finished; say whether it has."""
        return self._wait(READ_BLOCK) >= READ_BLOCK

    def _wait(self, size: int) -> int:
        """Wait until ``size`` bytes can be read or the file is finished; return how many can be read."""
        pause = _SHORTEST_WAIT
        before = -1
        while True:
            finished = self.finished.is_set()
            available = self.size() - self._offset
            if available >= size or finished:
                return available
            pause = _SHORTEST_WAIT if available != before else min(pause * 1.5, _LONGEST_WAIT)
            before = available
            self.finished.wait(pause)
            self._group.check()

    def read(self, size: int) -> bytes:
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        self._wait(min(size, READ_BLOCK))
        block = os.read(self._descriptor, size)
        self._offset += len(block)
        if not self.is_large_object:
            self.lines += block.count(b"\n")
        self._last = (block if len(block) >= len(_END_OF_TABLE) else self._last + block)[-len(_END_OF_TABLE) :]
        if self._offset - self._punched >= PUNCH_STEP:
            self._punch()
        return block

    def close(self) -> None:
        """Let go of the file; the file itself goes with :meth:`discard`, once it is stored."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def waiting(self) -> int:
        """How much could be stored now, in bytes, and a page for the file itself.

        A large object can be stored only when it is finished, as its size comes first; of a growing table, less than a
        block is not read yet.
        """
        finished = self.finished.is_set()
        if self._discarding or (self.is_large_object and not finished):
            return 0
        try:
            unread = self.size() - self._offset
        except OSError:
            return 0
        return unread + PAGE if finished or unread >= READ_BLOCK else 0

    def held(self) -> int:
        """How much disk the file takes, in bytes."""
        if self._discarding:
            return 0
        try:
            return self._status().st_blocks * 512
        except OSError:
            return 0

    def discard(self) -> None:
        """Let go of the file's data, as it is stored; raise when that was not all of it."""
        self._discarding = True
        self.close()
        whole = self._offset == self.size()
        if self.name.endswith(".dat") and not self.is_large_object:
            whole = whole and self._last == _END_OF_TABLE
        if not whole:
            raise EnvSyncError(
                f"storing {self._path}",
                f"its end was not there when {self._offset} bytes of it had been read",
                "Report this as a bug: a file that is still written to was taken for a finished one.",
            )
        # A table's file is only emptied: ext4 passes over each inode that was freed a moment ago when it makes a file,
        # so that removing thousands takes ever longer. Large objects do go: there may be millions to list.
        if self.is_large_object:
            os.unlink(self._path)
        else:
            os.truncate(self._path, 0)
        self.stored.set()

    def _punch(self) -> None:
        """Give back the space of what has been read; a file system that can't do it keeps the data until the end."""
        self._punched = punch_hole(self._descriptor, self._punched, self._offset)


class _PlainFile:
    """A complete local file as a reader."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, size: int) -> bytes:
        return os.read(self._descriptor, size)

    def close(self) -> None:
        os.close(self._descriptor)


class _LargeObjects:
    """All large objects as one member, a tar: a file for each would be a million objects in a store.

    The lists of them (``blobs.toc``) become members of their own, with their lines in the order of the tar, so that a
    restore can feed the objects one after the other.
    """

    def __init__(self, group: Group, sink: StoreSink, raw_size_hint: int | None) -> None:
        self._group = group
        self._sink = sink
        self._queue: queue.Queue[_GrowingFile | None] = queue.Queue()
        self._lists: list[_GrowingFile] = []
        self._order: dict[str, int] = {}
        reading, writing = os.pipe()
        self._reading = os.fdopen(reading, "rb", buffering=0)
        self._writing = os.fdopen(writing, "wb", buffering=1024 * 1024)
        self._complete = False
        group.start(self._pack)
        self.worker = group.start(self._store, raw_size_hint)

    def add(self, file: _GrowingFile) -> None:
        """Take a finished file."""
        if file.name.endswith(".toc"):
            self._lists.append(file)
        else:
            self._queue.put(file)

    def finish(self) -> None:
        """No more objects will come."""
        self._queue.put(None)

    def read(self, size: int) -> bytes:
        block = self._reading.read(size) or b""
        if not block and not self._complete:
            self._group.check()
            raise EnvSyncError("packing the large objects", "the pack ended early")
        return block

    def close(self) -> None:
        self._reading.close()

    def _pack(self) -> None:
        try:
            with tarfile.open(fileobj=self._writing, mode="w|", format=tarfile.GNU_FORMAT) as tar:
                while True:
                    file = self._take()
                    if file is None:
                        break
                    self._order[file.name] = len(self._order)
                    info = tarfile.TarInfo(file.name)
                    info.size = file.size()
                    info.mode = 0o600
                    with contextlib.closing(file):
                        tar.addfile(info, cast(IO[bytes], _FileLike(file)))
                    file.discard()
            self._writing.flush()
            self._complete = True
        finally:
            self._writing.close()

    def _take(self) -> _GrowingFile | None:
        while True:
            try:
                return self._queue.get(timeout=0.5)
            except queue.Empty:
                self._group.check()

    def _store(self, raw_size_hint: int | None) -> None:
        self._sink.member("/blobs.tar", self, raw_size_hint, contains="large objects")
        listed = 0
        for file in self._lists:
            lines = _read_all(file).splitlines(keepends=True)
            listed += len(lines)
            lines.sort(key=lambda line: self._order.get(line.split()[-1].decode(), len(self._order)))
            self._sink.member(f"/{file.name}", BytesReader(b"".join(lines)), contains="list of large objects")
            file.discard()
        if listed != len(self._order):
            raise EnvSyncError(
                "packing the large objects", f"the dump lists {listed} of them and wrote {len(self._order)}"
            )


class _FileLike:
    """What tarfile asks of a file: ``read``."""

    def __init__(self, file: _GrowingFile) -> None:
        self._file = file
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size:
            block = self._file.read(max(size, READ_BLOCK))
            if not block:
                break
            self._rest += block
        block, self._rest = self._rest[:size], self._rest[size:]
        return block


def _read_all(file: _GrowingFile) -> bytes:
    with contextlib.closing(file):
        return b"".join(iter(lambda: file.read(READ_BLOCK), b""))
