# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scripts cut into statements as the client programs cut them."""

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import scripts as mysql_scripts
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError


def script(text: str | bytes, backslash: bool = True) -> mysql_scripts.Script:
    content = text if isinstance(text, bytes) else text.encode()
    found = mysql_scripts.Script(content, "mask.sql", "running mask.sql", follow=True)
    found.backslash = backslash
    return found


def cut(text: str | bytes, backslash: bool = True) -> list[tuple[int, str]]:
    """Return the line and the text of each statement."""
    return [(statement.line, statement.text.decode()) for statement in script(text, backslash)]


def kinds(text: str) -> list[str]:
    return [part.kind for statement in script(text) for part in statement.parts]


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        ("-- nothing;\n# to;\n/* see; */\n;;\n", []),
        ("SELECT 1;\n\nSELECT 2\n;", [(1, "SELECT 1"), (3, "SELECT 2\n")]),
        ("SELECT 1", [(1, "SELECT 1")]),
        ("SELECT ';', \";\", `;` -- ;\n;", [(1, "SELECT ';', \";\", `;` -- ;\n")]),
        ("SELECT 'it''s; \\'; ', 1--1;SELECT 2", [(1, "SELECT 'it''s; \\'; ', 1--1"), (1, "SELECT 2")]),
        ("SELECT 1\\G SELECT 2\\g\nSELECT 3", [(1, "SELECT 1"), (1, "SELECT 2"), (2, "SELECT 3")]),
        ("SELECT \\N;", [(1, "SELECT \\N")]),
        (
            "delimiter //\nCREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END//\nDELIMITER ;\nSELECT 3;",
            [(2, "CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END"), (4, "SELECT 3")],
        ),
        ("\\d $$\nSELECT 1$$ SELECT a$$\n", [(2, "SELECT 1"), (2, "SELECT a")]),
        ("DELIMITER ende\nSELECT 1 ende SELECT 2\n", [(2, "SELECT 1 "), (2, "SELECT 2\n")]),
        (b"\xef\xbb\xbfSELECT 1;\r\n", [(1, "SELECT 1")]),
        ("warnings\nstatus; SELECT 1;\nnowarning;\n\\W\nSELECT 2;", [(2, "SELECT 1"), (5, "SELECT 2")]),
        ("/*!40101 SET a = 1 */;", [(1, "/*!40101 SET a = 1 */")]),
        ("SELECT 1 /* exit\n*/;", [(1, "SELECT 1 /* exit\n*/")]),
        ("SELECT a\nexit FROM t;", [(1, "SELECT a\nexit FROM t")]),
        ("SET sql_mode = 'NO_BACKSLASH_ESCAPES'; SELECT '\\'; SELECT 2", [
            (1, "SET sql_mode = 'NO_BACKSLASH_ESCAPES'"), (1, "SELECT '\\'"), (1, "SELECT 2"),
        ]),
    ],
)  # fmt: skip
def test_statements(text: str | bytes, statements: list[tuple[int, str]]) -> None:
    assert cut(text) == statements


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT 1;\nexit\n", "line 2: exit ends the script"),
        ("  QUIT;", "line 1: quit ends the script"),
        ("SELECT 1 \\c\n", r"line 1: \\c \(clear\) cancels the statement"),
        ("SELECT 1; \\q", r"line 1: \\q \(quit\)"),
        ("SELECT \\z;", r"line 1: \\z is no command"),
        ("\\u shop\n", r"line 1: \\u changes the database"),
        ("\n\nUPDATE t SET a = 'x;\n", "line 3: a string begins that never ends"),
        ("SELECT `x;\n", "line 1: a name begins that never ends"),
        ("SELECT 1;\n/* x;\n", "line 2: a comment begins that never ends"),
        ("DELIMITER\nSELECT 1", "line 1: DELIMITER names none"),
        (b"SELECT '\0';", "not UTF-8 text"),
    ],
)
def test_what_a_script_must_not_have(text: str | bytes, said: str) -> None:
    with pytest.raises(EnvSyncError, match=said):
        cut(text)


def test_kinds() -> None:
    assert kinds("SELECT 1; (SELECT 1); insert into t values (1); WITH a AS (SELECT 1) UPDATE t SET b = 1") == [
        "SELECT", "SELECT", "INSERT", "UPDATE",
    ]  # fmt: skip
    assert kinds("DELIMITER //\nBEGIN; UPDATE t SET a = 1; COMMIT; //\nBEGIN NOT ATOMIC DELETE FROM t; END //") == [
        "BEGIN", "UPDATE", "COMMIT", "COMPOUND",
    ]  # fmt: skip
    assert kinds("CREATE OR REPLACE TABLE t; CREATE TEMPORARY TABLE t; DROP SCHEMA a; ROLLBACK TO a") == [
        "CREATE TABLE", "CREATE TEMPORARY", "DROP DATABASE", "ROLLBACK TO",
    ]  # fmt: skip
    assert kinds("ANALYZE UPDATE t SET a = 1; SET STATEMENT max_statement_time = 1 FOR DELETE FROM t; LOAD DATA x") == [
        "ANALYZE STATEMENT", "SET STATEMENT", "LOAD DATA",
    ]  # fmt: skip
