# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A script as ``psql`` reads it: what is SQL, what is a command of psql's own, and what is only text or data.

The rules are those of ``psqlscan.l`` and ``psqlscanslash.l``, with ``standard_conforming_strings`` on.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass

#: more words of one statement are not kept
_WORDS = 64

_TOKEN = re.compile(
    r"""(?P<space>[ \t\n\r\f\v]+)
      | (?P<line>--[^\n\r]*)
      | (?P<block>/\*)
      | (?P<escaped>[eE]')
      | (?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)
      | (?P<string>')
      | (?P<name>")
      | (?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)
      | (?P<force>\\[;:])
      | (?P<command>\\)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")
_ESCAPED = re.compile(r"[^'\\]*(?:(?:\\.|'')[^'\\]*)*'", re.DOTALL)
#: what joins a string to one on a later line, which then has the first one's kind
_JOIN = re.compile(r"(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*'")
_COMMAND = re.compile(r"[^\s\\]*")
_ARGUMENT = re.compile(r"'(?:[^'\\\n]|\\[^\n]|'')*'?|\"[^\"\n]*\"?|`[^`\n]*`?|[^\\\n'\"`]+")
_END_OF_DATA = re.compile(r"^\\\.\r?$", re.MULTILINE)

#: commands whose arguments are the rest of the line, whatever it holds
_WHOLE_LINE = frozenset({"copy", "!", "ef", "ev", "sf", "sf+", "sv", "sv+", "h", "help"})
#: commands that send the statement before them
_SENDS = frozenset({"g", "gx", "gset", "gexec", "gdesc", "crosstabview", "watch", "parse", "bindx"})


@dataclass(frozen=True)
class Command:
    """A command of psql's own.

    ``start`` and ``end`` are where it stands (from the backslash to the end of its arguments); ``arguments`` is its
    text after the name, as it stands there. ``depth`` is how many ``\\if`` it is in.
    """

    name: str
    arguments: str
    line: int
    start: int
    end: int
    depth: int


@dataclass(frozen=True)
class Statement:
    """A statement that goes to the server: its first words in lower case, quoted names and texts left out."""

    words: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Lexed:
    """What a script holds.

    ``lines`` is how many lines it has. ``pending`` is where the last statement ends if it has no semicolon, else -1;
    ``last`` is where the last token begins. ``unfinished`` says what the script's end is in the middle of (a string...)
    and is empty where it is in the middle of nothing; that began in line ``unfinished_line``.
    """

    commands: tuple[Command, ...]
    statements: tuple[Statement, ...]
    lines: int
    pending: int
    last: int
    unfinished: str
    unfinished_line: int


def lex(text: str) -> Lexed:
    """Read a script, whose bytes ``text`` has as characters (Latin-1)."""
    lexer = _Lexer(text)
    lexer.run()
    return lexer.result()


class _Lexer:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._commands: list[Command] = []
        self._statements: list[Statement] = []
        self._words: list[str] = []
        self._began = -1  # where the statement that is being read begins
        self._ended = -1  # where its last token ends
        self._last = -1
        self._brackets = 0
        self._depth = 0
        self._unfinished = ("", -1)
        # After COPY ... FROM STDIN, the lines that follow this one are data.
        self._copies = 0
        self._copies_to_come = 0
        self._line_end = -1
        self._previous = ""
        self._reads = False

    def run(self) -> None:
        text, size = self._text, len(self._text)
        while True:
            if self._copies and self._position >= self._line_end:
                self._skip_data()
            if self._position >= size or self._unfinished[0]:
                return
            token = _TOKEN.match(text, self._position, self._line_end if self._copies else size)
            if token is None:
                return
            self._position = token.end()
            self._take(token.lastgroup or "", token.start(), token[0])

    def result(self) -> Lexed:
        pending = self._ended if self._began >= 0 else -1
        if pending >= 0:
            self._end_part()
        what, where = self._unfinished
        if self._depth and not what:
            what, where = "an \\if", [command.start for command in self._commands if command.name == "if"][-1]
        return Lexed(
            tuple(self._commands),
            tuple(self._statements),
            len(self._breaks) + (not self._text.endswith("\n")),
            pending,
            self._last,
            what,
            self._line(where) if what else 0,
        )

    def _take(self, kind: str, start: int, token: str) -> None:
        if kind in ("space", "line"):
            return
        if kind == "block":
            self._comment(start)
            return
        self._last = start
        if kind == "command":
            self._command(start)
            return
        if token == ";" and not self._brackets:
            self._end_statement()
            return
        if token == "\\;":
            self._end_part()
            return
        if self._began < 0:
            self._began = start
        if kind == "word":
            word = token.lower()
            self._reads = self._reads or (self._previous == "from" and word in ("stdin", "stdout"))
            self._previous = word
            if len(self._words) < _WORDS:
                self._words.append(word)
        elif kind == "escaped":
            self._string(_ESCAPED, start)
        elif kind in ("string", "name"):
            self._until(token, "a string" if kind == "string" else "a quoted name", start)
        elif kind == "dollar":
            self._until(token, f"a string that begins with {token}", start)
        elif token == "(":
            self._brackets += 1
        elif token == ")":
            self._brackets = max(0, self._brackets - 1)
        self._ended = self._position

    def _until(self, mark: str, what: str, start: int) -> None:
        end = self._text.find(mark, self._position)
        if end < 0:
            self._unfinished, self._position = (what, start), len(self._text)
        else:
            self._position = end + len(mark)

    def _string(self, form: re.Pattern[str], start: int) -> None:
        while True:
            body = form.match(self._text, self._position)
            if body is None:
                self._unfinished, self._position = ("a string", start), len(self._text)
                return
            self._position = body.end()
            joined = _JOIN.match(self._text, self._position)
            if joined is None:
                return
            self._position = joined.end()

    def _comment(self, start: int) -> None:
        depth = 0
        for mark in _COMMENT_MARK.finditer(self._text, start):
            depth += 1 if mark[0] == "/*" else -1
            if depth == 0:
                self._position = mark.end()
                return
        self._unfinished, self._position = ("a comment", start), len(self._text)

    def _command(self, start: int) -> None:
        name = _COMMAND.match(self._text, self._position)
        word = name[0] if name else ""
        at = self._position + len(word)
        end = self._text.find("\n", at)
        end = len(self._text) if end < 0 else end
        if word not in _WHOLE_LINE:
            position = at
            while position < end:
                part = _ARGUMENT.match(self._text, position, end)
                if part is None:
                    break  # a backslash: another command, or the two that end this one
                position = part.end()
            end = position
        arguments = self._text[at:end].strip()
        self._depth += {"if": 1, "endif": -1 if self._depth else 0}.get(word, 0)
        self._commands.append(Command(word, arguments, self._line(start), start, end, self._depth))
        self._position = end + 2 if self._text.startswith("\\\\", end) else end
        if word in _SENDS:
            self._end_statement()
        elif word in ("r", "reset"):
            self._forget()
        elif word == "copy" and re.search(r"\bfrom\s+p?stdin\b", _without_quoted(arguments), re.IGNORECASE):
            self._expect_data(1)

    def _end_part(self) -> None:
        """End a statement that is sent together with the next one."""
        if self._began >= 0:
            self._statements.append(Statement(tuple(self._words), self._line(self._began)))
        self._copies_to_come += self._words[:1] == ["copy"] and self._reads
        self._forget()

    def _forget(self) -> None:
        self._words, self._began, self._brackets, self._previous, self._reads = [], -1, 0, "", False

    def _end_statement(self) -> None:
        self._end_part()
        if self._copies_to_come:
            self._expect_data(self._copies_to_come)
            self._copies_to_come = 0

    def _expect_data(self, blocks: int) -> None:
        if not self._copies:
            end = self._text.find("\n", self._position)
            self._line_end = len(self._text) if end < 0 else end
        self._copies += blocks

    def _skip_data(self) -> None:
        while self._copies:
            end = _END_OF_DATA.search(self._text, self._line_end + 1)
            if end is None:
                self._unfinished = ("the data of COPY, which a line \\. ends", self._line_end - 1)
                self._position = len(self._text)
                self._copies = 0
                return
            self._line_end = end.end()
            self._copies -= 1
        self._position = self._line_end

    def _line(self, position: int) -> int:
        return bisect.bisect_left(self._breaks, max(position, 0)) + 1


def _without_quoted(arguments: str) -> str:
    return re.sub(r"'(?:[^'\\]|\\.|'')*'|\"[^\"]*\"", " x ", arguments)


def plain_argument(arguments: str) -> str | None:
    """Return the one argument, as psql takes it; None where that depends on a variable or a program."""
    quoted = re.fullmatch(r"'((?:[^'\\`]|'')*)'", arguments)
    if quoted:
        return quoted[1].replace("''", "'")
    return arguments if re.fullmatch(r"[^\s'\"`\\:]+", arguments) else None


def unquoted(arguments: str) -> str:
    """Return the arguments of ``\\set`` as its value has them: quotes gone, escapes resolved."""
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], re.sub(r"(?<!\\)['\"]", "", arguments))
