# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MySQL and MariaDB: ``mysqldump`` or ``mariadb-dump`` for the data, SQL for everything else."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

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
from . import code, counts, purge, statements, swap, transform
from .client import Server
from .dump import Dump, DumpOptions
from .errors import ServerError
from .names import TABLES, Names
from .restore import Restore
from .runner import Place

#: what a killed pull had the server do may go on for a moment, and holds the lock so long, in seconds
_LOCK_PATIENCE = 10


class MySQL(Database):
    """One database of one MySQL or MariaDB server.

    :param work_dir: an empty directory of this run's own; None where no program is run.
    :param analyze: whether a pull has the server gather its statistics.
    :param pushing: scripts run on the database itself, not on a scratch schema.
    """

    kind = "mysql"
    legacy = ("sql", "gzip")

    def __init__(
        self,
        connection: Connection,
        database: str,
        work_dir: str | None,
        options: DumpOptions,
        analyze: bool,
        pushing: bool,
    ) -> None:
        self._server = Server(connection)
        self._database = database
        self._names = Names.of(database)
        self._dump = Dump(self._server, database, work_dir, options)
        self._restore = Restore(self._server, self._names, options.jobs, analyze)
        self._jobs = options.jobs
        self._pushing = pushing
        self._script_warnings: list[str] = []
        pull = f"env_sync {hashlib.sha256(database.encode()).hexdigest()[:32]}"
        lock = self._lock(pull, BUSY_PULL, True)
        self._lease = Lease(lock, self._locking, lambda: self.cancelled, _LOCK_PATIENCE)

    @classmethod
    def from_task(cls, task: Task, work_dir: str | None) -> MySQL:
        options = DumpOptions(
            jobs=task.worker_count,
            format=task.format,
            compression=task.compression,
            excluded_tables=task.excluded_tables,
            excluded_table_data=task.excluded_table_data,
        )
        return cls(task.connection, task.database, work_dir, options, task.analyze, task.action == "push")

    # -- both ways ---------------------------------------------------------------------------------------------------

    def obey(self, stop: Stop) -> None:
        super().obey(stop)
        self._server.stop = stop

    def identity(self) -> Identity:
        server = self._server
        doing = f"asking {server.name} who it is"
        if not server.mariadb:
            system = str(server.query("SELECT @@server_uuid", doing=doing)[0][0])
        else:
            # MariaDB has no uuid. What it calls server_uid (10.10 and newer) comes from the network card and the port.
            parts = server.query("SELECT @@hostname, @@port, @@datadir, @@socket", doing=doing)[0]
            with contextlib.suppress(ServerError):
                parts = (server.query("SELECT @@server_uid", doing=doing)[0][0], *parts[1:])
            system = hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()[:32]
        return Identity(self.kind, system, server.version, server.name)

    def close(self) -> None:
        self._server.close()
        self._dump.close()

    @property
    def database_name(self) -> str:
        return self._database

    @property
    def _locking(self) -> str:
        return f"locking {self._database} on {self._server.name}"

    def _lock(self, name: str, busy: str, pin: bool) -> SessionStorage:
        """Return a lock of the control connection's, which dies with it."""
        take, give = "SELECT GET_LOCK(%s, 0)", "SELECT RELEASE_LOCK(%s)"
        return SessionStorage(self._server, SessionLock(take, give, name, busy), self._locking, pin)

    def alone(self, wait: float) -> contextlib.AbstractContextManager[None]:
        # A name has 64 characters at most; a database's may differ in the case of its letters, and be the same.
        digest = hashlib.sha256(f"{boot_id()} {self._database.lower()}".encode()).hexdigest()
        lock = self._lock(f"env_sync run {digest[:32]}", BUSY_HERE, False)
        return Lease(lock, self._locking, lambda: self.cancelled, max(wait, _LOCK_PATIENCE)).held()

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        return self._lease.held()

    @classmethod
    def verify(cls, group: Group, source: PointSource, work_dir: str) -> None:
        """Read every statement of a point: all of a dump's kinds, the last one whole, and after it the trailer."""
        if source.manifest.format == "directory":
            source.member(TABLES)
        rows: Counter[str] = Counter()
        for name in source.names():
            reader = counts.Counted(source.open(name))
            try:
                script = statements.Script(reader, name.lstrip("/") or "the dump")
                for statement in script:
                    script.refuse_unknown(statement)
            finally:
                reader.close()
            rows += reader.rows
        counts.compare_dump(source.manifest, rows)

    # -- scripts -----------------------------------------------------------------------------------------------------

    def _place(self) -> Place:
        """Return where scripts run: the database itself before a dump, the scratch schema of a pull."""
        names = self._names
        if self._pushing:
            return Place(names.live, (), False, "What stands before that line was done. Correct the script.")
        hint = "The scratch schema is thrown away. Correct the script."
        return Place(names.scratch, (names.live, names.old), True, hint)

    def check_scripts(self, scripts: Sequence[Script]) -> None:
        """Raise where a script leaves its database, names the live one, or can't be read to its end."""
        transform.look_at(self._server, scripts, self._place(), f"looking at scripts for {self._database}")

    def prepare(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the pre-dump scripts on the database itself, as the legacy script does."""
        return self._run_scripts(scripts, group)

    def sanitise(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        return self._run_scripts(scripts, group)

    def _run_scripts(self, scripts: Sequence[Script], group: Group) -> list[Effect]:
        effects = []
        for script in scripts:
            effect, warnings = transform.run(group, self._server, script, self._place())
            effects.append(effect)
            self._script_warnings += warnings
        return effects

    def purge(self, effects: Sequence[Effect], group: Group) -> Sequence[str]:
        tables = sorted({table for effect in effects for table in effect.tables})
        return [*self._script_warnings, *purge.purge(group, self._server, self._names.scratch, tables, self._jobs)]

    # -- push --------------------------------------------------------------------------------------------------------

    def preflight_dump(self) -> Mapping[str, Any]:
        return self._dump.preflight()

    def dump(self, group: Group, sink: StoreSink) -> DumpFacts:
        return self._dump.run(group, sink)

    # -- pull --------------------------------------------------------------------------------------------------------

    def preflight_restore(self, manifest: Manifest | None) -> Plan:
        return self._restore.preflight(manifest)

    def sweep(self) -> list[str]:
        """Complete or undo a swap that was cut off; drop the schemas that a killed run left: they carry our mark."""
        server, names = self._server, self._names
        done = swap.recover(server, names)
        left = [names.scratch] if swap.mark(server, names.scratch) is not None else []
        if (swap.mark(server, names.old) or "").endswith(swap.DOOMED):
            left.append(names.old)
        for name in left:
            swap.end_sessions(server, name, f"dropping {name} on {server.name}")
            swap.drop(server, name)
        return [*done, *(f"schema {name}" for name in left)]

    def restore(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        return self._restore.run(group, source)

    def check(self, group: Group) -> Mapping[str, Any]:
        return self._restore.check(group)

    def swap(self, keep_old: bool) -> Mapping[str, Any]:
        server, names = self._server, self._names
        doing = f"swapping {self._database} on {server.name}"
        if swap.mark(server, names.old, doing) is not None:
            swap.drop(server, names.old)
        tables = swap.tables(server, names.scratch, doing)
        # What a script made goes before what was restored; a trigger goes with its table.
        made = code.read(server, names.scratch, doing)
        there = {item.key for item in made}
        made += [
            item
            for item in self._restore.held
            if item.key not in there and (item.kind == "EVENT" or item.table in tables)
        ]
        seconds, warnings = swap.Swap(server, names, self._restore.options, self._lease).run(made, keep_old)
        kept = names.old if keep_old else ""
        for name in (names.scratch, names.old):
            if name != kept:
                try:
                    swap.drop(server, name)
                except EnvSyncError as error:
                    # The pull has succeeded: what could not be dropped is in nobody's way; the next pull tries again.
                    warnings.append(f"the schema {name} is still there: {error}")
        return {"name_away_seconds": round(seconds, 3), "kept": kept, "warnings": warnings}

    def discard(self) -> None:
        scratch, signature = self._names.scratch, self._restore.signature
        for _unused in range(2):
            try:
                with self._server.undisturbed():
                    # The statements that follow go through the connection that has the lock, or not at all.
                    self._lease.regain()
                    mark = swap.mark(self._server, scratch)
                    if mark is not None and (mark.endswith(signature) or mark == swap.DOOMED):
                        # A client program that was ended has left its statement to the server.
                        swap.end_sessions(self._server, scratch, "throwing away what was restored")
                        swap.drop(self._server, scratch)
                return
            except EnvSyncError as error:
                self._server.close()  # a connection that broke; another one is made, which has to get the lock first
                failed = error
        raise failed
