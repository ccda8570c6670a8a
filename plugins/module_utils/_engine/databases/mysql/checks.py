# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that were not looked at while rows were loaded: whether they hold."""

from __future__ import annotations

import functools

from ...errors import EnvSyncError
from ...streams.pipeline import Group
from .client import Server, quote
from .parallel import Question, Rows, ask_all


def require_keys(group: Group, server: Server, schema: str, jobs: int, doing: str) -> None:
    """Raise unless all foreign and unique keys hold: they were not looked at while the rows were loaded.

    The message names the key, and no value.
    """
    questions = [*_foreign_keys(server, schema, doing), *_unique_keys(server, schema, doing)]
    ask_all(group, server, schema, questions, jobs, doing)


def _foreign_keys(server: Server, schema: str, doing: str) -> list[Question]:
    rows = server.query(
        """SELECT TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME,
                  REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE
            WHERE TABLE_SCHEMA = %s AND REFERENCED_TABLE_NAME IS NOT NULL ORDER BY 1, 2, ORDINAL_POSITION""",
        (schema,),
        doing,
    )
    keys: dict[tuple[str, str, str, str], list[tuple[str, str]]] = {}
    for table, name, column, to_schema, to_table, to_column in rows:
        keys.setdefault((table, name, to_schema, to_table), []).append((column, to_column))
    checks: list[Question] = []
    for (table, name, to_schema, to_table), columns in keys.items():
        joined = " AND ".join(f"child.{quote(column)} = parent.{quote(to)}" for column, to in columns)
        filled = " AND ".join(f"child.{quote(column)} IS NOT NULL" for column, _to in columns)
        statement = (
            f"SELECT 1 FROM {quote(table)} child LEFT JOIN {quote(to_schema)}.{quote(to_table)} parent ON {joined} "
            f"WHERE {filled} AND parent.{quote(columns[0][1])} IS NULL LIMIT 1"
        )
        fault = f"rows of {table} break its foreign key {name}: what they refer to is not in {to_table}"
        checks.append((statement, functools.partial(_refuse_any, fault, doing)))
    return checks


def _unique_keys(server: Server, schema: str, doing: str) -> list[Question]:
    """CHECK TABLE reads every index, and finds duplicates in unique ones."""
    rows = server.query(
        """SELECT DISTINCT TABLE_NAME FROM information_schema.STATISTICS
            WHERE TABLE_SCHEMA = %s AND NON_UNIQUE = 0 AND INDEX_NAME <> 'PRIMARY' ORDER BY 1""",
        (schema,),
        doing,
    )
    return [(f"CHECK TABLE {quote(table)} QUICK", functools.partial(_refuse_damage, doing)) for (table,) in rows]


def _refuse_any(fault: str, doing: str, rows: Rows) -> None:
    if rows:
        raise _fault(fault, doing)


def _refuse_damage(doing: str, rows: Rows) -> None:
    """Raise where CHECK TABLE found something; its rows are table, operation, type of message, message."""
    bad = [row for row in rows if str(row[2]).lower() == "error" or (str(row[2]) == "status" and row[3] != "OK")]
    if bad:
        raise _fault(f"CHECK TABLE finds {bad[0][0]} damaged", doing)


def _fault(why: str, doing: str) -> EnvSyncError:
    return EnvSyncError(doing, why, "Push again, or correct the transformation SQL.")
