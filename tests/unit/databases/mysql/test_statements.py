# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What mysqldump writes, read token by token."""

from __future__ import annotations

import io

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.statements import Script, Statement
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

END = "-- Dump completed on 2026-01-02  3:04:05\n"


def read(text: str) -> list[Statement]:
    return list(Script(io.BytesIO((text + END).encode()), "the dump"))


def test_statements_and_where_they_begin() -> None:
    text = (
        "/*M!999999\\- enable the sandbox mode */ \n-- MySQL dump\n\n/*!40101 SET NAMES utf8mb4 */;\n"
        "CREATE TABLE `t` (\n  `a;` int COMMENT 'it''s; \\'x'\n);\nINSERT INTO `t` VALUES\n(1,';\\n'),\n(2,'(');\n"
        "DELIMITER ;;\nCREATE PROCEDURE `p`()\nBEGIN -- don't;;\n SELECT ';;', \"\\\";;\"; /* ;; ' */ END ;;\n"
        "DELIMITER ;\n"
    )
    assert [(item.kind, item.line) for item in read(text)] == [
        ("SET", 4),
        ("CREATE TABLE", 5),
        ("INSERT", 8),
        ("CREATE PROCEDURE", 12),
    ]
    assert read(text)[-1].text.endswith(b"END")


def test_a_backslash_where_it_does_not_escape() -> None:
    text = (
        "SET sql_mode = 'NO_BACKSLASH_ESCAPES' ;\nCREATE VIEW `v` AS SELECT '\\';\nSET sql_mode = '';\n"
        "CREATE VIEW `w` AS SELECT '\\';';\n"
    )
    assert [item.kind for item in read(text)] == ["SET", "CREATE VIEW", "SET", "CREATE VIEW"]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_blocks_of_any_size(size: int) -> None:
    class Slow(io.BytesIO):
        def read(self, _size: int | None = None) -> bytes:
            return super().read(size)

    text = "SET a = 1;\nINSERT INTO `t` VALUES ('x;\\n');\nCREATE TABLE `t` (\n a int\n);\n" + END
    assert len(list(Script(Slow(text.encode()), "the dump"))) == 3


@pytest.mark.parametrize(
    "text",
    [
        "SET a = 1;\n",
        "INSERT INTO `t` VALUES (1),\n",
        "CREATE TABLE `t` (a int\n",
        "INSERT INTO `t` VALUES ('\\n-- Dump completed\\n');\n",
        "/*!50003 CREATE PROCEDURE p() SELECT '\n-- Dump completed\n",
        "-- Dump completed\nSET a = 1;\n",
        "",
    ],
)
def test_a_dump_without_its_end(text: str) -> None:
    with pytest.raises(EnvSyncError, match="truncated"):
        list(Script(io.BytesIO(text.encode()), "the dump"))


@pytest.mark.parametrize(
    "text",
    [
        "GRANT ALL ON *.* TO x;",
        "CREATE USER x;",
        "DELETE FROM t;",
        "UPDATE t SET a = 1;",
        "LOAD DATA INFILE 'x' INTO TABLE t;",
        "SELECT 1 INTO OUTFILE 'x';",
        "DROP TABLE IF EXISTS `a`, live.b;",
        "INSERT INTO `live`.`t` VALUES (1);",
        "INSERT INTO `t` SELECT * FROM live.t;",
        "source /etc/passwd;",
        "DO f();",
        "DO SETVAL(`s`, f(), 0);",
        "DO SETVAL(`s`, 1, 0), f();",
        "DO SLEEP(5);",
        "DO /*!f*/(1);",
        "USE `shop`; USE `shop`; USE `other`;",
    ],
)
def test_what_is_not_of_a_dump_is_refused_or_harmless(text: str) -> None:
    script = Script(io.BytesIO((text + "\n" + END).encode()), "the dump")
    with pytest.raises(EnvSyncError, match="line 1 has"):
        for statement in script:
            script.refuse_unknown(statement)


@pytest.mark.parametrize("text", ["DO SETVAL(`s`, 1001, 0);", "do setval(`shop`.`s`, -5, 1);"])
def test_a_sequences_value_is_set(text: str) -> None:
    [statement] = Script(io.BytesIO(f"{text}\n{END}".encode()), "the dump")
    Script(io.BytesIO(b""), "the dump").refuse_unknown(statement)
