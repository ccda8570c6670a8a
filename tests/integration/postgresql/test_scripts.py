# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Transformations: how they find tables, and what is said of one that fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

from tests.integration.postgresql.runs import NEW, OLD, Values, pulled, pushed, script
from tests.servers.postgresql import PostgresServer

pytestmark = pytest.mark.usefixtures("app_roles")


FAILING = {
    "a constraint": ("UPDATE people SET email = ''", "SQLSTATE 23514: new row for relation"),
    "a raise": (
        "DO $$ BEGIN RAISE EXCEPTION 'cannot mask %', (SELECT email FROM people); END $$",
        "in inline_code_block, line 1, at RAISE: SQLSTATE P0001 (its text is withheld",
    ),
    "a raise in disguise": (
        "DO $$ BEGIN RAISE unique_violation USING MESSAGE = (SELECT email FROM people); END $$",
        "at RAISE: SQLSTATE 23505 (its text is withheld",
    ),
    "a cast": ("SELECT email::int FROM people", "SQLSTATE 22P02 (its text is withheld"),
    "made SQL": (
        "DO $$ BEGIN EXECUTE (SELECT 'SELECT ' || email FROM people); END $$",
        "at EXECUTE: SQLSTATE 42703 (its text is withheld",
    ),
    "a name": ("UPDATE peopel SET email = 'x'", 'SQLSTATE 42P01: relation "peopel" does not exist'),
    "psql": ("\\nonsense", "invalid command \\nonsense"),
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_transformation_that_fails_says_where_and_shows_no_data(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    tmp_path: Path,
    kind: str,
) -> None:
    production.create_database(database, NEW)
    staging.create_database(database, OLD)
    pushed(task_values, database)
    sql, said = FAILING[kind]
    path = script(tmp_path, f"UPDATE people SET email = 'masked' WHERE false;\n\n{sql};\n")

    with pytest.raises(EnvSyncError) as caught:
        pulled(task_values, database, transformation_sql_filename=path)

    assert f"{path}, line 3" in str(caught.value)
    assert said in str(caught.value)
    assert "ann" not in str(caught.value)
    assert staging.psql(database, "SELECT n FROM old_table") == "1"
    assert [name for name in staging.databases() if "env_sync" in name] == []
    assert list((tmp_path / "temp").iterdir()) == []


def test_scripts_find_tables_as_the_originals_did_and_run_in_order(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, NEW)
    pushed(task_values, database)
    staging.psql("postgres", "ALTER ROLE postgres SET search_path = nowhere")
    try:
        second = tmp_path / "second.sql"
        second.write_text("UPDATE people SET email = email || current_setting('search_path')", encoding="utf-8")
        first = script(tmp_path, "UPDATE people SET email = 'masked '")
        result = pulled(task_values, database, transformation_sql_filename=[first, str(second)])
        assert staging.psql(database, "SELECT email FROM public.people") == 'masked "$user",public'
        assert [item["script"] for item in result["sanitised"]] == ["transform.sql", "second.sql"]
    finally:
        staging.psql("postgres", "ALTER ROLE postgres RESET search_path")
