# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A directory tree of this host: a stream of GNU tar's, restored beside the live tree."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...errors import EnvSyncError
from ...host.locks import FileLock
from ...members import PointSource, StoreSink
from ...points.manifest import Manifest
from ...points.scripts import Effect, Script
from ...streams.pipeline import Group
from ...tasks.task import Task
from ..base import Database, DumpFacts, Identity, Plan
from ..lease import FileStorage, Lease
from . import dump, restore, swap
from .archive import shown
from .measure import Measured, measure
from .options import Options
from .restore import Restored
from .scripts import check_script, run_scripts
from .tar import find_tar

_BUSY = "another push or pull of it is running"


class Files(Database):
    """One directory tree."""

    kind = "files"
    legacy = ("tar", "gzip")

    def __init__(self, options: Options) -> None:
        self._options = options
        self._places = swap.Places(options.tree)
        self._measured = Measured()
        self._restored = Restored(0, 0o700)
        self._lease: Lease | None = None

    @classmethod
    def from_task(cls, task: Task, work_dir: str | None) -> Files:
        if task.connection.host:
            raise EnvSyncError(
                f"opening the files of {task.database}",
                f"database_hostname is {task.connection.host}, and files are always this host's",
                "Leave it out, and run the task on the host that has the files.",
            )
        return cls(Options.from_task(task, work_dir))

    # -- both ways ---------------------------------------------------------------------------------------------------

    def identity(self) -> Identity:
        """Return the tree's own identity, not only the host's: another tree of the same host may be pulled into."""
        system = os.uname()
        return Identity(
            "files", f"{_machine()}:{self._places.live}", f"{system.sysname} {system.release}", socket.gethostname()
        )

    @property
    def database_name(self) -> str:
        return self._options.database

    @property
    def place(self) -> str:
        return f"{self.identity().host}:{self._places.live}"

    def lock_key(self) -> str:
        """Return what is the same by whichever mount the tree is reached, and whatever takes its name in a swap."""
        parent, name = os.path.split(self._places.live)
        with contextlib.suppress(OSError):
            found = os.stat(parent)
            return f"files {found.st_dev}:{found.st_ino} {name}"
        return f"files {self._places.live}"

    @classmethod
    def verify(cls, group: Group, source: PointSource, work_dir: str) -> None:
        restore.verify(group, source)

    @contextlib.contextmanager
    def alone(self, wait: float) -> Iterator[None]:
        """Hold a lock beside the live tree, where this user may write there: a pull has to, a push need not."""
        if not os.access(self._places.parent, os.W_OK | os.X_OK):
            yield
            return
        what = shown(self._places.live)
        folder, name = os.path.split(self._places.lock)
        lock = FileStorage(FileLock(folder, name, what), _BUSY)
        self._lease = Lease(lock, f"locking {what}", lambda: self.cancelled, wait)
        with self._lease.held():
            yield

    def _prove(self) -> None:
        if self._lease is not None:
            self._lease.prove()

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """It is held already, by :meth:`alone`: the tree may be another host's too, by way of a network.

        Where it is not, as this user may not write there, the pull is refused.
        """
        return contextlib.nullcontext()

    def close(self) -> None:
        """There is nothing to close."""

    # -- push --------------------------------------------------------------------------------------------------------

    def preflight_dump(self) -> Mapping[str, Any]:
        doing = f"preparing to dump {self._options.tree}"
        find_tar(doing)
        self._measured = measure(self._places.live, doing)
        return {"size_bytes": self._measured.size, "files": self._measured.files}

    def check_scripts(self, scripts: Sequence[Script]) -> None:
        for script in scripts:
            check_script(script, f"preparing the scripts of {self._options.tree}")

    def prepare(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the pre-dump scripts in the tree itself."""
        return run_scripts(scripts, self._places.live, self._options.tree, self._options.work_dir, group)

    def dump(self, group: Group, sink: StoreSink) -> DumpFacts:
        return dump.dump(self._options, self._places.live, self._measured, group, sink)

    # -- pull --------------------------------------------------------------------------------------------------------

    def preflight_restore(self, manifest: Manifest | None) -> Plan:
        places = self._places
        doing = f"preparing to restore {self._options.tree}"
        warnings = restore.preflight(places, self._options, manifest, doing)
        replaces = None
        if os.path.lexists(places.live):
            found = measure(places.live, doing)
            replaces = {"path": shown(places.live), "size_bytes": found.size, "files": found.files}
        steps = (f"unpack the point into {places.scratch}",)
        return Plan(places.scratch, replaces, steps, tuple(warnings))

    def sweep(self) -> list[str]:
        self._prove()
        return self._places.recover(self._options.keep_old)

    def restore(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        self._restored = restore.restore(self._places, self._options, group, source)
        return {"warnings": list(self._restored.warnings)}

    def sanitise(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        where = f"the scratch tree of {self._options.tree}"
        return run_scripts(scripts, self._places.scratch, where, self._options.work_dir, group)

    def check(self, group: Group) -> Mapping[str, Any]:
        doing = f"checking the restored {self._options.tree}"
        found = measure(self._places.scratch, doing)
        if self._restored.entries and not found.files + found.folders:
            raise EnvSyncError(doing, "nothing is left in it", "Check the transformation scripts.")
        # What takes the live name has to be on the disk by then.
        group.run(["sync", "--file-system", self._places.scratch], doing).wait()
        return {"files": found.files, "size_bytes": found.size}

    def swap(self, keep_old: bool) -> Mapping[str, Any]:
        places = self._places
        doing = f"giving the restored tree the name {shown(places.live)}"
        replaces = os.path.lexists(places.live)
        self._prove()
        try:
            os.chmod(places.scratch, self._restored.mode)
            away = places.swap()
        except OSError as error:
            raise EnvSyncError(
                doing, f"{error.strerror}: {shown(str(error.filename))}", "Nothing was replaced."
            ) from error
        kept, warnings = places.old if replaces else "", []
        if kept and not keep_old:
            try:
                swap.remove_tree(kept)
                kept = ""
            except OSError as error:
                # The pull has succeeded: what could not be removed is in nobody's way.
                warnings.append(f"the replaced tree is still there as {shown(kept)}: {error.strerror}")
        places.finish()
        return {"name_away_seconds": round(away, 3), "kept": kept, "warnings": warnings}

    def discard(self) -> None:
        with contextlib.suppress(OSError, EnvSyncError):
            self._prove()
            self._places.recover(self._options.keep_old)


def _machine() -> str:
    """Return what tells this host from others: its machine-id, or its name where it has none."""
    with contextlib.suppress(OSError):
        with open("/etc/machine-id", encoding="ascii", errors="replace") as stream:
            found = stream.read().strip()
        if re.fullmatch("[0-9a-f]{32}", found):
            return found
    return socket.gethostname()
