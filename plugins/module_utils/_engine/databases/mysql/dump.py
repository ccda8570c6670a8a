# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a push does: dump a MySQL or MariaDB database with ``mysqldump`` or ``mariadb-dump``."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ...members import StoreSink
from ...points.name import SINGLE_SUFFIX
from ...streams.pipeline import Group, StageReader
from ..base import DumpFacts
from ..batching import BatchingReader
from . import code, counts, failures, names, preflight
from .arguments import Arguments
from .client import Server
from .facts import read_facts
from .output import Complete, Listed
from .programs import Program, dump_program, mistakes_charset
from .snapshot import Rows, RowsDump, held_still
from .tables import Tables


@dataclass(frozen=True)
class DumpOptions:
    """How a database is dumped.

    ``jobs`` is how many tables are dumped at once. ``format`` is ``directory`` (a member for each table) or ``custom``
    (one stream), ``compression`` what the store compresses members with. ``excluded_tables`` are patterns of tables and
    views that are left out, ``excluded_table_data`` of tables whose rows are.
    """

    jobs: int
    format: str
    compression: str
    excluded_tables: Sequence[str]
    excluded_table_data: Sequence[str]


@dataclass(frozen=True)
class _Running:
    """A dump that is under way, and what all parts of it go by.

    ``base`` is what the command lines begin with; ``excluded`` and ``rowless`` are the tables that are left out, and
    those whose rows are. ``listed`` raises where tables or views have come or gone since ``facts`` was read.
    """

    group: Group
    sink: StoreSink
    program: Program
    base: Sequence[str]
    excluded: Sequence[str]
    rowless: Sequence[str]
    facts: DumpFacts
    listed: Callable[[], None]
    doing: str


class Dump:
    """Dumps of one database.

    :param work_dir: a directory for option files; None where no program is run.
    """

    def __init__(self, server: Server, database: str, work_dir: str | None, options: DumpOptions) -> None:
        self._server = server
        self._database = database
        self._options = options
        self._tables = Tables(server, database, options.excluded_tables, options.excluded_table_data)
        self._arguments = Arguments(self._tables, work_dir)

    def close(self) -> None:
        """Remove the programs' option file."""
        self._arguments.close()

    def preflight(self) -> Mapping[str, Any]:
        """Check all that a dump needs, and change nothing.

        :returns: ``size_bytes``, ``tables`` (their number), ``jobs``, ``notes``.
        :raises EnvSyncError: something is missing: the database, a program, a right; or not all could be dumped.
        """
        server, database = self._server, self._database
        doing = f"preparing to dump {database} on {server.name}"
        preflight.require_database(server, database, doing)
        program = dump_program(server, doing)
        preflight.require_all_rows(server, doing)
        preflight.require_triggers(server, database, doing)
        preflight.require_routines(server, database, doing)
        code.read(server, database, doing)  # raises where a definition may not be seen
        excluded = self._tables.excluded(doing)
        kept = [name for name in self._tables.views(doing) if name not in excluded]
        preflight.require_valid_views(server, database, kept, doing)
        tables = self._tables.base(doing, excluded)
        rowless = self._tables.rowless(excluded, doing)
        self._without_rows(rowless, program, doing)
        return {
            "size_bytes": sum(size for _engine, size in tables.values()),
            "tables": len(tables),
            "jobs": self._options.jobs,
            "notes": [f"leave out the rows of {', '.join(rowless)} (excluded_table_data)"] if rowless else [],
        }

    def run(self, group: Group, sink: StoreSink) -> DumpFacts:
        """Dump a consistent state of the whole database into ``sink``; return only when all of it is stored.

        :raises DumpAgain: tables were created, changed or dropped meanwhile.
        """
        doing = f"dumping {self._database} from {self._server.name}"
        tables = self._tables
        program = dump_program(self._server, doing)
        # Before all that is said of the tables: what comes later would be dumped, and not be in the manifest.
        there = tables.names(doing)
        in_members = self._options.format == "directory"
        shape = tables.shape(doing) if in_members else ""
        excluded = tables.excluded(doing)
        rowless = tables.rowless(excluded, doing)
        facts = read_facts(tables, self._options.format, excluded, rowless, doing)

        def require_same_names() -> None:
            if tables.names(doing) != there:
                raise failures.changed_meanwhile(doing, "a table or view was created or dropped meanwhile")

        facts.client_version = program.text
        if program.mariadb and not self._server.mariadb:
            facts.warnings += self._generated(excluded, doing)
        base = self._arguments.base(program)
        if facts.details["versioned_tables"] and self._keeps_history(program, doing):
            base.append("--dump-history")
            facts.details["history"] = True
        running = _Running(group, sink, program, base, excluded, rowless, facts, require_same_names, doing)
        if in_members:
            self._dump_directory(running)
            if tables.shape(doing) != shape:
                raise failures.changed_meanwhile(doing, "a table was created, changed or dropped meanwhile")
        else:
            self._dump_stream(running)
        return facts

    def _generated(self, excluded: Sequence[str], doing: str) -> list[str]:
        """Return a warning where MariaDB's program writes values that MySQL's client can't give back to MySQL."""
        rows = self._server.query(
            """SELECT DISTINCT TABLE_NAME FROM information_schema.COLUMNS
                WHERE TABLE_SCHEMA = %s AND GENERATION_EXPRESSION <> '' ORDER BY 1""",
            (self._database,),
            doing,
        )
        tables = [str(name) for (name,) in rows if name not in excluded]
        if not tables:
            return []
        return [
            f"{', '.join(tables[:5])}: mariadb-dump writes values of generated columns too. A pull leaves them out, "
            "but MySQL's client refuses them. With MySQL's own programs here, there would be none"
        ]

    def _keeps_history(self, program: Program, doing: str) -> bool:
        """Say whether the program can dump the former rows of system-versioned tables: not those of transactions."""
        by_transaction = self._server.query(
            """SELECT 1 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND DATA_TYPE = 'bigint'
                  AND GENERATION_EXPRESSION = 'ROW START' LIMIT 1""",
            (self._database,),
            doing,
        )
        return program.mariadb and program.version >= (10, 11) and not by_transaction

    def _without_rows(self, rowless: Sequence[str], program: Program, doing: str) -> list[str]:
        """Return the arguments that leave out the rows of these tables, where one program dumps all.

        :raises EnvSyncError: it can't.
        """
        return self._arguments.without_rows(rowless, program, doing) if self._options.format != "directory" else []

    # -- one stream --------------------------------------------------------------------------------------------------

    def _dump_stream(self, running: _Running) -> None:
        """Dump all into one member."""
        argv = [*running.base, *self._without_rows(running.rowless, running.program, running.doing)]
        argv += ["--routines", "--events", "--triggers", *self._arguments.all_but(running.excluded, running.doing)]
        # With gzip it is what the legacy script writes, under the name that it reads.
        name = "" if self._options.compression == "gzip" else SINGLE_SUFFIX
        facts = running.facts
        longest, rows = self._dump_one(running, argv, name, facts.details["size_bytes"], running.listed)
        facts.details["longest_statement"] = longest
        counts.note(facts.tables, rows, self._tables.with_rows(running.excluded, running.doing))

    def _dump_one(
        self,
        running: _Running,
        argv: Sequence[str],
        name: str,
        size: int | None,
        listed: Callable[[], None] = lambda: None,
    ) -> tuple[int, Mapping[str, int]]:
        """Dump into one member.

        :param name: the member's, after that of the point.
        :param size: about its bytes, where that is known.
        :param listed: called once the program has listed the tables.
        :returns: how long a server has to allow a statement to be, in bytes; and how many rows each table has.
        """
        environment, explain, doing = self._arguments.environment(), failures.of_dump, running.doing
        stage = running.group.run(argv, doing, stdout=subprocess.PIPE, env=environment, dumps=True, explain=explain)
        complete = Complete(BatchingReader(stage, StageReader(stage)), doing)
        counted = counts.Counted(Listed(complete, listed))
        running.sink.member(name, counted, size, threads=self._options.jobs if size else 1)
        return complete.longest.length, counted.rows

    # -- a member for each table -------------------------------------------------------------------------------------

    def _dump_directory(self, running: _Running) -> None:
        """Dump rows side by side from one snapshot (see :mod:`.snapshot`), and meanwhile what is not rows."""
        group, facts, doing = running.group, running.facts, running.doing
        sizes = self._tables.with_rows(running.excluded, doing)
        members = names.rows_members(name for name in sizes if name not in running.rowless)
        tables = {name: Rows(member, sizes[name]) for name, member in members.items()}
        argv = [*running.base, "--skip-triggers"]
        if not mistakes_charset(running.program, self._server.mariadb, self._server.version_number):
            # Otherwise it is only after a table's structure that it says in which character set it wants the rows.
            argv.append("--no-create-info")
        command = self._arguments.only(argv, tables, doing)
        dump = RowsDump(group, running.sink, command, self._arguments.environment(), tables, doing)
        workers = min(self._options.jobs, len(tables))
        snapshot = "one connection"
        if workers > 1:
            with held_still(self._server, doing) as refusal:
                began = time.monotonic()
                workers = 1 if refusal else workers
                dump.start(workers)
                dump.wait_begun()
            held = time.monotonic() - began
            snapshot = f"{snapshot}: {refusal}" if refusal else f"{workers} connections, writers held for {held:.2f} s"
        elif tables:
            dump.start(1)
        facts.jobs = max(1, workers)
        facts.details["snapshot"] = snapshot
        self._dump_definitions(running)
        group.wait()
        facts.details["longest_statement"] = dump.longest_statement
        counts.note(facts.tables, dump.rows, tables)

    def _dump_definitions(self, running: _Running) -> None:
        """Dump what is not rows: tables, routines, views, triggers and events, a member for each kind there is."""
        base, excluded, doing = running.base, running.excluded, running.doing
        definitions = code.read(self._server, self._database, doing)
        views = code.in_order([item for item in definitions if item.kind == "VIEW"])
        kept_views = [name for name in views if name not in excluded]
        triggered = sorted({item.table for item in definitions if item.kind == "TRIGGER"} - set(excluded))
        kinds = {item.kind for item in definitions}
        structure = [*base, "--no-data", "--skip-triggers"]
        nothing = [*base, "--no-data", "--no-create-info"]
        tables = [*structure, *self._arguments.all_but([*views, *excluded], doing)]
        self._dump_one(running, tables, names.TABLES, None, running.listed)
        if kinds & {"FUNCTION", "PROCEDURE", "PACKAGE", "PACKAGE BODY"}:
            argv = [*nothing, "--skip-triggers", "--routines", "--", self._database]
            self._dump_one(running, argv, names.ROUTINES, None)
        if kept_views:
            self._dump_one(running, [*structure, "--", self._database, *kept_views], names.VIEWS, None)
        if triggered:
            argv = [*nothing, "--triggers", "--", self._database, *triggered]
            self._dump_one(running, argv, names.TRIGGERS, None)
        if "EVENT" in kinds:
            argv = [*nothing, "--skip-triggers", "--events", "--", self._database]
            self._dump_one(running, argv, names.EVENTS, None)
