# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The server's statistics of tables and columns, which its optimiser goes by."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from ...streams.pipeline import Group
from .client import Server, quote
from .errors import ServerError
from .parallel import run_all

#: what is known of a histogram: its table, its column, and the number of its buckets
_HISTOGRAM = 3


def analyze(group: Group, server: Server, schema: str, tables: Sequence[str], jobs: int) -> None:
    """Have the server gather its statistics of the tables, which the optimiser goes by."""
    statements = [f"ANALYZE NO_WRITE_TO_BINLOG TABLE {quote(table)}" for table in tables]
    run_all(group, server, schema, statements, jobs, f"analysing {schema} on {server.name}")


def histograms(server: Server, schema: str) -> list[list[str]]:
    """Return the columns that MySQL keeps a histogram of: table, column, number of buckets."""
    rows: list[tuple[Any, ...]] = []
    with contextlib.suppress(ServerError):  # MySQL 5.7 and MariaDB have none
        rows = server.query(
            """SELECT TABLE_NAME, COLUMN_NAME, JSON_EXTRACT(HISTOGRAM, '$."number-of-buckets-specified"')
                 FROM information_schema.COLUMN_STATISTICS WHERE SCHEMA_NAME = %s ORDER BY 1, 2""",
            (schema,),
        )
    return [[str(value) for value in row] for row in rows]


def make_histograms(group: Group, server: Server, schema: str, wanted: Sequence[Sequence[str]], jobs: int) -> None:
    """Have MySQL gather the histograms that the source had, of the columns that there still are.

    It is done when the scripts have run: they hold values. A point has none, only which there were.
    """
    if not wanted or server.mariadb or server.version_number < (8, 0):
        return
    doing = f"gathering the histograms of {schema} on {server.name}"
    columns = server.query(
        "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s", (schema,), doing
    )
    there = {(str(table), str(column)) for table, column in columns}
    statements = [
        f"ANALYZE NO_WRITE_TO_BINLOG TABLE {quote(item[0])} UPDATE HISTOGRAM ON {quote(item[1])} "
        f"WITH {int(item[2])} BUCKETS"
        for item in wanted
        if len(item) == _HISTOGRAM and (item[0], item[1]) in there and item[2].isdecimal()
    ]
    run_all(group, server, schema, statements, jobs, doing)
