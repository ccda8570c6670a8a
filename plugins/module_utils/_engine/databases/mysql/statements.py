# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mysqldump`` and ``mariadb-dump`` write, cut into statements.

Statements are read token by token, as the server reads them, so that what stands in a literal is never taken for SQL.
Rows are not looked at: the programs escape every line feed in a literal, so an ``INSERT`` ends where a line ends with a
semicolon, whatever the literals hold.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import EnvSyncError
from ...streams.reader import BLOCK, Reader

#: the last line of a dump, before the date
TRAILER = b"-- Dump completed"

#: a line that may be one statement alone is shorter than this, in bytes
_SHORT = 300

#: a line that may be the trailer or a DELIMITER is shorter than this, in bytes
_LONGEST_LINE = 4096

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

INSERT = re.compile(
    rb"(?P<into>(?:INSERT|REPLACE)\s+(?:IGNORE\s+)?INTO\s+(?P<table>`(?:[^`]|``)*`))\s*"
    rb"(?P<columns>\((?:[^`()]|`(?:[^`]|``)*`)*\)\s*)?VALUES\b\s*",
    re.I,
)

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

CODE = frozenset(f"CREATE {kind}" for kind in ("VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "PACKAGE"))

#: statements that are fitted and run
_WANTED = (
    frozenset({"INSERT", "SET", "DO", "COMMIT", "START TRANSACTION", "ALTER TABLE", "ANALYZE TABLE"})
    | frozenset({"CREATE TABLE", "CREATE SEQUENCE", "ALTER DATABASE"})
    | frozenset(
        f"DROP {kind}" for kind in ("TABLE", "VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "SEQUENCE", "PACKAGE")
    )
    | CODE
)

#: statements that say where to restore, or lock it: that is decided here
UNWANTED = frozenset({"USE", "LOCK TABLES", "UNLOCK TABLES", "CREATE DATABASE", "DROP DATABASE", "CHANGE MASTER"})


@dataclass(frozen=True)
class Token:
    """``kind`` is ``space``, ``comment``, ``open`` or ``close`` (of a comment that is run), ``string``, ``name`` (in
    backquotes), ``word`` or ``other`` (one character).
    """

    kind: str
    text: bytes

    @property
    def upper(self) -> bytes:
        return self.text.upper()


def tokenise(text: bytes, backslash: bool = True) -> list[Token]:
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


def significant(found: Sequence[Token]) -> list[int]:
    """Return the positions of the tokens that mean something: neither space nor comments, nor their ends."""
    return [at for at, token in enumerate(found) if token.kind in ("string", "name", "word", "other")]


@dataclass(frozen=True)
class Statement:
    """One statement, without its delimiter; ``line`` is where it begins.

    ``kind`` is its verb in upper case, with the kind of object for ``CREATE``, ``ALTER``, ``DROP`` and the second word
    for a few others (``CREATE TABLE``, ``LOCK TABLES``, ``INSERT``). ``backslash`` says how its strings are to be read.
    """

    text: bytes
    line: int
    kind: str
    backslash: bool = True

    def tokens(self) -> list[Token]:
        return tokenise(self.text, self.backslash)


@functools.lru_cache(maxsize=256)
def _alone(line: bytes, backslash: bool) -> tuple[bytes, str] | None:
    """Return the statement that a line consists of, and its kind; None where it is not one alone.

    A dump of many tables is the same short lines many times over: its head, which each table's rows have.
    """
    text = line.strip()
    if not text.endswith(b";"):
        return None
    text = text[:-1].rstrip()
    found = tokenise(text, backslash)
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
            stripped = line.strip() if len(line) < _LONGEST_LINE else line
            if not stripped:
                continue
            self.completed = stripped.startswith(TRAILER)
            if stripped.startswith((b"-- ", b"#")) or stripped == b"--":
                continue
            change = _DELIMITER.match(stripped) if len(line) < _LONGEST_LINE else None
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
        if not INSERT.match(text):
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
                idle = ("space", "comment")
                if text.endswith(b"\n") and all(t.kind in idle for t in tokenise(rest, self._backslash)):
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
        found = tokenise(text, self._backslash)
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
            token.upper == b"SQL_MODE" for token in tokenise(setting, self._backslash)
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
        """Raise when a statement is not one that a dump of a database has: it could reach other schemas.

        :raises EnvSyncError: the message names the line, and nothing of its text but the kind of statement.
        """
        if statement.kind == "USE":
            used = next((unquote(token.text) for token in statement.tokens() if token.kind == "name"), b"")
            if self._used not in (b"", used):
                raise self._refused(statement.line, "a second database, and which of them is meant is not known")
            self._used = used
        known = statement.kind in _WANTED or statement.kind in UNWANTED
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


def object_name(statement: Statement) -> str:
    """Return the name of what a CREATE statement makes."""
    words = [token for token in statement.tokens() if token.kind in ("string", "name", "word", "other")]
    keyword = statement.kind.split()[1].encode()
    at = next(i for i, word in enumerate(words) if word.kind == "word" and word.upper == keyword)
    return unquote(words[at + 1].text).decode("utf-8", "replace")


def inserted_table(statement: bytes) -> str:
    """Return the name of the table that an INSERT of a dump is for."""
    match = INSERT.match(statement)
    return unquote(match["table"]).decode("utf-8", "replace") if match else ""
