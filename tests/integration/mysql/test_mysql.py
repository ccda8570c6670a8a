# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MySQL: databases pushed from one real MariaDB server and pulled into another."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pymysql
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import client as mysql_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import counts as mysql_counts
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import database as mysql_database
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import snapshot as mysql_snapshot
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import (
    statements as mysql_statements,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import swap as mysql_swap
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.database import MySQL
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import Cancelled, EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Connection, Task
from pymysql.constants import CLIENT

from tests.servers.mariadb import MariaServer, program

Values = Callable[..., dict[str, Any]]

ENGINE = Path(__file__).parents[3] / "plugins" / "module_utils"

OBJECTS = Path(__file__).parents[1] / "sql" / "mysql_objects.sql"

SAMPLE = """
CREATE TABLE customers (id int AUTO_INCREMENT PRIMARY KEY, email varchar(100) NOT NULL UNIQUE);
INSERT INTO customers (email) SELECT concat('user', seq, '@example.com') FROM seq_1_to_500;
CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY, customer int NOT NULL,
  CONSTRAINT ordered_by FOREIGN KEY (customer) REFERENCES customers (id));
INSERT INTO orders (customer) SELECT seq FROM seq_1_to_500;
CREATE VIEW addresses AS SELECT email FROM customers;
"""

LIVE = "CREATE TABLE live (id int PRIMARY KEY); INSERT INTO live VALUES (1); CREATE VIEW seen AS SELECT id FROM live"

ADDRESSES = "SELECT count(*), sum(email LIKE '%@example.com') FROM customers"


@pytest.fixture(scope="module")
def production() -> Iterator[MariaServer]:
    """The server that databases are pushed from."""
    with MariaServer("production") as server:
        server.sql("CREATE USER app@'10.%', only_there@localhost; GRANT ALL ON *.* TO app@'10.%'")
        yield server


@pytest.fixture(scope="module")
def staging() -> Iterator[MariaServer]:
    """The server that databases are pulled into."""
    with MariaServer("staging") as server:
        server.sql("CREATE USER app@'10.%'; GRANT ALL ON *.* TO app@'10.%'")
        yield server


@pytest.fixture
def database(production: MariaServer, staging: MariaServer) -> Iterator[str]:
    """A name for a database; nothing else may be left on the servers, and nothing at all afterwards."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    yield name
    left = {server.name: server.databases() for server in (production, staging)}
    for server in (production, staging):
        for found in server.databases():
            server.drop_database(found)
    assert all(found in (name, "other") for names in left.values() for found in names), left


@pytest.fixture
def task_values(production: MariaServer, staging: MariaServer, tmp_path: Path) -> Values:
    """Return a function that gives a task's keys: ``task_values("push", database, **others)``."""
    (tmp_path / "store").mkdir()

    def values(action: str, database: str, **others: Any) -> dict[str, Any]:
        server = production if action == "push" else staging
        return {
            "action": action,
            "dbms": "mysql",
            "database": database,
            "database_hostname": server.host,
            "database_port": server.port,
            "login_user": server.user,
            "login_password": server.password,
            "storagebackend": "directory",
            "url": str(tmp_path / "store"),
            "path": "mysql",
            "temppath": str(tmp_path / "temp"),
            "state_dir": str(tmp_path / "state"),
            "jobs": 2,
            **others,
        }

    return values


def do_push(values: dict[str, Any]) -> dict[str, Any]:
    return push.push(Task.from_mapping(values), Host())


def do_pull(values: dict[str, Any]) -> dict[str, Any]:
    return pull.pull(Task.from_mapping(values), Host())


def contents(server: MariaServer, database: str) -> list[bytes]:
    """Return all that a database is: its definitions and every row, in the order of keys, as mysqldump has them."""
    dump = server.dump(database, "--routines", "--events", "--triggers", "--hex-blob", "--order-by-primary")
    return dump.splitlines()


def default_collation(server: MariaServer, database: str) -> str:
    return server.sql(
        f"SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = '{database}'"
    )


def checksums(server: MariaServer, database: str) -> str:
    names = server.sql(
        f"""SELECT concat('`', replace(table_name, '`', '``'), '`') FROM information_schema.tables
             WHERE table_schema = '{database}' AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY 1"""
    )
    tables = ", ".join(names.split("\n"))
    return server.sql(f"CHECKSUM TABLE {tables}", database).replace(database, "")


def member(tmp_path: Path, pushed: dict[str, Any], part: str) -> Path:
    """Return the file of the point's member whose name has ``part`` in it."""
    names = [item["name"] for item in pushed["manifest"]["members"] if part in item["name"]]
    assert len(names) == 1
    return tmp_path / "store" / "mysql" / names[0]


def put_legacy(tmp_path: Path, database: str, data: bytes) -> Path:
    """Put an object into the store as the original does."""
    folder = tmp_path / "store" / "mysql"
    folder.mkdir(exist_ok=True)
    path = folder / f"2020-01-02T03:04:05-{database}.gz"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("how", [("directory", "zstd"), ("custom", "zstd"), ("custom", "gzip"), ("custom", "none")])
def test_everything_survives(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, how: tuple[str, str]
) -> None:
    production.create_database(database, OBJECTS.read_text(), "CHARACTER SET latin1 COLLATE latin1_german1_ci")
    staging.create_database(database, LIVE)

    do_push(task_values("push", database, format=how[0], compression=how[1]))
    upkeep.verify(Task.from_mapping(task_values("pull", database)), Host())
    pulled = do_pull(task_values("pull", database))

    assert pulled["warnings"] == []
    assert contents(staging, database) == contents(production, database)
    assert checksums(staging, database) == checksums(production, database)
    assert default_collation(staging, database) == "latin1_german1_ci"
    assert staging.sql("SELECT count(*) FROM `View on a view`", database) == "2"
    assert staging.sql("INSERT INTO kids (parent) VALUES (2); SELECT count(*) FROM audit", database) == "2"
    with pytest.raises(AssertionError, match="foreign key"):
        staging.sql("UPDATE kids SET parent = 99", database)
    with pytest.raises(AssertionError, match="foreign key"):
        staging.sql("DELETE FROM chicken", database)


def test_names_with_everything_in_them(
    production: MariaServer, staging: MariaServer, task_values: Values, database: str
) -> None:
    name = 'Ünder %s `quoted\' "Name"; -- '[:-1]
    production.create_database(
        name, SAMPLE + 'CREATE TABLE `it\'s; %d "x"` (`a``b` int); CREATE TABLE `--force` (a int)'
    )
    do_push(task_values("push", name))
    for _unused in range(2):  # into nothing, and over what is there
        do_pull(task_values("pull", name))
    assert contents(staging, name) == contents(production, name)
    for server in (production, staging):
        server.drop_database(name)


def test_a_name_that_another_begins_with(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values
) -> None:
    names = (database, f"{database}-2", f"{database}.gz")
    for name in names:
        production.create_database(name, f"CREATE TABLE t AS SELECT '{name}' AS name")
    for name in reversed(names):
        do_push(task_values("push", name))
    for name in names:
        do_pull(task_values("pull", name))
        assert staging.sql("SELECT name FROM t", name) == name
    for server in (production, staging):
        for name in names[1:]:
            server.drop_database(name)


def test_an_empty_database(production: MariaServer, staging: MariaServer, database: str, task_values: Values) -> None:
    production.create_database(database)
    staging.create_database(database, LIVE)
    do_push(task_values("push", database))
    do_pull(task_values("pull", database))
    assert staging.sql("SHOW TABLES", database) == ""


def test_a_point_by_its_timestamp(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values
) -> None:
    production.create_database(database, "CREATE TABLE t AS SELECT 'old' AS v")
    do_push(task_values("push", database, timestamp="2026-01-02T03:04"))
    production.sql("UPDATE t SET v = 'new'", database)
    do_push(task_values("push", database))
    do_pull(task_values("pull", database, timestamp="2026-01-02T03:04"))
    assert staging.sql("SELECT v FROM t", database) == "old"


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


def test_a_user_with_rights_on_one_database_only(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values
) -> None:
    production.create_database(
        database, SAMPLE + "CREATE DEFINER=only_there@localhost VIEW theirs AS SELECT id FROM orders"
    )
    production.sql("GRANT SELECT ON *.* TO only_there@localhost")
    staging.create_database(database, LIVE)
    for server in (production, staging):
        server.sql("CREATE OR REPLACE USER plain@'%' IDENTIFIED BY 'plain'")
    production.sql(f"GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, EXECUTE ON {database}.* TO plain@'%'")
    staging.sql(f"GRANT ALL ON {database}.* TO plain@'%'; GRANT ALL ON `env\\_sync\\_%`.* TO plain@'%'")
    plain = {"login_user": "plain", "login_password": "plain"}

    pushed = do_push(task_values("push", database, **plain))
    pulled = do_pull(task_values("pull", database, **plain))

    assert "one connection: Access denied" in pushed["manifest"]["details"]["snapshot"]
    assert [item for item in pulled["warnings"] if "only_there@localhost" in item]
    assert "DEFINER=`plain`@`%`" in staging.sql("SHOW CREATE VIEW theirs", database)
    assert staging.sql(ADDRESSES, database) == "500\t500"
    staging.sql(f"REVOKE DROP ON {database}.* FROM plain@'%'")
    with pytest.raises(EnvSyncError, match="DROP command denied"):
        pull.plan(Task.from_mapping(task_values("pull", database, **plain)), Host())
    production.sql("CREATE FUNCTION hidden() RETURNS int RETURN 1", database)
    with pytest.raises(EnvSyncError, match="may not see the definition of the function hidden"):
        do_push(task_values("push", database, **plain))
    production.sql(f"REVOKE EXECUTE ON {database}.* FROM plain@'%'")
    with pytest.raises(EnvSyncError, match="execute command denied"):
        do_push(task_values("push", database, **plain))
    production.sql(f"REVOKE TRIGGER ON {database}.* FROM plain@'%'")
    with pytest.raises(EnvSyncError, match="TRIGGER command denied"):
        do_push(task_values("push", database, **plain))


def test_triggers_hidden_on_a_server_that_only_reads(
    production: MariaServer, database: str, task_values: Values
) -> None:
    """A replica refuses to make a trigger, whoever asks: that is not how to learn of a right there."""
    production.create_database(database, SAMPLE + "CREATE TRIGGER tr BEFORE INSERT ON orders FOR EACH ROW SET @x = 1")
    production.sql("CREATE OR REPLACE USER plain@'%' IDENTIFIED BY 'plain'")
    production.sql(f"GRANT SELECT, SHOW VIEW, EVENT, EXECUTE ON {database}.* TO plain@'%'")
    values = task_values("push", database, login_user="plain", login_password="plain")
    production.sql("SET GLOBAL read_only = 1")
    try:
        with pytest.raises(EnvSyncError, match="TRIGGER command denied"):
            do_push(values)
        production.sql(f"GRANT TRIGGER ON {database}.* TO plain@'%'")
        pushed = do_push(values)
    finally:
        production.sql("SET GLOBAL read_only = 0")
    assert [item for item in pushed["manifest"]["members"] if "5-triggers" in item["name"]]


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
    monkeypatch.setattr(mysql_database, "_MOST_ARGUMENTS", 0)
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


def test_the_original_s_dump(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, OBJECTS.read_text())
    # The original asked for no routines and no events, and loaded into a database that has them.
    path = put_legacy(tmp_path, database, gzip.compress(production.dump(database, "--quick")))
    code = production.dump(database, "--no-data", "--no-create-info", "--routines", "--events", "--skip-triggers")
    staging.create_database(database, LIVE)
    staging.load(database, code)
    pulled = do_pull(task_values("pull", database))
    assert pulled["point"] == path.name[: -len(".gz")]
    assert staging.dump(database, "--routines", "--events") == production.dump(database, "--routines", "--events")


def test_a_damaged_dump_of_the_original_s(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    staging.create_database(database, LIVE)
    before = contents(staging, database)
    dump = production.dump(database)
    packed = gzip.compress(dump)
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0x10
    cases = {
        "truncated in the store": packed[: len(packed) // 2],
        "truncated before it was packed": gzip.compress(dump[: len(dump) // 2]),
        "without the last line": gzip.compress(dump[: dump.rindex(b"-- Dump completed")]),
        "flipped": bytes(flipped),
        "of something else": gzip.compress(b"GRANT ALL ON *.* TO public;\n-- Dump completed\n"),
        "no gzip": b"nonsense",
    }
    for what, data in cases.items():
        put_legacy(tmp_path, database, data)
        with pytest.raises(EnvSyncError, match="it is damaged"):
            do_pull(task_values("pull", database))
        assert contents(staging, database) == before, what


def test_a_dump_of_the_original_s_that_can_t_be_loaded(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, "CREATE TABLE customers (email mediumtext)")
    production.create_database("other")
    production.sql("INSERT INTO customers VALUES ('a@example.com')", database)
    dump = production.dump(database)
    two = production.dump("other", "--databases", database)
    production.sql("UPDATE customers SET email = repeat('a@example.com', 100000)", database)
    for data, said in (
        (dump.replace(b"'a@", b"'a@' oops '"), "line [0-9]+ of the dump: error 1064 .*withheld"),
        (dump.replace(b"('", b"(1, '"), "Column count"),
        (two, "a second database"),
        (production.dump(database), "max_allowed_packet.*Raise max_allowed_packet"),
    ):
        put_legacy(tmp_path, database, gzip.compress(data))
        staging.sql("SET GLOBAL max_allowed_packet = 1048576")
        with pytest.raises(EnvSyncError, match=said) as raised:
            do_pull(task_values("pull", database))
        staging.sql("SET GLOBAL max_allowed_packet = DEFAULT")
        assert "example.com" not in str(raised.value)
        assert staging.databases() == []


def test_what_a_dump_hides_behind_its_rows_does_not_run(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    """The guard goes by how a statement begins: what follows a semicolon would run too, if several came at once."""
    production.create_database(database, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    staging.create_database(database, LIVE)
    staging.create_database("other", LIVE)
    dump = production.dump(database)
    function = b"CREATE FUNCTION f() RETURNS int DETERMINISTIC BEGIN DELETE FROM other.seen; RETURN 1; END"
    for hidden, said in (
        (b"INSERT INTO `t` VALUES (1); DROP DATABASE other;", "error 1064"),
        (b"INSERT INTO `t` VALUES (1)\n; DELETE FROM other.seen;", "error 1064"),
        (b"DELIMITER ;;\n" + function + b";;\nDELIMITER ;\nDO f();", r"not of a database's dump \(DO\)"),
    ):
        assert b"INSERT INTO `t` VALUES\n(1);" in dump
        put_legacy(tmp_path, database, gzip.compress(dump.replace(b"INSERT INTO `t` VALUES\n(1);", hidden)))
        with pytest.raises(EnvSyncError, match=said):
            do_pull(task_values("pull", database))
        assert staging.sql("SELECT * FROM seen", "other") == staging.sql("SELECT * FROM seen", database) == "1"
        assert sorted(staging.databases()) == sorted([database, "other"])


def test_the_server_takes_one_statement_at_a_time(production: MariaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyMySQL before 1.0 lets several come at once unless it is told not to."""
    monkeypatch.setattr(CLIENT, "CAPABILITIES", CLIENT.CAPABILITIES | CLIENT.MULTI_STATEMENTS)
    where = Connection(production.host, production.port, production.user, production.password)
    allowed = pymysql.connect(
        host=production.host, port=production.port, user=production.user, password=production.password
    )
    with contextlib.closing(allowed):
        allowed.query("DO 1; DO 2")  # what is tested is there
    with contextlib.closing(mysql_client.Server(where)) as server:
        for connection in (server.control(), server.connect("testing"), server.connect("testing", raw=True)):
            assert not connection.client_flag & CLIENT.MULTI_STATEMENTS
            with pytest.raises(EnvSyncError, match="1064"):
                server.send(b"DO 1; DO 2", connection, "testing")


def test_orphans_in_a_dump(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE + "SET foreign_key_checks = 0; DELETE FROM customers WHERE id = 7")
    staging.create_database(database, LIVE)
    put_legacy(tmp_path, database, gzip.compress(production.dump(database)))
    with pytest.raises(EnvSyncError, match="rows of orders break its foreign key ordered_by") as raised:
        do_pull(task_values("pull", database))
    assert "7" not in raised.value.why
    assert staging.sql("SELECT * FROM seen", database) == "1"


def test_a_dump_of_mysql_8(staging: MariaServer, database: str, task_values: Values, tmp_path: Path) -> None:
    """Lines as MySQL's manual and mysqldump's own source have them: nothing here wrote them."""
    dump = (Path(__file__).parents[1] / "sql" / "mysql8_dump.sql").read_bytes()
    put_legacy(tmp_path, database, gzip.compress(dump.replace(b"shop", database.encode())))
    pulled = do_pull(task_values("pull", database))
    assert [item for item in pulled["warnings"] if "utf8mb4_0900_ai_ci" in item]
    assert [item for item in pulled["warnings"] if "admin@%" in item]
    assert "COLLATE=utf8mb4_" in staging.sql("SHOW CREATE TABLE customers", database)
    assert staging.sql("SELECT note FROM customers", database) == (
        "DEFINER=`root`@`%` COLLATE utf8mb4_0900_ai_ci; SET @@GLOBAL.GTID_PURGED='x';"
    )
    assert staging.sql("INSERT INTO customers (note) VALUES ('x'); SELECT total(1)", database) == "2"
    assert staging.sql("SELECT n FROM summary; SELECT @@sql_log_bin", database) == "2\n1"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_member(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path, damage: str
) -> None:
    production.create_database(database, SAMPLE)
    staging.create_database(database, LIVE)
    before = contents(staging, database)
    pushed = do_push(task_values("push", database))
    path = member(tmp_path, pushed, "-customers")
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()
    with pytest.raises(EnvSyncError, match="customers"):
        do_pull(task_values("pull", database))
    assert contents(staging, database) == before


def test_refusals(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    do_push(task_values("push", database))
    to_itself = {"database_port": production.port, "login_password": production.password}
    for values, said in (
        (task_values("push", database, login_password="wrong-secret"), "Access denied.*login_password"),
        (task_values("push", "nosuch"), f"there is no database nosuch.*{database}"),
        (task_values("push", database, database_port=1), "Can't connect.*database_hostname"),
        (task_values("pull", database, **to_itself), "the server it was pushed from"),
    ):
        with pytest.raises(EnvSyncError, match=said) as raised:
            (do_push if values["action"] == "push" else do_pull)(values)
        assert "wrong-secret" not in str(raised.value)
    staging.create_database(database, LIVE)
    staging.create_database(
        "other", f"CREATE TABLE t (id int, CONSTRAINT foreigner FOREIGN KEY (id) REFERENCES {database}.live (id))"
    )
    with pytest.raises(EnvSyncError, match="foreigner"):
        do_pull(task_values("pull", database))
    staging.drop_database("other")
    scratch = pull.plan(Task.from_mapping(task_values("pull", database)), Host())["steps"][1].split()[-1]
    staging.create_database(scratch, "CREATE TABLE somebodys (id int)")
    with pytest.raises(EnvSyncError, match="not env_sync's"):
        do_pull(task_values("pull", database))
    staging.drop_database(scratch)


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


@pytest.mark.parametrize(
    ("action", "in_the_way", "waiting"),
    [
        ("push", "LOCK TABLES {}.customers WRITE", "FLUSH TABLES"),
        ("pull", "FLUSH TABLES WITH READ LOCK", "env_sync_no_such_table"),
        ("pull", "LOCK TABLES {}.live READ", "DROP TRIGGER"),
        ("pull", "LOCK TABLES {}.quiet READ", "RENAME TABLE"),
        ("pull", "DO 0", "sleep(9)"),
    ],
)
def test_a_run_that_is_told_to_stop_while_the_server_keeps_it_waiting(
    production: MariaServer,
    staging: MariaServer,
    database: str,
    task_values: Values,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    in_the_way: str,
    waiting: str,
) -> None:
    """It would go on for a minute otherwise."""
    monkeypatch.setattr(mysql_swap, "_LOCK_WAIT", 60)
    monkeypatch.setattr(mysql_snapshot, "_LOCK_WAIT", 60)
    production.create_database(database, SAMPLE)
    triggered = "; CREATE TABLE quiet (id int); CREATE TRIGGER tr BEFORE INSERT ON live FOR EACH ROW SET @x = 1"
    staging.create_database(database, LIVE + triggered)
    before = contents(staging, database)
    script = tmp_path / "slow.sql"
    script.write_text(
        "UPDATE customers SET email = concat(id, sleep(9));\n" if waiting == "sleep(9)" else "SELECT 1;\n"
    )
    do_push(task_values("push", database, timestamp="2026-01-02T03:04"))
    server = production if action == "push" else staging
    told: list[float] = []

    def cancelled() -> bool:
        if not told and waiting in server.sql(
            "SELECT info FROM information_schema.processlist WHERE id <> connection_id()"
        ):
            told.append(time.monotonic())
        return bool(told)

    with contextlib.closing(
        pymysql.connect(host=server.host, port=server.port, user=server.user, password=server.password)
    ) as other:
        other.query(in_the_way.format(database))
        values = task_values(action, database, transformation_sql_filename=str(script) if action == "pull" else "")
        with pytest.raises(Cancelled):
            (push.push if action == "push" else pull.pull)(Task.from_mapping(values), Host(cancelled=cancelled))
        assert time.monotonic() - told[0] < 20
    assert contents(staging, database) == before
    assert staging.databases() == [database]
    assert "sleep" not in staging.sql("SELECT info FROM information_schema.processlist WHERE id <> connection_id()")


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


def test_nothing_secret_on_a_command_line_or_left_in_a_file(
    production: MariaServer, database: str, task_values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.create_database(database, SAMPLE)
    wrapper = tmp_path / "bin" / "mariadb-dump"
    wrapper.parent.mkdir()
    wrapper.write_text(
        '#!/bin/sh\n[ "$1" = --version ] || { printf "%s\\n" "$@"; env; stat -c %a "${1#*=}"; } '
        f">> {tmp_path}/seen\n"
        f'exec {program("mariadb-dump")} "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    do_push(task_values("push", database))
    seen = (tmp_path / "seen").read_text()
    assert "\n600\n" in seen
    assert production.password not in seen
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or production.password.encode()[:12] not in path.read_bytes(), path


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


def test_restore_by_hand(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    """As docs/operate/restore-by-hand.md says: zstd and the client program, the members in the order of their names."""
    production.create_database(database, OBJECTS.read_text(), "CHARACTER SET latin1 COLLATE latin1_german1_ci")
    pushed = do_push(task_values("push", database))
    staging.create_database(database, "", "CHARACTER SET latin1 COLLATE latin1_german1_ci")
    folder = tmp_path / "store" / "mysql" / pushed["point"]
    unpacked = subprocess.run(["zstd", "-dc", *sorted(folder.iterdir())], capture_output=True, check=True).stdout
    staging.load(database, unpacked)
    assert contents(staging, database) == contents(production, database)


# What a process of its own runs, to be killed where it says `reached`.
RUN = """
import json, sys, time
sys.path.insert(0, {engine!r})
from _engine import push, pull
from _engine.databases.mysql import client as my_client, swap as my_swap
from _engine.host.progress import Host
from _engine.stores import directory
from _engine.tasks.task import Task

def reached(*args, **kwargs):
    print("reached", flush=True)
    time.sleep(60)

def after_statement(start, number):
    query = mysql_client.Server.query
    counted = []
    def watching(self, statement, *args, **kwargs):
        rows = query(self, statement, *args, **kwargs)
        if statement.startswith(start):
            counted.append(statement)
            if len(counted) == number:
                reached()
        return rows
    mysql_client.Server.query = watching

{hook}
task = Task.from_mapping(json.loads(sys.argv[1]))
(push.push if task.action == "push" else pull.pull)(task, Host())
"""


def run_and_kill(values: dict[str, Any], hook: str) -> None:
    """Run the task in a process of its own, and kill it where ``hook`` has it say ``reached``."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN.format(engine=str(ENGINE), hook=hook), json.dumps(values)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        found = process.stdout.readline()
        process.kill()
    assert found == "reached\n"


def test_a_push_that_is_killed(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    run_and_kill(task_values("push", database), "push._manifest = reached")
    assert list((tmp_path / "store" / "mysql").iterdir())
    time.sleep(1)
    pushed = do_push(task_values("push", database))
    left = {path.name for path in (tmp_path / "store" / "mysql").iterdir()}
    assert left == {pushed["point"], pushed["point"] + ".manifest.json"}
    assert list((tmp_path / "temp").iterdir()) == []
    do_pull(task_values("pull", database))
    assert staging.sql(ADDRESSES, database) == "500\t500"


@pytest.mark.parametrize(
    ("hook", "moved"),
    [
        ("after_statement('SET SESSION foreign_key_checks = 0', 2)", False),
        ("after_statement('CREATE DATABASE', 1)", False),
        ("after_statement('INSERT INTO `env_sync_scratch', 1)", False),
        ("after_statement('DROP TRIGGER', 1)", False),
        ("after_statement('RENAME TABLE `test', 1)", True),
        ("after_statement('DROP DATABASE', 1)", True),
    ],
)
def test_a_pull_that_is_killed(
    production: MariaServer,
    staging: MariaServer,
    database: str,
    task_values: Values,
    monkeypatch: pytest.MonkeyPatch,
    hook: str,
    moved: bool,
) -> None:
    def fail(*_args: Any) -> None:
        raise EnvSyncError("testing", "swept")

    triggers = (
        "; CREATE TRIGGER one BEFORE INSERT ON live FOR EACH ROW SET @x = 1; CREATE FUNCTION f() RETURNS int RETURN 1"
    )
    production.create_database(database, SAMPLE, "COLLATE utf8mb4_polish_ci")
    staging.create_database(database, LIVE + triggers, "COLLATE utf8mb4_czech_ci")
    before = contents(staging, database)
    do_push(task_values("push", database))

    run_and_kill(task_values("pull", database), hook)
    # What the next run does first, whatever comes of it then.
    with monkeypatch.context() as patch, pytest.raises(EnvSyncError, match="swept"):
        patch.setattr(pull, "_preflight", fail)
        do_pull(task_values("pull", database))

    assert contents(staging, database) == (contents(production, database) if moved else before)
    assert default_collation(staging, database) == ("utf8mb4_polish_ci" if moved else "utf8mb4_czech_ci")
    assert staging.databases() == [database]
    do_pull(task_values("pull", database))
    assert contents(staging, database) == contents(production, database)


def test_a_connection_that_says_nothing_for_long(production: MariaServer) -> None:
    """Firewalls forget it within minutes, and a restore takes hours."""
    with contextlib.closing(
        mysql_client.Server(Connection(production.host, production.port, production.user, production.password))
    ) as server:
        connected = server.control()._sock
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_the_socket_and_the_user_s_own_option_file(
    production: MariaServer, database: str, task_values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.create_database(database, SAMPLE)
    shutil.rmtree(tmp_path / "home", ignore_errors=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".my.cnf").write_text(
        f"[client]\nsocket = {production.socket} # the local one\nuser=root\n[mysqldump]\nskip-comments\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    values = task_values("push", database)
    for key in ("database_hostname", "database_port", "login_user", "login_password"):
        del values[key]
    assert do_push(values)["changed"]


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
    begin = mysql_statements.Sections.begin
    done: list[str] = []

    def then_changed(self: mysql_statements.Sections) -> None:
        begin(self)
        if not done:
            done.append(production.sql(statement, database))

    monkeypatch.setattr(mysql_statements.Sections, "begin", then_changed)
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
    facts, note = MySQL._dump_facts, mysql_counts.note
    made: list[str] = []

    def then_made(self: MySQL, *how: Any) -> Any:
        found = facts(self, *how)
        if not made:
            made.append(production.sql("CREATE TABLE made (id int)", database))
        return found

    def then_gone(*how: Any) -> None:
        note(*how)
        if form == "directory" and not stays:
            production.sql("DROP TABLE IF EXISTS made", database)

    monkeypatch.setattr(MySQL, "_dump_facts", then_made)
    monkeypatch.setattr(mysql_counts, "note", then_gone)
    result = do_push(task_values("push", database, format=form))
    assert [warning for warning in result["warnings"] if warning.endswith("the dump begins anew")]
    do_pull(task_values("pull", database))
    assert contents(staging, database) == contents(production, database)
