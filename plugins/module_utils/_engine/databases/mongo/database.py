# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MongoDB: ``mongodump`` and ``mongorestore`` for the data, pymongo for everything else.

A pull restores into collections ``env_sync_scratch_<run>_<name>`` of the live database itself, because a rename is
atomic only within one database. Until the swap, whoever may read all of that database can read them, by these names.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...errors import EnvSyncError
from ...host.stopping import Stop
from ...members import PointSource, StoreSink
from ...points.manifest import Manifest
from ...points.scripts import Effect, Script
from ...streams.pipeline import Group
from ...tasks.task import Task
from ..base import Database, DumpFacts, Identity, Plan
from ..lease import DocumentStorage, Lease, LockLost
from . import checks, dump, restore
from .address import uri_of
from .client import Server
from .lease import LockDocument
from .legacy import FORMAT
from .names import MARK, OLD_PREFIX, SCRATCH_PREFIX, Collections, check_database_name
from .options import Options
from .restore import Restored
from .scripts import check_script, run_script
from .swap import Swap, put_back

#: after so long without a scratch collection coming back, what a killed run began is over, in seconds
_SETTLED = 1.0


class Mongo(Database):
    """One database of one MongoDB server or replica set.

    :param server: connected when first asked.
    """

    kind = "mongo"
    family = "mongo"
    legacy = (FORMAT, "gzip")

    def __init__(self, server: Server, options: Options) -> None:
        database = options.database
        self._options = options
        self._server = server
        self._locking = f"locking {database} on {server.name}"
        self._lock = DocumentStorage(LockDocument(server, database))
        self._lease = Lease(self._lock, self._locking, lambda: self.cancelled)
        # Names of this run alone: if it loses the lock and goes on writing or dropping, its successor is not affected.
        self._collections = Collections(server, database, f"{SCRATCH_PREFIX}{self._lock.token[:8]}_")
        self._restored = Restored({}, ())
        self._swap: Swap | None = None

    @classmethod
    def from_task(cls, task: Task, work_dir: str | None) -> Mongo:
        return cls(Server(cls.uri(task)), Options.from_task(task, work_dir))

    @classmethod
    def uri(cls, task: Task) -> str:
        """Return the connection string: the task's keys, and ``MONGODB_URI`` for what they leave open."""
        return uri_of(task.connection, os.environ.get("MONGODB_URI", ""), {})

    # -- both ways ---------------------------------------------------------------------------------------------------

    def identity(self) -> Identity:
        doing = f"asking {self._server.name} who it is"
        version = str(self._server.command("admin", {"buildInfo": 1}, doing)["version"])
        return Identity(self.kind, self._server.system(doing), version, self._server.name)

    def obey(self, stop: Stop) -> None:
        super().obey(stop)
        self._server.stop = stop

    def close(self) -> None:
        self._server.close()

    @property
    def database_name(self) -> str:
        return self._options.database

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        if self._skip(self._locking):
            yield  # a secondary member takes no writes, and there will be nothing to keep others from
            return
        with self._lease.held():
            try:
                yield
            finally:
                with contextlib.suppress(EnvSyncError), self.cancelled.cleaning():
                    named, looking = self._collections.named, "looking for what stays"
                    # The mark stays with what is ours: old collections that are kept, and what could not be dropped.
                    self._lock.keep = bool(named(OLD_PREFIX, looking) + named(SCRATCH_PREFIX, looking))

    def check_scripts(self, scripts: Sequence[Script]) -> None:
        for script in scripts:
            check_script(script, f"preparing to restore {self._options.database} on {self._server.name}")

    @classmethod
    def verify(cls, group: Group, source: PointSource, work_dir: str) -> None:
        checks.verify(group, source)

    def _run_scripts(self, scripts: Sequence[Script], prefix: str, group: Group) -> list[Effect]:
        database, work_dir = self._options.database, self._options.work_dir
        return [run_script(script, self._server, database, prefix, group, work_dir) for script in scripts]

    def _skip(self, doing: str) -> str:
        """Say why there is nothing to do on this server; empty where there is."""
        if self._server.hello(doing).get("isWritablePrimary"):
            return ""
        return f"{self._server.name} is not the primary member of its replica set"

    # -- push --------------------------------------------------------------------------------------------------------

    def preflight_dump(self) -> Mapping[str, Any]:
        doing = f"preparing to dump {self._options.database} on {self._server.name}"
        check_database_name(self._options.database, doing)
        skip = self._skip(doing)
        return {"skip": skip} if skip else dump.preflight(self._collections, self._options, doing)

    def prepare(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        return self._run_scripts(scripts, "", group)

    def dump(self, group: Group, sink: StoreSink) -> DumpFacts:
        return dump.dump(self._collections, self._options, group, sink)

    # -- pull --------------------------------------------------------------------------------------------------------

    def preflight_restore(self, manifest: Manifest | None) -> Plan:
        database = self._options.database
        doing = f"preparing to restore {database} on {self._server.name}"
        check_database_name(database, doing)
        skip = self._skip(doing)
        if skip:
            return Plan("", None, (), skip=skip)
        version = self.identity().version if manifest is not None else ""
        warnings = restore.preflight(self._collections, manifest, version, doing)
        live = self._collections.live(doing)
        replaces = {"tables": len(live), "size_bytes": self._collections.size(doing)} if live else None
        scratch = f"{database}.{SCRATCH_PREFIX}*"
        steps = (f"restore it into the collections {scratch} on {self._server.name}",)
        return Plan(scratch, replaces, steps, tuple(warnings))

    # 1. Refuse where collections carry our names and there is no mark that they are ours.
    # 2. Where the mark says that a swap was under way, give the old collections their names back.
    # 3. Drop all scratch collections, and the old ones, unless a pull that ended was to keep them.
    # 4. Drop again what comes back: the killed run's mongorestore may still have an insertion under way in the server,
    #    which makes its collection anew.
    # 5. Only now note that no swap is under way: a sweep that is killed is begun anew by the next one.
    def sweep(self) -> list[str]:
        doing = f"looking for what is left of a pull into {self._options.database}"
        if self._skip(doing):
            return []
        collections, prove = self._collections, self._lease.prove
        found = self._lock.found
        left = collections.named(SCRATCH_PREFIX, doing) + collections.named(OLD_PREFIX, doing)
        if left and not found:
            raise EnvSyncError(
                doing,
                f"there are collections that carry our names ({left[0]}), and no mark {MARK} that they are ours",
                "Drop or rename them.",
            )
        removed = []
        if found.get("swapping"):
            restored = put_back(collections, found.get("new", ()), prove, doing)
            removed += [f"the swap of {name}, which has its old contents again" for name in restored]
        doomed = collections.named(SCRATCH_PREFIX, doing)
        if not found.get("kept"):
            doomed += collections.named(OLD_PREFIX, doing)
        collections.drop(doomed, doing, prove)
        removed += [f"collection {name}" for name in doomed]
        while doomed and not self.cancelled():
            time.sleep(_SETTLED)
            doomed = collections.named(SCRATCH_PREFIX, doing)
            collections.drop(doomed, doing, prove)
        self._note(swapping=False, kept=bool(found.get("kept")))
        return removed

    def restore(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        self._restored = restore.restore(self._collections, self._options, group, source)
        return {"warnings": list(self._restored.warnings)}

    def sanitise(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the scripts; one that fails half-way leaves scratch collections that the pull then throws away."""
        return self._run_scripts(scripts, self._collections.scratch, group)

    def check(self, group: Group) -> Mapping[str, Any]:
        doing = f"checking the scratch collections of {self._options.database}"
        names = self._collections.named(self._collections.scratch, doing)
        if not names:
            raise EnvSyncError(doing, "there are none", "Check the point, and what the transformation drops.")
        return {"tables": len(names), "size_bytes": self._collections.size(doing)}

    def swap(self, keep_old: bool) -> Mapping[str, Any]:
        self.cancelled.check(f"swapping {self._options.database}")
        with self.cancelled.cleaning():  # from here on, finishing is safer than undoing
            self._swap = Swap(self._collections, self._lease.prove, self._note, keep_old)
            kept = self._swap.run(self._restored.views, self._restored.spared)
            return {"name_away_seconds": round(self._swap.away, 3), "kept": kept}

    def discard(self) -> None:
        doing = f"dropping the scratch collections of {self._options.database}"
        try:
            if self._swap is not None:
                # Where the lock is lost, its next holder puts the live collections right by what was noted.
                self._swap.take_back(doing)
            self._lease.regain()
        finally:
            # These names are this run's alone, whoever has the lock by now.
            self._collections.drop(self._collections.named(self._collections.scratch, doing), doing)

    def _note(self, **values: Any) -> None:
        """Write down what the next run has to know if this one dies now; raises when the lock was lost."""
        lost = self._lock.note(**values)
        if lost:
            raise LockLost(self._locking, lost)
