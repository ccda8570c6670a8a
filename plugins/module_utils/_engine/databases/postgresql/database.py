# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL: ``pg_dump`` and ``pg_restore`` for the data, SQL for everything else."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ...errors import EnvSyncError
from ...host.linux import boot_id
from ...host.stopping import Stop
from ...members import PointSource, StoreSink
from ...points.manifest import Manifest
from ...points.scripts import Effect, Script
from ...streams.pipeline import Group
from ...tasks.task import Connection, Task
from ..base import Database, DumpFacts, Identity, Plan
from ..lease import BUSY_HERE, BUSY_PULL, Lease, SessionLock, SessionStorage
from .access import Access, Options
from .archive import verify
from .dump import Dump
from .properties import read_properties
from .restore import Restore
from .scratch import Beside
from .swap import swap
from .transform import Transformations

#: what a killed pull had the server do may go on for a moment, and holds the lock so long, in seconds
_LOCK_PATIENCE = 10.0


class PostgreSQL(Database):
    """One database of one PostgreSQL server.

    :param work_dir: an empty directory of this run's own, on a file system with some room; None for a plan.
    """

    kind = "postgresql"
    legacy = ("custom", "none")  # a custom-format archive, despite its suffix

    def __init__(self, connection: Connection, database: str, work_dir: str | None, options: Options) -> None:
        self._access = Access(connection, database, work_dir, options)
        self._server = self._access.server
        self._database = database
        self._beside = Beside(self._access)
        self._dump = Dump(self._access)
        self._restore = Restore(self._access, self._beside)
        self._transformations = Transformations(self._access, self._beside.names.scratch)
        pull = self._lock("env_sync pull ", BUSY_PULL, True)
        self._lease = Lease(pull, self._locking, lambda: self.cancelled, _LOCK_PATIENCE)
        self._pushes = False

    @classmethod
    def from_task(cls, task: Task, work_dir: str | None) -> PostgreSQL:
        return cls(task.connection, task.database, work_dir, Options.of(task))

    # -- both ways ---------------------------------------------------------------------------------------------------

    def identity(self) -> Identity:
        rows = self._server.query(
            "SELECT (SELECT system_identifier::text FROM pg_control_system()), current_setting('server_version')",
            doing=f"asking {self._server.name} who it is",
        )
        return Identity("postgresql", str(rows[0][0]), str(rows[0][1]), self._server.name)

    def close(self) -> None:
        self._server.close()

    def obey(self, stop: Stop) -> None:
        super().obey(stop)
        self._server.stop = stop

    def observe(self, waiting: Callable[[str], None]) -> None:
        super().observe(waiting)
        self._access.waiting = waiting

    @property
    def database_name(self) -> str:
        return self._database

    @property
    def _locking(self) -> str:
        return f"locking {self._database} on {self._server.name}"

    def _lock(self, purpose: str, busy: str, pin: bool) -> SessionStorage:
        """Return an advisory lock of the control connection's: a killed run has it until its last statement ended."""
        digest = hashlib.sha256(purpose.encode() + self._database.encode()).digest()
        key = int.from_bytes(digest[:8], "big", signed=True)
        take, give = "SELECT pg_try_advisory_lock(%s)", "SELECT pg_advisory_unlock(%s)"
        return SessionStorage(self._server, SessionLock(take, give, key, busy), self._locking, pin)

    def alone(self, wait: float) -> contextlib.AbstractContextManager[None]:
        lock = self._lock(f"env_sync run {boot_id()} ", BUSY_HERE, False)
        return Lease(lock, self._locking, lambda: self.cancelled, max(wait, _LOCK_PATIENCE)).held()

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        return self._lease.held()

    def check_scripts(self, scripts: Sequence[Script]) -> None:
        self._transformations.check(scripts, self._pushes)

    # -- push --------------------------------------------------------------------------------------------------------

    def preflight_dump(self) -> Mapping[str, Any]:
        self._pushes = True
        return self._dump.preflight()

    def prepare(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the pre-dump scripts on the database itself, as the original does; each in one transaction."""
        doing = f"running the pre-dump SQL on {self._database} on {self._server.name}"
        with self._access.watching(lambda what: self._server.connect(self._database, what), doing):
            return self._transformations.run(scripts, True, group)

    def dump(self, group: Group, sink: StoreSink) -> DumpFacts:
        return self._dump.run(group, sink)

    # -- pull --------------------------------------------------------------------------------------------------------

    @classmethod
    def verify(cls, group: Group, source: PointSource, work_dir: str) -> None:
        verify(group, source, work_dir)

    def preflight_restore(self, manifest: Manifest | None) -> Plan:
        return self._restore.preflight(manifest)

    def sweep(self) -> list[str]:
        return self._beside.sweep()

    def restore(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        return self._restore.run(group, source)

    def sanitise(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        return self._transformations.run(scripts, False, group)

    def purge(self, effects: Sequence[Effect], group: Group) -> Sequence[str]:
        return self._restore.purge(self._transformations.touched, group)

    def check(self, group: Group) -> Mapping[str, Any]:
        return self._restore.check(group)

    def swap(self, keep_old: bool) -> Mapping[str, Any]:
        # Read again: an owner or a grant may have changed while the restore ran.
        live = read_properties(self._server, self._database)
        names = self._beside.names
        kept_before = live is not None and self._beside.is_ours(names.old)
        doing = f"swapping {self._database} in on {self._server.name}"
        with self._access.watching(self._server.another_control, doing):
            seconds, warnings = swap(self._server, names, live, kept_before, keep_old, self._restore.first)
        self._server.finish()  # the new database serves: to stop now would only leave the old one behind
        kept = names.old if live is not None else ""
        if kept_before:
            self._beside.drop_replaced(names.older, warnings)
        if kept and not keep_old and self._beside.drop_replaced(kept, warnings):
            kept = ""
        return {"name_away_seconds": round(seconds, 3), "kept": kept, "warnings": warnings}

    def discard(self) -> None:
        self._server.finish()
        for _unused in range(2):
            try:
                # The statements that follow go through the connection that has the lock, or not at all.
                self._lease.regain()
                self._beside.drop_scratch()
                return
            except EnvSyncError as error:
                self._server.close()  # a connection that broke; another one is made, which has to get the lock first
                failed = error
        raise failed
