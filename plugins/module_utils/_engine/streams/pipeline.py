# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes and pumps that work together: the first failure stops all of them, and is the one reported.

A :class:`Group` owns every process and thread of one step. Leaving it waits for all of them; when one fails, the others
are stopped, and the first failure is raised. The end of a pipe counts as an end only when every process before it
exited with status zero: that is what :class:`StageReader` is for.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import IO, Any, Callable, TypeVar

from ..errors import Cancelled, EnvSyncError, advice, one_line
from ..host import programs
from ..host.linux import Guard
from ..host.stopping import Stop
from .reader import BLOCK, Reader

_Item = TypeVar("_Item")

_ROOM = "Make room, or set temppath to a folder with more."

#: how much of a tool's standard error is kept for its error message, in bytes
STDERR_KEPT = 64 * 1024

#: how long a tool may take to end after SIGTERM before it gets SIGKILL, in seconds
GRACE = 5.0

#: how long the threads of a group may take to end after its processes, all together, in seconds
SETTLE = 3.0

#: how often what waits looks whether the run is to stop, in seconds
LOOK = 0.2

#: how long a broken pipe waits for the failure that broke it, in seconds
CONSEQUENCE = 3.0


@dataclass(frozen=True)
class Terms:
    """What is expected of a process, and how its end is told.

    ``checked``: an exit status other than zero is a failure of the group. ``silence`` is how long it may give nothing
    while it is waited for, in seconds; 0: for ever. ``repeatable`` and ``explain`` are those of :meth:`Group.run`.
    """

    checked: bool = True
    silence: float = 0.0
    repeatable: Callable[[str], str] = str
    explain: Callable[[EnvSyncError], EnvSyncError] = lambda error: error


class Stage:
    """One running process of a group."""

    def __init__(
        self, group: Group, argv: Sequence[str | bytes], popen: subprocess.Popen[bytes], doing: str, terms: Terms
    ) -> None:
        self.group = group
        self.argv = tuple(os.fsdecode(argument) for argument in argv)
        self.popen = popen
        self.doing = doing
        self._terms = terms
        self._stopped = False
        self._stderr: list[bytes] = []
        self._ended = threading.Event()

    @property
    def stdin(self) -> IO[bytes]:
        if self.popen.stdin is None:
            raise ValueError(f"{self.argv[0]} was not started with a pipe to write to")
        return self.popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        if self.popen.stdout is None:
            raise ValueError(f"{self.argv[0]} was not started with a pipe to read from")
        return self.popen.stdout

    @property
    def stderr_text(self) -> str:
        """What the tool has said on its standard error, at most the last 64 KiB of it."""
        return b"".join(self._stderr).decode("utf-8", "replace")

    def wait(self) -> None:
        """Wait for the process; raise when it, or anything else in the group, failed."""
        while not self._ended.wait(LOOK):
            self.group.check()
        if self.popen.returncode != 0:
            self.group.check()
            raise self.error()

    def join(self) -> None:
        """Wait for the process, whatever its exit status; raise when the group failed."""
        while not self._ended.wait(LOOK):
            self.group.check()
        self.group.check()

    def read(self, size: int) -> bytes:
        """Return what comes out of its standard output, at most ``size`` bytes; empty at the end, of any kind.

        :raises EnvSyncError: the group failed meanwhile, or is to stop; or the process gave nothing for too long.
        """
        descriptor = self.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        began = time.monotonic()
        while not poll.poll(LOOK * 1000):
            self.group.check()
            self.note_silence(time.monotonic() - began)
        return os.read(descriptor, size)

    def note_silence(self, seconds: float) -> None:
        """Raise where the process has given nothing for longer than it may, while it was waited for."""
        if 0 < self._terms.silence <= seconds:
            tool = os.path.basename(self.argv[0])
            raise EnvSyncError(
                self.doing,
                f"{tool} has written nothing for {seconds:.0f} s",
                "Find out what it waits for, or set stall_timeout higher (0: it may be silent for ever).",
            )

    def ended(self, patience: float = 0.0) -> bool:
        """Say whether the process has ended and its exit status is known, within ``patience`` (seconds)."""
        return self._ended.wait(patience)

    def error(self) -> EnvSyncError:
        """Return the error that this process's end amounts to."""
        status = self.popen.returncode
        how = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
        said = one_line(self._terms.repeatable(self.stderr_text))[-2000:]
        tool = os.path.basename(self.argv[0])
        full = os.strerror(errno.ENOSPC) in said
        hint = "Make room in temppath, or where else the tool and the server write." if full else ""
        return self._terms.explain(EnvSyncError(self.doing, f"{tool}: {how}" + (f": {said}" if said else ""), hint))

    def signal(self, number: int) -> None:
        """Send a signal to the process and all that it started; ended processes are left alone."""
        if self.popen.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, number)

    def stop(self) -> None:
        """End the process, gently first; its exit status is no failure any more. Safe to call twice."""
        self.disregard()
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if not self._ended.wait(GRACE):
            self.signal(signal.SIGKILL)
            self._ended.wait(GRACE)

    def disregard(self) -> None:
        """The process is about to be stopped: however it ends, that is not a failure."""
        self._stopped = True

    def follow(self) -> None:
        """Collect standard error, then the exit status; called by the group, in a thread of its own."""
        stderr = self.popen.stderr
        kept = 0
        if stderr is not None:
            for block in iter(lambda: os.read(stderr.fileno(), 8192), b""):
                self._stderr.append(block)
                kept += len(block)
                while kept - len(self._stderr[0]) > STDERR_KEPT:
                    kept -= len(self._stderr.pop(0))
            stderr.close()
        status = self.popen.wait()
        if status != 0 and self._terms.checked and not self._stopped:
            # A tool that lost its reader is a consequence: the reader's own failure is about to be known.
            if status == -signal.SIGPIPE:
                self.group.stopping.wait(CONSEQUENCE)
            self.group.fail(self.error())
        # After the failure is known: who sees that all has ended must also see how.
        self._ended.set()
        self.group.wake()


class StageReader:
    """A stage's standard output as a :class:`~.reader.Reader`.

    The end is reported only after the stage, and all stages named in ``upstream``, exited with status zero.
    """

    def __init__(self, stage: Stage, upstream: Sequence[Stage] = ()) -> None:
        self._stage = stage
        self._upstream = tuple(upstream)

    def read(self, size: int) -> bytes:
        block = self._stage.read(size)
        if not block:
            self._stage.wait()
            for stage in self._upstream:
                stage.wait()
            self._stage.group.check()
        return block

    def close(self) -> None:
        self._stage.stdout.close()


class Worker:
    """One running thread of a group: what ``work`` raises is a failure of the group, what it returns the ``result``."""

    def __init__(self, group: Group, work: Callable[[], Any], name: str) -> None:
        self._group = group
        self._work = work
        self._ended = False
        self.thread = threading.Thread(target=self._run, daemon=True, name=name)
        self.result: Any = None

    def _run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:  # every failure has to reach the thread that waits
            self._group.fail_unless_consequence(error)
        finally:
            self._ended = True
            self._group.wake()

    def join(self) -> None:
        """Wait for its end, whatever that is."""
        self.thread.join()

    def alive(self) -> bool:
        """Say whether the work goes on; not any more as soon as its failure is known."""
        return not self._ended


class Group:
    """The processes and threads of one step; a context manager.

    :param cancelled: asked about every 0.2 s; the step is stopped when it says True.
    :param stall_timeout: how long a process that dumps may be silent, in seconds; 0: for ever.
    """

    def __init__(self, cancelled: Callable[[], bool] = lambda: False, stall_timeout: float = 0.0) -> None:
        self._cancelled = Stop.of(cancelled)
        self._stall_timeout = stall_timeout
        self._guard = Guard()
        self._resources = contextlib.ExitStack()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._stages: list[Stage] = []
        self._workers: list[Worker] = []
        self._failure: BaseException | None = None
        self._closers: list[Callable[[], None]] = []
        self.stopping = threading.Event()

    def __enter__(self) -> Group:
        self._resources.enter_context(self._cancelled.at_the_end(lambda why: self._signal_all(signal.SIGKILL)))
        return self

    def run(
        self,
        argv: Sequence[str | bytes],
        doing: str,
        stdin: Any = subprocess.DEVNULL,
        stdout: Any = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
        cwd: str = programs.START,
        dumps: bool = False,
        checked: bool = True,
        repeatable: Callable[[str], str] = str,
        explain: Callable[[EnvSyncError], EnvSyncError] = lambda error: error,
    ) -> Stage:
        """Start a process. It, and all that it starts, ends with this process, whatever ends that, even SIGKILL.

        :param argv: an argument vector; never a shell's.
        :param doing: what it is for, the first part of its error message.
        :param env: added to this process's environment.
        :param dumps: its standard output may be silent for no longer than the group's ``stall_timeout``.
        :param repeatable: given what the tool says on its standard error, returns what of it an error may repeat.
        :param explain: given the error that its end amounts to, returns what is raised: that error, or one that knows
            more of why. It must not raise.
        :param checked: an exit status other than zero is a failure of the group; otherwise the caller looks at it.
        """
        self.check()
        environment = dict(programs.environment(), LC_ALL="C.UTF-8")
        environment.update(env or {})
        try:
            environment.update(self._guard.environment)
            popen = subprocess.Popen(
                list(argv),
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise programs.not_started(os.fsdecode(argv[0]), cwd, doing, error) from error
        terms = Terms(checked, self._stall_timeout if dumps else 0.0, repeatable, explain)
        stage = Stage(self, argv, popen, doing, terms)
        follower = threading.Thread(target=stage.follow, daemon=True, name=f"follow {stage.argv[0]}")
        with self._lock:
            self._stages.append(stage)
        follower.start()
        return stage

    def start(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Worker:
        """Run ``function`` in a thread of the group; what it raises is a failure of the group."""
        name = getattr(function, "__name__", "worker")
        worker = Worker(self, functools.partial(function, *args, **kwargs), name)
        with self._lock:
            self._workers.append(worker)
        worker.thread.start()
        return worker

    def each(self, work: Callable[[Iterator[_Item]], Any], items: Iterable[_Item], at_once: int) -> None:
        """Share ``items`` out among threads, and wait for these; raise the first failure of the group.

        :param work: called once in each thread, with an iterator over what falls to that one: the next item that none
            has taken yet. So whatever it opens serves all of its items.
        :param items: read by one thread at a time, and no further ahead than they are taken.
        :param at_once: how many threads there are, but no more than items where their number is known.
        """
        if isinstance(items, Sized):
            at_once = min(at_once, len(items))
        left, lock = iter(items), threading.Lock()
        self.join([self.start(work, self._taken(left, lock)) for _unused in range(at_once)])

    def _taken(self, left: Iterator[_Item], lock: threading.Lock) -> Iterator[_Item]:
        """Yield items that several threads take from one iterator, until the group fails."""
        while True:
            self.check()
            with lock:
                try:
                    item = next(left)
                except StopIteration:
                    return
            yield item

    def on_stop(self, closer: Callable[[], None]) -> None:
        """Call ``closer`` when the group is stopped by a failure, to wake what waits outside of pipes."""
        with self._lock:
            self._closers.append(closer)

    def fail(self, error: BaseException) -> None:
        """Record a failure (the first one counts) and stop everything."""
        if isinstance(error, OSError):
            place = f"{error.filename}: " if error.filename else ""
            error = EnvSyncError("moving the data", f"{place}{error.strerror or error}", advice(error, _ROOM))
        with self._lock:
            if self._failure is None:
                self._failure = error
        self.stopping.set()
        self.wake()

    def fail_unless_consequence(self, error: BaseException) -> None:
        """Record a failure; a broken pipe first gives way to the failure that broke it."""
        if isinstance(error, BrokenPipeError):
            self.stopping.wait(CONSEQUENCE)
        self.fail(error)

    def check(self) -> None:
        """Raise the group's failure, if there is one, or :class:`Cancelled`."""
        if self._failure is None and self._cancelled():
            self.fail(Cancelled("running", "it was told to stop"))
        if self._failure is not None:
            raise self._failure

    def wait(self) -> None:
        """Wait for every thread and process; raise the first failure as soon as there is one."""
        self._wait_while(lambda: any(w.alive() for w in self._workers) or any(not s.ended() for s in self._stages))

    def join(self, workers: Sequence[Worker]) -> None:
        """Wait for these threads; raise the first failure of the group as soon as there is one."""
        self._wait_while(lambda: any(worker.alive() for worker in workers))

    def _wait_while(self, busy: Callable[[], bool]) -> None:
        while True:
            self.check()
            with self._changed:
                if self._failure is None and busy():
                    self._changed.wait(LOOK)
                elif self._failure is None:
                    break
        self.check()

    def wake(self) -> None:
        """Have all that wait for the group look at it again."""
        with self._changed:
            self._changed.notify_all()

    def sleep(self, seconds: float) -> None:
        """Sleep; raise when the group fails meanwhile."""
        self.stopping.wait(seconds)
        self.check()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        with self._resources:
            if error is None:
                try:
                    self.wait()
                except BaseException:
                    self._stop_all()
                    raise
                self._guard.close()
                return
            self.fail(error)
            self._stop_all()
        # What surfaces here is often only the consequence (a pipe that broke); the first failure is the cause.
        if self._failure is not None and self._failure is not error:
            raise self._failure from error

    def _signal_all(self, number: int) -> None:
        with self._lock:
            stages = list(self._stages)
        for stage in stages:
            stage.signal(number)

    def _stop_all(self) -> None:
        """End all processes and threads: all of them by one deadline. What does not end by then is left behind."""
        self.stopping.set()
        self.wake()
        with self._lock:
            closers, stages, workers = list(self._closers), list(self._stages), list(self._workers)
        for stage in stages:
            stage.disregard()
        self._signal_all(signal.SIGCONT)
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + min(GRACE, self._cancelled.left())
        closing = threading.Thread(target=_call_all, args=(closers,), daemon=True, name="closers")
        closing.start()
        for stage in stages:
            stage.ended(max(0.0, deadline - time.monotonic()))
        self._signal_all(signal.SIGKILL)
        deadline = time.monotonic() + SETTLE
        for thread in [closing, *(worker.thread for worker in workers)]:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._cancelled.abandon(thread)
        for stage in stages:
            stage.ended(max(0.0, deadline - time.monotonic()))
        if all(stage.ended() for stage in stages):
            self._guard.close()


def _call_all(functions: Sequence[Callable[[], None]]) -> None:
    for function in functions:
        function()


def send_archive(group: Group, head: bytes, rest: Reader, stage: Stage) -> None:
    """Write an archive to a tool that may stop reading after the last part that it wants; close both ends.

    The archive is read to its end all the same, as it is verified there, and the group knows of a failure before the
    tool can see an end of its input.

    :param head: the archive's beginning, which has been read from ``rest`` already.
    """
    wanted = True
    try:
        block = head or rest.read(BLOCK)
        while block:
            if wanted:
                try:
                    stage.stdin.write(block)
                    stage.stdin.flush()
                except BrokenPipeError:
                    stage.wait()  # raises, unless it has all that it wanted
                    wanted = False
            block = rest.read(BLOCK)
    except BaseException as error:
        group.fail(error)
        raise
    finally:
        rest.close()
        with contextlib.suppress(OSError):
            stage.stdin.close()
