# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables and views of a database, and which of them a dump has."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence

from ...errors import EnvSyncError
from .client import Server

#: engines whose tables have no rows of their own that could be dumped
NO_ROWS = frozenset({"MRG_MYISAM", "MRG_ISAM", "FEDERATED", "BLACKHOLE", "CONNECT", "SPIDER"})


class Tables:
    """The tables and views of a database. Each method asks the server anew.

    :param excluded_tables: patterns of the tables and views that are left out (``*`` and ``?`` are wild).
    :param excluded_table_data: patterns of the tables that are dumped without their rows.
    """

    def __init__(
        self, server: Server, database: str, excluded_tables: Sequence[str], excluded_table_data: Sequence[str]
    ) -> None:
        self.server = server
        self.database = database
        self._excluded = excluded_tables
        self._rowless = excluded_table_data

    def names(self, doing: str) -> set[str]:
        """Return all tables and views."""
        rows = self.server.query(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s", (self.database,), doing
        )
        return {str(name) for (name,) in rows}

    def views(self, doing: str) -> list[str]:
        """Return all views."""
        rows = self.server.query(
            "SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s ORDER BY 1",
            (self.database,),
            doing,
        )
        return [str(name) for (name,) in rows]

    def in_order(self, doing: str) -> list[str]:
        """Return all tables and views: sequences first, which tables may need, and views last."""
        rows = self.server.query(
            """SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s
                ORDER BY TABLE_TYPE <> 'SEQUENCE', TABLE_TYPE = 'VIEW', TABLE_NAME""",
            (self.database,),
            doing,
        )
        return [str(name) for (name,) in rows]

    def shape(self, doing: str) -> str:
        """Return what changes when a table or a column does: a SHA-256 (hex)."""
        rows = self.server.query(
            """SELECT TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_TYPE, EXTRA FROM information_schema.COLUMNS
                WHERE TABLE_SCHEMA = %s ORDER BY 1, 3""",
            (self.database,),
            doing,
        )
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def base(self, doing: str, excluded: Sequence[str] | None = None) -> dict[str, tuple[str, int]]:
        """Return the tables that have rows, without sequences and those excluded: of each its engine and its bytes.

        :param excluded: what :meth:`excluded` returns, where that is known already.
        """
        left_out = set(self.excluded(doing) if excluded is None else excluded)
        rows = self.server.query(
            """SELECT TABLE_NAME, UPPER(COALESCE(ENGINE, '')), COALESCE(DATA_LENGTH, 0) FROM information_schema.TABLES
                WHERE TABLE_SCHEMA = %s AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')""",
            (self.database,),
            doing,
        )
        return {str(name): (str(engine), int(size)) for name, engine, size in rows if name not in left_out}

    def with_rows(self, excluded: Sequence[str], doing: str) -> dict[str, int]:
        """Return the tables that have rows of their own, and about their bytes."""
        tables = self.base(doing, excluded)
        return {name: size for name, (engine, size) in tables.items() if engine not in NO_ROWS}

    def excluded(self, doing: str) -> list[str]:
        """Return the tables and views that ``excluded_tables`` names.

        :raises EnvSyncError: a pattern names none.
        """
        return self._named("excluded_tables", self._excluded, sorted(self.names(doing)), doing)

    def rowless(self, excluded: Sequence[str], doing: str) -> list[str]:
        """Return the tables that ``excluded_table_data`` names: they are dumped without their rows.

        :raises EnvSyncError: a pattern names none.
        """
        return self._named("excluded_table_data", self._rowless, sorted(self.base(doing, excluded)), doing)

    def _named(self, key: str, patterns: Sequence[str], names: Sequence[str], doing: str) -> list[str]:
        """Return what the patterns of a key name; ``*`` and ``?`` stand for any characters."""
        excluded: list[str] = []
        for pattern in patterns:
            prefix = f"{self.database}."
            bare = pattern[len(prefix) :] if pattern.startswith(prefix) else pattern
            matching = [name for name in names if name == bare or fnmatch.fnmatchcase(name, bare)]
            if not matching:
                # To go on would store what somebody asked to leave out.
                raise EnvSyncError(doing, f"{key} names {pattern}, and there is no such table", "Correct it.")
            excluded += [name for name in matching if name not in excluded]
        return excluded
