# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A dump is of one moment, whatever others do meanwhile."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import counts as mysql_counts
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import dump as mysql_dump
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.output import Sections
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

from tests.integration.mysql.helpers import SAMPLE, Values, contents, do_pull, do_push
from tests.servers.mariadb import MariaServer, program


def test_tables_are_from_one_moment(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values
) -> None:
    """Money is moved all the time from one table to the other: two snapshots of different moments would lose some."""
    production.create_database(
        database,
        "".join(
            f"CREATE TABLE {table} (id int PRIMARY KEY, v int, pad char(200) DEFAULT 'x');"
            f"INSERT INTO {table} (id, v) SELECT seq, 1000 FROM seq_1_to_20;"
            for table in ("one", "two")
        ),
    )
    stop, failures = threading.Event(), []

    def move() -> None:
        connection = pymysql.connect(
            host=production.host, port=production.port, user=production.user, password=production.password,
            database=database,
        )  # fmt: skip
        with connection, connection.cursor() as cursor:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    cursor.execute("UPDATE one SET v = v - 1 WHERE id = 1 + %s %% 20", (number,))
                    cursor.execute("UPDATE two SET v = v + 1 WHERE id = 1 + %s %% 20", (number,))
                    connection.commit()
                except pymysql.err.Error as error:
                    failures.append(error)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        pushed = do_push(task_values("push", database))
    finally:
        stop.set()
        mover.join()
    do_pull(task_values("pull", database))

    assert pushed["manifest"]["jobs"] == 2
    assert "writers held for" in pushed["manifest"]["details"]["snapshot"]
    assert failures == [], "a push did harm to a transaction"
    total = "SELECT (SELECT sum(v) FROM one) + (SELECT sum(v) FROM two), (SELECT sum(v) FROM one) <> 20000"
    assert staging.sql(total, database) == "40000\t1"


@pytest.mark.parametrize(
    "statement",
    ["ALTER TABLE small ADD COLUMN more int", "TRUNCATE TABLE small", "DROP TABLE small", "CREATE TABLE made (id int)"],
)
def test_tables_that_others_change_during_a_dump_make_it_begin_anew(
    production: MariaServer,
    staging: MariaServer,
    database: str,
    task_values: Values,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
) -> None:
    """The dump program writes the large table, which nobody reads on, and has not come to the small one."""
    sql = "CREATE TABLE large AS SELECT seq AS id, repeat('x', 1000) AS x FROM seq_1_to_20000"
    production.create_database(database, f"{sql}; CREATE TABLE small AS SELECT seq AS id FROM seq_1_to_10")
    begin = Sections.begin
    done: list[str] = []

    def then_changed(self: Sections) -> None:
        begin(self)
        if not done:
            done.append(production.sql(statement, database))

    monkeypatch.setattr(Sections, "begin", then_changed)
    result = do_push(task_values("push", database, jobs=1))
    assert [warning for warning in result["warnings"] if warning.endswith("the dump begins anew")]
    stored = {member["name"].partition("/")[2] for member in result["manifest"]["members"]}
    assert len(stored) == len(result["manifest"]["members"])
    do_pull(task_values("pull", database))
    assert contents(staging, database) == contents(production, database)


@pytest.mark.parametrize(("form", "stays"), [("directory", True), ("directory", False), ("custom", True)])
def test_a_table_that_is_made_before_the_dump_program_looks_is_in_the_manifest(
    production: MariaServer,
    staging: MariaServer,
    database: str,
    task_values: Values,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    stays: bool,
) -> None:
    """It would be dumped, and every pull would refuse what the manifest does not have; also where it is soon gone."""
    production.create_database(database, SAMPLE)
    facts, note = mysql_dump.read_facts, mysql_counts.note
    made: list[str] = []

    def then_made(*how: Any) -> Any:
        found = facts(*how)
        if not made:
            made.append(production.sql("CREATE TABLE made (id int)", database))
        return found

    def then_gone(*how: Any) -> None:
        note(*how)
        if form == "directory" and not stays:
            production.sql("DROP TABLE IF EXISTS made", database)

    monkeypatch.setattr(mysql_dump, "read_facts", then_made)
    monkeypatch.setattr(mysql_counts, "note", then_gone)
    result = do_push(task_values("push", database, format=form))
    assert [warning for warning in result["warnings"] if warning.endswith("the dump begins anew")]
    do_pull(task_values("pull", database))
    assert contents(staging, database) == contents(production, database)


def test_a_dump_program_that_fails_or_stops_early(
    production: MariaServer, database: str, task_values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.create_database(database, SAMPLE)
    wrapper = tmp_path / "bin" / "mariadb-dump"
    wrapper.parent.mkdir()
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    real = program("mariadb-dump")
    for form in ("directory", "custom"):
        for body, said in (
            (f'{real} "$@"; echo "lost connection" >&2; exit 3', "lost connection"),
            (f'{real} "$@" | head -n -1', "without its last line"),
        ):
            wrapper.write_text(f'#!/bin/sh\ncase "$*" in *--version) exec {real} "$@" ;; esac\n{body}\n')
            wrapper.chmod(0o755)
            with pytest.raises(EnvSyncError, match=said):
                do_push(task_values("push", database, format=form))
    assert [path for path in (tmp_path / "store" / "mysql").rglob("*") if path.is_file()] == []
