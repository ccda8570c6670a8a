# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.names import literal, quote
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.sql import tokens

AWKWARD = [
    "app", "", " a b ", "a'b", "a\\", "\\'", 'a"b', "host=evil", "a' host='evil", "postgresql://evil/x", "a=b", "%s",
    "$1", "é☃", "a\nb", "--", "; DROP TABLE t;", "E'", "\\\\''\\",
]  # fmt: skip


@pytest.mark.parametrize("name", AWKWARD)
def test_an_identifier_is_one_token_that_means_the_name(name: str) -> None:
    quoted = quote(name)
    assert tokens(f"a {quoted} b") == ["a", quoted, "b"]
    assert quoted[1:-1].replace('""', '"') == name


@pytest.mark.parametrize("text", AWKWARD)
def test_a_literal_is_one_string_that_means_the_text(text: str) -> None:
    made = literal(text)
    escaped = made.startswith("E")
    string = made[1:] if escaped else made
    assert tokens(f"a {made} b") == ["a", *(["E"] if escaped else []), string, "b"]
    meant = string[1:-1].replace("''", "'")
    assert (meant.replace("\\\\", "\\") if escaped else meant) == text
    assert escaped is ("\\" in text), "a backslash means itself with E, whatever standard_conforming_strings is"
