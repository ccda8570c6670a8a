# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a push does: ``pg_dump`` from one snapshot, and what the manifest says of the database as that shows it."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from ...errors import EnvSyncError
from ...members import StoreSink
from ...points.name import LEGACY_SUFFIX, SINGLE_SUFFIX
from ...streams.pipeline import Group, Stage, StageReader
from ..base import DumpFacts, within
from . import checks, excluded, failures, first_pull, rows, snapshot
from .access import Access
from .follow import Follower, Limits
from .messages import without_values
from .properties import read_properties
from .toc import Toc, python_codec
from .waits import LockWatch

#: by how much pg_dump's own limit for locks is longer than that of the watch, in seconds
_LATER = 5.0


class Dump:
    """The dump of one database; of one that failed, the next one knows why (:func:`.failures.of_dump`)."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._server = access.server
        self._database = access.database
        self._options = access.options
        self._watch: LockWatch | None = None
        #: how many conflicts with its replay a standby had counted before the dump
        self._conflicts = 0
        #: how many tables the next dump takes at once
        self._jobs = access.options.jobs if access.options.dump_format == "directory" else 1

    def preflight(self) -> Mapping[str, Any]:
        """Check all that the dump needs, and change nothing; return what a plan says (:class:`..base.Database`).

        :raises EnvSyncError: there is no such database, no ``pg_dump`` for it, or something that this role can't read.
        """
        doing = f"preparing to dump {self._database} on {self._server.name}"
        properties = read_properties(self._server, self._database)
        if properties is None:
            why = f"there is no database {self._database}"
            raise EnvSyncError(doing, why, checks.databases_there(self._server))
        self._access.programs(doing)
        with self._access.inside(self._database, doing) as connection:
            left_out = self._find_excluded(connection, doing)
            tables = [table for table in self._access.tables(connection, doing) if table not in left_out.tables]
            locked = [table for table in self._access.tables(connection, doing, "rpS") if table not in left_out.tables]
            ask = functools.partial(self._server.query, connection=connection)
            checks.readable(ask, locked, left_out.rowless, sorted(left_out.tables), doing)
        warnings = [*left_out.warnings, *checks.standby(self._server, doing)]
        if self._server.pooled:
            warnings.append(f"a pooler answers at {self._server.name}: the server's own address is the better one")
        return {
            "size_bytes": properties.size,
            "tables": len(tables),
            "jobs": self._options.jobs,
            "notes": left_out.notes,
            "warnings": warnings,
        }

    def _find_excluded(self, connection: Any, doing: str) -> excluded.Excluded:
        return excluded.find(self._access.asking(connection, doing), self._options.excluded, doing)

    def run(self, group: Group, sink: StoreSink) -> DumpFacts:
        """Dump into ``sink``; return when all of it is stored.

        :raises DumpAgain: what others did at the database made it fail.
        """
        doing = f"dumping {self._database} from {self._server.name}"
        programs = self._access.programs(doing)
        self._conflicts = checks.conflicts(self._server, self._database, doing)
        self._watch = self._access.watching(functools.partial(self._server.connect, self._database), doing)
        with self._watch, self._access.inside(self._database, doing) as connection:
            largest = snapshot.largest_table(self._server, connection, doing)
            with snapshot.held(self._server, connection, doing) as held:
                left_out = self._find_excluded(connection, doing)
                facts = self._facts(connection, doing, left_out, largest)
                own = rows.own_tables(self._server, connection, facts.tables, doing) if left_out.rowless else ()
                rows.note(facts.tables, dict.fromkeys(set(own) & set(left_out.rowless), 0))
                facts.client_version = f"pg_dump {programs.version_text}"
                argv: list[str | bytes] = [programs.path("pg_dump"), "--no-password", f"--snapshot={held.name}"]
                if self._options.lock_timeout:
                    # Later than the watch, which knows whom it waits for, and may be without a connection.
                    argv.append(f"--lock-wait-timeout={int(self._options.lock_timeout + _LATER) * 1000}")
                # pg_dump takes a pattern to be in the encoding of its session, which is to be the database's.
                codec = python_codec(str(facts.details["encoding"]))
                argv += [option.encode(codec) for option in left_out.options()]
                if self._options.dump_format == "directory":
                    facts.peak_temporary_bytes = self._dump_directory(group, sink, argv, doing, facts)
                else:
                    self._dump_stream(group, sink, argv, held, doing, facts)
        return facts

    def _explain(self, error: EnvSyncError) -> EnvSyncError:
        """Return what a failed ``pg_dump`` amounts to; the next one has one job where it was refused a lock."""
        if self._watch is not None and self._watch.expired is not None:
            return self._watch.expired
        conflict = False
        with contextlib.suppress(EnvSyncError):  # a server that is gone can't be asked
            conflict = checks.conflicts(self._server, self._database, error.doing) > self._conflicts
        found, self._jobs = failures.of_dump(error, self._jobs, conflict)
        return found

    def _start(self, group: Group, argv: list[str | bytes], doing: str, facts: DumpFacts, **how: Any) -> Stage:
        return group.run(
            [*argv, "-d", self._access.conninfo(self._database)],
            doing,
            env=dict(self._access.environment, PGCLIENTENCODING=str(facts.details["encoding"])),
            dumps=True,
            repeatable=without_values,
            explain=self._explain,
            **how,
        )

    def _dump_directory(
        self, group: Group, sink: StoreSink, argv: list[str | bytes], doing: str, facts: DumpFacts
    ) -> int:
        """Dump in directory format; return how many bytes of temporary disk that took at most."""
        directory = within(self._access.work_dir, "dump")
        shutil.rmtree(directory, ignore_errors=True)  # what is there is of a dump that failed
        os.mkdir(directory, 0o700)
        jobs = self._jobs
        # -Z0 and --no-sync: compressing and syncing happen where the data is going, not on its way.
        stage = self._start(group, [*argv, "-Fd", f"-j{jobs}", "-Z0", "--no-sync", "-f", directory], doing, facts)
        # Two threads keep up with the one server process that a table comes from. Those of many tables at once, or of a
        # slow level, would take much memory, and save no time.
        threads = 2 if jobs <= 8 and self._options.compression_level <= 3 else 1
        limits = Limits(jobs + 2, threads, facts.details["largest_table_bytes"] or None)
        follower = Follower(group, stage, directory, sink, limits)
        follower.run()
        with open(os.path.join(directory, "toc.dat"), "rb") as stream:
            toc = Toc.read(stream)
        rows.note(facts.tables, rows.of_dump(toc, follower.lines))
        return follower.peak

    def _dump_stream(
        self,
        group: Group,
        sink: StoreSink,
        argv: list[str | bytes],
        held: snapshot.Snapshot,
        doing: str,
        facts: DumpFacts,
    ) -> None:
        """Dump in custom format, and count meanwhile, as nobody sees the lines of each table."""
        # With gzip the archive compresses by itself: that is the one form that the original can read.
        packed = self._options.compression == "gzip"
        level = f"-Z{self._options.compression_level or 6}" if packed else "-Z0"
        stage = self._start(group, [*argv, "-Fc", level], doing, facts, stdout=subprocess.PIPE)
        name = LEGACY_SUFFIX if packed else SINGLE_SUFFIX
        group.start(sink.member, name, StageReader(stage), facts.details["size_bytes"], packed, self._options.jobs)
        unknown = [table for table in facts.tables if "rows" not in table]
        counted = rows.own_tables(self._server, held.connection, unknown, doing)
        connect = functools.partial(self._access.inside, self._database, doing)
        rows.note(facts.tables, rows.in_snapshot(self._server, connect, held.name, counted, group, doing))
        group.wait()

    def _facts(self, connection: Any, doing: str, left_out: excluded.Excluded, largest: int) -> DumpFacts:
        """Return what the manifest says of the database, as the snapshot shows it."""
        properties = read_properties(self._server, self._database)
        if properties is None:
            raise EnvSyncError(
                doing,
                f"the database {self._database} disappeared while it was being dumped",
                "Find out what dropped it, then push again.",
            )
        asked = functools.partial(self._server.query, connection=connection)
        facts = DumpFacts(format=self._options.dump_format, jobs=self._jobs)
        facts.tables = [
            {"schema": schema, "name": table}
            for schema, table in self._access.tables(connection, doing)
            if (schema, table) not in left_out.tables
        ]
        facts.extensions = [
            {"name": name, "version": version}
            for name, version in asked("SELECT extname, extversion FROM pg_extension ORDER BY 1", (), doing)
            if name not in left_out.extensions
        ]
        roles = asked(
            """SELECT r.rolname FROM pg_roles r WHERE r.oid IN (
                   SELECT refobjid FROM pg_shdepend JOIN pg_database d ON d.oid = dbid
                    WHERE datname = current_database() AND refclassid = 'pg_authid'::regclass
                   UNION SELECT relowner FROM pg_class WHERE oid >= 16384
                   UNION SELECT nspowner FROM pg_namespace WHERE oid >= 16384) ORDER BY 1""",
            (),
            doing,
        )
        facts.roles = [str(role) for (role,) in roles]
        large_objects = rows.large_objects(self._server, connection, doing)
        facts.details = {
            "collations": checks.system_collations(asked, sorted(left_out.tables), doing),
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
            "server_version_num": self._access.version,
            **left_out.details(),
        }
        return facts
