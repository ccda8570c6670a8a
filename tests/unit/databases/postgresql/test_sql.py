# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.sql import (
    split_statements,
    tokens,
)

NESTED = "/* a /* b; */ c; */"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" \n\t", []),
        ("GRANT a TO b", ["GRANT", "a", "TO", "b"]),
        ("f(a,b)", ["f", "(", "a", ",", "b", ")"]),
        ("a_1$x + $1", ["a_1$x", "+", "$", "1"]),
        ("""'it''s; "x" -- no' a""", ["""'it''s; "x" -- no'""", "a"]),
        ("""'back\\' a""", ["'back\\'", "a"]),
        ("""E'back\\'; x' a""", ["E", "'back\\'; x'", "a"]),
        ("""(e'\\\\' a)""", ["(", "e", "'\\\\'", "a", ")"]),
        ("""note'a\\' b""", ["note", "'a\\'", "b"]),
        ('"a ""b"" ; \'c" d', ['"a ""b"" ; \'c"', "d"]),
        ("$$ ; ' $x$ \" $$ a", ["$$ ; ' $x$ \" $$", "a"]),
        ("$x$ $$ ; $y$ $x$ a", ["$x$ $$ ; $y$ $x$", "a"]),
        ("$é_1$;$é_1$ a", ["$é_1$;$é_1$", "a"]),
        ("a -- b ' c\n d", ["a", "d"]),
        ("a -- b", ["a"]),
        ("a /* ' ; \n */ b", ["a", "b"]),
        ("naïve_表 Ünï", ["naïve_表", "Ünï"]),
        ('"☃;☃"', ['"☃;☃"']),
        ("'never closed; a", ["'never closed; a"]),
        ('"never closed; a', ['"never closed; a']),
        ("$$never closed; a", ["$$never closed; a"]),
        ("a /* never closed; a", ["a"]),
        (f"a {NESTED} d", ["a", "d"]),
    ],
)
def test_tokens(text: str, found: list[str]) -> None:
    assert tokens(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (";;\n ; -- nothing\n", []),
        ("a; b ;c", ["a", "b", "c"]),
        ("a ';' b; c", ["a ';' b", "c"]),
        ('a ";" b; c', ['a ";" b', "c"]),
        ("a $f$;$f$; c", ["a $f$;$f$", "c"]),
        ("a E'\\';' b; c", ["a E'\\';' b", "c"]),
        ("a -- ;\n b; c", ["a -- ;\n b", "c"]),
        ("a /* ; */ b; c /* ; */", ["a /* ; */ b", "c /* ; */"]),
        ("a; 'never closed;", ["a", "'never closed;"]),
    ],
)
def test_statements_end_at_semicolons_that_are_semicolons(text: str, found: list[str]) -> None:
    assert split_statements(text) == found


def test_any_text_whatever_has_tokens() -> None:
    dice = random.Random(7)
    for _unused in range(2000):
        text = "".join(dice.choices("aE'\"$;-/*\\\n é1_", k=dice.randrange(12)))
        assert sum(map(len, tokens(text))) <= len(text)
        assert all(statement in text for statement in split_statements(text))
