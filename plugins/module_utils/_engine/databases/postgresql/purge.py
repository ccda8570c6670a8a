# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leave nothing in a scratch database that shows what a script replaced: in views, statistics, or files."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Callable

from ...errors import EnvSyncError
from ...streams.pipeline import Group
from .client import Server, ServerError
from .names import quote

#: gives a new connection to the scratch database
Connect = Callable[[], AbstractContextManager[Any]]

#: catalogs that hold values of rows (most common values, defaults, bounds), or texts and passwords that a script may
#: have replaced: rewritten, they no longer hold the rows that are gone
_CATALOGS = (
    "pg_attrdef",
    "pg_constraint",
    "pg_description",
    "pg_enum",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_proc",
    "pg_rewrite",
    "pg_statistic",
    "pg_statistic_ext",
    "pg_statistic_ext_data",
    "pg_trigger",
    "pg_user_mapping",
)

#: how long to wait for what keeps old rows from going (autovacuum's own look at a table), in seconds
_PATIENCE = 20.0

_TABLES = """
WITH RECURSIVE above AS (
    SELECT unnest(%s::oid[]) AS oid
    UNION SELECT inhparent FROM above JOIN pg_inherits ON inhrelid = above.oid)
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.oid = ANY (%s::oid[]), pg_relation_size(c.oid)
  FROM above JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') ORDER BY 6 DESC, 1
"""

# What a view's rule depends on, from a materialized view down; and whether that is a function or an operator of
# somebody's own, of which nobody knows what it reads.
_VIEWS = """
WITH RECURSIVE used AS (
    SELECT c.oid AS view, c.oid AS relation FROM pg_class c WHERE c.relkind = 'm' AND c.relispopulated
    UNION
    SELECT used.view, d.refobjid FROM used
      JOIN pg_rewrite r ON r.ev_class = used.relation
      JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
       AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> used.relation
), opaque AS (
    SELECT DISTINCT used.view FROM used
      JOIN pg_rewrite r ON r.ev_class = used.relation
      JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
       AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND d.refobjid >= 16384
)
SELECT c.oid, n.nspname, c.relname, array_agg(used.relation), c.oid IN (SELECT view FROM opaque)
  FROM used JOIN pg_class c ON c.oid = used.view JOIN pg_namespace n ON n.oid = c.relnamespace
 GROUP BY 1, 2, 3
"""


class Purge:
    """The work of one pull in its scratch database.

    :param touched: OIDs of the tables that scripts changed, of those too that are gone.
    :param jobs: how many tables to rewrite at once.
    """

    def __init__(self, server: Server, connect: Connect, touched: Iterable[int], jobs: int, doing: str) -> None:
        self._server = server
        self._connect = connect
        self._touched = frozenset(touched)
        self._jobs = jobs
        self._doing = doing
        self._kept: list[str] = []
        self._deadline = 0.0

    def run(self, group: Group, analyze: Callable[[], None]) -> list[str]:
        """Do it; return warnings.

        :param analyze: gathers statistics of the whole database; called once the tables are as they stay.
        """
        if not self._touched:
            analyze()
            return []
        self._deadline = time.monotonic() + _PATIENCE
        with self._connect() as connection:
            tables = [_Table(*row) for row in self._ask(_TABLES, (sorted(self._touched),) * 2, connection)]
            refreshed = self._refresh(connection, self._touched | {table.oid for table in tables})
            catalogs = self._ask(
                "SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relname = ANY (%s)",
                (list(_CATALOGS),),
                connection,
            )
        stored = [table.sql for table in tables if table.changed and table.kind == "r"]
        # A parent has statistics of its own, over all that it has below.
        others = [table.sql for table in (*tables, *refreshed) if table.sql not in stored]
        self._in_parallel(group, "VACUUM (FULL, VERBOSE, ANALYZE)", stored, self._jobs)
        self._in_parallel(group, "ANALYZE", others, self._jobs)
        analyze()
        warnings = self._forget_emptied((*tables, *refreshed))
        # One by one: two sessions that each rewrite a catalog would wait for the other one's.
        names = [f"pg_catalog.{quote(name)}" for (name,) in catalogs]
        self._in_parallel(group, "VACUUM (FULL, VERBOSE)", names, 1)
        if self._kept:
            warnings.append(
                f"the files of {', '.join(sorted(self._kept))} still hold rows from before the script, which a "
                "replication slot, a standby's query or a prepared transaction keeps; VACUUM FULL them when it is gone"
            )
        return warnings

    def _ask(
        self, statement: str, parameters: Sequence[Any], connection: Any, doing: str = ""
    ) -> list[tuple[Any, ...]]:
        """Run a statement; what is said of a failure holds no value of a row."""
        doing = doing or self._doing
        try:
            return self._server.query(statement, parameters, doing, connection)
        except ServerError as error:
            said = getattr(getattr(error.__cause__, "diag", None), "message_primary", None)
            if error.sqlstate[:2] not in ("23", "42", "53", "55", "57"):
                said = "(its text is withheld, as it may quote data)"
            raise EnvSyncError(doing, f"SQLSTATE {error.sqlstate} {said}", error.hint) from None

    # -- materialized views ------------------------------------------------------------------------------------------

    def _refresh(self, connection: Any, changed: frozenset[int]) -> list[_Table]:
        """Fill the materialized views anew that show what was changed, each after those that it reads."""
        views: dict[int, _Table] = {}
        reads: dict[int, frozenset[int]] = {}
        stale: set[int] = set()
        for oid, schema, name, below, opaque in self._ask(_VIEWS, (), connection):
            views[oid] = _Table(oid, schema, name, "m", True, 0)
            reads[oid] = frozenset(below) - {oid}
            if opaque or reads[oid] & changed:
                stale.add(oid)
        refreshed = []
        for oid in in_order(reads):
            if oid in stale or reads[oid] & stale:
                stale.add(oid)
                refreshed.append(views[oid])
                statement = f"REFRESH MATERIALIZED VIEW {views[oid].sql}"
                self._ask(statement, (), connection, f"refreshing the materialized view {views[oid].sql}")
        return refreshed

    # -- files -------------------------------------------------------------------------------------------------------

    def _in_parallel(self, group: Group, command: str, names: Sequence[str], jobs: int) -> None:
        """Run a command on tables that are independent of each other; the first ones take longest."""

        def work(names: Iterator[str]) -> None:
            with self._connect() as connection:
                for name in names:
                    self._rewrite(command, name, connection, group)

        group.each(work, names, jobs)

    def _rewrite(self, command: str, name: str, connection: Any, group: Group) -> None:
        """Run the command; a VACUUM FULL again and again while something keeps rows that are gone."""
        doing = f"{'rewriting' if 'FULL' in command else 'analysing'} {name} in the scratch database"
        while True:
            del connection.notices[:]
            self._ask(f"{command} {name}", (), connection, doing)
            if "FULL" not in command:
                return
            kept = kept_rows(connection.notices)
            if kept is None:
                raise EnvSyncError(
                    doing, "the server passed it over", "Give the role of login_user the right that is missing."
                )
            if not kept:
                return
            if time.monotonic() > self._deadline or not self._passes():
                self._kept.append(name.replace('"', ""))
                return
            group.sleep(0.5)

    def _passes(self) -> bool:
        """Say whether it is worth waiting: no slot or prepared transaction is what keeps old rows."""
        return not self._server.query(
            """SELECT 1 FROM pg_replication_slots WHERE xmin IS NOT NULL OR catalog_xmin IS NOT NULL
               UNION ALL SELECT 1 FROM pg_prepared_xacts LIMIT 1"""
        )

    # -- statistics --------------------------------------------------------------------------------------------------

    def _forget_emptied(self, tables: Sequence[_Table]) -> list[str]:
        """Remove the statistics of tables that are empty now: ANALYZE leaves these as they were."""
        with self._connect() as connection:
            empty = [table for table in tables if self._is_emptied(table, connection)]
            if not empty:
                return []
            if self._server.control().server_version >= 180000:
                statement = """SELECT pg_clear_attribute_stats(n.nspname::text, c.relname::text, a.attname::text,
                                                               inherited)
                                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                                 JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
                                      (VALUES (true), (false)) AS both_kinds (inherited)
                                WHERE c.oid = ANY (%s)"""
            elif self._ask("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", (), connection)[0][0]:
                statement = "DELETE FROM pg_statistic WHERE starelid = ANY (%s)"
            else:
                names = ", ".join(sorted(f"{table.schema}.{table.name}" for table in empty))
                return [
                    f"statistics of {names}, which a script emptied, still show "
                    "values of before to who may read these tables; only a superuser can remove them in this version"
                ]
            self._ask(statement, ([table.oid for table in empty],), connection)
        return []

    def _is_emptied(self, table: _Table, connection: Any) -> bool:
        ask = self._server.query
        seen = "SELECT 1 FROM pg_stats WHERE schemaname = %s AND tablename = %s LIMIT 1"
        try:
            return bool(ask(seen, (table.schema, table.name), self._doing, connection)) and not ask(
                f"SELECT 1 FROM {table.sql} LIMIT 1", (), self._doing, connection
            )
        except ServerError:
            return False  # what it may not read, it may not judge


@dataclass(frozen=True)
class _Table:
    """A table or materialized view; ``changed`` tells one that a script changed from one above it."""

    oid: int
    schema: str
    name: str
    kind: str
    changed: bool
    size: int

    @property
    def sql(self) -> str:
        return f"{quote(self.schema)}.{quote(self.name)}"


def in_order(reads: Mapping[int, frozenset[int]]) -> list[int]:
    """Return the views so that each comes after those that it reads."""
    ordered: list[int] = []
    left = dict(reads)
    while left:
        free = sorted(oid for oid, below in left.items() if not below & left.keys()) or sorted(left)[:1]
        ordered += free
        for oid in free:
            del left[oid]
    return ordered


def kept_rows(notices: Sequence[str]) -> int | None:
    """Return how many old rows a VACUUM (FULL, VERBOSE) could not leave out; None where it did nothing.

    Its words are in the server's language: the number is the first one of the message's second line ("0 dead row
    versions cannot be removed yet").
    """
    found: int | None = None
    for notice in notices:
        lines = notice.splitlines()
        number = re.search(r"\d+", lines[1]) if len(lines) > 1 and re.search(r"\d+\D+\d+\D+\d+", lines[0]) else None
        if number:
            found = (found or 0) + int(number[0])
    return found
