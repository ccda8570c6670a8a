# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock that a pull holds in the DBMS itself, against every other host and user: one rule for all of them.

A run cleans up and swaps only when it has just proved that it holds the lock. A lock that was lost is an error, even
where nobody else has taken it since: what another run did meanwhile is not known.

Some DBMSs have locks that die with their session (PostgreSQL's advisory locks, MySQL's GET_LOCK), and a kernel has them
on files: the lock is one of these. MongoDB and Elasticsearch have none. There it is a document with a holder and an
end, which the holder keeps moving on; the recipe is above :class:`DocumentStorage`.
"""

from __future__ import annotations

import abc
import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Protocol

from ..errors import Cancelled, EnvSyncError
from ..host.linux import process_from, this_process
from ..host.locks import FileLock
from ..host.stopping import Stop, pause

#: how long a holder that says nothing is taken to live, in seconds
LIFE = 60.0

#: who has a lock: another host's pull; another user's run on this host
BUSY_PULL = "another host is pulling into it"
BUSY_HERE = "another push or pull of it is running on this host"

#: how often a lock that is taken is tried again, in seconds
_LOOK = 0.1


class LockLost(EnvSyncError):
    """The lock was held, and no longer is: another run may be at work."""

    def __init__(self, doing: str, how: str) -> None:
        super().__init__(doing, f"the lock was lost: {how}", "Run it again.")
        self.how = how


class Storage(abc.ABC):
    """Where one DBMS keeps the lock."""

    #: what a lock that could not be given up leaves; empty where it ends with the process
    remains = ""

    @abc.abstractmethod
    def acquire(self) -> str:
        """Become the holder, and return an empty text; or say who is (``another host is pulling into it``)."""

    @abc.abstractmethod
    def lost(self) -> str:
        """Ask now; return an empty text where the lock is held, else how it was lost. Unreachable: raises."""

    @abc.abstractmethod
    def release(self) -> None:
        """Give the lock up, if it is held."""


# What a pull does with its lock, whichever kind it is:
# 1. take: before even looking at what only the holder may change. Another holder is waited for, for a little while.
# 2. prove: before each step that cannot be taken back (a swap, dropping what was replaced). It asks the server at that
#    moment; one answer that the lock is lost ends the run, whoever has it by now.
# 3. regain: after a failure, before the scratch database is dropped. A lock that is lost and free is taken anew for
#    that alone; where another run has it, that run cleans up.
# 4. Release, whatever happened. That may fail: a session's or a process's lock ends with it, a document's in time.


class Lease:
    """The lock on one database, as a pull holds it.

    :param doing: what messages say is done (``locking users on db1``).
    :param stop: says whether the run is to stop; asked for when it is needed.
    :param patience: how long another holder is waited for, in seconds: what a killed run had its server do may go on
        for a moment, and holds the lock so long.
    """

    def __init__(self, storage: Storage, doing: str, stop: Callable[[], Stop], patience: float = 0.0) -> None:
        self._storage = storage
        self._doing = doing
        self._stop = stop
        self._patience = patience

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; raises when another run has it."""
        self.take()
        try:
            yield
        finally:
            with contextlib.suppress(EnvSyncError), self._stop().cleaning(self._storage.remains):
                self._storage.release()

    def take(self) -> None:
        """Become the holder; raises when another run is."""
        deadline = time.monotonic() + self._patience
        while True:
            holder = self._storage.acquire()
            if not holder:
                return
            if time.monotonic() >= deadline:
                raise EnvSyncError(self._doing, holder, "Wait for it to end (--status shows it there).")
            pause(_LOOK, self._stop(), self._doing)

    def prove(self) -> None:
        """Return only when the lock is held at this moment: called before whatever cannot be taken back.

        :raises LockLost: it is not.
        """
        lost = self._storage.lost()
        if lost:
            raise LockLost(self._doing, lost)

    def regain(self) -> None:
        """Return only when the lock is held, taken anew where it was lost and nobody has it: to clean up, no more.

        :raises LockLost: another run has it, which cleans up.
        :raises EnvSyncError: the server cannot be reached.
        """
        with contextlib.suppress(EnvSyncError):
            if not self._storage.lost():
                return
        holder = self._storage.acquire()
        if holder:
            raise LockLost(self._doing, holder)


class Sessions(Protocol):
    """A DBMS's control connection, as a lock that lives in it needs it.

    ``pinned``: when the connection is lost, asking for it raises :class:`LockLost`, and no other one is opened.
    """

    pinned: bool

    def query(self, statement: str, parameters: Sequence[Any] = (), doing: str = "") -> list[tuple[Any, ...]]:
        """Run one statement."""

    def close(self) -> None:
        """Close the connection; never raises."""


@dataclass(frozen=True)
class SessionLock:
    """A lock of a DBMS's sessions.

    ``take`` is the statement that takes it, and returns something true where it could; ``give`` gives it up. ``name``
    is what both call it, and ``busy`` what to say when another session has it.
    """

    take: str
    give: str
    name: Any
    busy: str


class SessionStorage(Storage):
    """A lock that the server keeps for a session, and drops with it: whatever the control connection does, it has it.

    :param doing: what messages say is done.
    :param pin: whether the connection is to be this one, or none, as long as the lock is held.
    """

    def __init__(self, server: Sessions, lock: SessionLock, doing: str, pin: bool) -> None:
        self._server = server
        self._lock = lock
        self._doing = doing
        self._pin = pin

    def acquire(self) -> str:
        again, self._server.pinned = self._server.pinned and self._pin, False
        try:
            taken = bool(self._server.query(self._lock.take, (self._lock.name,), self._doing)[0][0])
            self._server.pinned = taken and self._pin
        finally:
            if again and not self._server.pinned:
                # What is still to be done with the lock is not to be done without it.
                self._server.close()
                self._server.pinned = True
        return "" if taken else self._lock.busy

    def lost(self) -> str:
        try:
            self._server.query("SELECT 1", (), self._doing)
        except Cancelled:
            raise
        except EnvSyncError as error:
            return error.how if isinstance(error, LockLost) else error.why
        return ""

    def release(self) -> None:
        try:
            self._server.query(self._lock.give, (self._lock.name,), self._doing)
        finally:
            self._server.pinned = False


class FileStorage(Storage):
    """A kernel's lock on a file, which dies with the process that has it."""

    def __init__(self, lock: FileLock, busy: str) -> None:
        self._lock = lock
        self._busy = busy

    def acquire(self) -> str:
        return "" if self._lock.held() or self._lock.acquire() else self._busy

    def lost(self) -> str:
        return "" if self._lock.held() else f"{self._lock.path} is gone, or another file"

    def release(self) -> None:
        self._lock.release()


class Document(Protocol):
    """One document in a DBMS that can change it only where it is what it was read as."""

    def read(self) -> tuple[Mapping[str, Any], Any]:
        """Return its fields, and what tells this state of it from others; no fields where there is no document."""

    def write(self, fields: Mapping[str, Any], state: Any) -> bool:
        """Store the fields, if the document still is in ``state``; say whether it was. Fields not named may stay."""

    def remove(self, state: Any) -> None:
        """Remove the document, if it still is in ``state``."""

    def now(self) -> float:
        """Return the server's clock, in seconds since the epoch: those of two hosts may differ."""


# The protocol of a lock that is a document. It has the token, the host and the process of its holder, and until when it
# has it, by the server's clock. Whoever writes it says in which state it was read, and the server refuses when that is
# no longer its state; so of two writers one fails, whatever both have read.
# 1. Read the document. Another's is taken only when its end has come, or when its holder was a process of this very
#    boot of this very kernel, which can tell that it is gone. A host's name tells nothing: two hosts may be copies of
#    one image.
# 2. Write ourselves in, with an end that is one life from now. Refused: another run was faster.
# 3. A thread moves the end on, four times in a life. A moment without the server is not a loss yet.
# 4. To prove the lock is to move its end on once more. A token that is not ours, or a write that is refused, means that
#    it was lost; that stays so, as another run may have been at work meanwhile.
# 5. A run that lost it may take it again to clean up, but only from nobody: not from one that has taken it since, even
#    when that one's end has come, too.
# 6. To release it is to remove the document, or to leave it with its end in the past where the next holder has to know
#    what it says.


class DocumentStorage(Storage):
    """A lock that is a document in the DBMS.

    :param document: where it is kept.
    :param life: how long a holder that says nothing is taken to live, in seconds.
    """

    def __init__(self, document: Document, life: float | None = None) -> None:
        self._document = document
        self._life = LIFE if life is None else life
        self.remains = f"a lock, which ends by itself within {self._life:.0f} s"
        self._stop = threading.Event()
        #: one writer at a time, lest the two threads of this holder take each other for another one
        self._writing = threading.Lock()
        self._beating: threading.Thread | None = None
        self._lost = ""
        self._notes: dict[str, Any] = {}
        self.token = uuid.uuid4().hex
        #: what a holder before this one left in it; empty where there was none
        self.found: Mapping[str, Any] = {}
        #: whether the document is to stay, ended, when the lock is given up
        self.keep = False

    def acquire(self) -> str:
        with self._writing:
            found, state = self._document.read()
            now = self._document.now()
            process = process_from(found.get("process") or {})
            others = bool(found) and found.get("token") != self.token
            if others and self._beating is not None and found.get("host"):
                # It was this run's, and is to clean up, no more: not a second time from whoever has taken it since.
                return f"{_whose(found)} has it now"
            lives = float(found.get("until") or 0) > now and (process is None or not process.gone())
            if others and lives:
                return f"{_whose(found)} is pulling into it" + (f" (process {process.pid})" if process else "")
            self.found = found
            if not self._document.write(self._fields(now), state):
                return "another run has just begun to pull into it"
            self._lost = ""
        if self._beating is None:
            self._beating = threading.Thread(target=self._beat, daemon=True, name="lease")
            self._beating.start()
        return ""

    def lost(self) -> str:
        return self.note()

    def note(self, **values: Any) -> str:
        """Move the end on, and write down what the next holder has to know; say how the lock was lost, if it was."""
        with self._writing:
            if self._lost:
                return self._lost
            self._notes.update(values)
            found, state = self._document.read()
            if found.get("token") != self.token:
                self._lost = f"{_whose(found)} has taken it"
            elif not self._document.write(self._fields(self._document.now()), state):
                self._lost = "another run has just taken it"
            return self._lost

    def release(self) -> None:
        self._stop.set()
        if self._beating is not None:
            self._beating.join(10)
            self._beating = None
        found, state = self._document.read()
        if found.get("token") != self.token:
            return
        if self.keep:
            self._document.write({**self._notes, "token": self.token, "host": "", "process": None, "until": 0}, state)
        else:
            self._document.remove(state)

    def _fields(self, now: float) -> dict[str, Any]:
        me = this_process()
        who = {"token": self.token, "host": socket.gethostname(), "process": me.to_dict(), "until": now + self._life}
        return {**self._notes, **who}

    def _beat(self) -> None:
        while not self._stop.wait(self._life / 4):
            with contextlib.suppress(EnvSyncError):
                self.note()


def _whose(found: Mapping[str, Any]) -> str:
    return str(found.get("host") or "another host")
