# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mysqldump`` and ``mariadb-dump`` write: cut into statements, and these fitted to another server.

Statements are read token by token, as the server reads them, so that what stands in a literal is never taken for SQL.
Rows are not looked at: the programs escape every line feed in a literal, so an ``INSERT`` ends where a line ends with a
semicolon, whatever the literals hold.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Callable

from ...errors import EnvSyncError
from ...streams.reader import BLOCK, Reader
from .rows import Longest

#: the last line of a dump, before the date
TRAILER = b"-- Dump completed"

#: before each table's rows, in a dump of data
SECTION = b"\n--\n-- Dumping data for table "

#: and before each table's structure
_STRUCTURE = b"\n--\n-- Table structure for table "

#: a line that may be one statement alone is shorter than this, in bytes
_SHORT = 300

#: how much of a dump's end is looked at for the trailer, in bytes
_TAIL = 4096

#: a dump's head, with the structure of the first table, is no longer than this, in bytes
_LONGEST_HEAD = 1024 * 1024

# In a string a doubled quote stands for itself, and a backslash escapes (unless the SQL mode says otherwise).
_TOKEN = rb"""
 (?P<space>\s+)
|(?P<comment>/\*M?!999999.*?\*/|/\*(?!M?!).*?\*/|\#[^\n]*|--(?=\s|\Z)[^\n]*)
|(?P<open>/\*M?!\d*)
|(?P<close>\*/)
|(?P<string>%s)
|(?P<name>`(?:[^`]|``)*`)
|(?P<word>[A-Za-z0-9_\x80-\xff]+)
|(?P<other>.)
"""
_TOKENS = re.compile(_TOKEN % rb"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*\"""", re.X | re.S)
_TOKENS_PLAIN = re.compile(_TOKEN % rb"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""", re.X | re.S)

#: what begins a token that goes on after the text that there is
_UNFINISHED = (b"'", b'"', b"`", b"/*")

_INSERT = re.compile(
    rb"(?P<into>(?:INSERT|REPLACE)\s+(?:IGNORE\s+)?INTO\s+(?P<table>`(?:[^`]|``)*`))\s*"
    rb"(?P<columns>\((?:[^`()]|`(?:[^`]|``)*`)*\)\s*)?VALUES\b\s*",
    re.I,
)

#: one value of a row, as the dump programs write it: a number, NULL, 0x..., a string, maybe after its character set
_VALUE = rb"[^',()]*(?:'[^'\\]*(?:(?:\\.|'')[^'\\]*)*')?"
_DELIMITER = re.compile(rb"DELIMITER\s+(\S+)\s*\Z", re.I)

#: kinds of objects, as the second word of CREATE and DROP has them
OBJECTS = frozenset(
    {
        "TABLE",
        "VIEW",
        "TRIGGER",
        "PROCEDURE",
        "FUNCTION",
        "EVENT",
        "SEQUENCE",
        "PACKAGE",
        "DATABASE",
        "SCHEMA",
        "INDEX",
        "USER",
        "ROLE",
        "SERVER",
    }
)

_CODE = frozenset(f"CREATE {kind}" for kind in ("VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "PACKAGE"))

#: statements that are sent on, fitted
_WANTED = (
    frozenset({"INSERT", "SET", "DO", "COMMIT", "START TRANSACTION", "ALTER TABLE", "ANALYZE TABLE"})
    | frozenset({"CREATE TABLE", "CREATE SEQUENCE", "ALTER DATABASE"})
    | frozenset(
        f"DROP {kind}" for kind in ("TABLE", "VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "SEQUENCE", "PACKAGE")
    )
    | _CODE
)

#: statements that say where to restore, or lock it: that is decided here
_UNWANTED = frozenset({"USE", "LOCK TABLES", "UNLOCK TABLES", "CREATE DATABASE", "DROP DATABASE", "CHANGE MASTER"})

#: what a dump may set, and a restore must not: the server's own state, and whether replicas get the data
_NOT_SET = frozenset(
    {b"GLOBAL", b"PERSIST", b"PERSIST_ONLY", b"GTID_PURGED", b"SQL_LOG_BIN", b"MYSQLDUMP_TEMP_LOG_BIN", b"PASSWORD"}
)

#: SQL modes that only one flavour knows, or no longer knows
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
_MYSQL_MODES = frozenset({"TIME_TRUNCATE_FRACTIONAL"})

#: the SQL mode that takes days which a month has not
_ANY_DATE = "ALLOW_INVALID_DATES"

Account = tuple[bytes, bytes]


@dataclass(frozen=True)
class Token:
    """``kind`` is the name of a group of ``_TOKEN``."""

    kind: str
    text: bytes

    @property
    def upper(self) -> bytes:
        return self.text.upper()


def tokens(text: bytes, backslash: bool = True) -> list[Token]:
    """Return all tokens of a statement; joined, their texts are the statement.

    :param backslash: whether a backslash escapes in a string (not with the SQL mode NO_BACKSLASH_ESCAPES).
    """
    pattern = _TOKENS if backslash else _TOKENS_PLAIN
    return [Token(str(match.lastgroup), match.group()) for match in pattern.finditer(text)]


def unquote(token: bytes) -> bytes:
    """Return the name or the account's part that a token stands for."""
    if token[:1] in (b"`", b"'", b'"') and len(token) > 1:
        return token[1:-1].replace(token[:1] * 2, token[:1])
    return token


@dataclass(frozen=True)
class Statement:
    """One statement, without its delimiter; ``line`` is where it begins. ``kind`` is as in ``_WANTED``, or its words.

    ``backslash`` says how its strings are to be read.
    """

    text: bytes
    line: int
    kind: str
    backslash: bool = True

    def tokens(self) -> list[Token]:
        return tokens(self.text, self.backslash)


@functools.lru_cache(maxsize=256)
def _alone(line: bytes, backslash: bool) -> tuple[bytes, str] | None:
    """Return the statement that a line consists of, and its kind; None where it is not one alone.

    A dump of many tables is the same short lines many times over: its head, which each table's rows have.
    """
    text = line.strip()
    if not text.endswith(b";"):
        return None
    text = text[:-1].rstrip()
    found = tokens(text, backslash)
    if any(token.text.startswith((*_UNFINISHED, b";")) and token.kind == "other" for token in found):
        return None
    words = [token for token in found if token.kind not in ("space", "comment", "open", "close")]
    kind = _kind(words) if words else ""
    return (text, kind) if kind == "SET" else None


class Script:
    """The statements of a dump, one after the other, as it is read.

    ``completed`` says, at the end, that the last line was the trailer.

    :param name: what messages call the dump.
    """

    def __init__(self, source: Reader, name: str) -> None:
        self._lines = _lines(source)
        self._name = name
        self._line = 0
        self._delimiter = b";"
        self._backslash = True
        self._used = b""
        self.completed = False

    def __iter__(self) -> Iterator[Statement]:
        """Yield the statements.

        :raises EnvSyncError: the dump ends in the middle of one, or there is no trailer.
        """
        for line in self._lines:
            self._line += 1
            stripped = line.strip() if len(line) < _TAIL else line
            if not stripped:
                continue
            self.completed = stripped.startswith(TRAILER)
            if stripped.startswith((b"-- ", b"#")) or stripped == b"--":
                continue
            change = _DELIMITER.match(stripped) if len(line) < _TAIL else None
            if change:
                self._delimiter = change.group(1)
            elif self._delimiter == b";" and line[:7].upper() in (b"INSERT ", b"REPLACE"):
                yield self._rows(line)
            else:
                yield from self._others(line)
        if not self.completed:
            raise EnvSyncError(
                f"reading {self._name}",
                "it does not end with the line that mysqldump writes last: it is truncated",
                "Choose another point (--list shows them) or push again.",
            )

    def _rows(self, first: bytes) -> Statement:
        """Return the INSERT that begins here: it goes on to the line that ends with a semicolon."""
        began, parts = self._line, [first]
        while not parts[-1].endswith((b";\n", b";\r\n", b";")):
            parts.append(self._next(began))
        text = parts[0] if len(parts) == 1 else b"".join(parts)
        if not _INSERT.match(text):
            raise self._refused(began, "an INSERT of another form than mysqldump's")
        return Statement(text.rstrip(b"\r\n").rstrip(b";"), began, "INSERT")

    def _others(self, line: bytes) -> Iterator[Statement]:
        """Yield the statements that begin in this line; the last one may go on in the following ones."""
        known = _alone(line, self._backslash) if self._delimiter == b";" and len(line) < _SHORT else None
        if known is not None:
            yield Statement(known[0], self._line, known[1], self._backslash)
            self._obey(known[0])
            return
        began, text, start, position = self._line, line, 0, 0
        while True:
            end = self._end(text, position)
            if end < 0:  # not in what there is: on from the token that is not finished
                rest = text[start:]
                if text.endswith(b"\n") and all(t.kind in ("space", "comment") for t in tokens(rest, self._backslash)):
                    return
                position = -end - 1
                text += self._next(began)
                continue
            yield from self._statement(text[start:end], began)
            start = position = end + len(self._delimiter)
            began = self._line
            if not text[start:].strip():
                return

    def _end(self, text: bytes, position: int) -> int:
        """Return where the delimiter is; -1 and less: nowhere, and where to go on looking is ``-result - 1``."""
        pattern = _TOKENS if self._backslash else _TOKENS_PLAIN
        while position < len(text):
            if text.startswith(self._delimiter, position):
                return position
            match = pattern.match(text, position)
            if match is None:  # can't be: the last alternative takes anything
                return position
            if match.lastgroup == "other" and text.startswith(_UNFINISHED, position):
                return -position - 1
            position = match.end()
        return -position - 1

    def _statement(self, text: bytes, line: int) -> Iterator[Statement]:
        found = tokens(text, self._backslash)
        words = [token for token in found if token.kind not in ("space", "comment", "open", "close")]
        if not words:
            return
        statement = Statement(text.strip(), line, _kind(words), self._backslash)
        yield statement
        if statement.kind == "SET":
            self._obey(text)

    def _obey(self, setting: bytes) -> None:
        """Note what a SET changes about how the statements after it are to be read."""
        if b"SQL_MODE" in setting.upper() and any(
            token.upper == b"SQL_MODE" for token in tokens(setting, self._backslash)
        ):
            self._backslash = b"NO_BACKSLASH_ESCAPES" not in setting.upper()

    def _next(self, began: int) -> bytes:
        try:
            line = next(self._lines)
        except StopIteration:
            raise EnvSyncError(
                f"reading {self._name}",
                f"it ends in the middle of the statement of line {began}: it is truncated",
                "Choose another point (--list shows them) or push again.",
            ) from None
        self._line += 1
        self.completed = False
        return line

    def _refused(self, line: int, what: str) -> EnvSyncError:
        return EnvSyncError(f"reading {self._name}", f"line {line} has {what}", "Restore it by hand.")

    def refuse_unknown(self, statement: Statement) -> None:
        """Raise when a statement is none that a dump of a database has: it could reach outside of the scratch one."""
        if statement.kind == "USE":
            used = next((unquote(token.text) for token in statement.tokens() if token.kind == "name"), b"")
            if self._used not in (b"", used):
                raise self._refused(statement.line, "a second database, and which of them is meant is not known")
            self._used = used
        known = statement.kind in _WANTED or statement.kind in _UNWANTED
        # DROP takes several names; a dump's has one, and only that one's schema is looked at.
        if known and statement.kind.startswith("DROP") and any(token.text == b"," for token in statement.tokens()):
            known = False
        if statement.kind == "DO":
            known = _sets_sequence(statement)
        if not known:
            raise self._refused(statement.line, f"a statement that is not of a database's dump ({statement.kind})")


def _sets_sequence(statement: Statement) -> bool:
    """Say whether a DO is the one that mariadb-dump writes, ``DO SETVAL(name, number, number)``: others call code."""
    shape = [
        "name" if token.kind == "name" else "number" if token.text.isdigit() else token.text.decode("ascii", "replace")
        for token in statement.tokens()
        if token.kind not in ("space", "comment") and token.text != b"-"
    ]
    arguments = ["(", "name", ",", "number", ",", "number", ")"]
    return [word.upper() for word in shape[:2]] == ["DO", "SETVAL"] and shape[2:] in (
        arguments,
        ["(", "name", ".", *arguments[1:]],
    )


def _lines(source: Reader) -> Iterator[bytes]:
    parts: list[bytes] = []
    while True:
        block = source.read(BLOCK)
        if not block:
            break
        lines = block.split(b"\n")
        for line in lines[:-1]:
            parts.append(line)
            yield b"".join(parts) + b"\n"
            parts = []
        if lines[-1]:
            parts.append(lines[-1])
    if parts:
        yield b"".join(parts)


def _kind(words: Sequence[Token]) -> str:
    """Return what kind of statement begins with these tokens."""
    first = words[0].upper.decode("ascii", "replace")
    if first in ("CREATE", "DROP", "ALTER"):
        found = next((t.upper.decode() for t in words[1:25] if t.kind == "word" and t.upper.decode() in OBJECTS), "")
        return f"{first} {'DATABASE' if found == 'SCHEMA' else found}"
    if first in ("INSERT", "REPLACE"):
        return "INSERT of another form than mysqldump's"
    if first in ("LOCK", "UNLOCK", "START", "ANALYZE", "CHANGE") and len(words) > 1:
        second = words[1].upper.decode("ascii", "replace")
        return f"{first} {'TABLES' if second == 'TABLE' and first != 'ANALYZE' else second}"
    return first


@dataclass
class Notes:
    """What was changed on the way, for the operator, and what has to be known later."""

    definers: set[str] = field(default_factory=set)
    collations: dict[str, str] = field(default_factory=dict)
    enabled_events: set[bytes] = field(default_factory=set)

    def warnings(self) -> list[str]:
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
    """What a dump is fitted to: a schema of a server, as a user who may do this and that.

    ``database`` is the name of the database at its source; ``definers`` the accounts that objects may belong to.
    """

    schema: str
    database: str
    mariadb: bool
    collations: frozenset[str]
    definers: frozenset[Account]


def fit(statement: Statement, target: Target, notes: Notes) -> bytes | None:
    """Return the statement as it is to be run on the target; None when it is not to be run there at all."""
    if statement.kind == "INSERT":
        return statement.text
    if statement.kind in _UNWANTED:
        return None
    found = statement.tokens()
    if statement.kind == "SET":
        if any(token.upper in _NOT_SET for token in found):
            return None
        found = _fit_modes(found, target)
    if statement.kind in _CODE or statement.kind.startswith(("ALTER", "DROP", "CREATE")):
        found = unqualified(found, statement.kind, target.schema)
    if statement.kind in _CODE:
        found = _fit_definer(found, target, notes)
    if statement.kind == "CREATE EVENT":
        found = _disabled(found, notes)
    if statement.kind in ("CREATE TABLE", "CREATE SEQUENCE", "DO"):
        found = without_schema(found, target.database)
    elif statement.kind == "CREATE VIEW":
        found = without_schema(found, target.database, functions_only=True)
    found = _fit_collations(found, target, notes)
    return b"".join(token.text for token in found)


def inserted_table(statement: bytes) -> str:
    """Return the name of the table that an INSERT of a dump is for."""
    match = _INSERT.match(statement)
    return unquote(match["table"]).decode("utf-8", "replace") if match else ""


def without_values(statement: bytes, columns: Sequence[str], unwanted: frozenset[str]) -> bytes | None:
    """Return an INSERT without the values of some columns; None where its rows can't be read.

    :param columns: all columns of the table, in their order: those that the INSERT is for when it names none.
    """
    head = _INSERT.match(statement)
    if head is None:
        return None
    if head["columns"]:
        named = [token for token in tokens(head["columns"]) if token.kind in ("name", "word")]
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


def _significant(found: Sequence[Token]) -> list[int]:
    """Return where the tokens are that mean something."""
    return [at for at, token in enumerate(found) if token.kind in ("string", "name", "word", "other")]


def _without(found: Sequence[Token], positions: Sequence[int]) -> list[Token]:
    gone = set(positions)
    return [token for at, token in enumerate(found) if at not in gone]


def unqualified(found: list[Token], kind: str, schema: str) -> list[Token]:
    """Take the schema away from the name of the object itself: the statement is run in ``schema``.

    A trigger is stored as it was written, maybe with the schema's name before its own and its table's.
    """
    order = _significant(found)
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
    order = _significant(found)
    gone: list[int] = []
    for one, two, three, four in zip(order, order[1:], order[2:], [*order[3:], -1]):
        named = found[one].kind == "name" and unquote(found[one].text) == schema.encode() and found[two].text == b"."
        called = four == three + 1 and found[four].text == b"("
        if named and (called or not functions_only):
            gone += [one, two]
    return _without(found, gone)


def _fit_definer(found: list[Token], target: Target, notes: Notes) -> list[Token]:
    """Take DEFINER away where it names an account that objects can't be given to here."""
    order = _significant(found)
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
    order = _significant(found)
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
    for at in _significant(found):
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
    order = _significant(found)
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


# utf8mb4_sv_0900_ai_ci; utf8mb4_uca1400_swedish_nopad_ai_ci
_COLLATION = re.compile(
    r"(?P<charset>[a-z0-9]+)_(?:(?P<code>[a-z_]+)_)?"
    r"(?:0900|uca1400(?:_(?P<language>(?!nopad)[a-z0-9]+))?(?:_nopad)?)_(?P<rest>ai_ci|as_ci|as_cs|ai_cs|bin)"
)

#: MySQL's codes of languages, and MariaDB's names of them
_LANGUAGES = {
    "cs": "czech",
    "da": "danish",
    "de_pb": "german2",
    "eo": "esperanto",
    "es": "spanish",
    "es_trad": "spanish2",
    "et": "estonian",
    "hr": "croatian",
    "hu": "hungarian",
    "is": "icelandic",
    "la": "roman",
    "lt": "lithuanian",
    "lv": "latvian",
    "pl": "polish",
    "ro": "romanian",
    "sk": "slovak",
    "sl": "slovenian",
    "sv": "swedish",
    "tr": "turkish",
    "vi": "vietnamese",
}


def nearest_collation(name: str, known: frozenset[str]) -> str:
    """Return the collation that sorts and compares most like this one, of those known; empty when there is none.

    MySQL's ``utf8mb4_0900_*`` and MariaDB's ``utf8mb4_uca1400_*`` are each other's; older servers have neither. What
    tells letters apart is never answered by what does not: unique keys hold.
    """
    charset, _unused, rest = name.partition("_")
    match = _COLLATION.fullmatch(name)
    if match:
        rest = match["rest"]
        codes = {language: code for code, language in _LANGUAGES.items()}
        code = match["code"] or codes.get(match["language"] or "", "")
        language = match["language"] or _LANGUAGES.get(code, "")
        options = [f"{charset}_{code}_0900_{rest}"] if code else []
        options += [f"{charset}_uca1400_{language}_{pad}{rest}" for pad in ("nopad_", "") if language]
        options += [f"{charset}_{older}{rest}" for older in ("0900_", "uca1400_nopad_", "uca1400_")]
        if rest == "ai_ci":
            options += [f"{charset}_{language}_ci"] if language else []
            options += [f"{charset}_unicode_520_ci", f"{charset}_unicode_ci", f"{charset}_general_ci"]
        else:
            options += [f"{charset}_nopad_bin", f"{charset}_bin"]
    elif charset in ("utf8mb3", "utf8"):
        options = [f"{'utf8' if charset == 'utf8mb3' else 'utf8mb3'}_{rest}", f"{charset}_general_ci"]
    else:
        blind = rest.endswith("_ci") and not rest.endswith("_as_ci")
        options = [f"{charset}_general_ci" if blind else f"{charset}_bin"]
    return next((option for option in options if option in known), "")


class Complete:
    """A dump on its way to the store: its end is given out only when it is the trailer."""

    def __init__(self, source: Reader, doing: str) -> None:
        self._source = source
        self._doing = doing
        self._tail = b""
        self.longest = Longest()

    def read(self, size: int) -> bytes:
        block = self._source.read(size)
        if block:
            self.longest.look(block)
            self._tail = (self._tail + block[-_TAIL:])[-_TAIL:]
        else:
            require_trailer(self._tail, self._doing)
        return block

    def close(self) -> None:
        self._source.close()


class Listed:
    """A dump on its way to the store; ``look`` is called once the program has listed what there is to dump.

    It asks for the list, and then writes the structure of the first table, or its trailer where there is none.
    """

    def __init__(self, source: Reader, look: Callable[[], None]) -> None:
        self._source = source
        self._look = look
        self._looked = False
        self._tail = b""

    def read(self, size: int) -> bytes:
        block = self._source.read(size)
        if not self._looked:
            text = self._tail + block
            self._tail = text[1 - len(_STRUCTURE) :]
            if not block or _STRUCTURE in text:
                self._looked = True
                self._look()
        return block

    def close(self) -> None:
        self._source.close()


def require_trailer(tail: bytes, doing: str) -> None:
    """Raise unless the end of a dump is the trailer's line."""
    if not tail.rstrip().rpartition(b"\n")[2].startswith(TRAILER):
        raise EnvSyncError(doing, "the dump program ended without its last line (-- Dump completed)", "Push again.")


class Sections:
    """A dump of several tables, cut into one dump of rows for each: all with the same head and a trailer.

    What it has of the tables' structure is left out. A line feed in a row is always escaped, so what divides the tables
    can't be data.
    """

    def __init__(self, source: Reader, doing: str) -> None:
        self._source = source
        self._doing = doing
        self._buffer = b""
        self._head = b""
        self._tail = b""
        self._eof = False
        self.longest = Longest()

    def begin(self) -> None:
        """Read on to the first table: from then on the program has its snapshot."""
        while SECTION not in self._buffer and not self._eof and len(self._buffer) < _LONGEST_HEAD:
            self._fill()
        at = self._divider()
        if at >= 0:
            self._head, self._buffer = self._buffer[:at], self._buffer[at:]

    def next(self) -> Section | None:
        """Return the next table's part, to be read to its end before the one after it; None when there is no more."""
        while not self._buffer.startswith(SECTION):
            at = self._buffer.find(SECTION)
            if at < 0 and self._eof:
                return None
            self._buffer = self._buffer[at if at >= 0 else 1 - len(SECTION) :]
            if at < 0:
                self._fill()
        self._buffer = self._buffer[len(SECTION) :]
        while b"\n" not in self._buffer and not self._eof:
            self._fill()
        return Section(self, self._head + SECTION, self._buffer.partition(b"\n")[0])

    def _fill(self) -> None:
        block = self._source.read(BLOCK)
        self.longest.look(block)
        self._buffer += block
        self._eof = not block
        self._tail = (self._tail + block[-_TAIL:])[-_TAIL:]
        if self._eof:
            require_trailer(self._tail, self._doing)

    def _divider(self) -> int:
        """Return where in the buffer the rows of another table begin, or its structure; -1: nowhere."""
        found = [at for at in (self._buffer.find(SECTION), self._buffer.find(_STRUCTURE)) if at >= 0]
        return min(found, default=-1)

    def take(self) -> tuple[bytes, bool]:
        """Return the next bytes of the table, and whether they are its last."""
        kept = max(len(SECTION), len(_STRUCTURE)) - 1
        while len(self._buffer) <= kept and not self._eof:
            self._fill()
        at = self._divider()
        if at >= 0:
            taken, self._buffer = self._buffer[:at], self._buffer[at:]
            return taken + b"\n" + TRAILER + b"\n", True
        if self._eof:
            taken, self._buffer = self._buffer, b""
            return taken, True
        taken, self._buffer = self._buffer[:-kept], self._buffer[-kept:]
        return taken, False

    def close(self) -> None:
        self._source.close()


class Section:
    """One table's part of a dump of several.

    :param title: the table's name, as the program has it in the comment before the rows.
    """

    def __init__(self, sections: Sections, head: bytes, title: bytes) -> None:
        self.title = title
        self._sections = sections
        self._given = memoryview(head)
        self._last = False

    def read(self, size: int) -> bytes:
        while not self._given and not self._last:
            taken, self._last = self._sections.take()
            self._given = memoryview(taken)
        block, self._given = bytes(self._given[:size]), self._given[size:]
        return block

    def close(self) -> None:
        """Nothing: the dump goes on with the next table."""


def object_name(statement: Statement) -> str:
    """Return the name of what a CREATE statement makes."""
    words = [token for token in statement.tokens() if token.kind in ("string", "name", "word", "other")]
    keyword = statement.kind.split()[1].encode()
    at = next(i for i, word in enumerate(words) if word.kind == "word" and word.upper == keyword)
    return unquote(words[at + 1].text).decode("utf-8", "replace")
