# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MySQL and MariaDB: ``mysqldump`` or ``mariadb-dump`` for the data, SQL for everything else."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import os
import re
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

from ...errors import EnvSyncError
from ...host.linux import boot_id
from ...host.stopping import Stop
from ...members import PointSource, StoreSink
from ...points.manifest import Manifest
from ...points.name import SINGLE_SUFFIX
from ...points.scripts import Effect, Script
from ...streams.pipeline import Group, StageReader
from ...tasks.task import Connection, Task
from ..base import Database, DumpFacts, Identity, Plan, within
from ..batching import Gathering
from ..lease import BUSY_HERE, BUSY_PULL, Lease, SessionLock, SessionStorage
from . import code as mysql_code
from . import counts as mysql_counts
from . import effect as mysql_effect
from . import failures, load, purge, runner, statements
from . import guard as mysql_guard
from . import scripts as mysql_scripts
from . import swap as mysql_swap
from .client import Program, Server, ServerError, find_program, mistakes_charset, quote, write_defaults, write_left_out
from .snapshot import RowsDump, held_still

#: the first bytes of a name of ours; what stands under such a name and carries our mark may be dropped
SCRATCH_PREFIX = "env_sync_scratch_"
OLD_PREFIX = "env_sync_old_"

#: the longest name of a schema, in characters
_LONGEST_NAME = 64

#: what a killed pull had the server do may go on for a moment, and holds the lock so long, in seconds
_LOCK_PATIENCE = 10

#: engines whose tables have no rows of their own that could be dumped
_NO_ROWS = frozenset({"MRG_MYISAM", "MRG_ISAM", "FEDERATED", "BLACKHOLE", "CONNECT", "SPIDER"})

#: how much of a command line may name tables that are left out, in bytes: half of what Linux gives by default
_MOST_ARGUMENTS = 1024 * 1024

#: engines that take part in a transaction, and so in a snapshot
_TRANSACTIONAL = frozenset({"INNODB", "ROCKSDB", "TOKUDB", "NDBCLUSTER"})

#: a trigger can't be made, whatever the right TRIGGER: of a user without another right; on a server that only reads
_NOT_MADE = (1419, 1290, 1792, 1836)

#: what the server says of a view that needs something which is not there, or that its definer may not use
_INVALID_VIEW = 1356

# The members, named so that loading them in the order of their names is right.
_TABLES = "/1-tables.sql"
_ROWS = "/2-rows-"
_ROUTINES = "/3-routines.sql"
_VIEWS = "/4-views.sql"
_TRIGGERS = "/5-triggers.sql"
_EVENTS = "/6-events.sql"


class MySQL(Database):
    """One database of one MySQL or MariaDB server.

    :param work_dir: an empty directory of this run's own; None where no program is run.
    :param jobs: how many tables to dump or restore at once.
    :param dump_format: ``directory`` (a member for each table) or ``custom`` (one stream).
    :param pushing: scripts run on the database itself, not on a scratch schema.
    """

    kind = "mysql"
    legacy = ("sql", "gzip")

    def __init__(
        self,
        connection: Connection,
        database: str,
        work_dir: str | None,
        jobs: int,
        dump_format: str,
        compression: str,
        excluded_tables: Sequence[str],
        excluded_table_data: Sequence[str],
        analyze: bool,
        pushing: bool,
    ) -> None:
        self._server = Server(connection)
        self._database = database
        self._work_dir = work_dir
        self._jobs = jobs
        self._format = dump_format
        self._compression = compression
        self._excluded = tuple(excluded_tables)
        self._rowless = tuple(excluded_table_data)
        self._analyze = analyze
        self._pushing = pushing
        digest = hashlib.sha256(database.encode()).hexdigest()[:8]
        # Plain ASCII and lower case: such a name is the same to every server, whatever its lower_case_table_names.
        stem = re.sub(r"[^a-z0-9_]", "_", database.lower())[: _LONGEST_NAME - len(SCRATCH_PREFIX) - len(digest) - 1]
        self.scratch = f"{SCRATCH_PREFIX}{stem}_{digest}"
        self.old = f"{OLD_PREFIX}{stem}_{digest}"
        self._defaults_path = ""
        self._options = ""
        self._restored = 0
        self._histograms: Sequence[Sequence[str]] = ()
        self._held: list[mysql_code.Definition] = []
        self._said: list[str] = []
        #: stands in the scratch schema's mark: nobody else's is dropped when this run fails
        self._run = secrets.token_hex(4)
        pull = f"env_sync {hashlib.sha256(database.encode()).hexdigest()[:32]}"
        lock = self._lock(pull, BUSY_PULL, True)
        self._lease = Lease(lock, self._locking, lambda: self.cancelled, _LOCK_PATIENCE)

    @classmethod
    def from_task(cls, task: Task, work_dir: str | None) -> MySQL:
        return cls(
            connection=task.connection,
            database=task.database,
            work_dir=work_dir,
            jobs=task.worker_count,
            dump_format=task.format,
            compression=task.compression,
            excluded_tables=task.excluded_tables,
            excluded_table_data=task.excluded_table_data,
            analyze=task.analyze,
            pushing=task.action == "push",
        )

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
        if self._defaults_path:
            with contextlib.suppress(OSError):
                os.unlink(self._defaults_path)

    def _defaults(self) -> str:
        """Return the option file for the programs, which has the password; it is removed with the connection."""
        if not self._defaults_path:
            path = within(self._work_dir, "my.cnf")
            write_defaults(path, self._server.settings)
            self._defaults_path = path
        return self._defaults_path

    def _program(self, names: Sequence[str], doing: str) -> Program:
        program = find_program(names, self._server.mariadb, self._server.version_number, doing)
        self._server.require_tls_for(program, doing)
        return program

    def _dump_program(self, doing: str) -> Program:
        return self._program(("mariadb-dump", "mysqldump"), doing)

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
            source.member(_TABLES)
        rows: Counter[str] = Counter()
        for name in source.names():
            reader = mysql_counts.Counted(source.open(name))
            try:
                script = statements.Script(reader, name.lstrip("/") or "the dump")
                for statement in script:
                    script.refuse_unknown(statement)
            finally:
                reader.close()
            rows += reader.rows
        mysql_counts.compare_dump(source.manifest, rows)

    # -- push --------------------------------------------------------------------------------------------------------

    def preflight_dump(self) -> Mapping[str, Any]:
        doing = f"preparing to dump {self._database} on {self._server.name}"
        if not mysql_swap.exists(self._server, self._database):
            raise EnvSyncError(doing, f"there is no database {self._database} (or none that this user may see)",
                               _similar(self._server))  # fmt: skip
        program = self._dump_program(doing)
        hiding = self._server.what_hides_rows(doing)
        if hiding:
            raise EnvSyncError(
                doing,
                f"sessions there begin with {' and '.join(hiding)}; mysqldump can't change that: rows would be missing",
                f"Run SET GLOBAL {hiding[0].partition(' ')[0]} = DEFAULT on the server, and look at its init_connect.",
            )
        self._may_see_triggers(doing)
        self._may_see_routines(doing)
        mysql_code.read(self._server, self._database, doing)  # raises where a definition may not be seen
        self._may_read_views(doing)
        tables = self._base_tables(doing)
        rowless = self._rowless_tables(self._excluded_tables(doing), doing)
        self._without_rows(rowless, program, doing)
        return {
            "size_bytes": sum(size for _engine, size in tables.values()),
            "tables": len(tables),
            "jobs": self._jobs,
            "notes": [f"leave out the rows of {', '.join(rowless)} (excluded_table_data)"] if rowless else [],
        }

    def _may_see_triggers(self, doing: str) -> None:
        """Raise when this user lacks the right TRIGGER: then there seem to be none, and none would be dumped.

        A trigger on a table that is not there is refused for the right that is missing, before anything else; but by a
        MySQL with a binary log for another right that making one would need, and by a server that only reads because
        it does.
        """
        name = f"{quote(self._database)}.`env_sync_no_such_table`"
        try:
            self._server.query(f"CREATE TRIGGER {name} BEFORE INSERT ON {name} FOR EACH ROW SET @a = 1", doing=doing)
        except ServerError as error:
            if error.code in (1044, 1142, 1227):
                raise
            if error.code in _NOT_MADE and not self._server.has_right("TRIGGER", self._database):
                raise ServerError(doing, 1142, f"TRIGGER command denied to this user on {self._database}") from error

    def _may_see_routines(self, doing: str) -> None:
        """Raise when routines may be hidden from this user: they are, where it may neither run nor read them.

        A call of a routine that is not there is refused for the right that is missing, before anything else.
        """
        ask = self._server.query
        try:
            ask(f"CALL {quote(self._database)}.`env_sync_no_such_routine`()", doing=doing)
        except ServerError as error:
            if error.code != 1370:
                return
            with contextlib.suppress(ServerError):  # where MariaDB and MySQL 5.7 have them all
                ask("SELECT 1 FROM mysql.proc LIMIT 1")
                return
            if not self._server.has_right("SHOW_ROUTINE"):
                raise

    def _may_read_views(self, doing: str) -> None:
        """Raise where a view is not valid: a dump program ends at the first such."""
        excluded = self._excluded_tables(doing)
        broken: dict[str, ServerError] = {}
        for name in self._views(doing):
            if name not in excluded:
                try:
                    self._server.query(f"SHOW FIELDS FROM {quote(self._database)}.{quote(name)}", doing=doing)
                except ServerError as error:
                    if error.code != _INVALID_VIEW:
                        raise
                    broken[name] = error
        if broken:
            raise EnvSyncError(
                doing,
                f"views can't be dumped as they are: {'; '.join(error.why for error in list(broken.values())[:3])}",
                f"Correct them, or leave them out of the push: excluded_tables: {','.join(broken)}",
            )

    def _views(self, doing: str) -> list[str]:
        rows = self._server.query(
            "SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s ORDER BY 1",
            (self._database,),
            doing,
        )
        return [str(name) for (name,) in rows]

    def check_scripts(self, scripts: Sequence[Script]) -> None:
        """Raise where a script leaves its database, names the live one, or can't be read to its end."""
        guard = self._guard(f"looking at scripts for {self._database}")
        for script in scripts:
            guard.look(mysql_scripts.Script(script.content, script.path, f"looking at {script.path}", follow=True))

    def _guard(self, doing: str) -> mysql_guard.Guard:
        fold = bool(self._server.query("SELECT @@lower_case_table_names", doing=doing)[0][0])
        if self._pushing:
            return mysql_guard.Guard(self._database, (), fold)
        return mysql_guard.Guard(self.scratch, (self._database, self.old), fold)

    def prepare(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the pre-dump scripts on the database itself, as the original does."""
        hint = "What stands before that line was done. Correct the script."
        return [self._run_script(script, self._database, group, hint) for script in scripts]

    def _run_script(self, script: Script, database: str, group: Group, hint: str) -> Effect:
        server = self._server
        doing = f"running {script.path} on {database} on {server.name}"
        code = mysql_code.read(server, database, doing)
        functions = frozenset(item.name.lower() for item in code if item.kind == "FUNCTION")
        guard = self._guard(doing)
        guard.learn(code)
        seen = guard.look(mysql_scripts.Script(script.content, script.path, doing, follow=True))
        before = mysql_effect.take_picture(server, database, doing)
        mysql_effect.wait_for_clock(group, server, before, doing)
        counts = runner.run(
            server, mysql_scripts.Script(script.content, script.path, doing), script.content, guard, seen,
            database, functions, database == self.scratch, doing, hint,
        )  # fmt: skip
        self._said += counts.warnings
        return mysql_effect.effect(script, before, mysql_effect.take_picture(server, database, doing), counts)

    def dump(self, group: Group, sink: StoreSink) -> DumpFacts:
        doing = f"dumping {self._database} from {self._server.name}"
        program = self._dump_program(doing)
        # Before all that is said of the tables: what comes later would be dumped, and not be in the manifest.
        names = self._names(doing)
        shape = self._shape(doing) if self._format == "directory" else ""
        excluded = self._excluded_tables(doing)
        rowless = self._rowless_tables(excluded, doing)
        facts = self._dump_facts(excluded, rowless, doing)

        def require_same_names() -> None:
            if self._names(doing) != names:
                raise failures.changed_meanwhile(doing, "a table or view was created or dropped meanwhile")

        facts.client_version = program.text
        if program.mariadb and not self._server.mariadb:
            facts.warnings += self._generated(excluded, doing)
        base = self._dump_command(program)
        if facts.details["versioned_tables"] and self._keeps_history(program, doing):
            base.append("--dump-history")
            facts.details["history"] = True
        if self._format == "directory":
            self._dump_directory(group, sink, program, base, excluded, facts, require_same_names, doing)
            if self._shape(doing) != shape:
                raise failures.changed_meanwhile(doing, "a table was created, changed or dropped meanwhile")
        else:
            base += self._without_rows(rowless, program, doing)
            argv = [*base, "--routines", "--events", "--triggers", *self._all_but(excluded, doing)]
            # With gzip it is what the original writes, under the name that the original reads.
            name = "" if self._compression == "gzip" else SINGLE_SUFFIX
            size = facts.details["size_bytes"]
            longest, rows = self._dump_one(group, sink, argv, name, size, doing, require_same_names)
            facts.details["longest_statement"] = longest
            mysql_counts.note(facts.tables, rows, self._with_rows(excluded, doing))
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

    def _dump_command(self, program: Program) -> list[str]:
        argv = [program.path, f"--defaults-file={self._defaults()}", "--opt", "--single-transaction", "--quick"]
        argv += ["--skip-lock-tables", "--skip-add-locks", "--hex-blob", "--tz-utc", "--comments", "--no-tablespaces"]
        argv += ["--default-character-set=utf8mb4", "--max-allowed-packet=1G"]
        if not program.mariadb:
            # GTIDs belong to the source; statistics of columns are asked of servers that have none.
            argv.append("--set-gtid-purged=OFF")
            if program.version >= (8, 0):
                argv.append("--column-statistics=0")
        return argv

    def _dump_environment(self) -> dict[str, str]:
        """Return what keeps MySQL's programs from ``~/.mylogin.cnf``, which they read after the given file.

        (MySQL manual, "mysql_config_editor": MYSQL_TEST_LOGIN_FILE.)
        """
        return {"MYSQL_TEST_LOGIN_FILE": within(self._work_dir, "no-login-file")}

    def _keeps_history(self, program: Program, doing: str) -> bool:
        """Say whether the program can dump the former rows of system-versioned tables: not those of transactions."""
        by_transaction = self._server.query(
            """SELECT 1 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND DATA_TYPE = 'bigint'
                  AND GENERATION_EXPRESSION = 'ROW START' LIMIT 1""",
            (self._database,),
            doing,
        )
        return program.mariadb and program.version >= (10, 11) and not by_transaction

    def _all_but(self, left_out: Sequence[str], doing: str) -> list[str]:
        """Return the arguments that have a program dump all tables and views but some.

        ``--ignore-table`` leaves out all whose names differ from that one in case only too. Where there are such, what
        is wanted is named: sequences first, which tables may need, and views last.
        """
        rows = self._server.query(
            """SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s
                ORDER BY TABLE_TYPE <> 'SEQUENCE', TABLE_TYPE = 'VIEW', TABLE_NAME""",
            (self._database,),
            doing,
        )
        return choosing(self._database, [str(name) for (name,) in rows if name not in left_out], left_out)

    def _other_than(
        self, base: Sequence[str], tables: Iterable[str], doing: str
    ) -> Callable[[Sequence[str]], list[str]]:
        """Return what gives the command that dumps some of these tables, and no view or sequence.

        It looks each table up that is named, before the first of them is dumped and while nobody may write: two
        thousandths of a second each on MySQL. So the others are named as those to leave out, which takes no time: in an
        option file where they are many.
        """
        everything = self._names(doing).union(tables)

        def command(share: Sequence[str]) -> list[str]:
            left_out = sorted(everything.difference(share))
            names = [f"{self._database}.{table}" for table in left_out]
            if _room(names) <= _MOST_ARGUMENTS // 2 or _alike(share, left_out):
                return [*base, *choosing(self._database, share, left_out)]
            path = within(self._work_dir, f"left-out-{secrets.token_hex(4)}.cnf")
            write_left_out(path, self._defaults(), names)
            return [base[0], f"--defaults-file={path}", *base[2:], "--", self._database]

        return command

    def _dump_one(
        self,
        group: Group,
        sink: StoreSink,
        argv: Sequence[str],
        name: str,
        size: int | None,
        doing: str,
        listed: Callable[[], None] = lambda: None,
    ) -> tuple[int, Mapping[str, int]]:
        """Dump into one member.

        :param listed: called once the program has listed the tables.
        :returns: how long a server has to allow a statement to be, in bytes; and how many rows each table has.
        """
        environment, explain = self._dump_environment(), failures.of_dump
        stage = group.run(argv, doing, stdout=subprocess.PIPE, env=environment, dumps=True, explain=explain)
        complete = statements.Complete(Gathering(stage, StageReader(stage)), doing)
        counted = mysql_counts.Counted(statements.Listed(complete, listed))
        sink.member(name, counted, size, threads=self._jobs if size else 1)
        return complete.longest.length, counted.rows

    def _with_rows(self, excluded: Sequence[str], doing: str) -> dict[str, int]:
        """Return the tables that have rows of their own, and about their bytes."""
        tables = self._base_tables(doing, excluded)
        return {name: size for name, (engine, size) in tables.items() if engine not in _NO_ROWS}

    def _dump_directory(
        self,
        group: Group,
        sink: StoreSink,
        program: Program,
        base: list[str],
        excluded: Sequence[str],
        facts: DumpFacts,
        listed: Callable[[], None],
        doing: str,
    ) -> None:
        rowless = facts.details["excluded_table_data"]
        tables = {name: size for name, size in self._with_rows(excluded, doing).items() if name not in rowless}
        names = {
            table: f"{_ROWS}{number:05d}-{re.sub('[^A-Za-z0-9_-]', '_', table)[:80]}.sql"
            for number, table in enumerate(sorted(tables), 1)
        }
        rows = [*base, "--skip-triggers"]
        if not mistakes_charset(program, self._server.mariadb, self._server.version_number):
            # Otherwise it is only after a table's structure that it says in which character set it wants the rows.
            rows.append("--no-create-info")
        command = self._other_than(rows, tables, doing)
        dump = RowsDump(group, sink, command, names, tables, self._dump_environment(), doing)
        workers = min(self._jobs, len(tables))
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
        self._dump_definitions(group, sink, base, excluded, listed, doing)
        group.wait()
        facts.details["longest_statement"] = dump.longest_statement
        mysql_counts.note(facts.tables, dump.rows, tables)

    def _dump_definitions(
        self,
        group: Group,
        sink: StoreSink,
        base: list[str],
        excluded: Sequence[str],
        listed: Callable[[], None],
        doing: str,
    ) -> None:
        """Dump what is not rows: tables, routines, views, triggers and events, a member for each kind there is."""
        code = mysql_code.read(self._server, self._database, doing)
        views = mysql_code.in_order([item for item in code if item.kind == "VIEW"])
        kept_views = [name for name in views if name not in excluded]
        triggered = sorted({item.table for item in code if item.kind == "TRIGGER"} - set(excluded))
        nothing = [*base, "--no-data", "--no-create-info", "--skip-triggers"]
        kinds = {item.kind for item in code}
        self._dump_one(
            group,
            sink,
            [*base, "--no-data", "--skip-triggers", *self._all_but([*views, *excluded], doing)],
            _TABLES,
            None,
            doing,
            listed,
        )
        if kinds & {"FUNCTION", "PROCEDURE", "PACKAGE", "PACKAGE BODY"}:
            self._dump_one(group, sink, [*nothing, "--routines", "--", self._database], _ROUTINES, None, doing)
        if kept_views:
            argv = [*base, "--no-data", "--skip-triggers", "--", self._database, *kept_views]
            self._dump_one(group, sink, argv, _VIEWS, None, doing)
        if triggered:
            argv = [*base, "--no-data", "--no-create-info", "--triggers", "--", self._database, *triggered]
            self._dump_one(group, sink, argv, _TRIGGERS, None, doing)
        if "EVENT" in kinds:
            self._dump_one(group, sink, [*nothing, "--events", "--", self._database], _EVENTS, None, doing)

    def _names(self, doing: str) -> set[str]:
        """Return all tables and views."""
        rows = self._server.query(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s", (self._database,), doing
        )
        return {str(name) for (name,) in rows}

    def _shape(self, doing: str) -> str:
        """Return what changes when a table or a column does."""
        rows = self._server.query(
            """SELECT TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_TYPE, EXTRA FROM information_schema.COLUMNS
                WHERE TABLE_SCHEMA = %s ORDER BY 1, 3""",
            (self._database,),
            doing,
        )
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def _base_tables(self, doing: str, excluded: Sequence[str] | None = None) -> dict[str, tuple[str, int]]:
        """Return the tables that have rows, without sequences and those excluded: their engines and bytes."""
        left_out = set(self._excluded_tables(doing) if excluded is None else excluded)
        rows = self._server.query(
            """SELECT TABLE_NAME, UPPER(COALESCE(ENGINE, '')), COALESCE(DATA_LENGTH, 0) FROM information_schema.TABLES
                WHERE TABLE_SCHEMA = %s AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')""",
            (self._database,),
            doing,
        )
        return {str(name): (str(engine), int(size)) for name, engine, size in rows if name not in left_out}

    def _excluded_tables(self, doing: str) -> list[str]:
        """Return the tables and views that ``excluded_tables`` names."""
        return self._named("excluded_tables", self._excluded, sorted(self._names(doing)), doing)

    def _rowless_tables(self, excluded: Sequence[str], doing: str) -> list[str]:
        """Return the tables that ``excluded_table_data`` names: they are dumped without their rows."""
        return self._named("excluded_table_data", self._rowless, sorted(self._base_tables(doing, excluded)), doing)

    def _without_rows(self, rowless: Sequence[str], program: Program, doing: str) -> list[str]:
        """Return the arguments with which a program dumps a whole database, but no rows of these tables.

        :raises EnvSyncError: it can't, in this format.
        """
        if not rowless or self._format == "directory":
            return []
        names = [name.lower() for name in self._base_tables(doing)]
        if not program.mariadb or any(names.count(name.lower()) > 1 for name in rowless):
            raise EnvSyncError(
                doing,
                f"{program.text} can't leave out the rows of {', '.join(rowless[:5])} in a dump in one stream",
                "Set format to directory.",
            )
        return [f"--ignore-table-data={self._database}.{table}" for table in rowless]

    def _named(self, key: str, patterns: Sequence[str], names: Sequence[str], doing: str) -> list[str]:
        """Return what the patterns of a key name; ``*`` and ``?`` stand for any characters."""
        excluded: list[str] = []
        for pattern in patterns:
            prefix = f"{self._database}."
            bare = pattern[len(prefix) :] if pattern.startswith(prefix) else pattern
            matching = [name for name in names if name == bare or fnmatch.fnmatchcase(name, bare)]
            if not matching:
                # To go on would store what somebody asked to leave out.
                raise EnvSyncError(doing, f"{key} names {pattern}, and there is no such table", "Correct it.")
            excluded += [name for name in matching if name not in excluded]
        return excluded

    def _dump_facts(self, excluded: Sequence[str], rowless: Sequence[str], doing: str) -> DumpFacts:
        ask = self._server.query
        tables = self._base_tables(doing, excluded)
        charset, collation = ask(
            """SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA
                WHERE SCHEMA_NAME = %s""",
            (self._database,),
            doing,
        )[0]
        definers = ask(
            """SELECT DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s
               UNION SELECT DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s
               UNION SELECT DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s
               UNION SELECT DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s""",
            (self._database,) * 4,
            doing,
        )
        keys = ask(
            """SELECT TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS
                WHERE CONSTRAINT_SCHEMA = %s AND UNIQUE_CONSTRAINT_SCHEMA = %s""",
            (self._database, self._database),
            doing,
        )
        versioned = ask(
            """SELECT TABLE_NAME FROM information_schema.TABLES
                WHERE TABLE_SCHEMA = %s AND TABLE_TYPE = 'SYSTEM VERSIONED'""",
            (self._database,),
            doing,
        )
        facts = DumpFacts(format=self._format, jobs=1)
        facts.tables = [{"name": name} for name in sorted(tables)]
        # What has no rows of its own shows those of other tables, there as here.
        empty = [name for name, (engine, _size) in tables.items() if name in rowless and engine not in _NO_ROWS]
        mysql_counts.note(facts.tables, {}, dict.fromkeys(empty))
        facts.roles = sorted(str(definer) for (definer,) in definers)
        facts.details = {
            "size_bytes": sum(size for _engine, size in tables.values()),
            "character_set": str(charset),
            "collation": str(collation),
            "snapshot": "one connection",
            # These are dumped as they are at their turn: they know no snapshot.
            "not_transactional": sorted(
                name for name, (engine, _size) in tables.items() if engine not in _TRANSACTIONAL | _NO_ROWS
            ),
            "versioned_tables": sorted(str(name) for (name,) in versioned if name not in excluded),
            "views": [name for name in self._views(doing) if name not in excluded],
            "histograms": [item for item in load.histograms(self._server, self._database) if item[0] in tables],
            "excluded_tables": list(excluded),
            "excluded_foreign_keys": [
                [table, name] for table, name, to in keys if to in excluded and table not in excluded
            ],
            "excluded_table_data": list(rowless),
            "rowless_foreign_keys": [
                [table, name] for table, name, to in keys if to in rowless and table not in (*excluded, *rowless)
            ],
        }
        if facts.details["rowless_foreign_keys"]:
            named = ", ".join(f"{table} {name}" for table, name in facts.details["rowless_foreign_keys"])
            facts.warnings.append(f"a pull will leave out foreign keys to tables without their rows: {named}")
        return facts

    # -- pull --------------------------------------------------------------------------------------------------------

    def preflight_restore(self, manifest: Manifest | None) -> Plan:
        server = self._server
        doing = f"preparing to restore {self._database} on {server.name}"
        for name in (self.scratch, self.old):
            if mysql_swap.exists(server, name) and mysql_swap.mark(server, name, doing) is None:
                raise EnvSyncError(doing, f"there is a schema {name} that is not env_sync's", "Rename or drop it.")
        mysql_swap.may_move(server, self._database, self.scratch)
        if manifest is not None:
            self._can_hold(manifest, doing)
        replaces: dict[str, Any] | None = None
        if mysql_swap.exists(server, self._database):
            referring = mysql_swap.foreign_references(server, self._database, doing)
            if referring:
                raise EnvSyncError(
                    doing,
                    f"tables of other databases have foreign keys into it: {', '.join(referring[:5])}",
                    "Drop these: they would go on referring to the replaced tables.",
                )
            rows = server.query(
                """SELECT COUNT(*), COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES
                    WHERE TABLE_SCHEMA = %s AND TABLE_TYPE <> 'VIEW'""",
                (self._database,),
                doing,
            )
            replaces = {"tables": int(rows[0][0]), "size_bytes": int(rows[0][1])}
        jobs = self._jobs if manifest is not None and manifest.format == "directory" else 1
        steps = (
            f"create the scratch schema {self.scratch}",
            f"restore the point into it with {jobs} jobs",
        )
        return Plan(self.scratch, replaces, steps)

    def _can_hold(self, manifest: Manifest, doing: str) -> None:
        """Raise where it shows already that the server can't take what the point has."""
        names: dict[str, list[str]] = {}
        for name in (*(str(item["name"]) for item in manifest.tables), *manifest.details.get("views", ())):
            names.setdefault(name.lower(), []).append(name)
        pairs = [(spelt[0], spelt[1]) for spelt in names.values() if len(spelt) > 1]
        if pairs and load.folds_names(self._server, doing):
            raise load.twins(doing, pairs)
        longest, allowed = int(manifest.details.get("longest_statement", 0)), 0
        if longest:
            allowed = load.longest_statement(self._server, doing)
        if longest >= allowed > 0:
            raise EnvSyncError(
                doing,
                f"the point has a row that takes a statement of {longest} bytes; max_allowed_packet is {allowed} there",
                f"Set max_allowed_packet on the server to {_round_up(longest)} or more, and pull again.",
            )

    def sweep(self) -> list[str]:
        """Complete or undo a swap that was cut off; drop the schemas that a killed run left: they carry our mark."""
        done = mysql_swap.recover(self._server, self._database, self.scratch, self.old)
        left = [self.scratch] if mysql_swap.mark(self._server, self.scratch) is not None else []
        if (mysql_swap.mark(self._server, self.old) or "").endswith(mysql_swap.DOOMED):
            left.append(self.old)
        for name in left:
            mysql_swap.end_sessions(self._server, name, f"dropping {name} on {self._server.name}")
            mysql_swap.drop(self._server, name)
        return [*done, *(f"schema {name}" for name in left)]

    def restore(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        server, details = self._server, source.manifest.details
        self._histograms = details.get("histograms", ())
        doing = f"restoring {source.manifest.timestamp}-{self._database} on {server.name}"
        self._options = self._schema_options(details, doing)
        mysql_swap.create(server, self.scratch, f"scratch schema of a pull, {self._signature}", self._options, doing)
        partial, staying = bool(details.get("excluded_tables")), []
        loader = load.Loader(group, server, source, self._target(doing), partial, doing)
        names = source.names()
        rowless_keys = details.get("rowless_foreign_keys", ())
        gone = [*details.get("excluded_foreign_keys", ()), *rowless_keys]
        if source.manifest.format == "directory":
            loader.load(_TABLES)
            load.drop_foreign_keys(server, self.scratch, gone, doing)
            loader.load_all([name for name in names if name.startswith(_ROWS)], self._jobs)
            for name in (_ROUTINES, _VIEWS, _TRIGGERS, _EVENTS):
                if name in names:
                    loader.load(name)
        else:
            if not source.manifest.dbms:
                staying = self._take_over(doing)
            loader.load(names[0])
            load.drop_foreign_keys(server, self.scratch, gone, doing)
        # Now it is known that they can be made. No script sets off a trigger, which could do something in the live
        # database or copy what is yet to be sanitised; and tables with triggers can't be moved.
        code = mysql_code.read(server, self.scratch, doing, loader.notes.enabled_events)
        self._held = [item for item in code if item.kind in ("TRIGGER", "EVENT")]
        mysql_code.drop(server, self.scratch, self._held, doing)
        held = {item.key for item in self._held}
        self._held += [item for item in staying if item.key not in held]
        self._verify_restored(group, source.manifest, doing)
        warnings = loader.warnings()
        if rowless_keys:
            named = ", ".join(f"{table} {name}" for table, name in rowless_keys)
            warnings.append(f"left out, foreign keys to tables without their rows (excluded_table_data): {named}")
        return {"warnings": warnings}

    def _take_over(self, doing: str) -> list[mysql_code.Definition]:
        """Copy the live database's routines, and return its events: the original's dumps have neither.

        It loaded them into the live database, where these were and stayed, and where the views found their functions.
        """
        live = (
            mysql_code.read(self._server, self._database, doing)
            if mysql_swap.exists(self._server, self._database)
            else []
        )
        routines = [item for item in live if item.kind not in ("VIEW", "TRIGGER", "EVENT")]
        mysql_code.add_missing(self._server, self.scratch, routines, doing)
        return [item for item in live if item.kind == "EVENT"]

    def _schema_options(self, details: Mapping[str, Any], doing: str) -> str:
        """Return the default character set and collation, as CREATE DATABASE takes them; empty where not known."""
        if not details.get("character_set"):
            return ""
        known = self._collations(doing)
        collation = str(details["collation"])
        if collation not in known:
            collation = statements.nearest_collation(collation, known)
        return f"CHARACTER SET {details['character_set']}" + (f" COLLATE {collation}" if collation else "")

    def _collations(self, doing: str) -> frozenset[str]:
        ask = self._server.query
        names = {
            str(name).lower() for (name,) in ask("SELECT COLLATION_NAME FROM information_schema.COLLATIONS", (), doing)
        }
        # MariaDB 10.10 and newer list a collation of several character sets once, and here with each of their names.
        with contextlib.suppress(ServerError):
            table = "information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
            names |= {str(name).lower() for (name,) in ask(f"SELECT FULL_COLLATION_NAME FROM {table}", (), doing)}
        return frozenset(names)

    def _target(self, doing: str) -> statements.Target:
        return statements.Target(
            schema=self.scratch,
            database=self._database,
            mariadb=self._server.mariadb,
            collations=self._collations(doing),
            definers=self._definers(doing),
        )

    def _definers(self, doing: str) -> frozenset[statements.Account]:
        """Return the accounts that this user may give objects to: itself, and with the right to, all that exist."""
        ask = self._server.query
        itself = str(ask("SELECT CURRENT_USER()", (), doing)[0][0])
        user, _unused, host = itself.rpartition("@")
        accounts = {(user.encode(), host.encode())}
        rights = self._server.rights()
        if rights & {"ALL PRIVILEGES", "SUPER", "SET USER", "SET_USER_ID", "SET_ANY_DEFINER"}:
            with contextlib.suppress(ServerError):  # nobody has to be allowed to read these
                accounts |= self._accounts("SELECT User, Host FROM mysql.user")
            if not rights & {"ALL PRIVILEGES", "SYSTEM_USER"}:
                with contextlib.suppress(ServerError):  # MySQL 8.0.16 and newer: such accounts are for their like
                    system = "SELECT USER, HOST FROM mysql.global_grants WHERE PRIV = 'SYSTEM_USER'"
                    accounts -= self._accounts(system)
        return frozenset(accounts)

    def _accounts(self, query: str) -> set[statements.Account]:
        return {(str(user).encode(), str(host).encode()) for user, host in self._server.query(query)}

    def _verify_restored(self, group: Group, manifest: Manifest, doing: str) -> None:
        """Raise unless every table of the manifest is in the scratch schema, with as many rows."""
        found = mysql_swap.tables(self._server, self.scratch, doing)
        there = {name.lower() for name in found}
        missing = [item["name"] for item in manifest.tables if item["name"].lower() not in there]
        if missing:
            raise EnvSyncError(doing, f"these tables were not restored: {', '.join(missing[:5])}")
        details = manifest.details
        history = frozenset(details.get("versioned_tables", ()) if details.get("history") else ())
        counting = f"counting what was restored of {self._database} on {self._server.name}"
        mysql_counts.compare(group, self._server, self.scratch, manifest.tables, found, history, self._jobs, counting)
        self._restored = len(there)

    def sanitise(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        hint = "The scratch schema is thrown away. Correct the script."
        return [self._run_script(script, self.scratch, group, hint) for script in scripts]

    def purge(self, effects: Sequence[Effect], group: Group) -> Sequence[str]:
        tables = sorted({table for effect in effects for table in effect.tables})
        return [*self._said, *purge.purge(group, self._server, self.scratch, tables, self._jobs)]

    def check(self, group: Group) -> Mapping[str, Any]:
        server = self._server
        doing = f"checking the restored {self._database} on {server.name}"
        tables = mysql_swap.tables(server, self.scratch, doing)
        if self._restored and not tables:
            raise EnvSyncError(doing, "no table is left", "Check the transformation SQL.")
        load.prove(group, server, self.scratch, self._jobs, doing)
        if self._analyze:
            load.analyze(group, server, self.scratch, [n for n, t in tables.items() if t != "SEQUENCE"], self._jobs)
        load.make_histograms(group, server, self.scratch, self._histograms, self._jobs)
        size = server.query(
            "SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES"
            " WHERE TABLE_SCHEMA = %s",
            (self.scratch,),
            doing,
        )
        return {"tables": len(tables), "size_bytes": int(size[0][0])}

    def swap(self, keep_old: bool) -> Mapping[str, Any]:
        server = self._server
        doing = f"swapping {self._database} on {server.name}"
        if mysql_swap.mark(server, self.old, doing) is not None:
            mysql_swap.drop(server, self.old)
        tables = mysql_swap.tables(server, self.scratch, doing)
        # What a script made goes before what was restored; a trigger goes with its table.
        made = mysql_code.read(server, self.scratch, doing)
        there = {item.key for item in made}
        made += [
            item for item in self._held if item.key not in there and (item.kind == "EVENT" or item.table in tables)
        ]
        swap = mysql_swap.Swap(server, self._database, self.scratch, self.old, self._options, self._lease)
        seconds, warnings = swap.run(made, keep_old)
        kept = self.old if keep_old else ""
        for name in (self.scratch, self.old):
            if name != kept:
                try:
                    mysql_swap.drop(server, name)
                except EnvSyncError as error:
                    # The pull has succeeded: what could not be dropped is in nobody's way; the next pull tries again.
                    warnings.append(f"the schema {name} is still there: {error}")
        return {"name_away_seconds": round(seconds, 3), "kept": kept, "warnings": warnings}

    @property
    def _signature(self) -> str:
        return f"run {self._run}"

    def discard(self) -> None:
        for _unused in range(2):
            try:
                with self._server.undisturbed():
                    # The statements that follow go through the connection that has the lock, or not at all.
                    self._lease.regain()
                    mark = mysql_swap.mark(self._server, self.scratch)
                    if mark is not None and (mark.endswith(self._signature) or mark == mysql_swap.DOOMED):
                        # A client program that was ended has left its statement to the server.
                        mysql_swap.end_sessions(self._server, self.scratch, "throwing away what was restored")
                        mysql_swap.drop(self._server, self.scratch)
                return
            except EnvSyncError as error:
                self._server.close()  # a connection that broke; another one is made, which has to get the lock first
                failed = error
        raise failed


def choosing(database: str, wanted: Sequence[str], left_out: Sequence[str]) -> list[str]:
    """Return the arguments that have a dump program dump some tables and views of a database and not the others.

    Those left out are named, unless that would leave out wanted ones too (``--ignore-table`` takes no notice of case),
    or is too much for one command line; then the wanted ones are.
    """
    ignoring = [f"--ignore-table={database}.{table}" for table in left_out]
    if _alike(wanted, left_out) or _room(ignoring) > max(_MOST_ARGUMENTS, _room(wanted)):
        return ["--", database, *wanted]
    return [*ignoring, "--", database]


def _alike(wanted: Sequence[str], left_out: Sequence[str]) -> bool:
    """Say whether names of both differ in case only."""
    return not {name.lower() for name in wanted}.isdisjoint(name.lower() for name in left_out)


def _room(arguments: Sequence[str]) -> int:
    """Return the bytes that arguments take of what the kernel gives to a program (execve(2)): text, end, pointer."""
    return sum(len(argument.encode()) + 9 for argument in arguments)


def _round_up(size: int) -> str:
    """Return a size as option files have it, with room for what goes before a row: ``24M``."""
    return f"{(size >> 20) + 1}M"


def _similar(server: Server) -> str:
    names = [str(name) for (name,) in server.query("SHOW DATABASES")]
    return f"The server has {', '.join(names[:10])}."
