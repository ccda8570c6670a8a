# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a DBMS is to the engine: something that can be dumped into members and restored from them."""

from __future__ import annotations

import abc
import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ..errors import EnvSyncError
from ..host.stopping import Stop
from ..members import PointSource, StoreSink
from ..points.manifest import Manifest
from ..points.scripts import Effect, Script
from ..streams.pipeline import Group
from ..tasks.task import Task


class DumpAgain(EnvSyncError):
    """What others did at the database made the dump fail; the next one gets around it. Nothing of this one is kept.

    :param how: what the next one does, for the log: ``the dump begins anew, with one job``.
    """

    def __init__(self, doing: str, why: str, hint: str, how: str) -> None:
        super().__init__(doing, why, hint)
        self.how = how


@dataclass(frozen=True)
class Identity:
    """Which server this is: equal for two connections exactly when they reach the same server.

    ``system`` is the server's own identifier (PostgreSQL ``system_identifier``, MySQL ``server_uuid``, ...).
    """

    dbms: str
    system: str
    version: str
    host: str


@dataclass
class DumpFacts:
    """What a dump learnt about the database, for the manifest.

    ``format`` is how the members are made (``directory``, ``archive``, ``tar``), ``jobs`` how many dumped at once.
    ``tables`` has a ``name`` each, ``rows`` where they were counted, and what else the DBMS has to say of a table;
    ``extensions`` a ``name`` and a ``version``; ``roles`` are the names of owners. ``client_version`` is what the dump
    program says of itself, ``peak_temporary_bytes`` how much it took on the disk at most, and ``details`` what only
    this DBMS has.
    """

    format: str
    jobs: int
    tables: list[dict[str, Any]] = field(default_factory=list)
    extensions: list[dict[str, str]] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    client_version: str = ""
    peak_temporary_bytes: int = 0
    warnings: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a pull will do to the target; made without changing anything.

    ``scratch`` is where the point will be restored, by name. ``replaces`` is what has the live name now (``tables`` or
    ``files``, and ``size_bytes``), None when the database does not exist yet. ``steps`` and ``warnings`` are sentences
    for the operator. ``skip`` says why there is nothing to do here (a replica set's secondary member), and is empty
    where there is.
    """

    scratch: str
    replaces: Mapping[str, Any] | None
    steps: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    skip: str = ""


def within(work_dir: str | None, *names: str) -> str:
    """Return a path in the working directory.

    :raises ValueError: there is none, as this is a plan: a fault in our code, which must not write to the current
        directory instead.
    """
    if not work_dir:
        raise ValueError("there is no working directory")
    return os.path.join(work_dir, *names)


class Database(abc.ABC):
    """One database on one server. Made from a task; opened lazily; closed by :meth:`close`.

    Every method raises :class:`EnvSyncError` where the server cannot be reached or refuses, or the run is to stop.
    """

    #: the name in ``dbms``
    kind = ""

    #: format and compression of the one object that the legacy script stored for this DBMS, with no manifest
    legacy = ("", "")

    #: one name for servers that ``dbms`` has several for (``mongo`` and ``documentdb``): they share locks and journals
    family = ""

    #: says whether the run is to stop: asked while the server keeps it waiting outside of a group
    cancelled: Stop = Stop()

    #: called with what others keep the run waiting for
    waiting: Callable[[str], None] = staticmethod(lambda what: None)

    @classmethod
    @abc.abstractmethod
    def from_task(cls, task: Task, work_dir: str | None) -> Database:
        """Return the task's database; nothing is connected yet.

        :param work_dir: an empty directory of this run's own; None where nothing but a plan is made.
        """

    @classmethod
    @abc.abstractmethod
    def verify(cls, group: Group, source: PointSource, work_dir: str) -> None:
        """Have the DBMS's own tool (or its like) read all of a point, to nowhere.

        Needs no server. Sizes and SHA-256 are compared by the source, as its members are read to their ends.

        :param work_dir: an empty directory of this run's own.
        :raises EnvSyncError: something in it is damaged.
        """

    def obey(self, stop: Stop) -> None:
        """Have ``stop`` say whether the run is to stop, also while a server keeps it waiting."""
        self.cancelled = stop

    def observe(self, waiting: Callable[[str], None]) -> None:
        """Have ``waiting`` called with what others keep the run waiting for, and with nothing when that is over."""
        self.waiting = waiting

    @abc.abstractmethod
    def identity(self) -> Identity:
        """Return which server this is; raises when it cannot be reached."""

    @abc.abstractmethod
    def preflight_dump(self) -> Mapping[str, Any]:
        """Check all that a dump needs; change nothing.

        :returns: facts for the plan: ``size_bytes``, and ``tables`` or ``files``, how many; ``warnings`` and ``notes``,
            lines for the operator; ``skip``, where there is nothing to do here (a replica set's secondary member),
            and then nothing else.
        """

    @abc.abstractmethod
    def check_scripts(self, scripts: Sequence[Script]) -> None:
        """Check what can be checked of scripts without running them; change nothing.

        :raises EnvSyncError: one of them cannot do its work.
        """

    @abc.abstractmethod
    def prepare(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the pre-dump scripts on the database itself; return what each did, as :meth:`sanitise` does."""

    @abc.abstractmethod
    def dump(self, group: Group, sink: StoreSink) -> DumpFacts:
        """Dump a consistent state of the whole database into ``sink``; return only when all of it is stored.

        :raises DumpAgain: it is worth calling again, with another group, when what was stored is removed.
        """

    @abc.abstractmethod
    def preflight_restore(self, manifest: Manifest | None) -> Plan:
        """Check all that a restore of that point needs; change nothing.

        :param manifest: the point's; None for a legacy point, which has none.
        """

    def lock_key(self) -> str:
        """Return the key of the host-wide lock on this database: the server's own identity, however it is spelt.

        Names that differ only in the case of their letters are one to some servers, so they share a lock.
        """
        found = self.identity()
        return f"{self.family or found.dbms} {found.system} {self.database_name.lower()}"

    def journal_key(self) -> str:
        """Return the key of the journal of this database's pushes; the same after a reboot."""
        return f"{self.family or self.kind} {self.identity().system} {self.database_name}"

    @property
    @abc.abstractmethod
    def database_name(self) -> str:
        """The database's name, as the task has it."""

    @property
    def place(self) -> str:
        """Where the database is, as messages say it: the server; for a tree, also its path."""
        return self.identity().host

    def alone(self, wait: float) -> contextlib.AbstractContextManager[None]:
        """Hold the server's own lock on runs of this host, whoever runs them, where the server has such locks.

        By it two users see each other where the role has made no folder that they share.

        :param wait: how many seconds to wait for another holder.
        :raises EnvSyncError: another run has it.
        """
        return contextlib.nullcontext()

    @abc.abstractmethod
    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Hold the server's own lock on pulls into this database, against other hosts; see :mod:`.lease`.

        :raises EnvSyncError: another host has it.
        """

    @abc.abstractmethod
    def sweep(self) -> list[str]:
        """Remove what a killed pull left of this database; return a phrase for each thing that was removed.

        Called with the lock held. ``collection env_sync_scratch_1a2b_users`` is such a phrase.

        :raises LockLost: the lock is no longer held.
        """

    @abc.abstractmethod
    def restore(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        """Restore the point into the scratch database; return ``warnings``, a list of sentences.

        :raises EnvSyncError: it could not be restored, or is not there with all its rows.
        """

    @abc.abstractmethod
    def sanitise(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the scripts on the scratch database, each wholly or not at all; return what each did.

        :raises EnvSyncError: one did not run to its end in the scratch database and nowhere else, or not all that it
            did is committed: a mark that follows the script, in its session, is looked for afterwards on a connection
            of our own.
        """

    def purge(self, effects: Sequence[Effect], group: Group) -> Sequence[str]:
        """Leave nothing that was derived from the rows that the scripts changed; return warnings.

        Materialized views are refreshed, statistics gathered anew, and the files of what was changed rewritten. Called
        after :meth:`sanitise`, and before :meth:`check`.
        """
        return ()

    @abc.abstractmethod
    def check(self, group: Group) -> Mapping[str, Any]:
        """Check that the scratch database is fit to serve.

        :returns: what was found: ``size_bytes``, and ``tables`` or ``files``, how many.
        :raises EnvSyncError: it is not.
        """

    @abc.abstractmethod
    def swap(self, keep_old: bool) -> Mapping[str, Any]:
        """Give the scratch database the live name, atomically.

        :param keep_old: what is replaced is to be kept.
        :returns: ``name_away_seconds`` (for how long there was nothing under the live name), ``kept`` (what the
            replaced database is called now; empty where it is gone, or there was none), and perhaps ``warnings``.
        :raises LockLost: the lock is no longer held.
        """

    @abc.abstractmethod
    def discard(self) -> None:
        """Drop the scratch database of this run, if there is one, and if the lock is held.

        :raises LockLost: another run has the lock; what is left is that run's to drop.
        :raises EnvSyncError: it may still be there.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Close connections; never raises."""
