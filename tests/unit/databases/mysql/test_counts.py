# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from random import Random

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.counts import Counted
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.reader import BytesReader

HEAD = b"-- MySQL dump\n\n/*!40101 SET NAMES utf8mb4 */;\n\n--\n-- Dumping data for table `a`\n--\n\n"
TAIL = b"/*!40000 ALTER TABLE `a` ENABLE KEYS */;\n-- Dump completed\n"

#: of each table what its rows are, as the programs write values
VALUES = (
    b"1",
    b"-1.5",
    b"NULL",
    b"0x00FF",
    b"''",
    b"'a'",
    b"'),('",
    b"'\\'),(\\''",
    b"'\\\\'",
    b"'\\\\),(\\\\'",
    b"'),(),('",
    b"'; INSERT INTO `a` VALUES (1),(2);'",
    b"',\\n('",
    b"'it''s),(it'",
    b"'(),'",
    b"_binary '),(\\0'",
    b"1e+20",
)


class _Pieces:
    """A reader that gives its bytes in pieces of its own choice."""

    def __init__(self, data: bytes, size: int) -> None:
        self._reader = BytesReader(data)
        self._size = size

    def read(self, size: int) -> bytes:
        return self._reader.read(min(size, self._size))

    def close(self) -> None:
        """Nothing."""


def count(data: bytes, piece: int) -> dict[str, int]:
    counted = Counted(_Pieces(data, piece))
    assert b"".join(iter(lambda: counted.read(1 << 20), b"")) == data
    return dict(counted.rows)


def insert(table: bytes, rows: list[bytes], lines: bool, columns: bytes = b"") -> bytes:
    """Return what mariadb-dump writes (in lines, but for the first one where there are columns), or mysqldump."""
    before, between = (b"\n", b",\n") if lines else (b" ", b",")
    if columns:
        before = b" "
    return b"INSERT INTO " + table + columns + b" VALUES" + before + between.join(rows) + b";\n"


@pytest.mark.parametrize("lines", [True, False], ids=["mariadb-dump", "mysqldump"])
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64, 1 << 20])
def test_rows_are_counted_whatever_is_in_them_and_wherever_blocks_end(lines: bool, piece: int) -> None:
    random = Random(piece)
    for _unused in range(40):
        rows = [
            b"(" + b",".join(random.choices(VALUES, k=random.randint(1, 3))) + b")"
            for _row in range(random.randint(1, 9))
        ]
        more = [b"(" + value + b")" for value in random.sample(VALUES, 4)]
        data = HEAD + insert(b"`a`", rows, lines) + insert(b"`a`", more, lines)
        data += insert(b"`b``),(c'd`", more, lines, b" (`x`, `),('`)") + TAIL
        assert count(data, piece) == {"a": len(rows) + len(more), "b`),(c'd": len(more)}, data


def test_a_dump_without_rows_has_none() -> None:
    assert count(HEAD + TAIL, 5) == {}


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
def test_an_insert_in_a_routines_text_is_none(piece: int) -> None:
    code = b"DELIMITER ;;\nCREATE PROCEDURE p() BEGIN\nINSERT INTO `a` VALUES (1),(2);\nEND ;;\nDELIMITER ;\n"
    rows = insert(b"`a`", [b"(1)", b"(2)", b"(3)"], False)
    assert count(HEAD + code + rows + code + TAIL, piece) == {"a": 3}
    assert count(code + rows, piece) == {"a": 3}
