# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scripts: before the swap, and before the dump."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

from tests.integration.mysql.helpers import ADDRESSES, LIVE, SAMPLE, Values, contents, do_pull, do_push
from tests.servers.mariadb import MariaServer


def test_scripts_run_before_the_swap(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(
        database,
        SAMPLE + "CREATE TABLE seen (email varchar(100));"
        "CREATE TRIGGER spy BEFORE UPDATE ON customers FOR EACH ROW INSERT INTO seen VALUES (OLD.email)",
    )
    script = tmp_path / "sanitise.sql"
    script.write_text(
        "DELIMITER //\nCREATE PROCEDURE clean() BEGIN UPDATE customers SET email = concat(id, '@invalid'); END//\n"
        "DELIMITER ;\nCALL clean();\nDROP PROCEDURE clean;\n"
        "CREATE EVENT later ON SCHEDULE EVERY 1 DAY DO DELETE FROM seen;\n"
    )
    do_push(task_values("push", database))
    do_pull(task_values("pull", database, transformation_sql_filename=str(script)))
    assert staging.sql(ADDRESSES, database) == "500\t0"
    assert staging.sql("SELECT count(*) FROM seen", database) == "0", "a trigger copied what was to be sanitised"
    assert staging.sql("SELECT count(*) FROM addresses WHERE email LIKE '%@invalid'", database) == "500"
    assert "spy" in staging.sql("SHOW TRIGGERS", database)
    assert "later" in staging.sql("SHOW EVENTS", database)


def test_a_script_that_fails(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    staging.create_database(database, LIVE)
    before = contents(staging, database)
    do_push(task_values("push", database))
    script = tmp_path / "bad.sql"
    for sql, said in (
        ("SELECT 1;\n\nUPDATE customers SET emial = 1;\n", "line 3.*Unknown column 'emial'"),
        ("UPDATE customers SET email = 'same@example.com';\n", "line 1.*withheld"),
        ("DELETE FROM customers;\n", "ordered_by"),
        (
            "SET foreign_key_checks = 0; DELETE FROM customers WHERE id = 7;\n",
            "orders break its foreign key ordered_by",
        ),
    ):
        script.write_text(sql)
        with pytest.raises(EnvSyncError, match=said) as raised:
            do_pull(task_values("pull", database, transformation_sql_filename=str(script)))
        assert "@example.com" not in str(raised.value)
        assert contents(staging, database) == before


def test_a_script_whose_end_is_a_comment(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    """The client leaves out all that follows, and ends with 0: nothing would be sanitised."""
    production.create_database(database, SAMPLE)
    staging.create_database(database, LIVE)
    do_push(task_values("push", database))
    script = tmp_path / "sanitise.sql"
    script.write_text("SELECT 1;\n/* addresses\nUPDATE customers SET email = concat(id, '@invalid');\n")
    with pytest.raises(EnvSyncError, match=r"sanitise\.sql, line 2: a comment begins that never ends"):
        do_pull(task_values("pull", database, transformation_sql_filename=str(script)))
    assert staging.sql("SELECT * FROM seen", database) == "1"


def test_what_a_script_makes_of_rows_is_not_repeated(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(
        database,
        SAMPLE + "DELIMITER //\nCREATE PROCEDURE strange(what varchar(200)) BEGIN\n"
        "SELECT max(email) INTO @email FROM customers; EXECUTE IMMEDIATE concat('SELECT ', @email, what); END//\n",
    )
    do_push(task_values("push", database))
    script = tmp_path / "strange.sql"
    for what in ("", "'"):
        script.write_text(f'CALL strange("{what}");\n')
        with pytest.raises(EnvSyncError, match=r"strange\.sql, line 1: error 10.*withheld") as raised:
            do_pull(task_values("pull", database, transformation_sql_filename=str(script)))
        assert "user" not in raised.value.why.replace(str(tmp_path), "")


def test_scripts_before_the_dump(production: MariaServer, database: str, task_values: Values, tmp_path: Path) -> None:
    production.create_database(database, SAMPLE)
    script = tmp_path / "before.sql"
    script.write_text("DELETE FROM orders WHERE id > 10;")
    pushed = do_push(task_values("push", database, pre_dump_transformation_sql_filename=str(script)))
    assert production.sql("SELECT count(*) FROM orders", database) == "10"
    assert pushed["manifest"]["sanitised"][0]["script"] == "before.sql"
