# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is refused is tried on a real server too: tests/integration/postgresql/test_sanitised.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.scripts import Ready, ready
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.scripts import Script


def looked_through(text: str, path: str = "/conf/mask.sql", whole_database: bool = False) -> Ready:
    return ready(Script(path, text.encode()), "looking through it", whole_database)


@pytest.mark.parametrize(
    "text",
    [
        r"\c",
        r"\connect - someone",
        r"\!",
        r"\!psql -c x",
        r"\e",
        r"\set x `date`",
        r'\echo "`date`" `date`',
        r"\o |cat",
        r"\o '|cat'",
        r"\out :file",
        r"SELECT 1 \g (format=csv) |cat",
        r"SELECT 1 \gx :file",
        r"\w | cat",
        r"\copy t from program 'cat'",
        "\\COPY t FROM stdin;\n\\.\n\\copy (select 1) To  Program 'cat'",
        r"\cd /tmp",
        r"SELECT 1 \watch 5",
        r"\set go '\\i /etc/passwd'",
        r"\set go '\\! cat'",
        "\\q\nSELECT 1;",
        "rollback",
        "/* x */ ABORT AND CHAIN;",
        "prepare transaction 'x'",
        "alter database app set x = 1",
        "DROP DATABASE IF EXISTS app",
        "GRANT ALL ON DATABASE app TO x",
        "ALTER ROLE x IN DATABASE app SET y = 1",
        "COMMENT ON DATABASE app IS 'x'",
        r"\set ON_ERROR_STOP 0",
        r"\unset ON_ERROR_STOP",
        "SET standard_conforming_strings TO 'off'",
        "SELECT set_config('standard_conforming_strings', 'off', false)",
        "SET client_encoding = 'SJIS'",
        r"\encoding big5",
        "SELECT '",
        "SELECT 1;\0",
    ],
)
def test_what_cannot_be_a_transformation_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(EnvSyncError, match=r"^looking through it: /conf/mask\.sql") as caught:
        looked_through(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        r"\set ON_ERROR_STOP on",
        "\\set ON_ERROR_STOP off\n\\set ON_ERROR_STOP on",
        r"\set pattern '\\d+\\.com'",
        r"\o /dev/null",
        r"\copy t from 'names.csv' with (format csv, quote '`')",
        "ROLLBACK PREPARED 'x'",
        "PREPARE p AS SELECT 1",
        "SET standard_conforming_strings = on",
        r"\encoding UTF8",
        "SELECT 'rollback'; CREATE TABLE rollback (); -- ROLLBACK",
        "ALTER ROLE x SET y = 1",
        r"SELECT 1 \gexec",
        r"SELECT 1 \gset",
        "\\if :{?x}\n\\q\n\\endif",
        "DO $$ BEGIN ROLLBACK; END $$",
    ],
)
def test_what_can_be_one_is_not(text: str) -> None:
    assert looked_through(text).script.content == text.encode()


def test_before_a_dump_a_script_may_change_the_database() -> None:
    looked_through("ALTER DATABASE app SET x = 1", whole_database=True)


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("UPDATE t SET a = 1 -- x\n", "UPDATE t SET a = 1; -- x\n"),
        ("UPDATE t SET a = '\xe9'", "UPDATE t SET a = '\xe9';"),
        ("UPDATE t SET a = 1;\n\\q\n-- the end\n", "UPDATE t SET a = 1;\n\n-- the end\n"),
        ("UPDATE t SET a = 1 \\g\n", "UPDATE t SET a = 1 \\g\n"),
        ("UPDATE t\n\\set a 1", "UPDATE t\n\\set a 1\n;"),
    ],
)
def test_what_runs_is_the_script_with_its_last_statement_ended(text: str, runs: str) -> None:
    assert looked_through(text).pieces[0].content == runs.encode()


def test_included_files_are_read_and_named(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    main, one, two = tmp_path / "main.sql", tmp_path / "sub" / "one.sql", tmp_path / "sub" / "two.sql"
    one.write_text("\\ir 'two.sql'\nSELECT 1", encoding="utf-8")
    two.write_text("SELECT 2;\n", encoding="utf-8")
    text = "\\i sub/one.sql\n\\if false\n\\i gone.sql\n\\endif\nSELECT 3;\n"
    found = ready(Script(str(main), text.encode()), "x", False)
    assert [piece.path for piece in found.pieces] == [str(main), str(one), str(two)]
    assert [piece.content.decode() for piece in found.pieces] == [
        "\\ir 1.sql\n\\if false\n\\ir missing.sql\n\\endif\nSELECT 3;\n",
        "\\ir 2.sql\nSELECT 1",
        "SELECT 2;\n",
    ]
    assert [(script.path, script.content) for script in found.script.included] == [
        (str(one), one.read_bytes()),
        (str(two), two.read_bytes()),
    ]
    assert found.script.content == text.encode()


def test_a_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "main.sql"
    path.write_text("\\ir main.sql\n", encoding="utf-8")
    with pytest.raises(EnvSyncError, match=r"main\.sql, line 1: .* includes itself"):
        ready(Script(str(path), path.read_bytes()), "x", False)
