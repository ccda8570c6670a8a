# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Statements of a dump, fitted to the schema and the server that they are restored into."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from .collations import nearest_collation
from .statements import CODE, INSERT, UNWANTED, Statement, Token, significant, tokenise, unquote

#: one value of a row, as the dump programs write it: a number, NULL, 0x..., a string, maybe after its character set
_VALUE = rb"[^',()]*(?:'[^'\\]*(?:(?:\\.|'')[^'\\]*)*')?"

#: what a dump may set, and a restore must not: the server's own state, and whether replicas get the data
_NOT_SET = frozenset(
    {b"GLOBAL", b"PERSIST", b"PERSIST_ONLY", b"GTID_PURGED", b"SQL_LOG_BIN", b"MYSQLDUMP_TEMP_LOG_BIN", b"PASSWORD"}
)

#: SQL modes that MySQL does not know, or no longer
_MARIADB_MODES = frozenset(
    {
        "EMPTY_STRING_IS_NULL",
        "SIMULTANEOUS_ASSIGNMENT",
        "TIME_ROUND_FRACTIONAL",
        "IGNORE_BAD_TABLE_OPTIONS",
        "NO_AUTO_CREATE_USER",
        "NO_FIELD_OPTIONS",
        "NO_KEY_OPTIONS",
        "NO_TABLE_OPTIONS",
        "POSTGRESQL",
        "ORACLE",
        "MSSQL",
        "DB2",
        "MAXDB",
        "MYSQL323",
        "MYSQL40",
    }
)

#: and those that MariaDB does not
_MYSQL_MODES = frozenset({"TIME_TRUNCATE_FRACTIONAL"})

#: the SQL mode that takes days which a month does not have
_ANY_DATE = "ALLOW_INVALID_DATES"

#: the user's name and the host's, as an account has them
Account = tuple[bytes, bytes]


@dataclass
class Notes:
    """What was changed on the way.

    ``definers`` are accounts (``user@host``) that objects could not be given to; ``collations`` has the one taken for
    each that is not known; ``enabled_events`` are the names of events that were switched off.
    """

    definers: set[str] = field(default_factory=set)
    collations: dict[str, str] = field(default_factory=dict)
    enabled_events: set[bytes] = field(default_factory=set)

    def warnings(self) -> list[str]:
        """Return what the operator is to know of these."""
        said = []
        if self.definers:
            said.append(
                "what these accounts defined belongs to the user of this pull now, as they do not exist here or it may "
                f"not speak for them: {', '.join(sorted(self.definers))}"
            )
        said += [
            f"the collation {old} is not known here: {new} is taken" for old, new in sorted(self.collations.items())
        ]
        return said


@dataclass(frozen=True)
class Target:
    """What a dump is fitted to: a schema of a server, and a user with certain rights.

    ``database`` is the name of the database at its source; ``mariadb`` says whether the server is MariaDB's;
    ``collations`` are those it knows, in lower case; ``definers`` the accounts that objects may belong to.
    """

    schema: str
    database: str
    mariadb: bool
    collations: frozenset[str]
    definers: frozenset[Account]


def fit(statement: Statement, target: Target, notes: Notes) -> bytes | None:
    """Return the statement as it is to be run on the target; None when it is not to be run there at all.

    :param notes: takes note of what was changed.
    """
    if statement.kind == "INSERT":
        return statement.text
    if statement.kind in UNWANTED:
        return None
    found = statement.tokens()
    if statement.kind == "SET":
        if any(token.upper in _NOT_SET for token in found):
            return None
        found = _fit_modes(found, target)
    if statement.kind in CODE or statement.kind.startswith(("ALTER", "DROP", "CREATE")):
        found = unqualified(found, statement.kind, target.schema)
    if statement.kind in CODE:
        found = _fit_definer(found, target, notes)
    if statement.kind == "CREATE EVENT":
        found = _disabled(found, notes)
    if statement.kind in ("CREATE TABLE", "CREATE SEQUENCE", "DO"):
        found = without_schema(found, target.database)
    elif statement.kind == "CREATE VIEW":
        found = without_schema(found, target.database, functions_only=True)
    found = _fit_collations(found, target, notes)
    return b"".join(token.text for token in found)


def without_values(statement: bytes, columns: Sequence[str], unwanted: frozenset[str]) -> bytes | None:
    """Return an INSERT without the values of some columns; None where its rows can't be read.

    :param columns: all columns of the table, in their order: those that the INSERT is for when it names none.
    """
    head = INSERT.match(statement)
    if head is None:
        return None
    if head["columns"]:
        named = [token for token in tokenise(head["columns"]) if token.kind in ("name", "word")]
        columns = [unquote(token.text).decode("utf-8", "replace") for token in named]
    kept = [column not in unwanted for column in columns]
    if all(kept):
        return statement
    values = (b"(%s)" % _VALUE if keep else _VALUE for keep in kept)
    row = re.compile(rb"\(" + b",".join(values) + rb"\)(,\s*)?", re.S)
    names = b",".join(b"`" + column.encode().replace(b"`", b"``") + b"`" for column, keep in zip(columns, kept) if keep)
    parts, position = [head["into"], b" (", names, b") VALUES "], head.end()
    while position < len(statement):
        match = row.match(statement, position)
        if match is None or (match.groups()[-1] is None) != (match.end() == len(statement)):
            return None
        parts += [b"(", b",".join(match.groups()[:-1]), b"),"]
        position = match.end()
    return b"".join(parts)[:-1]


def _without(found: Sequence[Token], positions: Sequence[int]) -> list[Token]:
    gone = set(positions)
    return [token for at, token in enumerate(found) if at not in gone]


def unqualified(found: list[Token], kind: str, schema: str) -> list[Token]:
    """Take the schema away from the name of the object itself: the statement is run in ``schema``.

    A trigger is stored as it was written, maybe with the schema's name before its own and its table's.
    """
    order = significant(found)
    words = [found[at] for at in order]
    what = kind.split()[1]
    if what == "DATABASE":
        # A routine's database collation is set and reset around it: of the scratch schema, never of the live one.
        at = next(i for i, word in enumerate(words) if word.upper in (b"DATABASE", b"SCHEMA")) + 1
        if at < len(words) and words[at].kind == "name":
            found[order[at]] = Token("name", b"`" + schema.encode().replace(b"`", b"``") + b"`")
        return found
    keywords = [what.encode()] if what != "TRIGGER" else [b"TRIGGER", b"ON"]
    gone: list[int] = []
    for keyword in keywords:
        if kind == "DROP TRIGGER" and keyword == b"ON":
            break
        at = next((i for i, word in enumerate(words) if word.kind == "word" and word.upper == keyword), -1) + 1
        while at < len(words) and words[at].upper in (b"IF", b"NOT", b"EXISTS", b"BODY"):
            at += 1
        if at + 2 < len(words) and words[at + 1].text == b".":
            gone += [order[at], order[at + 1]]
    return _without(found, gone)


def without_schema(found: list[Token], schema: str, functions_only: bool = False) -> list[Token]:
    """Take a schema's name away: from a default of ``nextval(`app`.`s`)``, from a view's `` `app`.`f`(...)``.

    :param functions_only: elsewhere the name may be a table's, which a view puts before its columns.
    """
    order = significant(found)
    gone: list[int] = []
    for one, two, three, four in zip(order, order[1:], order[2:], [*order[3:], -1]):
        named = found[one].kind == "name" and unquote(found[one].text) == schema.encode() and found[two].text == b"."
        called = four == three + 1 and found[four].text == b"("
        if named and (called or not functions_only):
            gone += [one, two]
    return _without(found, gone)


def _fit_definer(found: list[Token], target: Target, notes: Notes) -> list[Token]:
    """Take DEFINER away where it names an account that objects can't be given to here."""
    order = significant(found)
    words = [found[at] for at in order]
    for at, word in enumerate(words[:25]):
        if word.kind == "word" and word.upper == b"DEFINER" and words[at + 1].text == b"=":
            break
    else:
        return found
    last, user, host = at + 2, unquote(words[at + 2].text), b""
    if at + 4 < len(words) and words[at + 3].text == b"@":
        last, host = at + 4, unquote(words[at + 4].text)
    if (user, host) in target.definers:
        return found
    notes.definers.add(b"@".join(part for part in (user, host) if part).decode("utf-8", "replace"))
    return _without(found, range(order[at], order[last] + 1))


def _disabled(found: list[Token], notes: Notes) -> list[Token]:
    """Switch an event off: in the scratch schema it must not run."""
    order = significant(found)
    words = [found[at] for at in order]
    name = next(i for i, word in enumerate(words) if word.upper == b"EVENT") + 1
    while words[name].upper in (b"IF", b"NOT", b"EXISTS"):
        name += 1
    at = event_state(found)
    if at >= 0 and found[at].upper == b"ENABLE":
        notes.enabled_events.add(unquote(words[name].text))
        found[at] = Token("word", b"DISABLE")
    return found


def event_state(found: Sequence[Token]) -> int:
    """Return where in a CREATE EVENT the word ENABLE or DISABLE is; -1 when there is none."""
    for at in significant(found):
        if found[at].kind == "word" and found[at].upper in (b"ENABLE", b"DISABLE"):
            return at
        if found[at].kind == "word" and found[at].upper == b"DO":
            break
    return -1


def _fit_modes(found: list[Token], target: Target) -> list[Token]:
    """Take out of an SQL mode what this flavour does not know; have the one of a dump's head take all dates.

    A server that allows them may hold dates that are none (2021-02-31). In the head's mode they would become zero.
    """
    if not any(token.upper == b"SQL_MODE" for token in found):
        return found
    unknown = _MYSQL_MODES if target.mariadb else _MARIADB_MODES
    # Code has a mode of its own, which is set without being kept under this name.
    more = [_ANY_DATE] if any(token.upper == b"OLD_SQL_MODE" for token in found) else []
    for at, token in enumerate(found):
        if token.kind == "string":
            modes = unquote(token.text).decode("ascii", "replace").split(",")
            kept = ",".join([mode for mode in modes if mode.strip().upper() not in unknown] + more)
            found[at] = Token("string", b"'" + kept.encode() + b"'")
    return found


def _fit_collations(found: list[Token], target: Target, notes: Notes) -> list[Token]:
    """Put a collation that is known here in the place of each that is not."""
    order = significant(found)
    for index, at in enumerate(order[:-1]):
        if found[at].kind != "word" or found[at].upper not in (b"COLLATE", b"COLLATION_CONNECTION"):
            continue
        value = order[index + 1]
        if found[value].text == b"=" and index + 2 < len(order):
            value = order[index + 2]
        token = found[value]
        name = unquote(token.text).decode("utf-8", "replace").lower()
        if token.kind == "other" or "_" not in name or name in target.collations:
            continue
        nearest = nearest_collation(name, target.collations)
        if nearest:
            notes.collations[name] = nearest
            found[value] = Token("word", nearest.encode())
    return found
