# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a pull does before the swap: restores into the scratch database, has it rewritten, and checks it."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import EnvSyncError
from ...host.linux import processors
from ...members import PointSource
from ...points.manifest import Manifest
from ...streams.pipeline import Group, send_archive
from ..base import Plan, within
from . import first_pull, leave_out, roles, rows, superuser, target
from .access import Access, Table
from .archive import only_member, read_toc_member
from .client import is_local
from .feed import Feeder
from .fit import Adapted, adapt
from .messages import Restoring, refuse_one_database_only
from .order import largest_first
from .owners import Giving
from .preflight import Preflight, located
from .programs import Programs
from .properties import Attempt, Properties, read_properties
from .purge import Purge
from .scratch import Beside
from .toc import Toc
from .versions import PULL_INTO_NEWER, read_by

#: what every restoring session is told: its database is thrown away if the server crashes before the swap anyway. The
#: last two are else as they are set for the role or the server, as no archive sets them: NULL in an array became text
_RESTORE_OPTIONS = (
    "-c synchronous_commit=off -c statement_timeout=0 -c lock_timeout=0 -c array_nulls=on -c transform_null_equals=off"
)


class Restore:
    """The restore of one point into the scratch database."""

    def __init__(self, access: Access, beside: Beside) -> None:
        self._access = access
        self._server = access.server
        self._options = access.options
        self._beside = beside
        self._scratch = beside.names.scratch
        self._live: Properties | None = None
        #: what a first pull gives the new database
        self.first: Sequence[Attempt] = ()
        self._restored = 0
        self._of_template: frozenset[Table] = frozenset()
        self._objects_of_template = 0
        self._analysed = False

    def preflight(self, manifest: Manifest | None) -> Plan:
        """Check all that the restore needs; change nothing (:meth:`.preflight.Preflight.run`)."""
        self._live = read_properties(self._server, self._access.database)
        return Preflight(self._access, self._beside, self._live).run(manifest)

    def run(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        """Create the scratch database, and restore the point into it.

        :returns: ``warnings``.
        :raises EnvSyncError: also where tables or rows are missing, or there are too many.
        """
        manifest = source.manifest
        doing = f"restoring {self._access.database} on {self._server.name}"
        self._beside.create(located(self._options.locale, manifest.details), self._live, doing)
        if self._options.template != "template0":
            with self._access.inside(self._scratch, doing) as connection:
                self._of_template = frozenset(self._access.tables(connection, doing))
                self._objects_of_template = rows.large_objects(self._server, connection, doing)
        if manifest.format == "directory":
            adapted = self._restore_directory(group, source, doing)
        else:
            adapted = self._restore_stream(group, source, doing)
        self._verify(group, adapted, manifest, doing)
        return {"warnings": [*adapted.warnings, *self._give(adapted, doing)]}

    def _restore_directory(self, group: Group, source: PointSource, doing: str) -> Adapted:
        directory = within(self._access.work_dir, "restore")
        os.mkdir(directory, 0o700)
        programs = self._access.restore_programs(doing)
        toc = read_by(read_toc_member(source), programs.version[0], doing, PULL_INTO_NEWER)
        sizes = {file: source.member(f"/{file}").raw_size for file in toc.data_members()}
        adapted = self._adapt(largest_first(toc, sizes), source.manifest, doing)
        with open(os.path.join(directory, "toc.dat"), "wb") as stream:
            stream.write(adapted.toc.to_bytes())
        chosen = set(adapted.dump_ids)
        members = adapted.toc.data_members()
        files = {file: entry.dump_id for file, entry in members.items() if entry.dump_id in chosen}
        feeder = Feeder(group, source, directory, files, programs.path("pg_restore"))
        feeder.prepare()
        failure = Restoring(adapted.toc)
        restore = group.run(
            [*self._command(programs, adapted.dump_ids), f"-j{self._options.jobs}", directory],
            doing,
            env=self._environment(self._index_options()),
            repeatable=failure.repeatable,
            explain=failure.explain,
        )
        feeder.run(restore)
        return adapted

    def _restore_stream(self, group: Group, source: PointSource, doing: str) -> Adapted:
        programs = self._access.restore_programs(doing)
        reader = source.open(only_member(source, doing))
        toc = read_by(Toc.read(reader), programs.version[0], doing, PULL_INTO_NEWER)
        adapted = self._adapt(toc, source.manifest, doing)
        failure = Restoring(adapted.toc)
        restore = group.run(
            self._command(programs, adapted.dump_ids),
            doing,
            stdin=subprocess.PIPE,
            env=self._environment(),
            repeatable=failure.repeatable,
            explain=failure.explain,
        )
        group.start(send_archive, group, adapted.toc.to_bytes(), reader, restore)
        group.wait()
        return adapted

    def _command(self, programs: Programs, dump_ids: Sequence[int]) -> list[str]:
        listing = within(self._access.work_dir, "restore.list")
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
            self._access.conninfo(self._scratch),
        ]

    def _environment(self, more: str = "") -> dict[str, str]:
        options = f"{os.environ.get('PGOPTIONS', '')} {_RESTORE_OPTIONS} {more}".strip()
        return dict(self._access.environment, PGOPTIONS=options)

    def _index_options(self) -> str:
        """Return what keeps a small host from making each of its indexes with more processes than it has cores.

        Where as many tables are restored at once as the server's host has cores, helpers only take turns with them.
        On larger hosts they are what fills the cores when the largest table's last index is being made.
        """
        cores = processors()
        helpers = max(0, cores // 2 - 1)
        local = is_local(self._server.control().info.host)
        if self._access.version < 110000 or not local or self._options.jobs < cores:
            return ""
        allowed = self._server.query("SELECT current_setting('max_parallel_maintenance_workers')::int")[0][0]
        return f"-c max_parallel_maintenance_workers={helpers}" if helpers < allowed else ""

    def _adapt(self, toc: Toc, manifest: Manifest, doing: str) -> Adapted:
        """Fit the archive's table of contents to this server and to the rights of this role."""
        with self._access.inside(self._scratch, doing) as connection:
            fresh = superuser.look(self._access.asking(connection, doing))
        here = roles.look(self._access, doing)
        lacking: list[str] = []
        owner = self._live.owner if self._live is not None else first_pull.owner_of(manifest.details, here)
        if self._live is None:
            values = first_pull.values_in(toc)
            self.first = first_pull.attempts(manifest.details, self._access.database, here, values)
            lacking = first_pull.lacking(manifest.details, values)
        found = target.look(self._access, fresh, here, owner, doing)
        noted = manifest.details.get("excluded_extensions", ())
        excluded = self._options.excluded
        chosen = leave_out.choose(toc, excluded.objects, excluded.extensions, noted, doing)
        needed = [e.tag for e in toc.entries if e.desc == "EXTENSION" and e.dump_id not in chosen.reasons]
        refuse_one_database_only(needed, doing)
        leave_out.refuse_missing(needed, found.extensions_available, doing)
        superuser.refuse_forbidden(self._server, needed, fresh.extensions, doing)
        found = replace(
            found,
            excluded_foreign_keys=_keys(manifest, "excluded_foreign_keys"),
            rowless_foreign_keys=_keys(manifest, "rowless_foreign_keys"),
            keep_foreign_servers=self._options.keep_foreign_servers,
            left_out=chosen.reasons,
            in_full=leave_out.SAID_IN_FULL,
        )
        adapted = adapt(toc, found)
        return replace(adapted, warnings=(*chosen.warnings, *lacking, *adapted.warnings))

    def _give(self, adapted: Adapted, doing: str) -> list[str]:
        """Do what has to come after ``pg_restore``, as a user who is not a superuser; return warnings."""
        if not adapted.owners and not adapted.later:
            return []
        with self._access.inside(self._scratch, doing) as connection:
            return Giving(self._server, connection, self._scratch, doing).run(adapted)

    def _verify(self, group: Group, adapted: Adapted, manifest: Manifest, doing: str) -> None:
        """Raise unless every table of the archive's list is in the scratch database, with the manifest's rows.

        It comes before the tables are given to their owners, whose rows this role may not be allowed to read.
        """
        with self._access.inside(self._scratch, doing) as connection:
            there = set(self._access.tables(connection, doing))
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
        connect = functools.partial(self._access.inside, self._scratch, doing)
        counting = f"counting what was restored of {self._access.database} on {self._server.name}"
        large_objects = manifest.details.get("large_objects")
        if large_objects is not None:
            large_objects += self._objects_of_template
        expected = rows.Expected.of(manifest.tables, large_objects, adapted)
        comparison = rows.Comparison(self._server, connect, expected, self._options.jobs, counting)
        comparison.run(group, there - self._of_template)

    def purge(self, touched: Collection[int], group: Group) -> list[str]:
        """Leave nothing derived of the rows that scripts changed; return warnings.

        :param touched: OIDs of the tables that they changed.
        """
        doing = f"removing what is left of the rows that scripts changed, from {self._scratch} on {self._server.name}"
        connect = functools.partial(self._access.inside, self._scratch, doing)
        purge = Purge(self._server, connect, touched, self._options.jobs, doing)
        return purge.run(group, lambda: self._gather_statistics(group))

    def _gather_statistics(self, group: Group) -> None:
        if not self._options.analyze or self._analysed:
            return
        vacuumdb = self._access.programs("gathering statistics").path("vacuumdb")
        argv = [vacuumdb, "--no-password", "--analyze-only", "--quiet", f"--jobs={self._options.jobs}"]
        argv += ["-d", self._access.conninfo(self._scratch)]
        group.run(argv, f"analysing {self._scratch}", env=self._environment()).wait()
        self._analysed = True

    def check(self, group: Group) -> Mapping[str, Any]:
        """Raise unless the scratch database is fit to serve; return how many ``tables`` and ``size_bytes`` it has."""
        doing = f"checking the restored {self._access.database} on {self._server.name}"
        with self._access.inside(self._scratch, doing) as connection:
            invalid = self._access.asking(connection, doing)(
                """SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indexrelid
                    WHERE NOT indisvalid AND relkind = 'i' LIMIT 5"""
            )
            if invalid:
                raise EnvSyncError(doing, f"invalid indexes: {', '.join(name for (name,) in invalid)}")
            tables = self._access.tables(connection, doing)
            if self._restored and not tables:
                raise EnvSyncError(doing, "no table is left", "Check the transformation SQL.")
        self._gather_statistics(group)
        size = self._server.query("SELECT pg_database_size(%s::name)", (self._scratch,), doing)[0][0]
        return {"tables": len(tables), "size_bytes": int(size)}


def _keys(manifest: Manifest, field: str) -> frozenset[tuple[str, str, str]]:
    return frozenset((schema, table, name) for schema, table, name in manifest.details.get(field, ()))
