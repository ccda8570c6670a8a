# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rows of many tables, dumped side by side from one consistent snapshot.

``mysqldump`` opens a connection of its own and begins a transaction there; several of them see the same data when
nothing is written between the first and the last beginning. For that moment nobody may write: ``FLUSH TABLES WITH READ
LOCK``, which makes writers wait and breaks nothing of theirs. ``LOCK TABLES`` would need no right on the server. But
where a transaction writes to several tables, the server resolves the deadlock by ending that transaction. Where the
lock cannot be taken, one ``mysqldump`` does all.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from ...errors import Cancelled, EnvSyncError
from ...members import StoreSink
from ...streams.pipeline import Group, StageReader
from ..batching import BatchingReader
from .client import Server, quote
from .counts import Counted
from .errors import ServerError
from .failures import changed_meanwhile, of_dump
from .output import Sections

#: how long the lock may be waited for, as writers wait behind it, in seconds
_LOCK_WAIT = 5

#: how long a dump program may take to begin its transaction, while nobody can write, in seconds
_BEGIN_WAIT = 20.0

#: after how long the server gives the lock up by itself, when it hears nothing of us, in seconds
_LOST = 60

#: a statement that has run for so long may run for long, in seconds
_LONG = 2

#: how long it is waited for a moment without any such statement, in seconds
_QUIET_WAIT = 10


def share_out(sizes: dict[str, int], workers: int) -> list[list[str]]:
    """Return the tables for each worker, the largest first, so that all have about the same to do.

    :param sizes: of each table, its bytes.
    """
    shares: list[list[str]] = [[] for _unused in range(max(1, min(workers, len(sizes))))]
    loads = [0] * len(shares)
    for table in sorted(sizes, key=lambda name: (-sizes[name], name)):
        least = loads.index(min(loads))
        shares[least].append(table)
        loads[least] += sizes[table] + 1
    return shares


def by_title(tables: Sequence[str]) -> dict[bytes, list[str]]:
    """Return tables by what the dump programs call them before their rows: of a name of several lines, the first."""
    found: dict[bytes, list[str]] = {}
    for table in sorted(tables):
        found.setdefault(quote(table).encode().partition(b"\n")[0], []).append(table)
    return found


# How several programs dump the same moment:
#
#  1. FLUSH TABLES WITH READ LOCK on a connection of its own: writers wait. On MySQL only while nobody runs a long
#     statement (see _why_not()); where that moment does not come, or the right is missing, one program dumps all.
#  2. Start the programs, each with its share of the tables. Each connects and runs START TRANSACTION WITH CONSISTENT
#     SNAPSHOT before it looks at its first table.
#  3. Wait until each has written the head of its first table: then it has its snapshot (Sections.begin()).
#  4. Close the connection of step 1: writers go on, and see nothing of the dump.
#  5. Each program writes its tables one after the other. What it writes is cut into tables, each is counted and goes
#     into a member of its own.
#
# Steps 1 to 4 are held_still() around RowsDump.start() and wait_begun(). Writers wait for 5 s at most before step 1 is
# given up, and for 20 s at most until step 4. If this process dies meanwhile, the server ends the connection and with
# it the lock; if it only hangs, after 60 s.


@contextlib.contextmanager
def held_still(server: Server, doing: str) -> Iterator[str]:
    """Keep everybody from writing; yields an empty text, or why that is not possible.

    The lock dies with its connection, and so with this process.
    """
    connection = server.connect(doing)
    try:
        refusal = "" if server.mariadb else _why_not(server, doing)
        if not refusal:
            limits = f"lock_wait_timeout = {_LOCK_WAIT}, wait_timeout = {_LOST}"
            server.query(f"SET SESSION {limits}", (), doing, connection)
            try:
                server.query("FLUSH TABLES WITH READ LOCK", (), doing, connection)
            except ServerError as error:
                refusal = error.why
        yield refusal
    finally:
        connection.close()


def _why_not(server: Server, doing: str) -> str:
    """Return why the lock is not to be asked for in MySQL; empty where it may be.

    MySQL closes all tables for it, and waits for the statements that use them. Until the last of these has ended,
    nobody else can even read such a table, also when the lock is no longer wanted. (MariaDB closes none since 10.4.) So
    it is not asked for while somebody runs a long statement, nor where that can't be seen.
    """
    if not server.has_right("PROCESS"):
        return "without the right PROCESS it is not known whether the lock would make others wait for long"
    deadline = time.monotonic() + _QUIET_WAIT
    while True:
        rows = server.query(
            """SELECT MAX(TIME) FROM information_schema.PROCESSLIST
                WHERE COMMAND IN ('Query', 'Execute') AND USER <> 'system user' AND TIME >= %s""",
            (_LONG,),
            doing,
        )
        if rows[0][0] is None:
            return ""
        if time.monotonic() > deadline:
            return f"a statement has been running for {rows[0][0]} s, behind which the lock would make others wait"
        if server.stop():
            raise Cancelled(doing, "it was told to stop")
        time.sleep(0.5)


@dataclass(frozen=True)
class Rows:
    """One table's rows: ``member`` is the name of the member that they go into, ``size`` about their bytes."""

    member: str
    size: int


class RowsDump:
    """Dumps the rows of tables into a member each.

    :param command: returns the argument vector that dumps the rows of the tables given to it.
    :param environment: what the programs have in theirs beside this process's.
    """

    def __init__(
        self,
        group: Group,
        sink: StoreSink,
        command: Callable[[Sequence[str]], list[str]],
        environment: Mapping[str, str],
        tables: Mapping[str, Rows],
        doing: str,
    ) -> None:
        self._environment = environment
        self._group = group
        self._sink = sink
        self._command = command
        self._tables = tables
        self._doing = doing
        self._begun: list[threading.Event] = []
        self._sections: list[Sections] = []
        #: how many each table has, once all are stored
        self.rows: dict[str, int] = {}

    def start(self, workers: int) -> None:
        """Start the dump programs, ``workers`` at most; returns at once."""
        for share in share_out({name: table.size for name, table in self._tables.items()}, workers):
            begun = threading.Event()
            self._begun.append(begun)
            self._group.start(self._work, share, begun)

    @property
    def longest_statement(self) -> int:
        """How long a server has to allow a statement to be, in bytes; known when all is dumped."""
        return max((sections.longest.length for sections in self._sections), default=0)

    def wait_begun(self) -> None:
        """Wait until every program has its snapshot.

        :raises EnvSyncError: one takes too long for that; nobody can write meanwhile.
        """
        deadline = time.monotonic() + _BEGIN_WAIT
        while not all(event.is_set() for event in self._begun):
            self._group.sleep(0.005)
            if time.monotonic() > deadline:
                raise EnvSyncError(
                    self._doing,
                    f"mysqldump did not begin within {_BEGIN_WAIT:.0f} s",
                    "Push again when the server has less to do, or with format: custom, which needs no lock.",
                )

    def _work(self, share: Sequence[str], begun: threading.Event) -> None:
        argv, environment = self._command(share), self._environment
        stage = self._group.run(argv, self._doing, stdout=subprocess.PIPE, env=environment, dumps=True, explain=of_dump)
        sections = Sections(BatchingReader(stage, StageReader(stage)), self._doing)
        self._sections.append(sections)
        try:
            sections.begin()
            begun.set()
            waiting = by_title(share)
            while True:
                section = sections.next()
                if section is None:
                    break
                if not waiting.get(section.title):
                    raise changed_meanwhile(self._doing, "mysqldump wrote more tables than it was asked for")
                table = waiting[section.title].pop(0)
                counted = Counted(section)
                rows = self._tables[table]
                self._sink.member(rows.member, counted, rows.size or None, table=table)
                self.rows[table] = sum(counted.rows.values())
            for table in (table for tables in waiting.values() for table in tables):
                raise changed_meanwhile(self._doing, f"mysqldump wrote no rows of table {table}")
        except BaseException as error:
            self._group.fail_unless_consequence(error)
            raise
        finally:
            sections.close()
