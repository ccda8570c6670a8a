# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leave nothing of the rows that a script changed: not in files, in statistics, or in a table's history.

An UPDATE leaves what it replaces in pages that are free now, and in the file until they are used again. A table that is
rebuilt has a new file, made of its rows alone (MySQL manual, "Online DDL Operations"). It goes into the binary log, as
the files of replicas hold the same.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import EnvSyncError
from ...streams.pipeline import Group
from .client import Server, quote
from .errors import ServerError
from .parallel import run_all

#: engines that keep no file of rows here
_NO_FILES = frozenset({"MEMORY", "BLACKHOLE", "FEDERATED", "CONNECT", "SPIDER", "MRG_MYISAM", "SEQUENCE"})

#: engines whose rebuilt table has none of the former file's blocks
_REBUILT = frozenset({"INNODB", "MYISAM", "ARIA"})

_TABLESPACE = re.compile(r"TABLESPACE[ =]`?([^`\s*]+)")


@dataclass(frozen=True)
class _Table:
    engine: str
    size: int
    versioned: bool


def purge(group: Group, server: Server, schema: str, names: Sequence[str], jobs: int) -> list[str]:
    """Rebuild tables, empty their history, and have the statistics gathered anew that hold values; return warnings."""
    doing = f"rewriting what the scripts changed in {schema} on {server.name}"
    tables = _tables(server, schema, names, doing)
    warnings = _forget_history(server, schema, [name for name, table in tables.items() if table.versioned], doing)
    largest_first = sorted(tables, key=lambda name: -tables[name].size)
    rebuilt = [f"ALTER TABLE {quote(name)} FORCE" for name in largest_first]
    run_all(group, server, schema, rebuilt, jobs, doing)
    run_all(group, server, schema, _statistics(server, schema, largest_first, doing), jobs, doing)
    other = sorted(name for name, table in tables.items() if table.engine not in _REBUILT)
    if other:
        warnings.append(
            f"the files of {', '.join(other[:5])} may hold rows as they were before the script: it is not known when "
            "their engine removes these"
        )
    return warnings + _shared_files(server, schema, tables, doing)


def _tables(server: Server, schema: str, names: Sequence[str], doing: str) -> dict[str, _Table]:
    rows = server.query(
        """SELECT TABLE_NAME, UPPER(COALESCE(ENGINE, '')), COALESCE(DATA_LENGTH + INDEX_LENGTH, 0), TABLE_TYPE
             FROM information_schema.TABLES
            WHERE TABLE_SCHEMA = %s AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')""",
        (schema,),
        doing,
    )
    wanted = set(names)
    return {
        str(name): _Table(str(engine), int(size), kind == "SYSTEM VERSIONED")
        for name, engine, size, kind in rows
        if name in wanted and engine not in _NO_FILES
    }


def _forget_history(server: Server, schema: str, tables: Sequence[str], doing: str) -> list[str]:
    """Remove former rows of system-versioned tables: a script can't change these, and they are what it changed."""
    for table in tables:
        try:
            server.query(f"DELETE HISTORY FROM {quote(schema)}.{quote(table)}", doing=doing)
        except ServerError as error:
            raise EnvSyncError(
                doing,
                f"the former rows of {table}, which is system-versioned, can't be removed: {error.why}",
                "Give this user the right DELETE HISTORY, or have the script drop the versioning.",
            ) from error
    return [f"the former rows of {name} were removed: they held what the script changed" for name in tables]


def _statistics(server: Server, schema: str, tables: Sequence[str], doing: str) -> list[str]:
    """Return the statements that gather statistics anew; of those that hold values, only what there is."""
    if server.mariadb:
        kept = _asked(server, "SELECT DISTINCT table_name FROM mysql.column_stats WHERE db_name = %s", schema)
        return [f"ANALYZE TABLE {quote(name)}" + (" PERSISTENT FOR ALL" if name in kept else "") for name in tables]
    columns = _asked(
        server,
        """SELECT TABLE_NAME, COLUMN_NAME, JSON_EXTRACT(HISTOGRAM, '$."number-of-buckets-specified"')
             FROM information_schema.COLUMN_STATISTICS WHERE SCHEMA_NAME = %s""",
        schema,
    )
    anew = [f"ANALYZE TABLE {quote(name)}" for name in tables]
    for name in tables:
        for column, buckets in columns.get(name, ()):
            anew.append(f"ANALYZE TABLE {quote(name)} UPDATE HISTOGRAM ON {quote(column)} WITH {int(buckets)} BUCKETS")
    return anew


def _asked(server: Server, question: str, schema: str) -> Mapping[str, list[tuple[str, str]]]:
    """Return rows by their first column; none where the server has no such table, or this user may not read it."""
    found: dict[str, list[tuple[str, str]]] = {}
    with contextlib.suppress(ServerError):
        for table, *more in server.query(question, (schema,)):
            found.setdefault(str(table), []).append((str(more[0]), str(more[1])) if more else ("", ""))
    return found


def _shared_files(server: Server, schema: str, tables: Mapping[str, _Table], doing: str) -> list[str]:
    """Warn of InnoDB tables whose rows are in a file that others use too: that is not rewritten."""
    innodb = sorted(name for name, table in tables.items() if table.engine == "INNODB")
    shared = []
    if innodb and not server.query("SELECT @@innodb_file_per_table", doing=doing)[0][0]:
        shared = innodb
    elif not server.mariadb:
        for name in innodb:
            text = str(server.query(f"SHOW CREATE TABLE {quote(schema)}.{quote(name)}", doing=doing)[0][1])
            if any(space != "innodb_file_per_table" for space in _TABLESPACE.findall(text)):
                shared.append(name)
    if not shared:
        return []
    return [
        f"the rows of {', '.join(shared[:5])} are in a tablespace that other tables use too: its file holds them as "
        "they were before the script, until their place is used again. innodb_file_per_table gives each its own"
    ]
