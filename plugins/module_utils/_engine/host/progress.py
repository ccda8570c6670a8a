# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far a run is: counted by the engine, shown by the front ends, kept in a status file on the host."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Callable

from ..errors import EnvSyncError, one_line
from .linux import process_mark
from .ownership import make_folders, names_in, read_small, write_small
from .stopping import Stop

#: how long a change of phase waits for a status that is being written, in seconds: its file system may hang
_PATIENCE = 2.0


@dataclass(frozen=True)
class Snapshot:
    """The state of a run at one moment.

    Sizes are bytes, before compression for a dump and as stored for anything that reads a point; times are seconds
    since the epoch (UTC). ``bytes_total`` and ``members_total`` are estimates while a dump runs, and 0 where nothing is
    known. ``waiting`` is what others keep the run waiting for, empty where nothing does. ``state`` is ``running``,
    ``done`` or ``failed``. ``process`` tells the process ``pid`` from others of that number
    (:func:`~.linux.process_mark`). ``last_success`` is of the task's last run that did its job, this one or one before:
    ``finished`` (seconds since the epoch), ``seconds``, ``point`` and ``stored_bytes``; empty where there was none.
    """

    title: str
    action: str
    database: str
    state: str = "running"
    phase: str = ""
    waiting: str = ""
    point: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    members_done: int = 0
    members_total: int = 0
    started: float = 0.0
    phase_started: float = 0.0
    updated: float = 0.0
    message: str = ""
    pid: int = 0
    process: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    last_success: dict[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Bytes a second since the start of the phase; 0.0 in its first moments."""
        elapsed = self.updated - self.phase_started
        return self.bytes_done / elapsed if elapsed > 0.5 else 0.0

    @property
    def remaining(self) -> float | None:
        """Estimated seconds until the data is through, or None while nothing can be said."""
        if self.rate <= 0 or self.bytes_total <= 0:
            return None
        return max(0.0, (self.bytes_total - self.bytes_done) / self.rate)


@dataclass(frozen=True)
class Host:
    """What the engine needs of the program that runs it: a log, a place for progress, a reason to stop.

    ``log`` takes a level (``info``, ``warning`` or ``error``) and one line of text; ``cancelled`` says whether the run
    is to stop.
    """

    log: Callable[[str, str], None] = lambda level, text: None
    progress: Callable[[Snapshot], None] = lambda snapshot: None
    cancelled: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        object.__setattr__(self, "cancelled", Stop.of(self.cancelled))

    @property
    def stop(self) -> Stop:
        """What ``cancelled`` has become: one for all that works for the run."""
        return Stop.of(self.cancelled)


class Progress:
    """Counts what a run has done; safe to use from several threads.

    Passes a :class:`Snapshot` to the host, and writes it to the status file, at most once in ``interval`` seconds and
    at each change of phase.
    """

    def __init__(self, host: Host, first: Snapshot, status_dir: str = "", interval: float = 1.0) -> None:
        self._host = host
        self._now = first
        self._path = status_path(status_dir, first.title) if status_dir else ""
        self._interval = interval
        self._lock = threading.Lock()
        # Held while a snapshot is passed on: one is never overtaken by an older one, and none comes after the last.
        self._telling = threading.Lock()
        self._finished = False
        self._reported = 0.0
        pid = os.getpid()
        self._change(
            started=time.time(), pid=pid, process=process_mark(pid) or "", last_success=_last_success(self._path)
        )

    @property
    def snapshot(self) -> Snapshot:
        """The status as it is now."""
        return self._now

    def phase(self, name: str, bytes_total: int = 0, members_total: int = 0) -> None:
        """Enter a phase; counters start again."""
        self._change(
            phase=name,
            waiting="",
            phase_started=time.time(),
            bytes_done=0,
            bytes_total=bytes_total,
            members_done=0,
            members_total=members_total,
            at_once=True,
        )

    def waiting(self, what: str) -> None:
        """Others keep the run waiting for this; nothing: that is over."""
        self._change(waiting=what, at_once=True)

    def point(self, name: str) -> None:
        """Say which point the run makes or reads."""
        self._change(point=name, at_once=True)

    def add(self, size: int = 0, members: int = 0) -> None:
        """Count bytes (before compression) and members as done."""
        with self._lock:
            self._now = _replace(
                self._now,
                bytes_done=self._now.bytes_done + size,
                members_done=self._now.members_done + members,
                updated=time.time(),
            )
            due = self._now.updated - self._reported >= self._interval
        if due:
            self._report()

    def finish(self, state: str, message: str, result: dict[str, Any] | None = None) -> None:
        """The run is over: ``state`` is ``done`` or ``failed``. The first call counts."""
        with self._lock:
            if self._finished:
                return
            self._finished = True
        if state == "done":
            now = time.time()
            self._change(
                last_success={
                    "finished": now,
                    "seconds": now - self._now.started,
                    "point": self._now.point,
                    "stored_bytes": int((result or {}).get("stored_bytes", 0)),
                }
            )
        self._change(state=state, message=one_line(message), result=result or {}, at_once=True)

    def _change(self, at_once: bool = False, **changes: Any) -> None:
        with self._lock:
            self._now = _replace(self._now, updated=time.time(), **changes)
        if at_once:
            self._report(_PATIENCE)

    def _report(self, patience: float = 0.0) -> None:
        if not self._telling.acquire(timeout=patience):
            return  # another thread is at it
        try:
            with self._lock:
                snapshot = self._now
                self._reported = snapshot.updated
            self._host.progress(snapshot)
            if self._path:
                write_status(self._path, snapshot)
        finally:
            self._telling.release()


def _replace(snapshot: Snapshot, **changes: Any) -> Snapshot:
    values = {name: getattr(snapshot, name) for name in Snapshot.__dataclass_fields__}
    values.update(changes)
    return Snapshot(**values)


def status_path(state_dir: str, title: str) -> str:
    """Return the path of a task's status file; a title's unusual characters become underscores."""
    return os.path.join(state_dir, "status", re.sub(r"[^A-Za-z0-9_.-]", "_", title) + ".json")


def write_status(path: str, snapshot: Snapshot) -> None:
    """Write the status file, atomically. A status that cannot be written never fails a run."""
    with contextlib.suppress(OSError):
        make_folders(os.path.dirname(path))
        write_small(path, json.dumps(asdict(snapshot)).encode())


def _last_success(path: str) -> dict[str, Any]:
    """Return what the status file of the run before says of the last success."""
    try:
        return dict(json.loads(read_small(path))["last_success"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def read_statuses(state_dir: str) -> list[Snapshot]:
    """Return the last status of every task that ever ran with this state directory, by title."""
    return sorted(_read_statuses(os.path.join(state_dir, "status")), key=lambda snapshot: snapshot.title)


def _read_statuses(folder: str) -> Iterator[Snapshot]:
    try:
        names = names_in(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise EnvSyncError(
            f"reading the status files in {folder}", str(error.strerror), "Correct state_dir, or the folder's mode."
        ) from error
    for name in names:
        if name.startswith(".") or not name.endswith(".json"):
            continue
        try:
            values = json.loads(read_small(os.path.join(folder, name)))
            snapshot = Snapshot(**{key: values[key] for key in Snapshot.__dataclass_fields__ if key in values})
        except (OSError, ValueError, TypeError):
            continue
        if snapshot.state == "running" and not _alive(snapshot):
            snapshot = _replace(snapshot, state="failed", message="the run was killed")
        yield snapshot


def _alive(snapshot: Snapshot) -> bool:
    """Say whether the run's process lives. Its number alone says little: after a restart, another one has it soon."""
    mark = process_mark(snapshot.pid)
    return mark is not None and snapshot.process in ("", mark)


def default_state_dir() -> str:
    """Return where status files and journals are kept when no task says otherwise.

    ``/var/lib/govuk_env_sync`` where this user can write to it (the role makes it, and may give it another name, which
    is ENV_SYNC_NAME then), else the user's own state folder.
    """
    name = os.environ.get("ENV_SYNC_NAME") or "govuk_env_sync"
    shared = f"/var/lib/{name}"
    if os.access(shared, os.W_OK):
        return shared
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(home, name)
