# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL: ``pg_dump`` and ``pg_restore`` for the data, SQL for everything else."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Callable

from ...errors import EnvSyncError
from ...host.linux import boot_id
from ...host.stopping import Stop
from ...members import PointSource, StoreSink
from ...points.manifest import Manifest
from ...points.name import LEGACY_SUFFIX, SINGLE_SUFFIX
from ...points.scripts import Effect, Script
from ...streams.pipeline import Group, StageReader, send_archive
from ...streams.reader import BLOCK
from ...tasks.task import Connection, Task
from ..base import Database, DumpFacts, Identity, Plan, within
from ..lease import BUSY_HERE, BUSY_PULL, Lease, SessionStorage
from . import checks, effect, failures, first_pull, leave_out, swap, waits
from . import excluded as postgresql_excluded
from . import rows as postgresql_rows
from . import snapshot as postgresql_snapshot
from . import superuser as postgresql_superuser
from . import toc as postgresql_toc
from .client import (
    Programs,
    Server,
    ServerError,
    conninfo,
    environment,
    find_newest_programs,
    find_programs,
    find_restore_programs,
    installed_programs,
    is_local,
    literal,
    quote,
)
from .feed import Feeder
from .follow import Follower
from .mark import run_marked
from .messages import Restoring, refuse_one_database_only, without_values
from .owners import Giving
from .psql import run_psql
from .purge import Purge
from .scripts import Ready, ready
from .versions import archive_version, no_large_objects, read_by

#: the first bytes of a name of ours; what stands under such a name and carries our comment may be dropped
SCRATCH_PREFIX = "env_sync_scratch_"
OLD_PREFIX = "env_sync_old_"
OLDER_PREFIX = "env_sync_older_"

_PULL_INTO_NEWER = "Pull it into a server of version 17 or newer."

#: what a killed pull had the server do may go on for a moment, and holds the lock so long, in seconds
_LOCK_PATIENCE = 10.0

#: by how much pg_dump's own limit for locks is longer than that of the watch, in seconds
_LATER = 5.0

#: what every restoring session is told: its database is thrown away if the server crashes before the swap anyway. The
#: last two are else as they are set for the role or the server, as no archive sets them: NULL in an array became text
_RESTORE_OPTIONS = (
    "-c synchronous_commit=off -c statement_timeout=0 -c lock_timeout=0 -c array_nulls=on -c transform_null_equals=off"
)


class PostgreSQL(Database):
    """One database of one PostgreSQL server.

    :param work_dir: an empty directory of this run's own, on a file system with some room.
    :param jobs: how many tables to dump or restore at once.
    :param dump_format: ``directory`` (a member for each table) or ``custom`` (one stream).
    :param lock_timeout: how long to wait for locks of other sessions in the live database, in seconds; 0: for ever.
    """

    kind = "postgresql"
    legacy = ("custom", "none")  # a custom-format archive, despite its suffix

    def __init__(
        self,
        connection: Connection,
        database: str,
        work_dir: str | None,
        jobs: int,
        dump_format: str,
        compression: str,
        compression_level: int,
        excluded: postgresql_excluded.Asked,
        analyze: bool,
        keep_foreign_servers: bool,
        template: str,
        locale: str = "",
        lock_timeout: float = 0.0,
    ) -> None:
        #: stands in the scratch database's comment: nobody else's is dropped when this run fails
        self._run = secrets.token_hex(4)
        application = f"env_sync {self._run}"
        self._server = Server(connection, replaced=database, application=application)
        self._conninfo = functools.partial(conninfo, connection)
        self._environment = dict(environment(connection), PGAPPNAME=application)
        self._lock_timeout = lock_timeout
        self._database = database
        self._work_dir = work_dir
        self._jobs = jobs
        self._format = dump_format
        self._watch: waits.LockWatch | None = None
        #: how many conflicts with its replay a standby had counted before the dump
        self._conflicts = 0
        #: how many tables the next dump takes at once
        self._dump_jobs = jobs if dump_format == "directory" else 1
        self._compression = compression
        self._compression_level = compression_level
        self._excluded = excluded
        self._analyze = analyze
        self._keep_foreign_servers = keep_foreign_servers
        self._template = template or "template0"
        self._locale = locale
        digest = hashlib.sha256(database.encode()).hexdigest()[:8]
        tail = f"_{digest}"
        # Names are cut at 63 bytes, and a cut in the middle of a character is no name.
        room = 63 - len(SCRATCH_PREFIX) - len(tail)
        stem = database.encode()[:room].decode("utf-8", "ignore")
        self.scratch = f"{SCRATCH_PREFIX}{stem}{tail}"
        self.old = f"{OLD_PREFIX}{stem}{tail}"
        self.older = f"{OLDER_PREFIX}{stem}{tail}"
        self._live: swap.Properties | None = None
        #: what a first pull gives the new database
        self._first: Sequence[swap.Attempt] = ()
        self._stuck: list[str] = []
        self._restored = 0
        self._of_template: frozenset[tuple[str, str]] = frozenset()
        self._objects_of_template = 0
        pull = self._lock("env_sync pull ", BUSY_PULL, True)
        self._lease = Lease(pull, self._locking, lambda: self.cancelled, _LOCK_PATIENCE)
        self._dumps = False
        self._ready: dict[Script, Ready] = {}
        #: OIDs of the tables in the scratch database that scripts changed
        self._touched: set[int] = set()
        self._analysed = False

    @classmethod
    def from_task(cls, task: Task, work_dir: str | None) -> PostgreSQL:
        return cls(
            connection=task.connection,
            database=task.database,
            work_dir=work_dir,
            jobs=task.worker_count,
            dump_format=task.format,
            compression=task.compression,
            compression_level=task.compression_level,
            excluded=postgresql_excluded.Asked(
                task.excluded_tables, task.excluded_table_data, task.excluded_extensions, task.excluded_objects
            ),
            analyze=task.analyze,
            keep_foreign_servers=task.keep_foreign_servers,
            template=task.template_database,
            locale=task.locale,
            lock_timeout=task.lock_timeout,
        )

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
        return SessionStorage(self._server, take, give, key, busy, self._locking, pin)

    def alone(self, wait: float) -> contextlib.AbstractContextManager[None]:
        lock = self._lock(f"env_sync run {boot_id()} ", BUSY_HERE, False)
        return Lease(lock, self._locking, lambda: self.cancelled, max(wait, _LOCK_PATIENCE)).held()

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        return self._lease.held()

    @classmethod
    def verify(cls, group: Group, source: PointSource, work_dir: str) -> None:
        """Have ``pg_restore`` read all of a point, to nowhere: a list of its contents is had of half an archive too."""
        manifest = source.manifest
        doing = f"verifying {manifest.timestamp}-{manifest.database}"
        programs = find_newest_programs(installed_programs(), doing)
        hint = "Install newer client programs (postgresql-client)."
        argv = [programs.path("pg_restore"), "-f", "/dev/null"]
        if manifest.format == "directory":
            directory = within(work_dir, "verify")
            os.mkdir(directory, 0o700)
            toc = read_by(_read_toc_member(source), programs.version[0], doing, hint)
            with open(os.path.join(directory, "toc.dat"), "wb") as stream:
                stream.write(toc.to_bytes())
            numbers = {file: entry.dump_id for file, entry in toc.data_members().items()}
            feeder = Feeder(group, source, directory, numbers, programs.path("pg_restore"))
            feeder.prepare()
            feeder.run(group.run([*argv, directory], doing))
        else:
            reader = source.open(_only_member(source, doing))
            toc = read_by(postgresql_toc.Toc.read(reader), programs.version[0], doing, hint)
            stage = group.run(argv, doing, stdin=subprocess.PIPE)
            group.start(send_archive, group, toc.to_bytes(), reader, stage)
            group.wait()

    # -- push --------------------------------------------------------------------------------------------------------

    def preflight_dump(self) -> Mapping[str, Any]:
        self._dumps = True
        doing = f"preparing to dump {self._database} on {self._server.name}"
        properties = swap.read_properties(self._server, self._database)
        if properties is None:
            raise EnvSyncError(doing, f"there is no database {self._database}", _similar(self._server, self._database))
        self._programs(doing)
        with self._inside(self._database, doing) as connection:
            excluded = self._find_excluded(connection, doing)
            tables = [table for table in self._tables(connection, doing) if table not in excluded.tables]
            locked = [table for table in self._tables(connection, doing, "rpS") if table not in excluded.tables]
            ask = functools.partial(self._server.query, connection=connection)
            checks.readable(ask, locked, excluded.rowless, sorted(excluded.tables), doing)
        warnings = [*excluded.warnings, *checks.standby(self._server, doing)]
        if self._server.pooled:
            warnings.append(f"a pooler answers at {self._server.name}: the server's own address is the better one")
        return {
            "size_bytes": properties.size,
            "tables": len(tables),
            "jobs": self._jobs,
            "notes": excluded.notes,
            "warnings": warnings,
        }

    def _find_excluded(self, connection: Any, doing: str) -> postgresql_excluded.Excluded:
        def ask(statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            return self._server.query(statement, parameters, doing, connection)

        return postgresql_excluded.find(ask, self._excluded, doing)

    def check_scripts(self, scripts: Sequence[Script]) -> None:
        doing = f"looking at the transformations of {self._database} on {self._server.name}"
        if scripts and self._dumps and checks.in_recovery(self._server, doing):
            hint = "Give the primary's address in database_hostname, or leave pre_dump_transformation_sql_filename out."
            raise EnvSyncError(doing, "it is a standby, where pre-dump SQL can't run", hint)
        for number, script in enumerate(scripts, 1):
            doing = f"looking through {script.path}, transformation {number} of {self._database}"
            self._ready[script] = ready(script, doing, self._dumps)

    def prepare(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the pre-dump scripts on the database itself, as the original does; each in one transaction."""
        connect = functools.partial(self._server.connect, self._database)
        with self._watching(connect, f"running the pre-dump SQL on {self._database} on {self._server.name}"):
            return [self._run_script(number, script, self._database, group) for number, script in enumerate(scripts)]

    def _watching(self, connect: Callable[[str], Any], doing: str) -> waits.LockWatch:
        """Watch, while entered, whether sessions of this run wait for locks, and for how long."""
        limit, name = self._lock_timeout, str(self._environment["PGAPPNAME"])
        return waits.LockWatch(self._server, connect, name, limit, doing, self.waiting)

    def dump(self, group: Group, sink: StoreSink) -> DumpFacts:
        doing = f"dumping {self._database} from {self._server.name}"
        programs = self._programs(doing)
        self._conflicts = checks.conflicts(self._server, self._database, doing)
        self._watch = self._watching(functools.partial(self._server.connect, self._database), doing)
        with self._watch, self._inside(self._database, doing) as connection:
            largest = postgresql_snapshot.largest_table(self._server, connection, doing)
            with postgresql_snapshot.held(self._server, connection, doing) as snapshot:
                excluded = self._find_excluded(connection, doing)
                facts = self._dump_facts(connection, doing, excluded, largest)
                own = (
                    postgresql_rows.own_tables(self._server, connection, facts.tables, doing)
                    if excluded.rowless
                    else ()
                )
                postgresql_rows.note(facts.tables, dict.fromkeys(set(own) & set(excluded.rowless), 0))
                facts.client_version = f"pg_dump {programs.version_text}"
                argv: list[str | bytes] = [programs.path("pg_dump"), "--no-password", f"--snapshot={snapshot.name}"]
                if self._lock_timeout:
                    # Later than the watch, which knows whom it waits for, and may be without a connection.
                    argv.append(f"--lock-wait-timeout={int(self._lock_timeout + _LATER) * 1000}")
                # pg_dump takes a pattern to be in the encoding of its session, which is to be the database's.
                codec = postgresql_toc.python_codec(str(facts.details["encoding"]))
                argv += [option.encode(codec) for option in excluded.options()]
                if self._format == "directory":
                    facts.peak_temporary_bytes = self._dump_directory(group, sink, argv, doing, facts)
                else:
                    self._dump_stream(group, sink, argv, snapshot, doing, facts)
        return facts

    def _explain(self, error: EnvSyncError) -> EnvSyncError:
        """Return what a failed ``pg_dump`` amounts to; the next one has one job where it was refused a lock."""
        if self._watch is not None and self._watch.expired is not None:
            return self._watch.expired
        conflict = False
        with contextlib.suppress(EnvSyncError):  # a server that is gone can't be asked
            conflict = checks.conflicts(self._server, self._database, error.doing) > self._conflicts
        found, self._dump_jobs = failures.of_dump(error, self._dump_jobs, conflict)
        return found

    def _dump_directory(
        self, group: Group, sink: StoreSink, argv: list[str | bytes], doing: str, facts: DumpFacts
    ) -> int:
        directory = within(self._work_dir, "dump")
        shutil.rmtree(directory, ignore_errors=True)  # what is there is of a dump that failed
        os.mkdir(directory, 0o700)
        jobs = self._dump_jobs
        # -Z0 and --no-sync: compressing and syncing happen where the data is going, not on its way.
        argv += ["-Fd", f"-j{jobs}", "-Z0", "--no-sync", "-f", directory, "-d", self._conninfo(self._database)]
        stage = group.run(
            argv,
            doing,
            env=self._dump_environment(facts),
            dumps=True,
            repeatable=without_values,
            explain=self._explain,
        )
        # Two threads keep up with the one server process that a table comes from. Those of many tables at once, or of a
        # slow level, would take much memory, and save no time.
        threads = 2 if jobs <= 8 and self._compression_level <= 3 else 1
        largest = facts.details["largest_table_bytes"] or None
        follower = Follower(group, stage, directory, sink, jobs + 2, threads, largest)
        follower.run()
        with open(os.path.join(directory, "toc.dat"), "rb") as stream:
            toc = postgresql_toc.Toc.read(stream)
        postgresql_rows.note(facts.tables, postgresql_rows.of_dump(toc, follower.lines))
        return follower.peak

    def _dump_stream(
        self,
        group: Group,
        sink: StoreSink,
        argv: list[str | bytes],
        snapshot: postgresql_snapshot.Snapshot,
        doing: str,
        facts: DumpFacts,
    ) -> None:
        # With gzip the archive compresses by itself: that is the one form that the original can read.
        packed = self._compression == "gzip"
        level = f"-Z{self._compression_level or 6}" if packed else "-Z0"
        argv += ["-Fc", level, "-d", self._conninfo(self._database)]
        stage = group.run(
            argv,
            doing,
            stdout=subprocess.PIPE,
            env=self._dump_environment(facts),
            dumps=True,
            repeatable=without_values,
            explain=self._explain,
        )
        name = LEGACY_SUFFIX if packed else SINGLE_SUFFIX
        group.start(sink.member, name, StageReader(stage), facts.details["size_bytes"], packed, self._jobs)
        unknown = [table for table in facts.tables if "rows" not in table]
        counted = postgresql_rows.own_tables(self._server, snapshot.connection, unknown, doing)
        connect = functools.partial(self._inside, self._database, doing)
        postgresql_rows.note(
            facts.tables, postgresql_rows.in_snapshot(self._server, connect, snapshot.name, counted, group, doing)
        )
        group.wait()

    def _dump_environment(self, facts: DumpFacts) -> dict[str, str]:
        return dict(self._environment, PGCLIENTENCODING=str(facts.details["encoding"]))

    def _dump_facts(
        self, connection: Any, doing: str, excluded: postgresql_excluded.Excluded, largest: int
    ) -> DumpFacts:
        properties = swap.read_properties(self._server, self._database)
        if properties is None:
            raise EnvSyncError(doing, f"the database {self._database} has just gone", "Who drops it?")
        ask = self._server.query
        asked = functools.partial(ask, connection=connection)
        facts = DumpFacts(format=self._format, jobs=self._dump_jobs)
        facts.tables = [
            {"schema": schema, "name": table}
            for schema, table in self._tables(connection, doing)
            if (schema, table) not in excluded.tables
        ]
        facts.extensions = [
            {"name": name, "version": version}
            for name, version in ask("SELECT extname, extversion FROM pg_extension ORDER BY 1", (), doing, connection)
            if name not in excluded.extensions
        ]
        roles = ask(
            """SELECT r.rolname FROM pg_roles r WHERE r.oid IN (
                   SELECT refobjid FROM pg_shdepend JOIN pg_database d ON d.oid = dbid
                    WHERE datname = current_database() AND refclassid = 'pg_authid'::regclass
                   UNION SELECT relowner FROM pg_class WHERE oid >= 16384
                   UNION SELECT nspowner FROM pg_namespace WHERE oid >= 16384) ORDER BY 1""",
            (),
            doing,
            connection,
        )
        facts.roles = [str(role) for (role,) in roles]
        large_objects = postgresql_rows.large_objects(self._server, connection, doing)
        facts.details = {
            "collations": checks.system_collations(asked, sorted(excluded.tables), doing),
            "tablespaces": checks.used_tablespaces(asked, doing),
            "size_bytes": properties.size,
            "largest_table_bytes": largest,
            "large_objects": large_objects,
            "owner": properties.owner,
            "database": first_pull.facts(properties),
            "encoding": properties.encoding,
            "collate": properties.collate,
            "ctype": properties.ctype,
            "locale_provider": properties.provider,
            "locale": properties.locale,
            "server_version_num": self._server.control().server_version,
            **excluded.details(),
        }
        return facts

    def _tables(self, connection: Any, doing: str, kinds: str = "rpfm") -> list[tuple[str, str]]:
        rows = self._server.query(
            """SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE strpos(%s, c.relkind::text) > 0 AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
                ORDER BY 1, 2""",
            (kinds,),
            doing,
            connection,
        )
        return [(str(schema), str(table)) for schema, table in rows]

    # -- pull --------------------------------------------------------------------------------------------------------

    def preflight_restore(self, manifest: Manifest | None) -> Plan:
        doing = f"preparing to restore {self._database} on {self._server.name}"
        checks.writable(self._server, doing)
        if self._server.pooled:
            why = f"a pooler answers at {self._server.name}, and a restore takes sessions of the server's own"
            raise EnvSyncError(doing, why, "Give the server's own address in database_hostname and database_port.")
        self._live = swap.read_properties(self._server, self._database)
        major = self._restore_programs(doing).version[0]
        if manifest and manifest.details.get("large_objects") and _written_as(manifest) > archive_version(major):
            raise no_large_objects(major, doing, _PULL_INTO_NEWER)
        may_create = self._server.query(
            "SELECT rolcreatedb OR rolsuper, current_user FROM pg_roles WHERE rolname = current_user", doing=doing
        )
        if not may_create or not may_create[0][0]:
            raise EnvSyncError(
                doing,
                f"the role {may_create[0][1]} may not create databases",
                "ALTER ROLE ... CREATEDB, as a superuser.",
            )
        steps = [f"create the scratch database {self.scratch}", f"restore the point into it with {self._jobs} jobs"]
        if self._live is not None and not self._may_rename(self._live.owner):
            raise EnvSyncError(
                doing,
                f"the database belongs to {self._live.owner}, whose rights this role does not have",
                f"GRANT {quote(self._live.owner)} TO the role of login_user (one that inherits), as a superuser.",
            )
        for name in (self.scratch, self.old, self.older):
            if self._exists(name) and not self._is_ours(name):
                raise EnvSyncError(doing, f"there is a database {name} that is not env_sync's", "Rename or drop it.")
        if manifest:
            steps += self._check_extensions(manifest, doing)
            known = {name for (name,) in self._server.query("SELECT rolname FROM pg_roles", doing=doing)}
            absent = [role for role in manifest.roles if role not in known]
            if absent:
                steps.append(
                    f"give what roles own that do not exist on {self._server.name} ({', '.join(absent)}) to the "
                    "database's owner, and leave out what they were granted"
                )
        warnings = [f"what an earlier pull replaced is still there: {text}" for text in self._stuck]
        if manifest:
            located = self._located(manifest.details)
            warnings += checks.locale(self._server, located, doing)
            if self._locale and located != manifest.details:
                steps.append(f"have it sort by {self._locale}, and not by {checks.sorts_by(manifest.details)}")
            left_out = bool(self._excluded.objects or self._excluded.extensions)
            warnings += checks.collations(self._server, manifest.details, left_out, doing)
            steps += checks.tablespaces(self._server, manifest.details, doing)
            size = int(manifest.details.get("size_bytes", 0))
            tablespace = self._live.tablespace if self._live is not None else "pg_default"
            warnings += checks.room(self._server, tablespace, size, manifest.raw_bytes, doing)
        if self._live is not None:
            warnings += self._check_replaceable(self._live, doing)
        elif manifest:
            here = self._here(doing)
            steps += first_pull.steps(manifest.details, here)
            warnings += first_pull.warnings(manifest.details, here)
        return Plan(self.scratch, swap.describe(self._live) if self._live else None, tuple(steps), tuple(warnings))

    def _check_extensions(self, manifest: Manifest, doing: str) -> list[str]:
        """Raise when the server cannot have an extension of the point; return what is left out of them."""
        needed = [str(item["name"]) for item in manifest.extensions]
        left_out = [name for name in needed if leave_out.names_extension(self._excluded.extensions, name)]
        available = {name for (name,) in self._server.query("SELECT name FROM pg_available_extensions", doing=doing)}
        wanted = [name for name in needed if name not in left_out]
        refuse_one_database_only(wanted, doing)
        leave_out.refuse_missing(wanted, available, doing)
        there = self._check_template(self._located(manifest.details), doing)
        if there is not None:
            postgresql_superuser.refuse_forbidden(self._server, wanted, there, doing)
        left_out += manifest.details.get("excluded_extensions", ())
        return [f"leave out the extensions {', '.join(left_out)}, and what depends on them"] if left_out else []

    def _check_replaceable(self, live: swap.Properties, doing: str) -> list[str]:
        """Raise when the live database can't make room for another; return what will be lost with it."""
        if self._exists(self.old) and self._exists(self.older):
            raise EnvSyncError(
                doing,
                f"{self.old} and {self.older}, which earlier pulls replaced, are still there",
                f"Drop {self.older}; the pull's warning told why that was not possible.",
            )
        prepared = swap.prepared_transactions(self._server, live.oid)
        if prepared:
            raise EnvSyncError(
                doing,
                f"the database has prepared transactions ({prepared}), with which it can't be renamed",
                "COMMIT PREPARED or ROLLBACK PREPARED them.",
            )
        subscriptions = swap.subscriptions(self._server, live.oid)
        if subscriptions:
            raise EnvSyncError(
                doing,
                f"the database has subscriptions ({subscriptions}): they would not go on with the new one, and their "
                "publisher would keep its log for them",
                "DROP SUBSCRIPTION first.",
            )
        slots = swap.replication_slots(self._server, live.oid)
        return [f"its logical replication slots ({slots}) go with the replaced database"] if slots else []

    def _check_template(self, details: Mapping[str, Any], doing: str) -> frozenset[str] | None:
        """Return the extensions that the scratch database has from the start; None where nobody may look.

        :raises EnvSyncError: it can't be made from its template.
        """
        if self._template == "template0":
            return frozenset({"plpgsql"})
        template = swap.read_properties(self._server, self._template)
        name = f"{self._template} (template_database)"
        if template is None:
            raise EnvSyncError(doing, f"there is no database {name}", _similar(self._server, self._template))
        if not template.is_template and not self._may_rename(template.owner):
            raise EnvSyncError(
                doing,
                f"the role of login_user may not copy the database {name}, which belongs to {template.owner}",
                f"ALTER DATABASE {quote(self._template)} IS_TEMPLATE true, as its owner.",
            )
        has = (template.encoding, template.collate, template.ctype, template.provider, template.locale)
        needs = tuple(details.get(key) or "" for key in ("encoding", "collate", "ctype", "locale_provider", "locale"))
        if details.get("encoding") and has != needs:
            raise EnvSyncError(
                doing,
                f"the database {name} has another encoding or locale than the point: {_joined(has)}",
                f"Create it again from template0, with those of the point: {_joined(needs)}.",
            )
        try:
            with self._inside(self._template, doing) as connection:
                return postgresql_superuser.look(
                    lambda statement: self._server.query(statement, (), doing, connection)
                ).extensions
        except ServerError:
            return None  # it may take no connections, and can be copied all the same

    def _exists(self, name: str) -> bool:
        return bool(self._server.query("SELECT 1 FROM pg_database WHERE datname = %s", (name,)))

    def _may_rename(self, owner: str) -> bool:
        rows = self._server.query(
            """SELECT rolsuper OR (pg_has_role(current_user, %s, %s) AND pg_has_role(current_user, %s, 'USAGE'))
                 FROM pg_roles WHERE rolname = current_user""",
            (owner, self._assume(), owner),
        )
        return bool(rows[0][0])

    def sweep(self) -> list[str]:
        """Drop the scratch database and a replaced one that a killed run left; they carry our comment."""
        left = [name for name in (self.scratch, self.old, self.older) if self._is_ours(name)]
        if self.old in left and not self._comment(self.old).endswith(swap.DOOMED):
            left.remove(self.old)
        removed = []
        for name in left:
            try:
                self._drop(name)
            except ServerError as error:
                if name == self.scratch:
                    raise
                self._stuck.append(str(error))  # it is in nobody's way, as long as there is but one
            else:
                removed.append(f"database {name}")
        return removed

    def _is_ours(self, name: str) -> bool:
        """Say whether there is such a database, and it carries our comment or was about to get it."""
        found = self._server.query(
            """SELECT coalesce(shobj_description(oid, 'pg_database') LIKE %s, NOT datallowconn) FROM pg_database
                WHERE datname = %s""",
            (swap.MARK + "%", name),
            f"looking for what an interrupted pull left on {self._server.name}",
        )
        return bool(found and found[0][0])

    def _comment(self, name: str) -> str:
        found = self._server.query(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", (name,)
        )
        return str(found[0][0] or "") if found else ""

    def restore(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        manifest = source.manifest
        doing = f"restoring {self._database} on {self._server.name}"
        self._create_scratch(manifest.details, doing)
        if self._template != "template0":
            with self._inside(self.scratch, doing) as connection:
                self._of_template = frozenset(self._tables(connection, doing))
                self._objects_of_template = postgresql_rows.large_objects(self._server, connection, doing)
        if manifest.format == "directory":
            return self._restore_directory(group, source, doing)
        return self._restore_stream(group, source, doing)

    def _create_scratch(self, details: Mapping[str, Any], doing: str) -> None:
        """Create the scratch database: with the point's encoding and locale, and nobody else let in."""
        version = self._server.control().server_version
        # Nobody may connect before PUBLIC has lost the right to: such a session would see data not sanitised yet.
        options = [f"TEMPLATE {quote(self._template)}", "ALLOW_CONNECTIONS false"]
        details = self._located(details)
        if not details.get("encoding") and self._live is not None:
            live = self._live
            details = {"encoding": live.encoding, "collate": live.collate, "ctype": live.ctype, **details}
        for option, key in (("ENCODING", "encoding"), ("LC_COLLATE", "collate"), ("LC_CTYPE", "ctype")):
            if details.get(key):
                options.append(f"{option} {literal(details[key])}")
        provider = details.get("locale_provider")
        if provider == "i" and version >= 150000:
            options.append(f"LOCALE_PROVIDER icu ICU_LOCALE {literal(details['locale'])}")
        elif provider == "b" and version >= 170000:
            options.append(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {literal(details['locale'])}")
        elif provider == "c" and version >= 150000:
            options.append("LOCALE_PROVIDER libc")  # the template's may be another
        if self._live is not None and self._live.tablespace != "pg_default":
            options.append(f"TABLESPACE {quote(self._live.tablespace)}")
        name = quote(self.scratch)
        comment = literal(f"{swap.MARK}scratch database of a pull of {self._database}, {self._signature}")
        for statement in (
            f"CREATE DATABASE {name} {' '.join(options)}",
            f"COMMENT ON DATABASE {name} IS {comment}",
            f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS true",
        ):
            self._server.query(statement, doing=doing)

    def _located(self, details: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the manifest says of the database, with the locale that the task asks for in place of its own."""
        if not self._locale:
            return details
        return {**details, "collate": self._locale, "ctype": self._locale, "locale_provider": "c", "locale": ""}

    def _restore_directory(self, group: Group, source: PointSource, doing: str) -> Mapping[str, Any]:
        directory = within(self._work_dir, "restore")
        os.mkdir(directory, 0o700)
        programs = self._restore_programs(doing)
        toc = read_by(_read_toc_member(source), programs.version[0], doing, _PULL_INTO_NEWER)
        sizes = {file: source.member(f"/{file}").raw_size for file in toc.data_members()}
        adapted = self._adapt(postgresql_toc.largest_first(toc, sizes), source.manifest, doing)
        with open(os.path.join(directory, "toc.dat"), "wb") as stream:
            stream.write(adapted.toc.to_bytes())
        chosen = set(adapted.dump_ids)
        members = adapted.toc.data_members()
        files = {file: entry.dump_id for file, entry in members.items() if entry.dump_id in chosen}
        feeder = Feeder(group, source, directory, files, programs.path("pg_restore"))
        feeder.prepare()
        failure = Restoring(adapted.toc)
        restore = group.run(
            [*self._restore_command(programs, adapted.dump_ids), f"-j{self._jobs}", directory],
            doing,
            env=self._restore_environment(self._index_options()),
            repeatable=failure.repeatable,
            explain=failure.explain,
        )
        feeder.run(restore)
        self._verify_restored(group, adapted, source.manifest, doing)
        return {"warnings": [*adapted.warnings, *self._give(adapted, doing)]}

    def _restore_stream(self, group: Group, source: PointSource, doing: str) -> Mapping[str, Any]:
        programs = self._restore_programs(doing)
        reader = source.open(_only_member(source, doing))
        toc = read_by(postgresql_toc.Toc.read(reader), programs.version[0], doing, _PULL_INTO_NEWER)
        adapted = self._adapt(toc, source.manifest, doing)
        failure = Restoring(adapted.toc)
        restore = group.run(
            self._restore_command(programs, adapted.dump_ids),
            doing,
            stdin=subprocess.PIPE,
            env=self._restore_environment(),
            repeatable=failure.repeatable,
            explain=failure.explain,
        )
        group.start(send_archive, group, adapted.toc.to_bytes(), reader, restore)
        group.wait()
        self._verify_restored(group, adapted, source.manifest, doing)
        return {"warnings": [*adapted.warnings, *self._give(adapted, doing)]}

    def _restore_command(self, programs: Programs, dump_ids: Sequence[int]) -> list[str]:
        listing = within(self._work_dir, "restore.list")
        with open(listing, "w", encoding="ascii") as stream:
            stream.writelines(f"{dump_id};\n" for dump_id in dump_ids)
        return [
            programs.path("pg_restore"),
            "--no-password",
            "--exit-on-error",
            "--verbose",
            "-L",
            listing,
            "-d",
            self._conninfo(self.scratch),
        ]

    def _restore_environment(self, more: str = "") -> dict[str, str]:
        options = f"{os.environ.get('PGOPTIONS', '')} {_RESTORE_OPTIONS} {more}".strip()
        return dict(self._environment, PGOPTIONS=options)

    def _index_options(self) -> str:
        """Return what keeps a small host from making each of its indexes with more processes than it has cores.

        Where as many tables are restored at once as the server's host has cores, helpers only take turns with them.
        On larger hosts they are what fills the cores when the largest table's last index is being made.
        """
        control = self._server.control()
        cores = os.cpu_count() or 1
        helpers = max(0, cores // 2 - 1)
        if control.server_version < 110000 or not is_local(control.info.host) or self._jobs < cores:
            return ""
        allowed = self._server.query("SELECT current_setting('max_parallel_maintenance_workers')::int")[0][0]
        return f"-c max_parallel_maintenance_workers={helpers}" if helpers < allowed else ""

    def _adapt(self, toc: postgresql_toc.Toc, manifest: Manifest, doing: str) -> postgresql_toc.Adapted:
        """Fit the archive's table of contents to this server and to the rights of this role."""
        ask = self._server.query
        user, superuser = ask("SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user", doing=doing)[0]
        with self._inside(self.scratch, doing) as connection:
            facts = postgresql_superuser.look(lambda statement: ask(statement, (), doing, connection))
        here = self._here(doing)
        lacking: list[str] = []
        if self._live is None:
            values = first_pull.values_in(toc)
            self._first = first_pull.attempts(manifest.details, self._database, here, values)
            lacking = first_pull.lacking(manifest.details, values)
        target = postgresql_toc.Target(
            user=str(user),
            superuser=bool(superuser),
            inherited=frozenset(
                name for (name,) in ask("SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'USAGE')", (), doing)
            ),
            schemas=facts.schemas,
            untrusted_languages=facts.untrusted_languages,
            closed_wrappers=facts.closed_wrappers,
            roles=here.roles,
            assumable=here.assumable,
            database_owner=self._live.owner if self._live is not None else first_pull.owner_of(manifest.details, here),
            extensions_available=frozenset(
                name for (name,) in ask("SELECT name FROM pg_available_extensions", doing=doing)
            ),
            tablespaces=frozenset(
                name
                for (name,) in ask("SELECT spcname FROM pg_tablespace WHERE has_tablespace_privilege(oid, 'CREATE')")
            ),
            public_owner=facts.public_owner,
            excluded_foreign_keys=_keys(manifest, "excluded_foreign_keys"),
            rowless_foreign_keys=_keys(manifest, "rowless_foreign_keys"),
            keep_foreign_servers=self._keep_foreign_servers,
        )
        noted = manifest.details.get("excluded_extensions", ())
        chosen = leave_out.choose(toc, self._excluded.objects, self._excluded.extensions, noted, doing)
        needed = [e.tag for e in toc.entries if e.desc == "EXTENSION" and e.dump_id not in chosen.reasons]
        refuse_one_database_only(needed, doing)
        leave_out.refuse_missing(needed, target.extensions_available, doing)
        postgresql_superuser.refuse_forbidden(self._server, needed, facts.extensions, doing)
        target = replace(target, left_out=chosen.reasons, in_full=leave_out.SAID_IN_FULL)
        adapted = postgresql_toc.adapt(toc, target)
        return replace(adapted, warnings=(*chosen.warnings, *lacking, *adapted.warnings))

    def _here(self, doing: str) -> first_pull.Here:
        ask = self._server.query
        return first_pull.Here(
            str(ask("SELECT current_user", (), doing)[0][0]),
            frozenset(name for (name,) in ask("SELECT rolname FROM pg_roles", (), doing)),
            frozenset(
                name
                for (name,) in ask("SELECT rolname FROM pg_roles WHERE pg_has_role(oid, %s)", (self._assume(),), doing)
            ),
        )

    def _assume(self) -> str:
        """What ``pg_has_role`` calls the right to make a role an owner: since 16 a membership may come without it."""
        return "SET" if self._server.control().server_version >= 160000 else "MEMBER"

    def _give(self, adapted: postgresql_toc.Adapted, doing: str) -> list[str]:
        """Do what is left for after ``pg_restore``, as a user who is not a superuser; return warnings."""
        if not adapted.owners and not adapted.later:
            return []
        with self._inside(self.scratch, doing) as connection:
            return Giving(self._server, connection, self.scratch, doing).run(adapted)

    def _verify_restored(self, group: Group, adapted: postgresql_toc.Adapted, manifest: Manifest, doing: str) -> None:
        """Raise unless every table of the archive's list is in the scratch database, with the manifest's rows.

        It comes before the tables are given to their owners, whose rows this role may not be allowed to read.
        """
        with self._inside(self.scratch, doing) as connection:
            there = set(self._tables(connection, doing))
        chosen = set(adapted.dump_ids)
        wanted = {
            (entry.namespace, entry.tag)
            for entry in adapted.toc.entries
            if entry.desc in ("TABLE", "FOREIGN TABLE", "MATERIALIZED VIEW") and entry.dump_id in chosen
        }
        missing = sorted(f"{schema}.{table}" for schema, table in wanted - there)
        if missing:
            raise EnvSyncError(doing, f"these tables were not restored: {', '.join(missing[:5])}")
        self._restored = len(wanted)
        connect = functools.partial(self._inside, self.scratch, doing)
        counting = f"counting what was restored of {self._database} on {self._server.name}"
        large_objects = manifest.details.get("large_objects")
        if large_objects is not None:
            large_objects += self._objects_of_template
        comparison = postgresql_rows.Comparison(
            self._server, connect, manifest.tables, adapted, large_objects, self._jobs, counting
        )
        comparison.run(group, there - self._of_template)

    def sanitise(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        return [self._run_script(number, script, self.scratch, group) for number, script in enumerate(scripts)]

    def _run_script(self, number: int, script: Script, database: str, group: Group) -> Effect:
        doing = f"running {script.path} on {database} on {self._server.name}"
        prepared = self._ready.get(script) or ready(script, doing, self._dumps)
        psql = self._programs(doing).path("psql")
        folder = within(self._work_dir, f"script{number}")
        os.mkdir(folder, 0o700)

        environment = dict(self._environment)
        if database == self.scratch:
            # A policy that would hide rows from a script, which then stay as they are, is an error.
            environment["PGOPTIONS"] = f"{os.environ.get('PGOPTIONS', '')} -c row_security=off".strip()

        def run(files: list[str], where: str, place: Callable[[str, int], str]) -> str:
            return run_psql(group, psql, files, self._conninfo(database), environment, doing, where, place)

        with self._inside(database, doing) as connection:

            def ask(statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
                return self._server.query(statement, parameters, doing, connection)

            before = effect.look(ask)
            with effect.nothing_prepared(ask, doing):
                mark = run_marked(prepared, folder, doing, self._server, connection, run, group)
            version = self._server.control().server_version
            after = effect.look_again(ask, before, mark.session, mark.pending, version, group.sleep)
            change = effect.compare(ask, before, after, mark.counting)
        self._touched |= change.oids
        return Effect(prepared.script, sum(change.rows.values()), change.rows, change.altered)

    def purge(self, effects: Sequence[Effect], group: Group) -> Sequence[str]:
        doing = f"removing what is left of the rows that scripts changed, from {self.scratch} on {self._server.name}"
        purge = Purge(self._server, lambda: self._inside(self.scratch, doing), self._touched, self._jobs, doing)
        return purge.run(group, lambda: self._gather_statistics(group))

    def _gather_statistics(self, group: Group) -> None:
        if not self._analyze or self._analysed:
            return
        argv = [self._programs("gathering statistics").path("vacuumdb"), "--no-password", "--analyze-only", "--quiet"]
        argv += [f"--jobs={self._jobs}", "-d", self._conninfo(self.scratch)]
        group.run(argv, f"analysing {self.scratch}", env=self._restore_environment()).wait()
        self._analysed = True

    def check(self, group: Group) -> Mapping[str, Any]:
        doing = f"checking the restored {self._database} on {self._server.name}"
        with self._inside(self.scratch, doing) as connection:
            ask = self._server.query
            invalid = ask(
                """SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indexrelid
                    WHERE NOT indisvalid AND relkind = 'i' LIMIT 5""",
                (),
                doing,
                connection,
            )
            if invalid:
                raise EnvSyncError(doing, f"invalid indexes: {', '.join(name for (name,) in invalid)}")
            tables = self._tables(connection, doing)
            if self._restored and not tables:
                raise EnvSyncError(doing, "no table is left", "Check the transformation SQL.")
        self._gather_statistics(group)
        size = self._server.query("SELECT pg_database_size(%s::name)", (self.scratch,), doing)[0][0]
        return {"tables": len(tables), "size_bytes": int(size)}

    def swap(self, keep_old: bool) -> Mapping[str, Any]:
        # Read again: an owner or a grant may have changed while the restore ran.
        live = swap.read_properties(self._server, self._database)
        kept_before = live is not None and self._is_ours(self.old)
        names = swap.Names(self._database, self.scratch, self.old, self.older)
        doing = f"swapping {self._database} in on {self._server.name}"
        with self._watching(self._server.another_control, doing):
            seconds, warnings = swap.swap(self._server, names, live, kept_before, keep_old, self._first)
        self._server.finish()  # the new database serves: to stop now would only leave the old one behind
        kept = self.old if live is not None else ""
        if kept_before:
            self._drop_replaced(self.older, warnings)
        if kept and not keep_old and self._drop_replaced(kept, warnings):
            kept = ""
        return {"name_away_seconds": round(seconds, 3), "kept": kept, "warnings": warnings}

    def _drop_replaced(self, name: str, warnings: list[str]) -> bool:
        """Drop what the pull has replaced; say whether that was possible."""
        try:
            self._drop(name)
            return True
        except EnvSyncError as error:
            # The pull has succeeded: what could not be dropped is in nobody's way, and the next pull tries again.
            warnings.append(f"the replaced database is still there as {name}: {error}")
            return False

    @property
    def _signature(self) -> str:
        return f"run {self._run}"

    def discard(self) -> None:
        self._server.finish()
        for _unused in range(2):
            try:
                # The statements that follow go through the connection that has the lock, or not at all.
                self._lease.regain()
                if self._is_ours(self.scratch):
                    comment = self._comment(self.scratch)
                    if not comment or comment.endswith(self._signature):
                        self._drop(self.scratch)
                return
            except EnvSyncError as error:
                self._server.close()  # a connection that broke; another one is made, which has to get the lock first
                failed = error
        raise failed

    # -- helpers -----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _installed(self) -> list[Programs]:
        return installed_programs()

    def _programs(self, doing: str) -> Programs:
        return find_programs(self._installed, self._server.control().server_version, doing)

    def _restore_programs(self, doing: str) -> Programs:
        return find_restore_programs(self._installed, self._server.control().server_version, doing)

    @contextlib.contextmanager
    def _inside(self, database: str, doing: str) -> Iterator[Any]:
        connection = self._server.connect(database, doing)
        try:
            yield connection
        finally:
            connection.close()

    def _drop(self, name: str) -> None:
        force = " WITH (FORCE)" if self._server.control().server_version >= 130000 else ""
        if not force:
            swap.terminate_by_name(self._server, name)
        self._server.query(
            f"DROP DATABASE IF EXISTS {quote(name)}{force}", doing=f"dropping {name} on {self._server.name}"
        )


def _keys(manifest: Manifest, field: str) -> frozenset[tuple[str, str, str]]:
    return frozenset((schema, table, name) for schema, table, name in manifest.details.get(field, ()))


def _written_as(manifest: Manifest) -> tuple[int, int]:
    """Return the version of the point's archive, going by the ``pg_dump 15.4`` that wrote it."""
    major = manifest.client_version.rpartition(" ")[2].partition(".")[0]
    return archive_version(int(major) if major.isdigit() else 0)


def _read_toc_member(source: PointSource) -> postgresql_toc.Toc:
    """Return the table of contents of a point in directory format."""
    reader = source.open("/toc.dat")
    try:
        toc = postgresql_toc.Toc.read(reader)
        while reader.read(BLOCK):
            pass  # to the end, where the member is verified
        return toc
    finally:
        reader.close()


def _only_member(source: PointSource, doing: str) -> str:
    names = source.names()
    if len(names) != 1:
        raise EnvSyncError(doing, f"a point in one stream has {len(names)} members", "Choose another point (--list).")
    return names[0]


def _joined(values: Sequence[str]) -> str:
    return ", ".join(value for value in values if value)


def _similar(server: Server, database: str) -> str:
    names = [name for (name,) in server.query("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1")]
    return f"The server has {', '.join(names[:10])}."
