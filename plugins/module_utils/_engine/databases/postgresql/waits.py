# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sessions of a run that wait for locks: whom they wait for, and how long they may."""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType
from typing import Any, Callable

from ...errors import Cancelled, EnvSyncError
from ...points.name import how_long
from .client import Server

#: how often it is looked who waits, in seconds
_LOOK = 1.0

#: how long it is left alone where that could not be seen (no connection is free), in seconds
_LOOK_AGAIN = 10.0

#: how long the end waits for a look that is under way, in seconds
_LAST_LOOK = 5.0

#: the sessions of a run that wait for a lock of others, and what for
_WAITING = """
SELECT pid, blocked.by, wanted.what, wanted.which
  FROM (SELECT pid FROM pg_stat_activity
         WHERE application_name = %s AND wait_event_type = 'Lock' AND pid <> pg_backend_pid() OFFSET 0) waiting,
       LATERAL (SELECT pg_blocking_pids(pid) AS by OFFSET 0) blocked,
       LATERAL (SELECT CASE WHEN l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database
                                                                    WHERE datname = current_database())
                    THEN l.relation::regclass::text
                    WHEN l.locktype = 'object' AND l.classid = 'pg_database'::regclass THEN 'the database'
                    WHEN l.locktype IN ('transactionid', 'tuple') THEN 'a row that another transaction has changed'
                    ELSE 'a lock of the kind ' || l.locktype END AS what,
               ROW(l.locktype, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid, l.classid, l.objid,
                   l.objsubid)::text AS which
          FROM pg_locks l WHERE l.pid = waiting.pid AND NOT l.granted LIMIT 1) wanted
 WHERE NOT blocked.by <@ ARRAY(SELECT pid FROM pg_stat_activity WHERE application_name = %s)
 ORDER BY pid"""

_BLOCKING = """
SELECT pid, usename, application_name, state, backend_type, pg_blocking_pids(pid),
       extract(epoch FROM clock_timestamp() - coalesce(xact_start, backend_start))::bigint
  FROM pg_stat_activity WHERE pid = ANY (%s) ORDER BY pid"""

_PREPARED = "SELECT gid, owner FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT 3"

#: only while it still waits: what it does afterwards is not to be cancelled
_CANCEL = """
SELECT pg_cancel_backend(pid) FROM pg_stat_activity
 WHERE pid = %s AND application_name = %s AND wait_event_type = 'Lock'"""


class LockWatch:
    """While entered, looks from another connection whether the run's sessions wait for locks.

    One that waits for longer than ``limit`` is cancelled. Leaving with an error then raises :attr:`expired` in its
    place, which names who holds the lock. Where there is no connection to look from, nothing is cancelled.

    :param connect: given what for, returns a connection to look from: to the database whose tables are waited for, as
        their names are asked there.
    :param application: what all sessions of the run, and no others, call themselves.
    :param limit: seconds; 0: they may wait for ever, and it is said whom for.
    :param doing: the first part of the error.
    :param tell: called with what is waited for, and with nothing when that is over.
    """

    def __init__(
        self,
        server: Server,
        connect: Callable[[str], Any],
        application: str,
        limit: float,
        doing: str,
        tell: Callable[[str], None],
    ) -> None:
        self._server = server
        self._connect = connect
        self._application = application
        self._limit = limit
        self._doing = doing
        self._tell = tell
        self._over = threading.Event()
        self._connection: Any = None
        self._since: dict[tuple[int, str], float] = {}
        self._told = ""
        self._thread = threading.Thread(target=self._run, daemon=True, name="watch locks")
        self.expired: EnvSyncError | None = None

    def __enter__(self) -> LockWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_LAST_LOOK)
        if self._told:
            self._tell("")
        if self.expired is not None and isinstance(error, EnvSyncError) and not isinstance(error, Cancelled):
            raise self.expired from error

    def _run(self) -> None:
        pause = _LOOK
        while not self._over.wait(pause):
            try:
                self._look()
                pause = _LOOK
            except EnvSyncError:
                self._close()
                pause = _LOOK_AGAIN
        self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def _ask(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._server.query(statement, parameters, "looking for locks", self._connection)

    def _look(self) -> None:
        if self._connection is None:
            self._connection = self._connect("looking for locks")
        now = time.monotonic()
        waiting = self._ask(_WAITING, self._application, self._application)
        # Several short waits, one after the other, for rows that several sessions have changed, are not a long one.
        self._since = {(pid, which): self._since.get((pid, which), now) for pid, _by, _what, which in waiting}
        told = ""
        for pid, blocking, what, which in waiting:
            waited = now - self._since[pid, which]
            told = told or f"{what}, {self._holders(blocking)}"
            if 0 < self._limit <= waited:
                # Known before it is cancelled: who fails of that asks at once.
                self.expired = self.expired or self._error(str(what), waited, blocking)
                self._ask(_CANCEL, pid, self._application)
        # The seconds in it grow: who holds it is what it is about.
        names = told.partition(" for ")[0]
        if names != self._told:
            self._told = names
            self._tell(told)

    def _error(self, what: str, waited: float, blocking: list[int]) -> EnvSyncError:
        pids = sorted(pid for pid in blocking if pid)
        end = " or ".join(f"SELECT pg_terminate_backend({pid})" for pid in pids[:3])
        hint = f"Have it end its transaction{f' (or end it: {end})' if end else ''}, or set lock_timeout higher."
        why = f"it has waited {how_long(round(waited))} for {what}, {self._holders(blocking)}"
        return EnvSyncError(self._doing, why, hint)

    def _holders(self, pids: list[int]) -> str:
        """Return who holds, or asked first for, a lock: no statement of theirs, as it may hold values of rows."""
        holders = []
        for pid, user, application, state, kind, behind, age in self._ask(_BLOCKING, [pid for pid in pids if pid]):
            facts = [f"application {application}"] if application else []
            if user is None:
                facts.append(str(kind or "a process of the server's own"))
            if state:
                facts.append(f"{state} for {how_long(int(age or 0))}")
            elif user is not None:
                facts.append("its state is for members of pg_read_all_stats to see")
            if behind:
                facts.append(f"itself waiting for pid {', '.join(str(other) for other in sorted(set(behind)))}")
            holders.append(f"pid {pid}{f' of {user}' if user else ''} ({', '.join(facts)})")
        if 0 in pids:
            prepared = [f"{gid} of {owner}" for gid, owner in self._ask(_PREPARED)]
            holders.append(f"a prepared transaction ({', '.join(prepared) or 'of another database'})")
        return f"locked by {' and '.join(holders) or 'a session that has just ended'}"
