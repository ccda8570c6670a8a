# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables, or their rows, that are left out of a push."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import arguments as mysql_arguments
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import snapshot as mysql_snapshot
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.mysql.helpers import SAMPLE, Values, do_pull, do_push
from tests.servers.mariadb import MariaServer


def test_excluded_tables(production: MariaServer, staging: MariaServer, database: str, task_values: Values) -> None:
    production.create_database(database, SAMPLE + "CREATE TABLE log_1 (i int); CREATE TABLE log_2 (i int)")
    for form in ("directory", "custom"):
        do_push(task_values("push", database, excluded_tables="customers,log_*", format=form))
        pulled = do_pull(task_values("pull", database))
        assert staging.sql("SHOW TABLES", database) == "orders"
        assert "FOREIGN" not in staging.sql("SHOW CREATE TABLE orders", database)
        assert [item for item in pulled["warnings"] if "addresses" in item]
        time.sleep(1)  # a point's name is to the second
    with pytest.raises(EnvSyncError, match="no such table"):
        do_push(task_values("push", database, excluded_tables="custmers"))


def test_tables_are_named_where_those_left_out_are_too_many(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command line has room for a megabyte of them; here for nothing.

    What dumps rows looks up each table that is named to it, while nobody may write: an option file has the others.
    """
    monkeypatch.setattr(mysql_arguments, "_MOST_ARGUMENTS", 0)
    commands: list[list[str]] = []
    command = mysql_snapshot.RowsDump.__init__

    def noted(self: Any, group: Any, sink: Any, give: Any, *others: Any) -> None:
        def told(share: Any) -> list[str]:
            commands.append(give(share))
            return commands[-1]

        command(self, group, sink, told, *others)

    monkeypatch.setattr(mysql_snapshot.RowsDump, "__init__", noted)
    odd = "CREATE TABLE `log_\\\\ \"#'.ü\nx` (i int);"
    production.create_database(database, SAMPLE + odd + "".join(f"CREATE TABLE log_{n} (i int);" for n in range(9)))
    for form in ("directory", "custom"):
        do_push(task_values("push", database, excluded_tables="log_*", format=form))
        do_pull(task_values("pull", database))
        for name in ("customers", "orders", "addresses"):
            assert staging.sql(f"SELECT * FROM {name}", database) == production.sql(f"SELECT * FROM {name}", database)
        assert staging.sql("SHOW TABLES", database).split() == ["addresses", "customers", "orders"]
        time.sleep(1)  # a point's name is to the second
    assert [found[-2:] for found in commands] == [["--", database]] * 2
    assert not [argument for found in commands for argument in found if "ignore-table" in argument]


def test_tables_arrive_without_their_rows(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values
) -> None:
    production.create_database(
        database, SAMPLE + "CREATE TABLE log_1 (i int KEY); INSERT INTO log_1 VALUES (1); CREATE TABLE log_2 (i int)"
    )
    orders = production.sql("SELECT COUNT(*) FROM orders", database)
    for form in ("directory", "custom"):
        asked = {"excluded_table_data": "customers,log_*", "format": form}
        planned = push.plan(Task.from_mapping(task_values("push", database, **asked)), Host())
        assert "leave out the rows of customers, log_1, log_2 (excluded_table_data)" in planned["steps"]
        pushed = do_push(task_values("push", database, **asked))
        assert pushed["manifest"]["details"]["excluded_table_data"] == ["customers", "log_1", "log_2"]
        pulled = do_pull(task_values("pull", database))
        counts = "SELECT (SELECT COUNT(*) FROM customers), (SELECT COUNT(*) FROM log_1), (SELECT COUNT(*) FROM orders)"
        assert staging.sql(counts, database).split() == ["0", "0", orders]
        assert staging.sql("SHOW CREATE TABLE customers", database) == production.sql(
            "SHOW CREATE TABLE customers", database
        )
        assert "FOREIGN" not in staging.sql("SHOW CREATE TABLE orders", database)
        assert [text for text in pulled["warnings"] if "foreign keys to tables without their rows" in text]
        time.sleep(1)  # a point's name is to the second
    with pytest.raises(EnvSyncError, match="excluded_table_data names custmers, and there is no such table"):
        do_push(task_values("push", database, excluded_table_data="custmers"))


def test_what_has_no_rows_of_its_own_is_not_said_to_be_empty(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values
) -> None:
    production.create_database(
        database,
        "CREATE TABLE logged (i int) ENGINE=MyISAM; INSERT INTO logged VALUES (1), (2);"
        "CREATE TABLE every_log (i int) ENGINE=MERGE UNION=(logged)",
    )
    pushed = do_push(task_values("push", database, excluded_table_data="every_log"))
    assert pushed["manifest"]["tables"] == [{"name": "every_log"}, {"name": "logged", "rows": 2}]
    do_pull(task_values("pull", database))
    assert staging.sql("SELECT COUNT(*) FROM logged", database) == "2"
