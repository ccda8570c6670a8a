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
    """What others did at the database made the dump fail. The next one gets around it; nothing of this one is kept.

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
    """What a dump learnt about the database, for the manifest."""

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

    ``replaces`` is what is under the live name now (None when the database does not exist yet). ``skip`` says why there
    is rightly nothing to do here (a replica set's secondary member), and is empty where there is.
    """

    scratch: str
    replaces: Mapping[str, Any] | None
    steps: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    skip: str = ""


def within(work_dir: str | None, *names: str) -> str:
    """Return a path in the working directory.

    A plan has none. What needs one there is a mistake of ours, and must not end in the current directory.
    """
    if not work_dir:
        raise ValueError("there is no working directory")
    return os.path.join(work_dir, *names)


class Database(abc.ABC):
    """One database on one server. Made from a task; opened lazily; closed by :meth:`close`."""

    #: the name in ``dbms``
    kind = ""

    #: format and compression of what the original stored of this DBMS, in one object with no manifest
    legacy = ("", "")

    #: what ``dbms`` calls servers of one kind that it has several names for
    family = ""

    #: says whether the run is to stop: asked while the server keeps it waiting outside of a group
    cancelled: Stop = Stop()

    #: told what others keep the run waiting for
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
        """Have the DBMS's own tool (or its like) read all of a point, to nowhere; raise when it finds anything wrong.

        Needs no server. Sizes and SHA-256 are compared by the source, as its members are read to their ends.
        """

    def obey(self, stop: Stop) -> None:
        """Have ``stop`` say whether the run is to stop, also while a server keeps it waiting."""
        self.cancelled = stop

    def observe(self, waiting: Callable[[str], None]) -> None:
        """Have ``waiting`` told what others keep the run waiting for, and nothing when that is over."""
        self.waiting = waiting

    @abc.abstractmethod
    def identity(self) -> Identity:
        """Return which server this is; raises when it cannot be reached."""

    @abc.abstractmethod
    def preflight_dump(self) -> Mapping[str, Any]:
        """Check all that a dump needs, change nothing; return facts for the plan (``size_bytes``, ``tables``...).

        ``skip`` among them says why there is rightly nothing to do here (a replica set's secondary member), and
        ``warnings`` what the operator should know before.
        """

    @abc.abstractmethod
    def check_scripts(self, scripts: Sequence[Script]) -> None:
        """Raise where it shows without running them that the scripts can't do their work; change nothing."""

    @abc.abstractmethod
    def prepare(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the pre-dump scripts on the database itself; return what each did, as :meth:`sanitise`."""

    @abc.abstractmethod
    def dump(self, group: Group, sink: StoreSink) -> DumpFacts:
        """Dump a consistent state of the whole database into ``sink``; return only when all of it is stored.

        :raises DumpAgain: it is worth calling again, with another group, when what was stored is removed.
        """

    @abc.abstractmethod
    def preflight_restore(self, manifest: Manifest | None) -> Plan:
        """Check all that a restore of that point needs; change nothing. None: a point of the original's."""

    def lock_key(self) -> str:
        """Return what the host's lock on this database goes by: the server's own identity, however it is spelt.

        Names that differ in the case of their letters only are one to some servers: they have one lock.
        """
        found = self.identity()
        return f"{self.family or found.dbms} {found.system} {self.database_name.lower()}"

    def journal_key(self) -> str:
        """Return what the journal of this database's pushes goes by; the same after a reboot."""
        return f"{self.family or self.kind} {self.identity().system} {self.database_name}"

    @property
    @abc.abstractmethod
    def database_name(self) -> str:
        """The database's name, as the task has it."""

    @property
    def place(self) -> str:
        """Where the database is, for a person: the server, and of a tree also its path."""
        return self.identity().host

    def alone(self, wait: float) -> contextlib.AbstractContextManager[None]:
        """Hold the server's own lock on runs of this host, whoever runs them, where the server has locks of its own.

        It is what two users see each other by where the role has made no folder that they share.

        :param wait: how many seconds to wait for another holder.
        :raises EnvSyncError: another run has it.
        """
        return contextlib.nullcontext()

    @abc.abstractmethod
    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Hold the server's own lock on pulls into this database, against other hosts; see :mod:`.lease`."""

    @abc.abstractmethod
    def sweep(self) -> list[str]:
        """Remove what a killed pull left for this database; return what was removed, as a person would call it."""

    @abc.abstractmethod
    def restore(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        """Restore the point into the scratch database; return ``warnings``."""

    @abc.abstractmethod
    def sanitise(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the scripts on the scratch database, each wholly or not at all; return what each did.

        Raises unless each ran to its end in the scratch database and nowhere else, and all that it did is committed: a
        mark that follows the script, in its session, is looked for afterwards on a connection of our own.
        """

    def purge(self, effects: Sequence[Effect], group: Group) -> Sequence[str]:
        """Leave nothing derived of the rows that the scripts changed; return warnings.

        Materialized views are refreshed, statistics gathered anew, and the files of what was changed rewritten. Called
        after :meth:`sanitise`, and before :meth:`check`.
        """
        return ()

    @abc.abstractmethod
    def check(self, group: Group) -> Mapping[str, Any]:
        """Raise unless the scratch database is fit to serve; return what was found (``tables``, ``size_bytes``)."""

    @abc.abstractmethod
    def swap(self, keep_old: bool) -> Mapping[str, Any]:
        """Give the scratch database the live name, atomically; return ``name_away_seconds``, ``kept``, ``warnings``."""

    @abc.abstractmethod
    def discard(self) -> None:
        """Drop the scratch database of this run, if there is one, and if the lock is held.

        :raises EnvSyncError: it may still be there.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Close connections; never raises."""
