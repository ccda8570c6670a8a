# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.lexer import (
    lex,
    plain_argument,
    unquoted,
)


@pytest.mark.parametrize(
    "text",
    [
        r"SELECT '\c live';",
        r"SELECT 'a''\c live';",
        r"SELECT E'it\'s \\c live';",
        "SELECT E'a'\n  -- why not\n  'b\\'\\c live';",
        r'SELECT 1 AS "\c live";',
        r"DO $$ \c live $$;",
        r"DO $a$ $$ \c live $b$ $a$;",
        r"-- \c live",
        "/* a /* b */ \\c live\n */",
        "COPY t FROM STDIN;\n\\c live\n\\.\n",
        "COPY t (a, b) FROM stdin WITH (FORMAT csv) ;\nit's\n\\c live\n\\.\nSELECT 1;",
        "COPY t FROM STDIN \\; COPY u FROM STDIN;\n\\c\n\\.\n\\c\n\\.\n",
        "\\copy t FROM stdin\n\\c live\n\\.\n",
        r"SELECT 1 \; SELECT 2;",
        r"SELECT x \:: int;",
    ],
)
def test_what_only_looks_like_a_command_is_none(text: str) -> None:
    lexed = lex(text)
    assert [command.name for command in lexed.commands if command.name != "copy"] == []
    assert lexed.unfinished == ""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (r"\c live", 1),
        ("SELECT 1;\r\n\\c live\r\n", 2),
        (r"SELECT 'a'; \c live", 1),
        (r"SELECT '\'; \c live", 1),
        (r"SELECT U&'\'; \c live", 1),
        ("SELECT E'a' 'b\\'; \\c live --'", 1),
        (r"SELECT a$b$; \c live --$b$", 1),
        (r"SELECT $1$; \c live", 1),
        (r"\set x 1 \c live", 1),
        (r"\set x 'a\'b' \c live", 1),
        (r"\echo x \\ \c live", 1),
        (r"SELECT 1 \g \c live", 1),
        ("COPY t FROM STDIN; \\c live\n1\n\\.\n", 1),
        ("COPY t FROM STDIN;\n1\n\\.\n\\c live", 4),
        ("COPY t TO STDOUT;\n\\c live\n\\.\n", 2),
        ("\\if false\n\\c live\n\\endif", 2),
        ("/* */ \\c live", 1),
        ("--\r\\c live", 1),
    ],
)
def test_commands_are_found_wherever_psql_finds_them(text: str, line: int) -> None:
    found = [(command.line, command.arguments.split()[0]) for command in lex(text).commands if command.name == "c"]
    assert found == [(line, "live")]


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("SELECT 1;\nSELECT 'x;\n", "a string", 2),
        ('SELECT "x;\n', "a quoted name", 1),
        ("SELECT E'x\\';\n", "a string", 1),
        ("DO $a$ BEGIN END $$;", "a string that begins with $a$", 1),
        ("/* /* */", "a comment", 1),
        ("\n\\if true\n", "an \\if", 2),
        ("SELECT 1;\nCOPY t FROM STDIN;\n1\n", "the data of COPY, which a line \\. ends", 2),
    ],
)
def test_what_nothing_ends_is_told_with_its_beginning(text: str, what: str, line: int) -> None:
    lexed = lex(text)
    assert (lexed.unfinished, lexed.unfinished_line) == (what, line)


def test_statements_have_their_first_words_and_lines() -> None:
    text = "begin;\n\nCOMMENT /* x */ ON DATABASE \"d\"\n IS 'x'; /* ; */ SELECT (1; 2)\\;rollback\n"
    found = [(statement.line, statement.words) for statement in lex(text).statements]
    assert found == [(1, ("begin",)), (3, ("comment", "on", "database", "is")), (4, ("select",)), (4, ("rollback",))]


@pytest.mark.parametrize(
    ("text", "pending"),
    [("", -1), ("SELECT 1;", -1), ("SELECT 1 -- x\n", 8), ("SELECT 1 \\g\n", -1), ("SELECT $$;$$", 12)],
)
def test_a_statement_with_no_semicolon_is_pending(text: str, pending: int) -> None:
    assert lex(text).pending == pending


def test_arguments_are_taken_as_psql_takes_them() -> None:
    assert [plain_argument(text) for text in ("a.sql", "'a b.sql'", "'it''s'")] == ["a.sql", "a b.sql", "it's"]
    assert [plain_argument(text) for text in (":x", "`x`", "a b", "'a\\tb'", '"a"', "")] == [None] * 6
    assert unquoted(r"'a\\c \'live\''") == r"a\c 'live'"
