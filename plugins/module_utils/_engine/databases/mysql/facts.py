# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a manifest says of a database beside its members: its tables, who defined what, what a restore has to know."""

from __future__ import annotations

from collections.abc import Sequence

from ..base import DumpFacts
from . import counts
from .client import Server
from .statistics import histograms
from .tables import NO_ROWS, Tables

#: engines that take part in a transaction, and so in a snapshot
_TRANSACTIONAL = frozenset({"INNODB", "ROCKSDB", "TOKUDB", "NDBCLUSTER"})


def read_facts(tables: Tables, form: str, excluded: Sequence[str], rowless: Sequence[str], doing: str) -> DumpFacts:
    """Return what is known of a database before its dump.

    ``tables`` has the name of each, and how many rows it has where that is none; ``roles`` the accounts that defined
    something; ``details`` what :mod:`.restore` reads.

    :param form: ``directory`` or ``custom``.
    :param excluded: the tables and views that are left out.
    :param rowless: the tables that are dumped without their rows.
    """
    server, database = tables.server, tables.database
    found = tables.base(doing, excluded)
    facts = DumpFacts(format=form, jobs=1)
    facts.tables = [{"name": name} for name in sorted(found)]
    # What has no rows of its own shows those of other tables, there as here.
    empty = [name for name, (engine, _size) in found.items() if name in rowless and engine not in NO_ROWS]
    counts.note(facts.tables, {}, dict.fromkeys(empty))
    facts.roles = _definers(server, database, doing)
    charset, collation = server.query(
        """SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA
            WHERE SCHEMA_NAME = %s""",
        (database,),
        doing,
    )[0]
    keys = _foreign_keys(server, database, doing)
    facts.details = {
        "size_bytes": sum(size for _engine, size in found.values()),
        "character_set": str(charset),
        "collation": str(collation),
        "snapshot": "one connection",
        # These are dumped as they are at their turn: they know no snapshot.
        "not_transactional": sorted(
            name for name, (engine, _size) in found.items() if engine not in _TRANSACTIONAL | NO_ROWS
        ),
        "versioned_tables": sorted(name for name in _versioned(server, database, doing) if name not in excluded),
        "views": [name for name in tables.views(doing) if name not in excluded],
        "histograms": [item for item in histograms(server, database) if item[0] in found],
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


def _definers(server: Server, database: str, doing: str) -> list[str]:
    rows = server.query(
        """SELECT DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s
           UNION SELECT DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s
           UNION SELECT DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s
           UNION SELECT DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s""",
        (database,) * 4,
        doing,
    )
    return sorted(str(definer) for (definer,) in rows)


def _foreign_keys(server: Server, database: str, doing: str) -> list[tuple[str, str, str]]:
    """Return the foreign keys between tables of the database: a table's name, the key's, and the other table's."""
    rows = server.query(
        """SELECT TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS
            WHERE CONSTRAINT_SCHEMA = %s AND UNIQUE_CONSTRAINT_SCHEMA = %s""",
        (database, database),
        doing,
    )
    return [(str(table), str(name), str(to)) for table, name, to in rows]


def _versioned(server: Server, database: str, doing: str) -> list[str]:
    rows = server.query(
        """SELECT TABLE_NAME FROM information_schema.TABLES
            WHERE TABLE_SCHEMA = %s AND TABLE_TYPE = 'SYSTEM VERSIONED'""",
        (database,),
        doing,
    )
    return [str(name) for (name,) in rows]
