# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a dump program writes, cut into tables."""

from __future__ import annotations

import io
from functools import partial

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.output import Sections
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.statements import Script, Statement
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

ROWS = (
    b"-- MySQL dump\nSET NAMES utf8mb4;\n"
    b"\n--\n-- Dumping data for table `a`\n--\n\nINSERT INTO `a` VALUES ('\\n--\\n-- Dumping data for table `b`\\n');\n"
    b"\n--\n-- Dumping data for table `b`\n--\n\nINSERT INTO `b` VALUES (1);\n"
    b"SET x = 1;\n-- Dump completed\n"
)


def with_structure(table: bytes) -> bytes:
    return b"\n--\n-- Table structure for table `%s`\n--\n\nCREATE TABLE `%s` (\n `x` int\n);\n" % (table, table)


@pytest.mark.parametrize("structure", [False, True])
@pytest.mark.parametrize("size", [1, 10, 1 << 20])
def test_a_dump_of_rows_is_cut_into_tables(size: int, structure: bool) -> None:
    class Slow(io.BytesIO):
        def read(self, _size: int | None = None) -> bytes:
            return super().read(size)

    dump = ROWS
    for table in (b"a", b"b") if structure else ():
        data = b"\n--\n-- Dumping data for table `%s`\n" % table
        dump = dump.replace(data, with_structure(table) + data)
    sections = Sections(Slow(dump), "testing")
    sections.begin()
    found = []
    section = sections.next()
    while section is not None:
        found.append(b"".join(iter(partial(section.read, 64), b"")))
        section = sections.next()
    assert [[item.kind for item in read_bytes(dump)] for dump in found] == [["SET", "INSERT"], ["SET", "INSERT", "SET"]]
    assert b"`a`" in found[0]
    assert b"table `b`\n" not in found[0]


def read_bytes(dump: bytes) -> list[Statement]:
    return list(Script(io.BytesIO(dump), "the dump"))


def test_a_dump_of_rows_without_its_end() -> None:
    sections = Sections(io.BytesIO(ROWS[: ROWS.index(b"-- Dump completed")]), "testing")
    with pytest.raises(EnvSyncError, match="without its last line"):
        sections.begin()
        while True:
            section = sections.next()
            assert section is not None
            while section.read(64):
                pass
