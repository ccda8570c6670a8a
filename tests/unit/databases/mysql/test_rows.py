# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a dump's statements are, and how they become shorter."""

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import rows as mysql_rows

MIB = 1024 * 1024


def longest(dump: bytes, size: int) -> int:
    found = mysql_rows.Longest()
    for start in range(0, len(dump), size):
        found.look(dump[start : start + size])
    return found.length


@pytest.mark.parametrize("size", [1, 7, 100])
def test_the_longest_statement(size: int) -> None:
    statement = b"INSERT INTO `a` VALUES (';;\\n;', 'longest')"
    dump = b"SET x;\n" + statement + b";\nINSERT INTO `a` VALUES\n(1),\n(2),\n(3);\n-- Dump completed\n"
    assert longest(dump, size) == len(statement)


@pytest.mark.parametrize("size", [MIB, 1000 * 1000, 64 * 1024])
def test_digits_count_as_the_bytes_that_they_stand_for(size: int) -> None:
    digits = b"INSERT INTO `a` VALUES (1,0x" + b"0A" * 3 * MIB + b");\n"
    text = b"INSERT INTO `a` VALUES (1,'" + b"z" * 2 * MIB + b"');\n"
    assert 3 * MIB < longest(text + digits + text, size) < 3.02 * MIB
    assert longest(text * 3, size) == len(text) - 2


@pytest.mark.parametrize("length", [1, 1000])
def test_a_value_of_digits_becomes_one_of_bytes(length: int) -> None:
    value = bytes(range(256)) * length
    insert = b"INSERT INTO `a` VALUES (1,0x%s,'it''s \\' 0x%s',0x41)" % (value.hex().upper().encode(), b"41" * 500)
    done = mysql_rows.compact(insert)
    escaped = value.replace(b"\\", b"\\\\").replace(b"'", b"\\'")
    assert done == b"INSERT INTO `a` VALUES (1,_binary'%s','it''s \\' 0x%s',0x41)" % (escaped, b"41" * 500)
