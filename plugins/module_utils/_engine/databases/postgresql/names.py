# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names and texts as SQL spells them, and the patterns that ``pg_dump`` takes for names."""

from __future__ import annotations

import re
from typing import Callable

from ...errors import EnvSyncError


def quote(name: str) -> str:
    """Return an SQL identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return an SQL string literal that means the same whatever ``standard_conforming_strings`` is."""
    escaped = text.replace("'", "''")
    if "\\" in escaped:
        return "E'" + escaped.replace("\\", "\\\\") + "'"
    return f"'{escaped}'"


def name_pattern(pattern: str, doing: str) -> Callable[[str, str], bool]:
    """Return what tells whether a schema and a table match ``pattern``, as ``pg_dump`` and ``psql`` read patterns.

    ``*`` and ``?`` stand for any characters, a dot ends the schema's name, what is not in double quotes is lower case;
    other characters are a regular expression's. (PostgreSQL manual, psql, "Patterns".) A name that stands there in its
    own capitals, with no quotes, is understood too.
    """
    parts, quoted, position = [""], False, 0
    while position < len(pattern):
        character = pattern[position]
        if character == '"':
            if quoted and pattern[position + 1 : position + 2] == '"':
                parts[-1] += '"'
                position += 1
            else:
                quoted = not quoted
        elif quoted or character == "$":
            parts[-1] += re.escape(character)
        elif character == ".":
            parts.append("")
        else:
            parts[-1] += {"*": ".*", "?": "."}.get(character, character.lower())
        position += 1
    try:
        table = re.compile(parts[-1], re.DOTALL)
        schema = re.compile(parts[-2] if len(parts) > 1 else ".*", re.DOTALL)
    except re.error as error:
        raise EnvSyncError(doing, f"{pattern} is no pattern for tables: {error}", "Correct it.") from error

    def matches(of_schema: str, of_table: str) -> bool:
        if pattern in (of_table, f"{of_schema}.{of_table}"):
            return True
        return bool(table.fullmatch(of_table) and schema.fullmatch(of_schema))

    return matches
