# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MySQL 5.7, 8.0 and 9 with their own programs and with MariaDB's, MariaDB 11.4, and from each to the others."""

from __future__ import annotations

import contextlib
import gzip
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pymysql
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import snapshot as mysql_snapshot
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import swap as mysql_swap
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.mysql.helpers import keys
from tests.servers.mariadb import MariaServer
from tests.servers.mysql import MySQLServer, mariadb_base, mysql_9_base, mysql_57_base

#: MySQL 9 is tested when it is asked for: Debian's unstable distribution, where it comes from, is another one each day
NINE = bool(os.environ.get("ENV_SYNC_TEST_MYSQL_9"))

OF_VERSIONS = [("mysql57", "mysql57_objects.sql"), *([("mysql9", "mysql8_objects.sql")] if NINE else [])]
PAIRS_OF_NINE = [
    ("mysql", "mysql9", "utf8mb4_0900_as_ci", "utf8mb4_0900_as_ci"),
    ("mysql9", "maria11", "utf8mb4_0900_ai_ci", "utf8mb4_0900_ai_ci"),
    ("maria10", "mysql9", "utf8mb4_uca1400_ai_ci", "utf8mb4_0900_ai_ci"),
][: None if NINE else 0]

Values = Callable[..., dict[str, Any]]

SQL = Path(__file__).parents[1] / "sql"

ACCOUNTS = "CREATE USER app@'10.%'; GRANT ALL ON *.* TO app@'10.%'"


@pytest.fixture(scope="module")
def running() -> list[MariaServer]:
    """The servers that were started so far."""
    return []


def started(server: MariaServer, running: list[MariaServer]) -> Iterator[Any]:
    with server:
        server.sql(ACCOUNTS)
        running.append(server)
        yield server


@pytest.fixture(scope="module")
def mysql(running: list[MariaServer]) -> Iterator[MySQLServer]:
    yield from started(MySQLServer("mysql"), running)


@pytest.fixture(scope="module")
def other_mysql(running: list[MariaServer]) -> Iterator[MySQLServer]:
    yield from started(MySQLServer("other-mysql"), running)


@pytest.fixture(scope="module")
def mysql57(running: list[MariaServer]) -> Iterator[MySQLServer]:
    """It has no programs of its own: MariaDB's are used, or MySQL 8.0's where a test says so."""
    yield from started(MySQLServer("mysql57", mysql_57_base()), running)


@pytest.fixture(scope="module")
def mysql9(running: list[MariaServer]) -> Iterator[MySQLServer]:
    yield from started(MySQLServer("mysql9", mysql_9_base()), running)


@pytest.fixture
def newest_mysql(request: pytest.FixtureRequest) -> MySQLServer:
    server: MySQLServer = request.getfixturevalue("mysql9" if NINE else "other_mysql")
    return server


@pytest.fixture(scope="module")
def maria10(running: list[MariaServer]) -> Iterator[MariaServer]:
    yield from started(MariaServer("maria10"), running)


@pytest.fixture(scope="module")
def maria11(running: list[MariaServer]) -> Iterator[MariaServer]:
    yield from started(MariaServer("maria11", mariadb_base()), running)


@pytest.fixture
def database(running: list[MariaServer]) -> Iterator[str]:
    """A name for a database; nothing else may be left on the servers, and nothing at all afterwards."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    yield name
    left = {server.name: server.databases() for server in running}
    for server in running:
        for found in server.databases():
            server.drop_database(found)
    assert all(found == name for names in left.values() for found in names), left


@pytest.fixture
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Values:
    """Return a function that gives a task's keys: ``values("push", server, database, **others)``.

    :param own: the programs of that server's version come first on the PATH.
    """
    (tmp_path / "store").mkdir()
    usual = os.environ["PATH"]

    def given(action: str, server: MariaServer, database: str, own: bool = True, **others: Any) -> dict[str, Any]:
        monkeypatch.setenv("PATH", f"{server.base}/bin:{usual}" if server.base and own else usual)
        return {**keys(action, server, database, tmp_path), "jobs": 2, **others}

    return given


def do_push(values: dict[str, Any]) -> dict[str, Any]:
    return push.push(Task.from_mapping(values), Host())


def do_pull(values: dict[str, Any]) -> dict[str, Any]:
    return pull.pull(Task.from_mapping(values), Host())


def contents(server: MariaServer, database: str) -> list[bytes]:
    """Return all that a database is: its definitions and every row, as the server's own dump program has them."""
    own = isinstance(server, MySQLServer) and str(server.base) in server.program(server.dumper)
    more = ["--set-gtid-purged=OFF"] if own else []
    options = ("--routines", "--events", "--triggers", "--hex-blob", "--order-by-primary", "--skip-comments", *more)
    return server.dump(database, *options).splitlines()


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_everything_survives_from_mysql_to_mysql(
    mysql: MySQLServer, other_mysql: MySQLServer, database: str, values: Values, form: str
) -> None:
    mysql.create_database(database, (SQL / "mysql8_objects.sql").read_text(), "CHARACTER SET latin1")
    other_mysql.create_database(database, "CREATE TABLE live (id int); CREATE VIEW seen AS SELECT id FROM live")

    pushed = do_push(values("push", mysql, database, format=form))
    upkeep.verify(Task.from_mapping(values("pull", other_mysql, database)), Host())
    pulled = do_pull(values("pull", other_mysql, database))

    assert "8.0.33" in pushed["manifest"]["client_version"]
    assert pulled["warnings"] == []
    assert contents(other_mysql, database) == contents(mysql, database)


def test_rows_are_left_out_by_mysqls_own_program_where_each_table_is_a_member(
    mysql: MySQLServer, other_mysql: MySQLServer, database: str, values: Values
) -> None:
    mysql.create_database(database, "CREATE TABLE audit (i int); INSERT INTO audit VALUES (1); CREATE TABLE t (i int)")
    asked = values("push", mysql, database, excluded_table_data="audit")
    why = "mysqldump .* can't leave out the rows of audit in a dump in one stream.* Set format to directory"
    for verb in (push.plan, push.push):
        with pytest.raises(EnvSyncError, match=why):
            verb(Task.from_mapping({**asked, "format": "custom"}), Host())
    do_push(asked)
    do_pull(values("pull", other_mysql, database))
    assert other_mysql.sql("SELECT COUNT(*) FROM audit", database) == "0"


@pytest.mark.parametrize(("name", "objects"), OF_VERSIONS)
def test_everything_survives_on_one_server(
    request: pytest.FixtureRequest, database: str, values: Values, name: str, objects: str
) -> None:
    server = request.getfixturevalue(name)
    server.create_database(database, (SQL / objects).read_text(), "CHARACTER SET latin1")
    before = contents(server, database)
    do_push(values("push", server, database))
    for sql in ("DROP TABLE kids; CREATE TABLE live (id int)", f"DROP DATABASE {database}"):
        server.sql(sql, database)
        pulled = do_pull(values("pull", server, database, allow_restore_to_source=True))
        assert pulled["warnings"] == []
        assert contents(server, database) == before


SAMPLE = """
CREATE TABLE customers (
  id int AUTO_INCREMENT PRIMARY KEY, email varchar(100) NOT NULL UNIQUE, plain varchar(20) CHARACTER SET latin1
) CHARACTER SET utf8mb4 COLLATE {collation};
INSERT INTO customers (email, plain) VALUES ('one@example.com', 'x'), ('Ünö@example.com', NULL), ('😀', 'y');
CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY, customer int NOT NULL, at timestamp NULL, j json,
  CONSTRAINT ordered_by FOREIGN KEY (customer) REFERENCES customers (id), CHECK (customer > 0));
INSERT INTO orders (customer, at, j) VALUES (1, '2026-01-02 03:04:05', '{{"a": 1}}'), (3, NULL, NULL);
CREATE DEFINER=nobody_here@'%' VIEW addresses AS SELECT email FROM customers;
DELIMITER $$
CREATE FUNCTION twice(x int) RETURNS int DETERMINISTIC RETURN x * 2$$
CREATE DEFINER=nobody_here@'%' PROCEDURE add_one(IN address varchar(100))
BEGIN INSERT INTO customers (email) VALUES (address); END$$
CREATE TRIGGER stamp BEFORE INSERT ON orders FOR EACH ROW BEGIN SET NEW.at = coalesce(NEW.at, '2026-01-01'); END$$
CREATE EVENT tidy ON SCHEDULE EVERY 1 DAY STARTS '2026-01-01 00:00:00' DO DELETE FROM orders WHERE id < 0$$
"""

NOBODY = "CREATE USER IF NOT EXISTS nobody_here@'%'; GRANT ALL ON *.* TO nobody_here@'%'"

ROWS = """
SELECT id, hex(email), plain FROM customers ORDER BY id;
SELECT id, customer, at, j FROM orders ORDER BY id;
SELECT count(*), twice(21) FROM addresses;
CALL add_one('new');
INSERT INTO orders (customer) VALUES (2);
SELECT count(*), max(at) FROM orders;
SELECT event_name, status FROM information_schema.events WHERE event_schema = database();
"""


def fill(server: MariaServer, database: str, collation: str = "utf8mb4_0900_ai_ci") -> None:
    """Make the sample, with an account that its objects belong to."""
    server.sql(NOBODY)
    server.create_database(database, SAMPLE.format(collation=collation))


@pytest.mark.parametrize(
    ("source", "target", "collation", "becomes"),
    [
        ("mysql57", "mysql", "utf8mb4_unicode_520_ci", "utf8mb4_unicode_520_ci"),
        ("mysql57", "maria10", "utf8mb4_unicode_520_ci", "utf8mb4_unicode_520_ci"),
        ("mysql", "maria10", "utf8mb4_0900_as_ci", "utf8mb4_uca1400_nopad_as_ci"),
        ("mysql", "maria11", "utf8mb4_de_pb_0900_as_cs", "utf8mb4_de_pb_0900_as_cs"),
        ("maria10", "mysql", "utf8mb4_uca1400_swedish_ai_ci", "utf8mb4_sv_0900_ai_ci"),
        ("maria11", "mysql", "utf8mb4_uca1400_as_cs", "utf8mb4_0900_as_cs"),
        ("maria11", "maria10", "utf8mb4_0900_ai_ci", "utf8mb4_uca1400_nopad_ai_ci"),
        ("maria10", "maria11", "utf8mb4_uca1400_ai_ci", "utf8mb4_uca1400_ai_ci"),
        *PAIRS_OF_NINE,
    ],
)
def test_from_each_to_the_others(
    request: pytest.FixtureRequest,
    database: str,
    values: Values,
    source: str,
    target: str,
    collation: str,
    becomes: str,
) -> None:
    there, here = request.getfixturevalue(source), request.getfixturevalue(target)
    fill(there, database, collation)
    here.sql("DROP USER IF EXISTS nobody_here@'%'")
    do_push(values("push", there, database))
    pulled = do_pull(values("pull", here, database))
    assert here.sql(ROWS, database) == there.sql(ROWS, database)
    assert f"COLLATE={becomes}" in here.sql("SHOW CREATE TABLE customers", database)
    assert [item for item in pulled["warnings"] if "nobody_here@%" in item]
    assert bool([item for item in pulled["warnings"] if collation in item]) == (collation != becomes)


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_mysql_with_the_programs_of_mariadb(
    mysql: MySQLServer, other_mysql: MySQLServer, database: str, values: Values, form: str
) -> None:
    """They write the values of generated columns, which MySQL does not take; and know nothing of invisible ones."""
    mysql.create_database(database, (SQL / "mysql8_objects.sql").read_text(), "CHARACTER SET latin1")
    pushed = do_push(values("push", mysql, database, own=False, format=form))
    do_pull(values("pull", other_mysql, database, own=False))
    assert "MariaDB" in pushed["manifest"]["client_version"]
    assert [item for item in pushed["warnings"] if "kids: mariadb-dump writes values of generated columns" in item]
    assert contents(other_mysql, database) == contents(mysql, database)


def test_the_original_s_dump_of_a_mysql_with_gtids(
    mysql: MySQLServer, other_mysql: MySQLServer, maria10: MariaServer, database: str, values: Values, tmp_path: Path
) -> None:
    """It sets GTID_PURGED, and SQL_LOG_BIN to 0: replicas of the target would not get the data."""
    fill(mysql, database)
    dump = mysql.dump(database, "--quick", "--databases")
    assert b"GTID_PURGED" in dump and b"SQL_LOG_BIN= 0" in dump
    (tmp_path / "store" / "mysql").mkdir()
    (tmp_path / "store" / "mysql" / f"2020-01-02T03:04:05-{database}.gz").write_bytes(gzip.compress(dump))
    before = other_mysql.sql("SELECT @@server_uuid, @@gtid_purged")
    binlog = other_mysql.sql("FLUSH BINARY LOGS; SHOW MASTER STATUS").split("\t")[0]
    for server in (other_mysql, maria10):
        do_pull(values("pull", server, database))
        assert server.sql("SELECT count(*), count(DISTINCT email) FROM customers", database) == "3\t3"
    assert other_mysql.sql("SELECT @@server_uuid, @@gtid_purged") == before
    events = other_mysql.sql(f"SHOW BINLOG EVENTS IN '{binlog}'")
    assert "Write_rows" in events and "RENAME TABLE" in events


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_mysql_57_with_the_programs_of_mysql_8(
    mysql: MySQLServer, mysql57: MySQLServer, database: str, values: Values, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, form: str,
) -> None:  # fmt: skip
    """The server does not know the collation that they ask for, and would speak its default character set: latin1."""
    mysql57.create_database(database, (SQL / "mysql57_objects.sql").read_text(), "CHARACTER SET latin1")
    mysql57.sql("INSERT INTO Parents VALUES (9, '😀')", database)
    before = contents(mysql57, database)
    script = tmp_path / "script.sql"
    script.write_text("UPDATE Parents SET code = '😎' WHERE code = '😀';\n")
    values("push", mysql, database)  # its programs are first on the PATH
    path = os.environ["PATH"]
    pushing = values("push", mysql57, database, format=form)
    pulling = values("pull", mysql57, database, allow_restore_to_source=True)
    monkeypatch.setenv("PATH", path)
    assert "8.0.33" in do_push(pushing)["manifest"]["client_version"]
    assert do_pull(pulling)["warnings"] == []
    assert contents(mysql57, database) == before
    do_pull({**pulling, "transformation_sql_filename": str(script)})
    assert mysql57.sql("SELECT code FROM Parents WHERE id = 9", database) == "😎"


def test_a_long_statement_while_mysql_is_pushed(
    mysql: MySQLServer, database: str, values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock would make all who read the same table wait for its end, even when it is not to be had."""
    monkeypatch.setattr(mysql_snapshot, "_QUIET_WAIT", 1)
    mysql.create_database(database, "CREATE TABLE t AS SELECT 1 AS a; CREATE TABLE u AS SELECT 2 AS a")
    connections = [
        pymysql.connect(unix_socket=mysql.socket, user="root", database=database, read_timeout=40)
        for _unused in range(2)
    ]

    def run() -> None:
        with contextlib.suppress(pymysql.err.OperationalError):  # it is killed
            connections[0].query("SELECT a, sleep(60) FROM t")

    slow = threading.Thread(target=run)
    slow.start()
    try:
        time.sleep(2.5)
        pushed = do_push(values("push", mysql, database))
        began = time.monotonic()
        connections[1].query("SELECT a FROM t")
        assert time.monotonic() - began < 20
    finally:
        mysql.sql(f"KILL QUERY {connections[0].thread_id()}")
        slow.join()
        for connection in connections:
            connection.close()
    assert "one connection: a statement has been running for" in pushed["manifest"]["details"]["snapshot"]


def test_rules_for_new_tables_that_the_source_has_not(
    mysql: MySQLServer, newest_mysql: MySQLServer, database: str, values: Values
) -> None:
    mysql.create_database(
        database,
        "CREATE TABLE no_key (a int, b int, KEY (a)); INSERT INTO no_key VALUES (1, 2), (1, 3);"
        "CREATE TABLE refers (a int PRIMARY KEY, CONSTRAINT to_many FOREIGN KEY (a) REFERENCES no_key (a));"
        "INSERT INTO refers VALUES (1)",
    )
    do_push(values("push", mysql, database))
    newest_mysql.sql("SET GLOBAL sql_require_primary_key = ON")
    if NINE:
        newest_mysql.sql("SET GLOBAL restrict_fk_on_non_standard_key = ON")
    try:
        for _unused in range(2):
            do_pull(values("pull", newest_mysql, database))
    finally:
        newest_mysql.sql("SET GLOBAL sql_require_primary_key = OFF")
    assert "to_many" in newest_mysql.sql("SHOW CREATE TABLE refers", database)


def test_definers_that_only_their_like_may_name(
    mysql: MySQLServer, other_mysql: MySQLServer, newest_mysql: MySQLServer, database: str, values: Values
) -> None:
    mysql.create_database(
        database,
        "CREATE VIEW roots AS SELECT 1 AS a; CREATE DEFINER=app@'10.%' VIEW apps AS SELECT 1 AS a",
    )
    do_push(values("push", mysql, database))
    rights = {other_mysql: "SET_USER_ID", **({newest_mysql: "SET_ANY_DEFINER"} if NINE else {})}
    for server, right in rights.items():
        server.sql(f"CREATE USER plain@'%' IDENTIFIED BY 'plain'; GRANT {right} ON *.* TO plain@'%'")
        server.sql("GRANT SELECT ON mysql.* TO plain@'%'; REVOKE SYSTEM_USER ON *.* FROM app@'10.%'")
        server.sql(f"GRANT ALL ON {database}.* TO plain@'%'; GRANT ALL ON `env\\_sync\\_%`.* TO plain@'%'")
        pulled = do_pull(values("pull", server, database, login_user="plain", login_password="plain"))
        server.sql("DROP USER plain@'%'; GRANT SYSTEM_USER ON *.* TO app@'10.%'")
        assert [item for item in pulled["warnings"] if "root@localhost" in item and "app@10.%" not in item]
        assert "DEFINER=`plain`@`%`" in server.sql("SHOW CREATE VIEW roots", database)
        assert "DEFINER=`app`@`10.%`" in server.sql("SHOW CREATE VIEW apps", database)


def test_a_user_of_mysql_with_rights_on_one_database_only(
    mysql: MySQLServer, other_mysql: MySQLServer, database: str, values: Values
) -> None:
    fill(mysql, database)
    other_mysql.sql("SET GLOBAL log_bin_trust_function_creators = 1; DROP USER IF EXISTS nobody_here@'%'")
    for server in (mysql, other_mysql):
        server.sql("DROP USER IF EXISTS plain@'%'; CREATE USER plain@'%' IDENTIFIED BY 'plain'")
    mysql.sql(f"GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, EXECUTE ON {database}.* TO plain@'%'")
    mysql.sql("GRANT SHOW_ROUTINE ON *.* TO plain@'%'")
    other_mysql.sql(f"GRANT ALL ON {database}.* TO plain@'%'; GRANT ALL ON `env\\_sync\\_%`.* TO plain@'%'")
    plain = {"login_user": "plain", "login_password": "plain"}

    pushed = do_push(values("push", mysql, database, **plain))
    pulled = do_pull(values("pull", other_mysql, database, **plain))

    assert "one connection: without the right PROCESS" in pushed["manifest"]["details"]["snapshot"]
    assert [item for item in pulled["warnings"] if "nobody_here@%" in item]
    assert "DEFINER=`plain`@`%`" in other_mysql.sql("SHOW CREATE VIEW addresses", database)
    assert other_mysql.sql("SELECT count(*), twice(21) FROM addresses", database) == "3\t42"
    mysql.sql("REVOKE SHOW_ROUTINE ON *.* FROM plain@'%'")
    with pytest.raises(EnvSyncError, match="may not see the definition of the function twice"):
        do_push(values("push", mysql, database, **plain))
    mysql.sql(f"REVOKE TRIGGER ON {database}.* FROM plain@'%'")
    with pytest.raises(EnvSyncError, match="TRIGGER command denied"):
        do_push(values("push", mysql, database, **plain))
    mysql.sql(
        f"CREATE ROLE dumping; GRANT TRIGGER ON {database}.* TO dumping; GRANT SHOW_ROUTINE, RELOAD ON *.* TO dumping;"
        "GRANT dumping TO plain@'%'; SET DEFAULT ROLE dumping TO plain@'%'"
    )
    pushed = do_push(values("push", mysql, database, timestamp="2026-01-02T03:04:05", **plain))
    assert "one connection: without the right PROCESS" in pushed["manifest"]["details"]["snapshot"]
    mysql.sql("GRANT PROCESS ON *.* TO dumping; REVOKE RELOAD ON *.* FROM dumping")
    pushed = do_push(values("push", mysql, database, timestamp="2026-01-02T03:04:07", **plain))
    assert "one connection: Access denied" in pushed["manifest"]["details"]["snapshot"]
    mysql.sql(f"GRANT RELOAD ON *.* TO dumping; REVOKE EXECUTE ON {database}.* FROM plain@'%'")
    pushed = do_push(values("push", mysql, database, timestamp="2026-01-02T03:04:06", **plain))
    mysql.sql("DROP ROLE dumping")
    assert "writers held for" in pushed["manifest"]["details"]["snapshot"]


def test_a_script_and_what_fails_after_the_tables_moved_on_mysql(
    mysql: MySQLServer,
    other_mysql: MySQLServer,
    database: str,
    values: Values,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(mysql, database)
    other_mysql.create_database(database, (SQL / "mysql8_objects.sql").read_text().replace("DEFINER=app@'10.%'", ""))
    before = contents(other_mysql, database)
    do_push(values("push", mysql, database))
    script = tmp_path / "sanitise.sql"
    script.write_text("SELECT 1;\nUPDATE customers SET emial = 1;\n")
    scripted = values("pull", other_mysql, database, transformation_sql_filename=str(script))
    with pytest.raises(EnvSyncError, match=r"line 2.*Unknown column 'emial'"):
        do_pull(scripted)
    script.write_text("UPDATE customers SET email = concat(id, '@invalid');\n")
    complete = mysql_swap.Swap._complete

    def fail(self: Any, wanted: Any) -> None:
        complete(self, [*wanted, wanted[0].__class__("VIEW", "broken", "CREATE VIEW broken AS SELECT * FROM nowhere")])

    with monkeypatch.context() as patch, pytest.raises(EnvSyncError, match="broken"):
        patch.setattr(mysql_swap.Swap, "_complete", fail)
        do_pull(scripted)
    assert contents(other_mysql, database) == before
    assert other_mysql.databases() == [database]
    kept = do_pull({**scripted, "old_database": "keep"})["kept"]
    assert other_mysql.sql("SELECT count(*) FROM addresses WHERE email LIKE '%@invalid'", database) == "3"
    assert other_mysql.sql("SELECT count(*) FROM `View on a view`", kept) == "2"
    do_pull(scripted)


def test_programs_that_want_tls_of_a_server_that_has_none(
    maria10: MariaServer, maria11: MariaServer, database: str, values: Values, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    maria10.create_database(database, "CREATE TABLE t (id int)")
    values("push", maria11, database)  # MariaDB 11.4's programs are first on the PATH
    path = os.environ["PATH"]
    task = values("push", maria10, database)
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(EnvSyncError, match=r"has no TLS.*below \[client-mariadb\]"):
        do_push(task)
    (tmp_path / ".my.cnf").write_text("[client-mariadb]\ndisable-ssl-verify-server-cert\n")
    assert "11.4.5" in do_push(task)["manifest"]["client_version"]
