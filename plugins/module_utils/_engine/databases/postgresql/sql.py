# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SQL as ``pg_dump`` writes it, in tokens and statements; a script, which has more to it, is read by :mod:`.lexer`."""

from __future__ import annotations

import re


def unquoted(token: str) -> str:
    """Return the name that a token of SQL stands for."""
    return token[1:-1].replace('""', '"') if token.startswith('"') else token


def tokens(statement: str) -> list[str]:
    """Return the tokens of an SQL text: words, quoted names, strings and single other characters; no comments."""
    return [token for token, _end in _scan(statement) if token]


def split_statements(text: str) -> list[str]:
    """Return the statements of an SQL text, without their semicolons."""
    statements: list[str] = []
    start = 0
    for token, end in _scan(text):
        if token == ";":
            statement = text[start : end - 1].strip()
            if statement:
                statements.append(statement)
            start = end
    rest = text[start:].strip()
    if tokens(rest):
        statements.append(rest)
    return statements


_COMMENT_MARK = re.compile(r"/\*|\*/")


def _scan(text: str) -> list[tuple[str, int]]:
    """Return (token, position after it) for each token of an SQL text; comments are tokens that are empty."""
    found: list[tuple[str, int]] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character.isspace():
            position += 1
            continue
        if text.startswith("--", position):
            end = text.find("\n", position)
            position = len(text) if end < 0 else end + 1
            found.append(("", position))
            continue
        if text.startswith("/*", position):
            position = _comment_end(text, position)
            found.append(("", position))
            continue
        if character == '"':
            end = _quoted_end(text, position, '"', False)
        elif character == "'":
            previous = text[position - 1 : position]
            alone = not _word_character(text[position - 2 : position - 1])
            end = _quoted_end(text, position, "'", previous in ("e", "E") and alone)
        elif character == "$":
            end = _dollar_end(text, position)
        elif _word_character(character):
            end = position + 1
            while end < len(text) and (_word_character(text[end]) or text[end] == "$"):
                end += 1
        else:
            end = position + 1
        found.append((text[position:end], end))
        position = end
    return found


def _comment_end(text: str, start: int) -> int:
    """Return where the comment ends that begins at ``start``; comments may hold comments."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(text, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)


def _word_character(character: str) -> bool:
    return bool(character) and (character.isalnum() or character == "_")


def _quoted_end(text: str, start: int, quote: str, escapes: bool) -> int:
    position = start + 1
    while position < len(text):
        if escapes and text[position] == "\\":
            position += 2
        elif text[position] == quote:
            if text[position + 1 : position + 2] != quote:
                return position + 1
            position += 2
        else:
            position += 1
    return len(text)


def _dollar_end(text: str, start: int) -> int:
    tag_end = text.find("$", start + 1)
    if tag_end < 0 or not all(_word_character(character) for character in text[start + 1 : tag_end]):
        return start + 1
    tag = text[start : tag_end + 1]
    end = text.find(tag, tag_end + 1)
    return len(text) if end < 0 else end + len(tag)
