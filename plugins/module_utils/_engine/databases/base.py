# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a DBMS is to the engine: something that can be dumped into members and restored from them."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Protocol, Tuple

from ..manifest import Manifest, Member
from ..pipeline import Group
from ..stores.base import Reader


@dataclass(frozen=True)
class Identity:
    """Which server this is: equal for two connections exactly when they reach the same server.

    ``system`` is the server's own identifier (PostgreSQL ``system_identifier``, MySQL ``server_uuid``, ...).
    """

    dbms: str
    system: str
    version: str
    host: str


class Sink(Protocol):
    """Where a dump goes."""

    def member(self, name: str, source: Reader, raw_size_hint: Optional[int] = None, **facts: Any) -> Member:
        """Compress and store everything that ``source`` gives as the member ``name``; return what was stored.

        :param name: the member's name without the compression's suffix.
        :param raw_size_hint: about how many bytes will come, before compression.
        :param facts: what else the manifest shall say of this member (``table=...``).
        """


class Source(Protocol):
    """Where a restore comes from: the members of one point, verified while they are read."""

    manifest: Manifest

    def open(self, name: str) -> Reader:
        """Return a reader over the uncompressed bytes of the member ``name`` (its name in the manifest).

        The reader raises, at its end at the latest, when what was stored is not what the manifest says.
        """


@dataclass
class DumpFacts:
    """What a dump learnt about the database, for the manifest."""

    format: str
    jobs: int
    tables: List[Dict[str, Any]] = field(default_factory=list)
    extensions: List[Dict[str, str]] = field(default_factory=list)
    roles: List[str] = field(default_factory=list)
    client_version: str = ""
    peak_temporary_bytes: int = 0
    details: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a pull will do to the target; made without changing anything.

    ``replaces`` is what is under the live name now (None when the database does not exist yet).
    """

    scratch: str
    replaces: Optional[Mapping[str, Any]]
    steps: Tuple[str, ...]
    warnings: Tuple[str, ...] = ()


class Database(abc.ABC):
    """One database on one server. Made from a task; opened lazily; closed by :meth:`close`."""

    #: the name in ``dbms``
    kind = ""

    @abc.abstractmethod
    def identity(self) -> Identity:
        """Return which server this is; raises when it cannot be reached."""

    @abc.abstractmethod
    def preflight_dump(self) -> Mapping[str, Any]:
        """Check all that a dump needs, change nothing; return facts for the plan (``size_bytes``, ``tables``...)."""

    @abc.abstractmethod
    def dump(self, group: Group, sink: Sink) -> DumpFacts:
        """Dump a consistent state of the whole database into ``sink``."""

    @abc.abstractmethod
    def preflight_restore(self, manifest: Optional[Manifest]) -> Plan:
        """Check all that a restore of that point needs; change nothing."""

    @abc.abstractmethod
    def sweep(self) -> List[str]:
        """Remove what a killed run left for this database; return what was removed."""

    @abc.abstractmethod
    def restore(self, group: Group, source: Source) -> Mapping[str, Any]:
        """Restore the point into the scratch database; return what was restored."""

    @abc.abstractmethod
    def sanitise(self, scripts: List[str]) -> None:
        """Run the scripts (paths) on the scratch database, each wholly or not at all."""

    @abc.abstractmethod
    def check(self, manifest: Manifest) -> Mapping[str, Any]:
        """Raise unless the scratch database is what the point says; return what was checked."""

    @abc.abstractmethod
    def swap(self, keep_old: bool) -> Mapping[str, Any]:
        """Give the scratch database the live name, atomically; return how long the name was away, in seconds."""

    @abc.abstractmethod
    def discard(self) -> None:
        """Drop the scratch database, if there is one; never raises."""

    def close(self) -> None:
        """Close connections; never raises."""
