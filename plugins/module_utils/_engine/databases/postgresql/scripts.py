# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A script of the operator's, looked through before anything runs: it stays in its database, and runs to its end.

What SQL does when it runs (``dblink``, dynamic SQL) can't be seen here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

from ...errors import EnvSyncError
from ...points.scripts import Script, read_scripts
from .lexer import Command, Lexed, Statement, lex, plain_argument, unquoted

#: more files than these no script includes
_MOST_FILES = 1000

_INCLUDES = {"i": False, "include": False, "ir": True, "include_relative": True}
_TO_FILES = frozenset({"o", "out", "w", "write", "g", "gx"})
_EDITORS = frozenset({"e", "edit", "ef", "ev"})
_OFF = re.compile(r"(?:0|of|off|n|no|f|fa|fal|fals|false)$", re.IGNORECASE)

#: settings under which psql and this program would see different strings
_OTHER_STRINGS = re.compile(
    r"standard_conforming_strings\W{0,3}\s*(?:=|\bto\b|,)\s*'?(?:off|false|no|0|f|n)\b", re.IGNORECASE
)
#: encodings in which a backslash or a quote may be the second half of a character
_OTHER_CHARACTERS = re.compile(
    r"(?:client_encoding|\\encoding|\bset\s+names)\W{0,3}\s*(?:=|\bto\b|,)?\s*'?"
    r"(?:sjis|shift_?jis|mskanji|big5|gbk|gb18030|uhc|johab|win9(?:32|36|49|50)|windows9(?:32|36|49|50))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Piece:
    """One file for psql. ``path`` is where the operator keeps it, ``lines`` how many it has there."""

    path: str
    content: bytes
    lines: int


@dataclass(frozen=True)
class Ready:
    """A script that may run, and the files that it includes.

    ``pieces`` are what psql reads, the script itself first; where one includes another, it names it by its number
    (``1.sql``). ``leaves`` are the lines where it may end by ``\\q``.
    """

    script: Script
    pieces: tuple[Piece, ...]
    leaves: tuple[str, ...]


def ready(script: Script, doing: str, whole_database: bool) -> Ready:
    """Look through a script, and read what it includes.

    :param whole_database: it may do something to the database as a whole (ALTER DATABASE); not so in a scratch one.
    :raises EnvSyncError: it would leave its database, start a program, undo what it did, or stop before its end.
    """
    return _Reader(doing, whole_database).read(script)


class _Reader:
    def __init__(self, doing: str, whole_database: bool) -> None:
        self._doing = doing
        self._whole_database = whole_database
        self._pieces: list[Piece] = []
        self._included: list[Script] = []
        self._folder = ""
        self._leaves: list[str] = []

    def read(self, script: Script) -> Ready:
        self._folder = os.path.dirname(os.path.abspath(script.path))
        self._piece(script, ())
        return Ready(replace(script, included=tuple(self._included)), tuple(self._pieces), tuple(self._leaves))

    def _piece(self, script: Script, within: tuple[str, ...]) -> int:
        """Look through one file, which others include (``within``); return its number."""
        number = len(self._pieces)
        self._pieces.append(Piece(script.path, b"", 0))
        self._characters(script)
        text = script.content.decode("latin-1")
        lexed = lex(text)
        for statement in lexed.statements:
            self._statement(script.path, statement)
        changes: list[tuple[int, int, str]] = []
        for command in lexed.commands:
            self._command(script.path, command)
            if command.name in _INCLUDES:
                changes.append((command.start, command.end, self._include((*within, script.path), command)))
            elif command.name in ("q", "quit"):
                changes += self._leave(script.path, command, lexed)
        self._errors_on(script.path, lexed)
        if lexed.unfinished:
            raise self._refusal(
                script.path,
                lexed.unfinished_line,
                f"{lexed.unfinished} begins here, and nothing ends it",
                "Correct the script.",
            )
        if lexed.pending >= 0 and not within:
            changes.append(_semicolon(text, lexed))
        for start, end, instead in sorted(changes, reverse=True):
            text = text[:start] + instead + text[end:]
        self._pieces[number] = Piece(script.path, text.encode("latin-1"), lexed.lines)
        return number

    def _refusal(self, path: str, line: int, why: str, hint: str) -> EnvSyncError:
        return EnvSyncError(self._doing, f"{path}, line {line}: {why}", hint)

    def _characters(self, script: Script) -> None:
        content = script.content
        if b"\0" in content:
            raise EnvSyncError(
                self._doing,
                f"{script.path} holds zero bytes (is it UTF-16?), and psql skips what follows one in its line",
                "Save it as UTF-8.",
            )
        text = content.decode("latin-1")
        for form, setting in (
            (_OTHER_STRINGS, "standard_conforming_strings off"),
            (_OTHER_CHARACTERS, "this client_encoding"),
        ):
            found = form.search(text)
            if found:
                raise self._refusal(
                    script.path,
                    text.count("\n", 0, found.start()) + 1,
                    f"with {setting} it can't be told where a string ends, and what is a command",
                    "Remove the setting; write E'...' for strings with backslashes, and save the file as UTF-8.",
                )

    def _statement(self, path: str, statement: Statement) -> None:
        words = statement.words
        first = words[0] if words else ""
        if first in ("rollback", "abort") and words[1:2] != ("prepared",):
            raise self._refusal(
                path,
                statement.line,
                f"{first.upper()} undoes what the script did",
                "Remove it: a script that fails is undone by itself.",
            )
        if words[:2] == ("prepare", "transaction"):
            raise self._refusal(
                path, statement.line, "PREPARE TRANSACTION leaves what the script did uncommitted", "COMMIT instead."
            )
        if not self._whole_database and first in ("alter", "comment", "create", "drop", "grant", "revoke", "security"):
            pairs = set(zip(words, words[1:]))
            if words[1:2] == ("database",) or ("on", "database") in pairs or ("in", "database") in pairs:
                raise self._refusal(
                    path,
                    statement.line,
                    f"{first.upper()} ... DATABASE reaches beyond the scratch database",
                    "Remove it: the database that is swapped in gets the live one's owner, grants and settings.",
                )

    def _command(self, path: str, command: Command) -> None:
        name, arguments = command.name, command.arguments
        if name in ("c", "connect"):
            raise self._refusal(
                path,
                command.line,
                f"\\{name} leaves the database that the script is for",
                "Remove it: the script is run in the right database, whatever that is called.",
            )
        if self._starts_program(name, arguments):
            raise self._refusal(
                path,
                command.line,
                f"\\{name} would start a program, which could reach any database",
                "Remove it: a transformation is SQL, and commands of psql that stay in it.",
            )
        if name == "cd":
            raise self._refusal(
                path, command.line, "\\cd changes what file names mean", "Name files relative to the script's folder."
            )
        if name == "watch" and "c=" not in arguments:
            raise self._refusal(path, command.line, "\\watch never ends", "Remove it.")
        if name == "set":
            value = unquoted(arguments.partition(" ")[2])
            for inner in lex(value).commands if "\\" in value else ():
                if inner.name in _INCLUDES:
                    raise self._refusal(
                        path, command.line, "a variable that includes a file", "Include it where it is needed."
                    )
                self._command(path, replace(inner, line=command.line))

    def _starts_program(self, name: str, arguments: str) -> bool:
        if name.startswith("!") or name in _EDITORS:
            return True
        if "`" in re.sub(r"'(?:[^'\\]|\\.|'')*'", "", arguments) and name != "copy":
            return True
        if name in _TO_FILES and re.search(r"[|:]", arguments):
            return True  # what a variable holds may begin with a bar too
        return name == "copy" and bool(
            re.search(r"\b(?:from|to)\s+program\b", re.sub(r"'[^']*'|\"[^\"]*\"", "x", arguments), re.IGNORECASE)
        )

    def _leave(self, path: str, command: Command, lexed: Lexed) -> list[tuple[int, int, str]]:
        """Say what becomes of a ``\\q``: at the very end of a file it is no more than a habit."""
        if command.depth:
            self._leaves.append(f"\\{command.name} in line {command.line} of {path}")
            return []
        if command.start != lexed.last:
            raise self._refusal(
                path, command.line, f"\\{command.name} ends it there: what follows would never run", "Remove it."
            )
        return [(command.start, command.end, "")]

    def _errors_on(self, path: str, lexed: Lexed) -> None:
        """Raise where the last word on ON_ERROR_STOP is to go on after an error."""
        last = None
        for command in lexed.commands:
            words = command.arguments.split()
            if command.name in ("set", "unset") and words[:1] == ["ON_ERROR_STOP"] and not command.depth:
                last = (command, command.name == "unset" or bool(_OFF.match(unquoted("".join(words[1:])))))
        if last and last[1]:
            raise self._refusal(
                path,
                last[0].line,
                "ON_ERROR_STOP is switched off: errors would be passed over",
                "Remove the line; write IF EXISTS where something may be missing.",
            )

    def _include(self, within: tuple[str, ...], command: Command) -> str:
        """Read an included file; return what the command becomes."""
        path, name = within[-1], plain_argument(command.arguments)
        if name is None:
            raise self._refusal(
                path,
                command.line,
                f"\\{command.name}: which file that is shows only when it runs, and it has to be looked through before",
                "Write the file's name.",
            )
        base = os.path.dirname(os.path.abspath(path)) if _INCLUDES[command.name] else self._folder
        file = os.path.normpath(os.path.join(base, os.path.expanduser(name)))
        if command.depth and not os.path.exists(file):
            return "\\ir missing.sql"  # which may never be reached; one that appears later is not taken
        if os.path.exists(file) and not os.path.isfile(file):
            raise self._refusal(path, command.line, f"{file} is not a file", "Name a file.")
        if file in [os.path.abspath(one) for one in within] or len(self._pieces) > _MOST_FILES:
            raise self._refusal(path, command.line, f"{file} includes itself", "Remove the line.")
        [script] = read_scripts([file])
        self._included.append(script)
        return f"\\ir {self._piece(script, within)}.sql"


def _semicolon(text: str, lexed: Lexed) -> tuple[int, int, str]:
    """Return the change that ends the last statement, so that what follows the script is not part of it."""
    if lexed.last >= lexed.pending:  # a command follows
        return len(text), len(text), "\n;"
    return lexed.pending, lexed.pending, ";"
