# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MySQL and MariaDB: what users' option files and the servers' own defaults do to a push and a pull."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import client as mysql_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Connection, Task

from tests.integration.mysql.helpers import keys
from tests.servers.mariadb import MariaServer
from tests.servers.mysql import MySQLServer

#: what a dump program takes from a user's file, and would leave something out, or make no point of ours
HOSTILE = """[{0}]
where = "1=0"
ignore-table = {1}.orders
no-create-info
insert-ignore
replace
compatible = ansi
skip-comments
skip-hex-blob
complete-insert
xml
no-such-option-of-any-program = 1
"""

SAMPLE = """
CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY, what varchar(20), raw blob);
INSERT INTO orders (what, raw) VALUES ('a', x'00ff'), ('b', x'27'), ('c', NULL);
CREATE TABLE customers (id int PRIMARY KEY);
INSERT INTO customers VALUES (1), (2), (3), (4);
CREATE VIEW seen AS SELECT id, what FROM orders;
"""

Values = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", params=[MariaServer, MySQLServer], ids=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> Iterator[MariaServer]:
    """The server that databases are pushed from and pulled into."""
    with request.param("settings") as server:
        server.sql("CREATE USER dumper@'%' IDENTIFIED BY 'pass'; GRANT ALL ON `test\\_%`.* TO dumper@'%'")
        yield server


@pytest.fixture
def database(server: MariaServer) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:8]}"
    server.create_database(name, SAMPLE)
    yield name
    for found in server.databases():
        server.drop_database(found)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def task(server: MariaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Task]:
    """Return a function that gives a task: ``task("push", database, **others)``."""
    (tmp_path / "store").mkdir()
    if isinstance(server, MySQLServer):
        monkeypatch.setenv("PATH", f"{server.base}/bin", prepend=os.pathsep)

    def make(action: str, database: str, **others: Any) -> Task:
        values = {**keys(action, server, database, tmp_path), "allow_restore_to_source": True, **others}
        return Task.from_mapping(values)

    return make


def contents(server: MariaServer, database: str) -> list[bytes]:
    options = ["--routines", "--triggers", "--hex-blob", "--order-by-primary"]
    options += [] if server.client == "mariadb" else ["--set-gtid-purged=OFF"]
    return server.dump(database, *options).splitlines()


@pytest.mark.parametrize("form", ["directory", "custom"])
@pytest.mark.parametrize("group", ["mysqldump", "client"])
def test_a_user_s_option_file_changes_nothing(
    server: MariaServer, database: str, task: Callable[..., Task], home: Path, group: str, form: str
) -> None:
    before = contents(server, database)
    (home / ".my.cnf").write_text(HOSTILE.format(group, database))

    push.push(task("push", database, format=form), Host())
    server.drop_database(database)
    pull.pull(task("pull", database), Host())

    assert contents(server, database) == before


def test_what_a_connection_needs_is_taken_from_a_user_s_option_file(
    server: MariaServer, database: str, task: Callable[..., Task], home: Path
) -> None:
    (home / ".my.cnf").write_text(
        f"[client]\nuser = dumper\npassword = pass\nhost = {server.host}\nport = {server.port}\n"
        "[mysqldump]\ncompress\nwhere = 1=0\n"
    )
    values = {"database_hostname": "", "database_port": "", "login_user": "", "login_password": ""}
    pushed = push.push(task("push", database, **values), Host())
    assert {table["name"] for table in pushed["manifest"]["tables"]} == {"customers", "orders"}


@contextlib.contextmanager
def globally(server: MariaServer, **settings: str) -> Iterator[None]:
    """Have new sessions of the server begin with these settings."""
    for name, value in settings.items():
        server.sql(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        for name in settings:
            server.sql(f"SET GLOBAL {name} = DEFAULT")


def test_a_limit_on_rows_is_refused_before_anything_is_dumped(
    server: MariaServer, database: str, task: Callable[..., Task], tmp_path: Path
) -> None:
    said = "begin with sql_select_limit = 2; mysqldump can't change that: rows would be missing"
    with globally(server, sql_select_limit="2"):
        for do in (push.plan, push.push):
            with pytest.raises(EnvSyncError, match=said) as failed:
                do(task("push", database), Host())
            assert "SET GLOBAL sql_select_limit = DEFAULT" in str(failed.value)
    # A user without the right SUPER is given it at the beginning of each session.
    with globally(server, init_connect="'SET SESSION sql_select_limit = 2'"), pytest.raises(EnvSyncError, match=said):
        push.push(task("push", database, login_user="dumper", login_password="pass"), Host())
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_a_moment_of_the_past_is_refused(server: MariaServer, database: str, task: Callable[..., Task]) -> None:
    """MariaDB's system-versioned tables show their rows as of then."""
    if server.client != "mariadb":
        return
    with (
        globally(server, system_versioning_asof="'2020-01-01 00:00:00'"),
        pytest.raises(EnvSyncError, match=r"system_versioning_asof = 2020-01-01 00:00:00"),
    ):
        push.push(task("push", database), Host())


@pytest.mark.parametrize(
    "settings",
    [
        {"sql_mode": "'ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH'"},
        {"sql_safe_updates": "1"},
        {"sql_quote_show_create": "0"},
        {"time_zone": "'+05:00'", "group_concat_max_len": "4", "autocommit": "0"},
        {"transaction_isolation": "'READ-UNCOMMITTED'", "transaction_read_only": "1"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_sessions_begin_with_changes_nothing(
    server: MariaServer, database: str, task: Callable[..., Task], settings: dict[str, str]
) -> None:
    before = contents(server, database)
    if server.client == "mariadb":
        settings = {name.replace("transaction_", "tx_"): value for name, value in settings.items()}
    with globally(server, **settings):
        push.push(task("push", database), Host())
        server.sql(f"SET SESSION {'tx' if server.client == 'mariadb' else 'transaction'}_read_only = 0, autocommit = 1;"
                   f"DROP DATABASE {database}")  # fmt: skip
        pull.pull(task("pull", database), Host())
    assert contents(server, database) == before


def test_a_limit_on_rows_at_the_target_changes_nothing(
    server: MariaServer, database: str, task: Callable[..., Task]
) -> None:
    before = contents(server, database)
    push.push(task("push", database), Host())
    server.drop_database(database)
    with globally(server, sql_select_limit="1"):
        pull.pull(task("pull", database), Host())
    assert contents(server, database) == before


def test_an_invalid_view_is_named_with_what_leaves_it_out(
    server: MariaServer, database: str, task: Callable[..., Task]
) -> None:
    server.sql("CREATE TABLE gone (id int); CREATE VIEW `bad one` AS SELECT * FROM gone; DROP TABLE gone", database)
    for do in (push.plan, push.push):
        with pytest.raises(EnvSyncError, match=r"bad one' references invalid table.*: excluded_tables: bad one"):
            do(task("push", database), Host())
    push.push(task("push", database, excluded_tables="bad one"), Host())
    server.drop_database(database)
    pull.pull(task("pull", database), Host())
    assert server.sql("SHOW TABLES", database).split() == ["customers", "orders", "seen"]


def test_a_login_that_is_refused_is_not_tried_again_without_tls(
    server: MariaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 1.2, PyMySQL has no TLS unless it is asked for: it is, and where there is none it is done without."""
    monkeypatch.setattr(mysql_client.pymysql, "VERSION", (1, 1, 1, "final"))
    tried: list[int] = []
    connect = mysql_client._connect

    def counting(options: Any, several: bool) -> Any:
        tried.append(1)
        return connect(options, several)

    monkeypatch.setattr(mysql_client, "_connect", counting)
    refused = mysql_client.Server(Connection(server.host, server.port, "dumper", "wrong"))
    with pytest.raises(EnvSyncError, match="Access denied"):
        refused.control()
    without = 1 if server.client == "mariadb" else 0  # this MariaDB has no TLS, and is asked nothing before that shows
    assert len(tried) == 1 + without
    tried.clear()
    with contextlib.closing(mysql_client.Server(Connection(server.host, server.port, "dumper", "pass"))) as welcome:
        assert welcome.query("SELECT 1") == [(1,)]
    assert len(tried) == 1 + without


def test_histograms_are_gathered_from_what_goes_live(
    server: MariaServer, database: str, task: Callable[..., Task], tmp_path: Path
) -> None:
    if server.client == "mariadb":
        return
    server.sql(
        "ANALYZE TABLE orders UPDATE HISTOGRAM ON what WITH 7 BUCKETS; CREATE TABLE `a b` (`c d` int, gone int);"
        "INSERT INTO `a b` VALUES (1, 2), (3, 4); ANALYZE TABLE `a b` UPDATE HISTOGRAM ON `c d`, gone WITH 100 BUCKETS",
        database,
    )
    script = tmp_path / "mask.sql"
    script.write_text("UPDATE orders SET what = 'masked'; ALTER TABLE `a b` DROP COLUMN gone;")
    pushed = push.push(task("push", database), Host())
    assert pushed["manifest"]["details"]["histograms"] == [
        ["a b", "c d", "100"], ["a b", "gone", "100"], ["orders", "what", "7"],
    ]  # fmt: skip
    server.drop_database(database)
    pull.pull(task("pull", database, transformation_sql_filename=str(script)), Host())
    found = server.sql(
        """SELECT table_name, column_name, histogram->'$."number-of-buckets-specified"',
                  JSON_LENGTH(histogram, '$.buckets') FROM information_schema.column_statistics
            WHERE schema_name = DATABASE() ORDER BY 1, 2""",
        database,
    )
    assert found.split("\n") == ["a b\tc d\t100\t2", "orders\twhat\t7\t1"]
