# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What mysqldump writes: read token by token, fitted to another server, cut into tables."""

from __future__ import annotations

import io
from functools import partial

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import (
    statements as mysql_statements,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

END = "-- Dump completed on 2026-01-02  3:04:05\n"

KNOWN = frozenset({"utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_unicode_520_ci", "utf8mb4_bin"})


def read(text: str) -> list[mysql_statements.Statement]:
    return list(mysql_statements.Script(io.BytesIO((text + END).encode()), "the dump"))


def fit(text: str, notes: mysql_statements.Notes | None = None, mariadb: bool = True) -> list[str]:
    target = mysql_statements.Target("scratch", "shop", mariadb, KNOWN, frozenset({(b"root", b"localhost")}))
    fitted = [mysql_statements.fit(statement, target, notes or mysql_statements.Notes()) for statement in read(text)]
    return [item.decode() for item in fitted if item is not None]


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
    assert len(list(mysql_statements.Script(Slow(text.encode()), "the dump"))) == 3


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
        list(mysql_statements.Script(io.BytesIO(text.encode()), "the dump"))


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
    script = mysql_statements.Script(io.BytesIO((text + "\n" + END).encode()), "the dump")
    with pytest.raises(EnvSyncError, match="line 1 has"):
        for statement in script:
            script.refuse_unknown(statement)


def test_what_is_for_the_source_or_its_place_is_left_out() -> None:
    assert not fit(
        "SET @MYSQLDUMP_TEMP_LOG_BIN = @@SESSION.SQL_LOG_BIN;\nSET @@SESSION.SQL_LOG_BIN= 0;\n"
        "SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ '3e11fa47:1-23';\nCHANGE MASTER TO MASTER_LOG_POS=1;\n"
        "SET GLOBAL gtid_slave_pos='0-1-2';\nSET PASSWORD = 'x';\nUSE `shop`;\n"
        "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop`;\n"
        "LOCK TABLES `t` WRITE;\nUNLOCK TABLES;\n/*!40000 DROP DATABASE IF EXISTS `shop`*/;\n"
    )


def test_definers() -> None:
    notes = mysql_statements.Notes()
    assert fit(
        "/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`admin`@`%` SQL SECURITY DEFINER */\n"
        "/*!50001 VIEW `v` AS select 'DEFINER=`admin`@`%`' AS `a` */;\n"
        "CREATE DEFINER=`root`@`localhost` FUNCTION `f`() RETURNS int RETURN 1;\n"
        "CREATE DEFINER=`a role` PROCEDURE `p`() SELECT 1;\n",
        notes,
    ) == [
        "/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013  SQL SECURITY DEFINER */\n"
        "/*!50001 VIEW `v` AS select 'DEFINER=`admin`@`%`' AS `a` */",
        "CREATE DEFINER=`root`@`localhost` FUNCTION `f`() RETURNS int RETURN 1",
        "CREATE  PROCEDURE `p`() SELECT 1",
    ]
    assert notes.definers == {"admin@%", "a role"}


def test_names_of_the_source_s_own_schema() -> None:
    assert fit(
        "CREATE TABLE `t` (`shop` int DEFAULT nextval(`shop`.`numbers`), `b` int COMMENT '`shop`.`x`');\n"
        "CREATE VIEW `v` AS select `shop`.`id` AS `id`,`shop`.`f`(1) AS `x`,`other`.`f`(1) AS `y` from `shop`;\n"
        "/*!50003 CREATE*/ /*!50003 TRIGGER `shop`.`tr` BEFORE INSERT ON shop.t FOR EACH ROW SET @a = (SELECT 1 FROM "
        "shop.t) */;\nALTER DATABASE `shop` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ;\n"
    ) == [
        "CREATE TABLE `t` (`shop` int DEFAULT nextval(`numbers`), `b` int COMMENT '`shop`.`x`')",
        "CREATE VIEW `v` AS select `shop`.`id` AS `id`,`f`(1) AS `x`,`other`.`f`(1) AS `y` from `shop`",
        "/*!50003 CREATE*/ /*!50003 TRIGGER `tr` BEFORE INSERT ON t FOR EACH ROW SET @a = (SELECT 1 FROM shop.t) */",
        "ALTER DATABASE `scratch` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    ]


def test_collations() -> None:
    notes = mysql_statements.Notes()
    assert fit(
        "CREATE TABLE `COLLATE` (`a` text COLLATE utf8mb4_0900_as_cs COMMENT 'COLLATE utf8mb4_0900_ai_ci') "
        "COLLATE=utf8mb4_0900_ai_ci;\n/*!50003 SET collation_connection  = utf8mb4_uca1400_ai_ci */ ;\n"
        "/*!50003 SET collation_connection  = @saved_col_connection */ ;\n",
        notes,
    ) == [
        "CREATE TABLE `COLLATE` (`a` text COLLATE utf8mb4_bin COMMENT 'COLLATE utf8mb4_0900_ai_ci') "
        "COLLATE=utf8mb4_unicode_520_ci",
        "/*!50003 SET collation_connection  = utf8mb4_unicode_520_ci */",
        "/*!50003 SET collation_connection  = @saved_col_connection */",
    ]
    assert set(notes.collations) == {"utf8mb4_0900_as_cs", "utf8mb4_0900_ai_ci", "utf8mb4_uca1400_ai_ci"}


@pytest.mark.parametrize(
    ("name", "known", "nearest"),
    [
        ("utf8mb4_0900_ai_ci", {"utf8mb4_uca1400_ai_ci", "utf8mb4_unicode_ci"}, "utf8mb4_uca1400_ai_ci"),
        ("utf8mb4_0900_ai_ci", {"utf8mb4_uca1400_nopad_ai_ci", "utf8mb4_uca1400_ai_ci"}, "utf8mb4_uca1400_nopad_ai_ci"),
        ("utf8mb4_uca1400_nopad_as_cs", {"utf8mb4_0900_as_cs", "utf8mb4_bin"}, "utf8mb4_0900_as_cs"),
        ("utf8mb4_de_pb_0900_as_cs", {"utf8mb4_0900_as_cs"}, "utf8mb4_0900_as_cs"),
        (
            "utf8mb4_sv_0900_ai_ci",
            {"utf8mb4_uca1400_swedish_ai_ci", "utf8mb4_0900_ai_ci"},
            "utf8mb4_uca1400_swedish_ai_ci",
        ),
        ("utf8mb4_uca1400_spanish2_nopad_ai_ci", {"utf8mb4_es_trad_0900_ai_ci"}, "utf8mb4_es_trad_0900_ai_ci"),
        ("utf8mb4_uca1400_swedish_as_cs", {"utf8mb4_0900_as_cs", "utf8mb4_bin"}, "utf8mb4_0900_as_cs"),
        ("utf8mb4_uca1400_swedish_ai_ci", {"utf8mb4_swedish_ci", "utf8mb4_unicode_520_ci"}, "utf8mb4_swedish_ci"),
        ("utf8mb4_0900_as_ci", {"utf8mb4_general_ci", "utf8mb4_bin"}, "utf8mb4_bin"),
        ("utf8mb4_0900_bin", {"utf8mb4_nopad_bin", "utf8mb4_bin"}, "utf8mb4_nopad_bin"),
        ("utf8mb3_general_ci", {"utf8_general_ci"}, "utf8_general_ci"),
        ("latin1_nopad_bin", {"latin1_bin"}, "latin1_bin"),
        ("klingon_general_ci", {"utf8mb4_bin"}, ""),
    ],
)
def test_the_nearest_collation(name: str, known: set[str], nearest: str) -> None:
    assert mysql_statements.nearest_collation(name, frozenset(known)) == nearest


COLUMNS = ["id", "a`b", "gen", "c"]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "INSERT INTO `t` VALUES (1,NULL,'x',5),\n" + r"(-2.5e-10,0x00ff,'it''s \'(,),(\\',_binary 'a\n,;)')",
            r"INSERT INTO `t` (`id`,`a``b`,`c`) VALUES (1,NULL,5),(-2.5e-10,0x00ff,_binary 'a\n,;)')",
        ),
        (
            "INSERT INTO `t` (`gen`, `c`) VALUES ('),(',''),('','y')",
            "INSERT INTO `t` (`c`) VALUES (''),('y')",
        ),
        ("INSERT INTO `t` (`id`) VALUES (1)", "INSERT INTO `t` (`id`) VALUES (1)"),
        ("INSERT INTO `t` VALUES (1,2,3,4),(5,6,7)", None),
        ("INSERT INTO `t` VALUES (1,2,3,4),", None),
        ("INSERT INTO `t` VALUES (1,2,'3,4)", None),
        ("INSERT INTO `t` VALUES (1,2,f(3),4)", None),
    ],
)
def test_rows_without_generated_values(statement: str, expected: str | None) -> None:
    assert mysql_statements.inserted_table(statement.encode()) == "t"
    found = mysql_statements.without_values(statement.encode(), COLUMNS, frozenset({"gen"}))
    assert found == (None if expected is None else expected.encode())


def test_sql_modes() -> None:
    text = "SET sql_mode = 'NO_AUTO_CREATE_USER,STRICT_TRANS_TABLES,TIME_TRUNCATE_FRACTIONAL' ;\n"
    assert fit(text) == ["SET sql_mode = 'NO_AUTO_CREATE_USER,STRICT_TRANS_TABLES'"]
    assert fit(text, mariadb=False) == ["SET sql_mode = 'STRICT_TRANS_TABLES,TIME_TRUNCATE_FRACTIONAL'"]


def test_events_are_switched_off() -> None:
    notes = mysql_statements.Notes()
    assert fit(
        "/*!50106 CREATE*/ /*!50106 EVENT `ENABLE` ON SCHEDULE EVERY 1 DAY ENABLE COMMENT 'ENABLE' DO SET @a = 1 */;\n"
        "CREATE EVENT `off` ON SCHEDULE EVERY 1 DAY DISABLE ON SLAVE DO SET @enable = 1;\n",
        notes,
    ) == [
        "/*!50106 CREATE*/ /*!50106 EVENT `ENABLE` ON SCHEDULE EVERY 1 DAY DISABLE COMMENT 'ENABLE' DO SET @a = 1 */",
        "CREATE EVENT `off` ON SCHEDULE EVERY 1 DAY DISABLE ON SLAVE DO SET @enable = 1",
    ]
    assert notes.enabled_events == {b"ENABLE"}


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
    sections = mysql_statements.Sections(Slow(dump), "testing")
    sections.begin()
    found = []
    section = sections.next()
    while section is not None:
        found.append(b"".join(iter(partial(section.read, 64), b"")))
        section = sections.next()
    assert [[item.kind for item in read_bytes(dump)] for dump in found] == [["SET", "INSERT"], ["SET", "INSERT", "SET"]]
    assert b"`a`" in found[0]
    assert b"table `b`\n" not in found[0]


def read_bytes(dump: bytes) -> list[mysql_statements.Statement]:
    return list(mysql_statements.Script(io.BytesIO(dump), "the dump"))


def test_a_dump_of_rows_without_its_end() -> None:
    sections = mysql_statements.Sections(io.BytesIO(ROWS[: ROWS.index(b"-- Dump completed")]), "testing")
    with pytest.raises(EnvSyncError, match="without its last line"):
        sections.begin()
        while True:
            section = sections.next()
            assert section is not None
            while section.read(64):
                pass


@pytest.mark.parametrize("text", ["DO SETVAL(`s`, 1001, 0);", "do setval(`shop`.`s`, -5, 1);"])
def test_a_sequences_value_is_set(text: str) -> None:
    [statement] = mysql_statements.Script(io.BytesIO(f"{text}\n{END}".encode()), "the dump")
    mysql_statements.Script(io.BytesIO(b""), "the dump").refuse_unknown(statement)
