# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel can do and Python's library does not offer."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from . import programs

PAGE = 4096
_KEEP_SIZE = 1
_PUNCH_HOLE = 2

#: how long a process may take to end after a signal, in seconds
_GRACE = 2.0

#: the variable that marks the processes that a :class:`Guard` ends
MARK = "ENV_SYNC_GUARD"

# Reads until its standard input ends, which is when every process that held the other end is gone or has become a
# program of its own. Then it ends what has the mark ($1) in its environment, and the process group of each.
_GUARD = (
    "/bin/sh",
    "-c",
    """read -r _
    for _ in 1 2 3 4 5; do
        for file in $(grep -lsF -e "$1" /proc/[0-9]*/environ); do
            pid=${file#/proc/}
            kill -s KILL -- "-${pid%/environ}" "${pid%/environ}"
        done
        sleep 0.1
    done""",
    "env_sync-guard",
)


def punch_hole(descriptor: int, start: int, stop: int) -> int:
    """Give back the disk space of a file's bytes, in whole pages; its size stays.

    :returns: up to where that was done, whether or not the file system can do it.
    """
    length = (stop - start) & ~(PAGE - 1)
    with contextlib.suppress(AttributeError):
        fallocate = ctypes.CDLL(None, use_errno=True).fallocate
        fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, start, length)
    return start + length


class Guard:
    """Ends what this process started when it dies by any cause, even SIGKILL: all that has :attr:`environment`.

    The processes may come and go as they like, and cost nothing each; what they start has the mark too, in whatever
    session or process group it is. None escapes by being too new: the guard notices our death by the end of a pipe,
    which a process that was just made holds open until it has become a program, with the mark in its environment.

    It is started when the environment is first asked for. ``process`` is the one that watches.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mark = secrets.token_hex(16)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process has in its environment that is to be ended with this one."""
        with self._lock:
            if self.process is None:
                # Without a mark of its own, should this process be in the care of another one's guard.
                unmarked = {name: value for name, value in programs.environment().items() if name != MARK}
                self.process = subprocess.Popen(
                    [*_GUARD, f"{MARK}={self._mark}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=unmarked,
                    cwd=programs.START,
                    start_new_session=True,
                )
        return {MARK: self._mark}

    def close(self) -> None:
        """Watch no more: all that had the mark has ended."""
        with self._lock:
            if self.process is not None:
                self.process.kill()
                self.process.wait()
                if self.process.stdin is not None:
                    self.process.stdin.close()


def processors() -> int:
    """Return how many processors this process may use: fewer than the host has where its affinity says so."""
    return len(os.sched_getaffinity(0))


def said(argv: Sequence[str], seconds: float) -> str:
    """Return what a program writes to its standard output; empty where it fails, or does not end within ``seconds``."""
    with contextlib.closing(Guard()) as guard:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**programs.environment(), **guard.environment},
                cwd=programs.START,
                start_new_session=True,
            )
        except OSError:
            return ""
        try:
            text, _nothing = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return ""
        finally:
            end(process)
    return text.decode("utf-8", "replace") if process.returncode == 0 else ""


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that has a session of its own, with all that it started; close its pipes."""
    if process.poll() is None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
                break
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that have not ended.

    :raises OSError: there is no such process any more.
    """
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as stream:
            return [int(child) for child in stream.read().split()]
    except FileNotFoundError:
        os.stat(f"/proc/{pid}")
        return _children_by_parent(pid)


def _children_by_parent(pid: int) -> list[int]:
    """As :func:`children`, on a kernel that lists none (built without CONFIG_PROC_CHILDREN)."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if int(_stat(int(name))[1]) == pid:
                    found.append(int(name))
    return found


def _stat(pid: int) -> list[str]:
    """Return what /proc/PID/stat has behind the name, which may hold anything: state, parent..."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
        return stream.read().rpartition(")")[2].split()


def marked_processes(assignment: str) -> list[int]:
    """Return the processes that have a variable of that value in the environment that they were started with.

    So has all that a process starts, in whatever session or group, unless it takes the variable away.

    :param assignment: ``NAME=value``, as long as to be nobody else's.
    """
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as stream:
                if assignment.encode() in stream.read().split(b"\0"):
                    found.append(int(name))
    return found


def process_mark(pid: int) -> str | None:
    """Return what tells a process from any other that has had, or will have, its number: the boot and its start.

    None where there is no such process; empty where /proc does not say.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass
    try:
        fields = _stat(pid)
        return None if fields[0] == "Z" else f"{boot_id()} {fields[19]}"
    except (OSError, LookupError):
        return ""


@dataclass(frozen=True)
class Process:
    """One process, told from all others: also from those of another boot, another host, and a later use of its number.

    ``mark`` is what :func:`process_mark` says of it, ``namespace`` that of the processes among which ``pid`` counts.
    """

    mark: str
    namespace: str
    pid: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it, with the fields as keys."""
        return asdict(self)

    def gone(self) -> bool:
        """Say whether the process is certain to have ended: whether it runs elsewhere, nothing here can tell."""
        here = this_process()
        boot = self.mark.partition(" ")[0]
        if not boot or boot != here.mark.partition(" ")[0] or self.namespace != here.namespace:
            return False
        now = process_mark(self.pid)
        # Of another user's, nothing may be seen but that it is there (proc(5), hidepid).
        return now is None or (now != "" and now != self.mark)


def this_process() -> Process:
    """Return the process that asks."""
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return Process(process_mark(os.getpid()) or "", namespace, os.getpid())


def process_from(values: Mapping[str, Any]) -> Process | None:
    """Return the process that :meth:`Process.to_dict` made ``values`` of; None where they say none."""
    try:
        return Process(str(values["mark"]), str(values["namespace"]), int(values["pid"]))
    except (KeyError, TypeError, ValueError):
        return None


def boot_id() -> str:
    """Return what the kernel calls this boot (random(4)): the same for all that runs on it; empty where it won't say.

    Two hosts made of one image, with one name, have two.
    """
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()
    return ""
