# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The swap: whoever uses the database meanwhile, and what fails in the middle of it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pymysql
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import swap as mysql_swap
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

from tests.integration.mysql.helpers import (
    ADDRESSES,
    LIVE,
    OBJECTS,
    SAMPLE,
    Values,
    contents,
    default_collation,
    do_pull,
    do_push,
)
from tests.servers.mariadb import MariaServer


def test_who_reads_during_the_swap_misses_nothing(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values
) -> None:
    sample = (
        "CREATE TABLE t AS SELECT {0} AS v; CREATE TABLE u AS SELECT {0} AS v;"
        "CREATE VIEW both_ AS SELECT t.v AS a, u.v AS b{1} FROM t, u"
    )
    production.create_database(database, sample.format(2, ", 1 AS c"))
    staging.create_database(
        database, sample.format(1, "") + "; CREATE USER reader@'%'; GRANT SELECT ON both_ TO reader@'%'"
    )
    do_push(task_values("push", database))
    stop, seen, failures = threading.Event(), set(), []

    def read() -> None:
        connection = pymysql.connect(
            host=staging.host, port=staging.port, user="reader", database=database, autocommit=True
        )
        with connection, connection.cursor() as cursor:
            while not stop.is_set():
                try:
                    cursor.execute("SELECT a, b FROM both_")
                    seen.update(cursor.fetchall())
                except pymysql.err.Error as error:
                    failures.append(error)

    readers = [threading.Thread(target=read) for _unused in range(3)]
    for reader in readers:
        reader.start()
    try:
        pulled = do_pull(task_values("pull", database))
        time.sleep(0.2)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    staging.sql("DROP USER reader@'%'")
    assert failures == []
    assert seen == {(1, 1), (2, 2)}, "a table of one database was read together with one of the other"
    assert pulled["name_away_seconds"] < 1


def test_a_transaction_that_is_never_finished(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_swap, "_LOCK_WAIT", 1)
    monkeypatch.setattr(mysql_swap, "_TRIES", 1)
    production.create_database(database, SAMPLE)
    staging.create_database(database, LIVE + "; CREATE TRIGGER tr BEFORE INSERT ON live FOR EACH ROW SET @x = 1")
    do_push(task_values("push", database))
    idle = pymysql.connect(
        host=staging.host, port=staging.port, user=staging.user, password=staging.password, database=database
    )
    with idle.cursor() as cursor:
        cursor.execute("SELECT * FROM live")
    do_pull(task_values("pull", database))
    assert staging.sql(ADDRESSES, database) == "500\t500"
    idle.close()


def test_a_transaction_that_begins_right_after_the_tables_moved(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triggers and views are not there yet: who waits for it to end has everybody else wait behind himself."""
    monkeypatch.setattr(mysql_swap, "_LOCK_WAIT", 1)
    monkeypatch.setattr(mysql_swap, "_TRIES", 1)
    view = "CREATE VIEW seen AS SELECT id AS n FROM {}"
    production.create_database(
        database, SAMPLE + view.format("orders") + "; CREATE TRIGGER tr BEFORE INSERT ON orders FOR EACH ROW SET @x = 1"
    )
    staging.create_database(database, "CREATE TABLE orders (id int);" + view.format("orders") + " WHERE id > 0")
    do_push(task_values("push", database))
    rename = mysql_swap.Swap._rename
    idle = pymysql.connect(host=staging.host, port=staging.port, user=staging.user, password=staging.password)

    def begin(self: Any, pairs: Any) -> float:
        seconds = rename(self, pairs)
        with idle.cursor() as cursor:
            cursor.execute(f"USE {database}")
            cursor.execute("SELECT n FROM seen")
        return seconds

    with monkeypatch.context() as patch:
        patch.setattr(mysql_swap.Swap, "_rename", begin)
        do_pull(task_values("pull", database))
    assert "tr" in staging.sql("SHOW TRIGGERS", database)
    assert "where" not in staging.sql("SHOW CREATE VIEW seen", database)
    idle.close()


def test_the_replaced_database_is_kept(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values
) -> None:
    production.create_database(database, SAMPLE)
    staging.create_database(
        database,
        LIVE + "; CREATE TRIGGER tr BEFORE INSERT ON live FOR EACH ROW SET @x = 1;"
        "CREATE EVENT ev ON SCHEDULE EVERY 1 DAY DO SET @y = 1",
    )
    do_push(task_values("push", database))
    kept = do_pull(task_values("pull", database, old_database="keep"))["kept"]
    assert kept.startswith("env_sync_old_test_")
    assert staging.sql("SELECT * FROM seen", kept) == "1"
    assert "tr" in staging.sql("SHOW TRIGGERS", kept)
    assert "DISABLED" in staging.sql("SHOW EVENTS", kept)
    assert do_pull(task_values("pull", database))["kept"] == ""
    assert staging.databases() == [database]


def test_what_fails_after_the_tables_moved_is_undone(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.create_database(database, SAMPLE)
    objects = OBJECTS.read_text().replace("DEFINER=app@'10.%'", "") + "DELETE FROM audit;"
    staging.create_database(database, objects, "CHARACTER SET latin1 COLLATE latin1_german1_ci")
    before = contents(staging, database)
    do_push(task_values("push", database))
    complete = mysql_swap.Swap._complete

    def fail(self: Any, wanted: Any) -> None:
        complete(self, [*wanted, wanted[0].__class__("VIEW", "broken", "CREATE VIEW broken AS SELECT * FROM nowhere")])

    monkeypatch.setattr(mysql_swap.Swap, "_complete", fail)
    with pytest.raises(EnvSyncError, match="broken"):
        do_pull(task_values("pull", database))
    assert contents(staging, database) == before
    assert default_collation(staging, database) == "latin1_german1_ci"
    assert staging.databases() == [database]
    staging.drop_database(database)
    with pytest.raises(EnvSyncError, match="broken"):
        do_pull(task_values("pull", database))
    assert staging.databases() == []
