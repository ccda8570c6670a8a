# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import (
    client as postgresql_client,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import psql as postgresql_psql
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.pipeline import Group
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Connection

NOTICE = "psql:/m.sql:1: NOTICE:  00000: secret at 10:5: x\nLOCATION:  exec_stmt_raise, pl_exec.c:3891\n"
WARNING = "psql:/m.sql:1: WARNING:  01000: secret\n"


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("psql:/m.sql:7: ERROR:  42P01: no relation u\nLINE 1: x", "SQLSTATE 42P01: no relation u"),
        ("psql:/m.sql:7: FATAL:  57P01: terminating connection\n", "SQLSTATE 57P01: terminating connection"),
        ("psql:/m.sql:7: error: invalid command \\foo\n", "invalid command \\foo"),
        ("psql:/m.sql:7: error: /nope: No such file or directory\n", "/nope: No such file or directory"),
        ("psql:/m.sql:7: server closed the connection\npsql:/m.sql:7: error: lost\n", "server closed the connection"),
    ],
)
@pytest.mark.parametrize("before", ["", NOTICE, WARNING, NOTICE + WARNING], ids=["", "notice", "warning", "both"])
def test_harmless_complaints_are_repeated_with_their_place(stderr: str, said: str, before: str) -> None:
    assert postgresql_psql.describe(before + stderr) == f"/m.sql, line 7: {said}"


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ('ERROR:  22P02: invalid input syntax for type integer: "secret"', "22P02"),
        ('ERROR:  22P02: invalid input syntax for type integer: "x:5: ERROR:  42601: secret"', "22P02"),
        ("ERROR:  P0001: secret", "P0001"),
        ("ERROR:  XX000: secret", "XX000"),
        ("ERROR:  ZZ123: secret", "ZZ123"),
        ("FEHLER:  22P02: ungültige Eingabesyntax: »secret«", "22P02"),
        ("错误:  22P02: 无效 secret", "22P02"),
    ],
)
def test_a_text_that_may_quote_data_is_withheld_in_any_language(line: str, state: str) -> None:
    said = postgresql_psql.describe(f"{NOTICE}psql:/m.sql:7: {line}\nDETAIL:  secret\nCONTEXT:  secret\n")
    assert said == f"/m.sql, line 7: SQLSTATE {state} (its text is withheld, as it may quote data)"


@pytest.mark.parametrize("stderr", ["", "secret\n", NOTICE, WARNING, "ERROR:  42P01: secret"])
def test_what_is_not_understood_is_not_repeated(stderr: str) -> None:
    assert postgresql_psql.describe(stderr) == "psql failed"


def test_a_detail_is_never_repeated() -> None:
    stderr = 'psql:a:3: ERROR:  23505: duplicate key value violates unique constraint "u"\nDETAIL:  Key (e)=(secret)\n'
    assert "secret" not in postgresql_psql.describe(stderr)


BEGIN = (
    "psql:/m.sql:1: WARNING:  25001: there is already a transaction in progress\n"
    "LOCATION:  BeginTransactionBlock, xact.c:3793\n"
)


def test_an_error_is_the_last_thing_and_what_a_scripts_own_begin_brings_is_none() -> None:
    assert postgresql_psql.passed_over(BEGIN) == ""
    after = 'psql:/m.sql:3: ERROR:  42P01: relation "userz" does not exist\nLINE 1: x\n'
    assert postgresql_psql.describe(BEGIN + after) == '/m.sql, line 3: SQLSTATE 42P01: relation "userz" does not exist'
    vacuum = (
        "psql:/m.sql:2: ERROR:  25001: VACUUM cannot run inside a transaction block\nLOCATION:  Prevent, xact.c:1\n"
    )
    assert postgresql_psql.describe(BEGIN + vacuum).startswith("/m.sql, line 2: SQLSTATE 25001: VACUUM cannot")


def test_what_follows_from_an_error_that_was_passed_over_is_not_the_error() -> None:
    first = "psql:/m.sql:1: ERROR:  42P01: no relation\n"
    then = "psql:/m.sql:2: ERROR:  25P02: current transaction is aborted\n"
    assert postgresql_psql.passed_over(first + then) == "/m.sql, line 1: SQLSTATE 42P01: no relation"


def run(psql: Path, connection: str, environment: dict[str, str]) -> str:
    with Group() as group:
        return postgresql_psql.run_psql(
            group, str(psql), ["/b.sql", "/m.sql"], connection, environment, "running m.sql on app", str(psql.parent),
            lambda file, line: f"{file}, line {line}",
        )  # fmt: skip


def stand_in(tmp_path: Path, text: str) -> Path:
    psql = tmp_path / "psql"
    psql.write_text(f"#!/bin/sh\n{text}\n")
    psql.chmod(0o755)
    return psql


def test_psql_gets_the_password_in_its_environment_and_stops_at_the_first_error(tmp_path: Path) -> None:
    psql = stand_in(tmp_path, f'printf "%s\\n" "$@" >{tmp_path}/argv\nenv >{tmp_path}/env\npwd >{tmp_path}/pwd')
    connection = Connection("db-1", 5433, "me", "hunter2")
    run(psql, postgresql_client.conninfo(connection, "a'b"), postgresql_client.environment(connection))
    argv = (tmp_path / "argv").read_text().splitlines()
    assert {"-X", "ON_ERROR_STOP=1", postgresql_client.conninfo(connection, "a'b"), "/b.sql", "/m.sql"} <= set(argv)
    assert not [word for word in argv if "hunter2" in word]
    environment = (tmp_path / "env").read_text().splitlines()
    assert {"PGPASSWORD=hunter2", "PGHOST=db-1", "PGPORT=5433", "PGUSER=me"} <= set(environment)
    assert "PGPASSWORD" not in os.environ
    assert (tmp_path / "pwd").read_text().strip() == str(tmp_path)


def test_a_psql_that_was_killed_is_not_the_scripts_fault(tmp_path: Path) -> None:
    why = r"psql: ended by signal 9\. What it had not committed is undone\. Run again"
    with pytest.raises(EnvSyncError, match=why):
        run(stand_in(tmp_path, "kill -9 $$"), "dbname=app", {})


def test_a_failure_is_told_without_the_data(tmp_path: Path) -> None:
    psql = stand_in(tmp_path, "echo 'psql:mask.sql:2: ERROR:  22P02: secret' >&2\nexit 3")
    with pytest.raises(EnvSyncError) as raised:
        run(psql, "", {})
    assert str(raised.value).startswith("running m.sql on app: mask.sql, line 2: SQLSTATE 22P02")
    assert "secret" not in str(raised.value)
