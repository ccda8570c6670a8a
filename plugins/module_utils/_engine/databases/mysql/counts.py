# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rows of each table of a MySQL or MariaDB database: as a dump has them, and as they are after a restore.

They are counted in what the dump program writes, on its way to the store: that is the dump's own snapshot, and nothing
is read twice. ``mariadb-dump`` begins each row on a line of its own (but for the first, where it names the columns),
and a line feed in a value is escaped. MySQL's ``mysqldump`` puts about a megabyte of rows on one line: what divides
them there is a ``),(`` outside of all literals.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ...errors import EnvSyncError
from ...points import counts
from ...points.manifest import Manifest
from ...streams.pipeline import Group
from ...streams.reader import Reader
from .client import Server, quote
from .parallel import Rows, ask_all
from .statements import unquote

_INSERT = b"\nINSERT INTO "

#: the code of routines, triggers and events stands between these: an INSERT in it inserts nothing now
_CODE, _CODE_ENDS = b"\nDELIMITER ;;\n", b"\nDELIMITER ;\n"

_HEAD = re.compile(
    rb"\nINSERT INTO (?P<table>`(?:[^`]|``)*`)\s*(?:\((?:[^`()]|`(?:[^`]|``)*`)*\)\s*)?VALUES(?P<line>\s*)(?=\()"
)

#: no INSERT has a longer head (4,096 columns, of 64 characters each), in bytes
_LONGEST_HEAD = 4 * 1024 * 1024

_END = b";\n"
_BETWEEN_LINES = b",\n("
_BETWEEN = b"),("

_CAUSE = (
    "Something on this server took rows away or added some while they were loaded (an event, another session, a "
    "storage engine that keeps none), or the point was changed: look into the server's log and SHOW CREATE TABLE, and "
    "pull again, or choose another point (--list shows them)."
)


class Counted:
    """A dump on its way to the store (a reader); ``rows`` has how many rows of each table have passed, once all has."""

    def __init__(self, source: Reader) -> None:
        self._source = source
        self._buffer = b"\n"
        self._state = self._outside
        self._table = ""
        self._inside = False
        self._carried = b""
        self.rows: Counter[str] = Counter()

    def read(self, size: int) -> bytes:
        block = self._source.read(size)
        if block:
            self._buffer += block
            while self._state():
                pass
        return block

    def close(self) -> None:
        self._source.close()

    # -- each state takes what it needs of the buffer, and says whether there may be more to take ----------------------

    def _outside(self) -> bool:
        insert, code = self._buffer.find(_INSERT), self._buffer.find(_CODE)
        if insert < 0 and code < 0:
            self._buffer = self._buffer[1 - len(_CODE) :]
            return False
        if code >= 0 and (insert < 0 or code < insert):
            self._buffer = self._buffer[code + len(_CODE) - 1 :]
            self._state = self._code
            return True
        head = _HEAD.match(self._buffer, insert)
        if head is None:
            self._buffer = self._buffer[insert:]
            if len(self._buffer) < _LONGEST_HEAD:
                return False  # the rest of it has yet to come
            self._buffer = self._buffer[1:]
            return True
        self._table = unquote(head["table"]).decode("utf-8", "replace")
        self.rows[self._table] += 1
        self._buffer = self._buffer[head.end() :]
        self._inside, self._carried = False, b""
        self._state = self._lines if b"\n" in head["line"] else self._line
        return True

    def _code(self) -> bool:
        at = self._buffer.find(_CODE_ENDS)
        if at < 0:
            self._buffer = self._buffer[1 - len(_CODE_ENDS) :]
            return False
        self._buffer = self._buffer[at + len(_CODE_ENDS) - 1 :]
        self._state = self._outside
        return True

    def _lines(self) -> bool:
        """Rows that begin on a line each: no literal has a line feed."""
        rows, ended = self._take()
        text = self._carried + rows
        self.rows[self._table] += text.count(_BETWEEN_LINES)
        self._carried = text[1 - len(_BETWEEN_LINES) :]
        return ended

    def _line(self) -> bool:
        """Rows on one line: what is in a literal has to be told from what divides them.

        Without the escaped backslashes and quotes, each quote begins or ends a literal (two in a row do both).
        """
        rows, ended = self._take()
        if not ended and (len(rows) - len(rows.rstrip(b"\\"))) % 2:
            rows, self._buffer = rows[:-1], b"\\" + self._buffer
        parts = rows.replace(b"\\\\", b"").replace(b"\\'", b"").split(b"'")
        outside = parts[self._inside :: 2]
        if self._inside:
            self._carried += b"'"
        text = self._carried + b"'".join(outside)
        on_lines = text.count(_BETWEEN_LINES)
        self.rows[self._table] += text.count(_BETWEEN) + on_lines
        self._inside ^= len(parts) % 2 == 0
        self._carried = text[1 - len(_BETWEEN) :] if not self._inside else b""
        if on_lines and not ended:
            self._carried = rows[1 - len(_BETWEEN_LINES) :]
            self._state = self._lines
        return ended

    def _take(self) -> tuple[bytes, bool]:
        """Return what there is of the rows of this INSERT, and whether that is their end."""
        at = self._buffer.find(_END)
        if at >= 0:
            rows, self._buffer = self._buffer[:at], self._buffer[at + len(_END) - 1 :]
            self._state = self._outside
            return rows, True
        rows, self._buffer = self._buffer[:-1], self._buffer[-1:]
        return rows, False


def note(tables: Sequence[dict[str, Any]], rows: Mapping[str, int], counted: Mapping[str, Any]) -> None:
    """Enter the rows into what the manifest says of the tables.

    :param counted: the tables whose rows were dumped: one that has no INSERT is empty.
    """
    for table in tables:
        if table["name"] in counted:
            table["rows"] = rows.get(table["name"], 0)


def compare_dump(manifest: Manifest, rows: Mapping[str, int]) -> None:
    """Raise unless a point's dump has as many rows of each table as its manifest says."""
    noted = {str(table["name"]): int(table["rows"]) for table in manifest.tables if "rows" in table}
    doing = f"verifying {manifest.timestamp}-{manifest.database}"
    found = {name: rows.get(name, 0) for name in noted}
    counts.require_equal(noted, found, doing, "Choose another point (--list shows them).")


def compare(
    group: Group,
    server: Server,
    schema: str,
    manifest: Manifest,
    there: Mapping[str, str],
    jobs: int,
    doing: str,
) -> None:
    """Compare what a restore has made of a point's tables with what the manifest says.

    :param there: the tables of the schema, and their types.
    :raises EnvSyncError: tables or rows are missing, or there are more than in the manifest.
    """
    noted = [str(table["name"]) for table in manifest.tables]
    counted = {str(table["name"]): int(table["rows"]) for table in manifest.tables if "rows" in table}
    if not counted:
        return  # of a version that counted no rows
    fold = str.lower if server.folds_names(doing) else str
    found = {fold(name): name for name, kind in there.items() if kind != "SEQUENCE"}
    _require_distinct(noted, fold, doing)
    counts.require_no_more(map(fold, noted), found, doing, _CAUSE)
    names = {name: found[fold(name)] for name in noted if fold(name) in found}
    counts.require_all(counted, names, doing, _CAUSE)
    # Of these, former rows were dumped too.
    history = frozenset(manifest.details.get("versioned_tables", ()) if manifest.details.get("history") else ())
    statements = {
        name: f"SELECT COUNT(*) FROM {quote(names[name])}" + (" FOR SYSTEM_TIME ALL" if name in history else "")
        for name in sorted(counted, key=lambda name: (-counted[name], name))
    }
    counts.require_equal(counted, _count(group, server, schema, statements, jobs, doing), doing, _CAUSE)


def _require_distinct(names: Sequence[str], fold: Any, doing: str) -> None:
    folded: dict[str, str] = {}
    for name in names:
        other = folded.setdefault(fold(name), name)
        if other != name:
            raise EnvSyncError(
                doing,
                f"the tables {other} and {name} of the point have become one: this server takes no notice of case "
                "(lower_case_table_names)",
                "Pull into a server that does, or leave one of them out of the push (excluded_tables).",
            )


def _count(
    group: Group, server: Server, schema: str, statements: Mapping[str, str], jobs: int, doing: str
) -> dict[str, int]:
    """Return the number that each statement gives, by the names that the statements have."""
    found: dict[str, int] = {}

    def noting(name: str) -> Callable[[Rows], None]:
        def note_number(rows: Rows) -> None:
            found[name] = int(rows[0][0])

        return note_number

    questions = [(statement, noting(name)) for name, statement in statements.items()]
    ask_all(group, server, schema, questions, jobs, doing)
    return found
