# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An operator's SQL script, cut into statements as the client programs cut it.

What the client would do by itself is either done here too (``DELIMITER``, ``\\g``), without meaning (``status``), or an
error that says so: a script that ends early, writes rows to a file or starts a program can't be taken at its word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import EnvSyncError
from .statements import OBJECTS, Token, unquote

# As in statements.py, but a `$` belongs to a word, and strings may be long.
_TOKEN = rb"""
 (?P<space>\s+)
|(?P<comment>/\*(?!M?!).*?\*/|\#[^\n]*|--(?=[\s\x00-\x1f]|\Z)[^\n]*)
|(?P<open>/\*M?!\d*)
|(?P<close>\*/)
|(?P<string>%s)
|(?P<name>`[^`]*(?:``[^`]*)*`)
|(?P<word>[A-Za-z0-9_$\x80-\xff]+)
|(?P<other>.)
"""
_TOKENS = re.compile(_TOKEN % rb"""'[^'\\]*(?:(?:\\.|'')[^'\\]*)*'|"[^"\\]*(?:(?:\\.|"")[^"\\]*)*\"""", re.X | re.S)
_TOKENS_PLAIN = re.compile(_TOKEN % rb"""'[^']*(?:''[^']*)*'|"[^"]*(?:""[^"]*)*\"""", re.X | re.S)

#: what a token begins with that goes on to the end of the script, and what that is called
_UNFINISHED = {b"'": "a string", b'"': "a string", b"`": "a name", b"/*": "a comment"}

#: byte order marks of text that is not UTF-8
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

_UTF8_MARK = b"\xef\xbb\xbf"

#: commands of the client programs that change only what it shows, with their short forms
_SHOWN = {"warnings": "W", "nowarning": "w", "status": "s", "print": "p", "rehash": "#", "prompt": "R", "help": "h"}
_SHOWN.update({"nopager": "n", "notee": "t", "costs": "", "query_attributes": ""})

#: commands that a script must not have, with their short forms, and why
_REFUSED = {
    "exit": ("q", "ends the script before its end: what follows would not run"),
    "quit": ("q", "ends the script before its end: what follows would not run"),
    "clear": ("c", "cancels the statement before it: that would not run"),
    "connect": ("r", "leaves the session, and may go to another database"),
    "resetconnection": ("x", "resets the session"),
    "source": (".", "runs another file, which nobody has looked at"),
    "system": ("!", "runs a program"),
    "edit": ("e", "starts an editor"),
    "pager": ("P", "sends rows to a program"),
    "tee": ("T", "writes rows to a file"),
    "sandbox": ("-", "changes what the client may do"),
    "charset": ("C", "says what the client takes the script for: SET NAMES says it to the server"),
    "ego": ("G", "stands alone"),
    "go": ("g", "stands alone"),
}
_SHORT = {short: (long, why) for long, (short, why) in _REFUSED.items() if long not in ("exit", "ego", "go")}

_COMMAND = re.compile(rb"[ \t]*([A-Za-z_]+)(?![A-Za-z0-9_$\x80-\xff.`])")

#: first words of statements that are made of statements
_PROGRAMS = frozenset({"PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"})
_COMPOUND = frozenset({"IF", "CASE", "LOOP", "REPEAT", "WHILE", "FOR", "DECLARE"})


@dataclass(frozen=True)
class Part:
    """One statement as the server sees it: its significant tokens, and the line where it begins.

    ``kind`` is its verb in upper case, with the second word for ``CREATE``, ``ALTER``, ``DROP`` and a few others.
    """

    kind: str
    tokens: tuple[Token, ...]
    line: int


@dataclass(frozen=True)
class Statement:
    """What the client would send at once, without its delimiter; ``line`` is where it begins.

    ``parts`` are the statements in it, several where the delimiter is another one than the semicolon. The statements
    of a stored program's body are no parts of their own.
    """

    text: bytes
    line: int
    parts: tuple[Part, ...]

    @property
    def tokens(self) -> tuple[Token, ...]:
        return tuple(token for part in self.parts for token in part.tokens)


class Script:
    """The statements of a script, one after the other.

    ``text`` has its bytes, without a byte order mark. ``backslash`` says whether a backslash escapes in a string: it is
    set by whoever runs the statements, or followed here where nobody does.

    :param path: where the operator has the script, for messages.
    :param follow: take ``SET sql_mode`` at its word, as no server says what is in force.
    """

    def __init__(self, content: bytes, path: str, doing: str, follow: bool = False) -> None:
        self.path = path
        self.doing = doing
        self._follow = follow
        self.text = content[len(_UTF8_MARK) :] if content.startswith(_UTF8_MARK) else content
        self._delimiter = b";"
        self._counted = (0, 1)
        self.backslash = True

    def __iter__(self) -> Iterator[Statement]:
        """Yield the statements.

        :raises EnvSyncError: there is a command of the client's that a script must not have, or a comment, a string or
            a quoted name that never ends.
        """
        if self.text.startswith(_UTF16) or b"\0" in self.text:
            raise EnvSyncError(self.doing, f"{self.path} is not UTF-8 text", "Save it as UTF-8.")
        position = 0
        while True:
            position = self._skip(position)
            if position >= len(self.text):
                return
            after = self._command(position)
            if after >= 0:
                position = after
                continue
            statement, position = self._statement(position)
            if statement is not None:
                yield statement
                if self._follow and statement.parts[0].kind == "SET" and _sets_mode(statement):
                    self.backslash = b"NO_BACKSLASH_ESCAPES" not in statement.text.upper()

    def refused(self, line: int, why: str, hint: str = "Correct the script.") -> EnvSyncError:
        """Return the error for what stands in a line."""
        return EnvSyncError(self.doing, f"{self.path}, line {line}: {why}", hint)

    def _line(self, position: int) -> int:
        """Return the line of a position; positions are asked for in rising order."""
        at, line = self._counted
        if position < at:
            at, line = 0, 1
        line += self.text.count(b"\n", at, position)
        self._counted = (position, line)
        return line

    def _match(self, position: int) -> re.Match[bytes]:
        match = (_TOKENS if self.backslash else _TOKENS_PLAIN).match(self.text, position)
        if match is None:  # can't be: the last alternative takes anything
            raise self.refused(self._line(position), "this can't be read")
        if match.lastgroup == "other":
            for begin, what in _UNFINISHED.items():
                if self.text.startswith(begin, position):
                    raise self.refused(self._line(position), f"{what} begins that never ends")
        return match

    def _skip(self, position: int) -> int:
        """Return where the next statement or command begins."""
        while position < len(self.text):
            if self.text.startswith(self._delimiter, position):
                position += len(self._delimiter)
                continue
            match = self._match(position)
            if match.lastgroup not in ("space", "comment"):
                break
            position = match.end()
        return position

    def _command(self, position: int) -> int:
        """Take a command of the client's that begins here; return where it ends, -1 where there is none."""
        match = _COMMAND.match(self.text, position)
        word = match.group(1).decode().lower() if match else ""
        begin = match.end() if match else position
        short = self.text[position : position + 2]
        if short == b"\\d":
            word, begin = "delimiter", position + 2
        elif short in (b"\\u", b"\\U"):
            raise self.refused(self._line(position), "\\u changes the database", _NOT_OURS)
        end = self.text.find(b"\n", begin)
        end = len(self.text) if end < 0 else end
        if word == "delimiter":
            wanted = self.text[begin:end].split()
            if not wanted or b"\\" in wanted[0]:
                raise self.refused(self._line(position), "DELIMITER names none that can be used")
            self._delimiter = _unquoted(wanted[0])
            return end
        if word in _REFUSED:
            raise self.refused(self._line(position), f"{word} {_REFUSED[word][1]}", _NOT_OURS)
        if word in _SHOWN or (short[:1] == b"\\" and short[1:].decode("latin-1") in _SHOWN.values()):
            stop = self.text.find(self._delimiter, begin, end)
            return end if stop < 0 else stop + len(self._delimiter)
        return -1

    def _statement(self, position: int) -> tuple[Statement | None, int]:
        """Return the statement that begins here, and where the next one may."""
        start, text = position, self.text
        found: list[tuple[Token, int]] = []
        while position < len(text):
            if text.startswith(self._delimiter, position):
                return self._made(start, position, found), position + len(self._delimiter)
            if text.startswith(b"\\", position):
                letter = text[position + 1 : position + 2].decode("latin-1")
                if letter in ("g", "G"):
                    return self._made(start, position, found), position + 2
                self._refuse_short(letter, position)
                position += 2
                found.append((Token("word", b"NULL"), position))  # \N is what the server takes for NULL
                continue
            match = self._match(position)
            end = match.end()
            if match.lastgroup in ("word", "space", "other"):
                inside = text.find(self._delimiter, position, end)
                end = end if inside < 0 else inside
            if match.lastgroup not in ("space", "comment", "open", "close"):
                found.append((Token(str(match.lastgroup), text[position:end]), position))
            position = end
        return self._made(start, position, found), position

    def _refuse_short(self, letter: str, position: int) -> None:
        if letter == "N" or letter in _SHOWN.values():
            return
        long, why = _SHORT.get(letter, ("", "is no command that a script can have"))
        said = f"\\{letter} ({long}) {why}" if long else f"\\{letter} {why}"
        raise self.refused(self._line(position), said, _NOT_OURS)

    def _made(self, start: int, end: int, found: list[tuple[Token, int]]) -> Statement | None:
        if not found:
            return None
        line = self._line(found[0][1])
        parts: list[Part] = []
        tokens = [token for token, _at in found]
        if is_program(tokens):
            parts.append(Part(_kind(tokens), tuple(tokens), line))
        else:
            begin = 0
            for index in range(len(found) + 1):
                if index < len(found) and found[index][0].text != b";":
                    continue
                if index > begin:
                    some = tokens[begin:index]
                    parts.append(Part(_kind(some), tuple(some), self._line(found[begin][1])))
                begin = index + 1
        return Statement(self.text[start:end], line, tuple(parts)) if parts else None


_NOT_OURS = "Take it out of the script: the pull decides where and how far the script runs."


def _sets_mode(statement: Statement) -> bool:
    return any(token.kind == "word" and token.upper == b"SQL_MODE" for token in statement.tokens)


def _unquoted(text: bytes) -> bytes:
    return text[1:-1] if len(text) > 2 and text[:1] in b"'\"`" and text[-1:] == text[:1] else text


def words(tokens: Sequence[Token], limit: int = 30) -> list[str]:
    """Return the first tokens' texts in upper case; a quoted name or string is none that could be a keyword."""
    return [
        token.upper.decode("utf-8", "replace") if token.kind in ("word", "other") else "" for token in tokens[:limit]
    ]


def named(tokens: tuple[Token, ...], at: int) -> str:
    """Return the name that begins at a token, without the schema before it."""
    while at + 2 < len(tokens) and tokens[at + 1].text == b".":
        at += 2
    return (
        unquote(tokens[at].text).decode("utf-8", "replace")
        if at < len(tokens) and tokens[at].kind in ("word", "name", "string")
        else ""
    )


def made_by(part: Part, keyword: str) -> str:
    """Return the name after a keyword (``TABLE``) and ``IF [NOT] EXISTS``, as of what a CREATE makes."""
    found = words(part.tokens)
    at = found.index(keyword) + 1 if keyword in found else len(found)
    while at < len(found) and found[at] in ("IF", "NOT", "EXISTS"):
        at += 1
    return named(part.tokens, at)


def is_program(tokens: Sequence[Token]) -> bool:
    """Say whether a statement has statements in it: it makes a stored program, or is a compound statement."""
    first = words(tokens)
    if first[0] in ("CREATE", "ALTER"):
        made = next((word for word in first[1:] if word in OBJECTS), "")
        return made in _PROGRAMS
    labelled = len(first) > 2 and first[1] == ":" and (first[2] == "BEGIN" or first[2] in _COMPOUND)
    return first[0] in _COMPOUND or first[:3] == ["BEGIN", "NOT", "ATOMIC"] or labelled


def _kind(tokens: Sequence[Token]) -> str:
    found = words(tokens)
    while found and found[0] == "(":
        found.pop(0)
    if not found:
        return ""
    first = found[0]
    if first == "WITH":
        return _after_with(tokens)
    if first in ("CREATE", "DROP", "ALTER"):
        if first == "CREATE" and "TEMPORARY" in found[1:4]:
            return "CREATE TEMPORARY"
        made = next((word for word in found[1:] if word in OBJECTS), "")
        return f"{first} {'DATABASE' if made == 'SCHEMA' else made}".strip()
    if first in ("LOAD", "ROLLBACK", "START", "ANALYZE", "XA", "EXECUTE", "SET", "BEGIN") and len(found) > 1:
        second = found[1]
        if first in ("LOAD", "START", "XA"):
            return f"{first} {second}"
        if first == "ANALYZE" and second not in ("TABLE", "LOCAL", "NO_WRITE_TO_BINLOG"):
            return "ANALYZE STATEMENT"  # MariaDB's runs the statement
        if first == "ROLLBACK" and "TO" in found[1:3]:
            return "ROLLBACK TO"
        if (first, second) == ("EXECUTE", "IMMEDIATE"):
            return "EXECUTE IMMEDIATE"
        if first == "SET" and "STATEMENT" in found[1:2] and "FOR" in found:
            return "SET STATEMENT"  # MariaDB's: SET STATEMENT a = 1 FOR UPDATE ...
        if first == "BEGIN" and second == "NOT":
            return "COMPOUND"
    return first


def _after_with(tokens: Sequence[Token]) -> str:
    """Return the verb that follows the common table expressions."""
    depth = 0
    for token in tokens:
        if token.kind == "other" and token.text in b"()":
            depth += 1 if token.text == b"(" else -1
        elif depth == 0 and token.kind == "word" and token.upper in (b"SELECT", b"UPDATE", b"DELETE"):
            return token.upper.decode()
    return "SELECT"
