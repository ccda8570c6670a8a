# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a script must not reach."""

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.code import Definition
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.guard import Guard, is_dynamic
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.scripts import Script


def script(text: str) -> Script:
    return Script(text.encode(), "mask.sql", "running mask.sql", follow=True)


def refusals(text: str, schema: str = "scratch", others: tuple[str, ...] = ("shop",), fold: bool = False) -> list[str]:
    guard = Guard(schema, others, fold)
    statements = list(script(text))
    dynamic = any(is_dynamic(statement.tokens) for statement in statements)
    found = [guard.refusal(statement, dynamic) for statement in statements]
    return [f"{refusal.line}: {refusal.why}" for refusal in found if refusal]


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE shop.users SET a = 1",
        "update `shop` . `users` set a = 1",
        "INSERT shop.users VALUES (1)",
        "DELETE FROM a USING a JOIN shop.users",
        "UPDATE a, shop.users u SET u.a = 1",
        "RENAME TABLE users TO shop.users",
        "CREATE TABLE t LIKE shop.users",
        "CREATE TRIGGER t BEFORE INSERT ON shop.users FOR EACH ROW SET @a = 1",
        "CREATE TABLE m (a int) ENGINE=MRG_MYISAM UNION=(shop.a)",
        "TRUNCATE shop.users",
        "CALL shop.clean()",
        "SELECT shop.f()",
        "SELECT shop.users.email FROM users",
        "UPDATE shop SET a = (SELECT 1 FROM shop.users)",
        "LOAD DATA INFILE '/x' INTO TABLE shop.users",
        "GRANT SELECT ON shop.* TO a",
        'UPDATE "shop"."users" SET a = 1',
        "/*!50000 UPDATE shop.users SET a = 1 */",
        "UPDATE /* here */ shop/**/./**/users SET a = 1",
        "USE shop", "use `shop`", "USE other", "/*! USE shop */",
        "DROP DATABASE shop", "DROP SCHEMA IF EXISTS `shop`", "ALTER DATABASE shop CHARACTER SET utf8mb4",
        "XA START 'a'",
        "DROP TABLE Env_Sync_Mark",
        "PREPARE s FROM 'UPDATE shop.users SET a = 1'",
        "SET @a = CONCAT('USE ', 1); PREPARE s FROM @a; SET @b = 'UPDATE `shop`.users'",
        "EXECUTE IMMEDIATE 'USE shop'",
        "CREATE PROCEDURE p() BEGIN PREPARE s FROM 'DELETE FROM shop.users'; EXECUTE s; END",
    ],
)  # fmt: skip
def test_what_reaches_the_live_database(text: str) -> None:
    assert len(refusals(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE users SET email = 'x@shop.example', url = 'https://shop.users'",
        "UPDATE shop SET shop.email = shop.id WHERE shop.a = 1 ORDER BY shop.b",
        "UPDATE users shop SET shop.email = 1",
        "SELECT shop.email FROM users AS shop JOIN b ON shop.id = b.id",
        "SELECT users.shop, a.shop.b, @shop.x FROM users",
        "UPDATE SHOP.users SET a = 1",
        "UPDATE workshop.users, my_shop.users SET a = 1 -- shop.users",
        "USE scratch", "SELECT DATABASE(), 'DROP DATABASE shop'",
        "SET @a = 'https://shop.example'; PREPARE s FROM 'SELECT 1'; UPDATE t SET a = 'shop.example'",
        "ALTER DATABASE CHARACTER SET utf8mb4",
    ],
)  # fmt: skip
def test_what_only_looks_like_it(text: str) -> None:
    assert refusals(text) == []


def test_names_that_differ_in_case_only() -> None:
    assert refusals("UPDATE SHOP.users SET a = 1", fold=True) == ["1: SHOP.users is in the live database"]


def test_a_script_before_a_dump_may_name_its_database() -> None:
    assert refusals("USE shop; UPDATE shop.users SET a = 1", "shop", ()) == []


def test_routines_that_reach_the_live_database() -> None:
    guard = Guard("scratch", ("shop",), False)
    guard.learn([
        Definition("PROCEDURE", "fine", "CREATE PROCEDURE `fine`() UPDATE users SET a = 'shop.users'"),
        Definition("PROCEDURE", "Clean", "CREATE PROCEDURE `Clean`() UPDATE shop.users SET a = 1"),
        Definition("FUNCTION", "outer_", "CREATE FUNCTION `outer_`() RETURNS int BEGIN CALL clean(); RETURN 1; END"),
    ])  # fmt: skip
    for text, refused in (("CALL fine()", False), ("CALL clean", True), ("SELECT `OUTER_`()", True)):
        (statement,) = script(text)
        assert (guard.refusal(statement, False) is not None) == refused, text
