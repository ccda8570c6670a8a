# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Statements of a dump, fitted to another server."""

from __future__ import annotations

import io

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.fit import (
    Notes,
    Target,
    without_values,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.fit import fit as fit_statement
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.statements import (
    Script,
    inserted_table,
)

END = "-- Dump completed on 2026-01-02  3:04:05\n"

KNOWN = frozenset({"utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_unicode_520_ci", "utf8mb4_bin"})


def fit(text: str, notes: Notes | None = None, mariadb: bool = True) -> list[str]:
    target = Target("scratch", "shop", mariadb, KNOWN, frozenset({(b"root", b"localhost")}))
    script = Script(io.BytesIO((text + END).encode()), "the dump")
    fitted = [fit_statement(statement, target, notes or Notes()) for statement in script]
    return [item.decode() for item in fitted if item is not None]


def test_what_is_for_the_source_or_its_place_is_left_out() -> None:
    assert not fit(
        "SET @MYSQLDUMP_TEMP_LOG_BIN = @@SESSION.SQL_LOG_BIN;\nSET @@SESSION.SQL_LOG_BIN= 0;\n"
        "SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ '3e11fa47:1-23';\nCHANGE MASTER TO MASTER_LOG_POS=1;\n"
        "SET GLOBAL gtid_slave_pos='0-1-2';\nSET PASSWORD = 'x';\nUSE `shop`;\n"
        "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop`;\n"
        "LOCK TABLES `t` WRITE;\nUNLOCK TABLES;\n/*!40000 DROP DATABASE IF EXISTS `shop`*/;\n"
    )


def test_definers() -> None:
    notes = Notes()
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
    notes = Notes()
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
    assert inserted_table(statement.encode()) == "t"
    found = without_values(statement.encode(), COLUMNS, frozenset({"gen"}))
    assert found == (None if expected is None else expected.encode())


def test_sql_modes() -> None:
    text = "SET sql_mode = 'NO_AUTO_CREATE_USER,STRICT_TRANS_TABLES,TIME_TRUNCATE_FRACTIONAL' ;\n"
    assert fit(text) == ["SET sql_mode = 'NO_AUTO_CREATE_USER,STRICT_TRANS_TABLES'"]
    assert fit(text, mariadb=False) == ["SET sql_mode = 'STRICT_TRANS_TABLES,TIME_TRUNCATE_FRACTIONAL'"]


def test_events_are_switched_off() -> None:
    notes = Notes()
    assert fit(
        "/*!50106 CREATE*/ /*!50106 EVENT `ENABLE` ON SCHEDULE EVERY 1 DAY ENABLE COMMENT 'ENABLE' DO SET @a = 1 */;\n"
        "CREATE EVENT `off` ON SCHEDULE EVERY 1 DAY DISABLE ON SLAVE DO SET @enable = 1;\n",
        notes,
    ) == [
        "/*!50106 CREATE*/ /*!50106 EVENT `ENABLE` ON SCHEDULE EVERY 1 DAY DISABLE COMMENT 'ENABLE' DO SET @a = 1 */",
        "CREATE EVENT `off` ON SCHEDULE EVERY 1 DAY DISABLE ON SLAVE DO SET @enable = 1",
    ]
    assert notes.enabled_events == {b"ENABLE"}
