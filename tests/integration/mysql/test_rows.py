# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MySQL and MariaDB: rows and names that a server takes only where it is told to arrive as they were, or not at all."""

from __future__ import annotations

import gzip
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.mysql.helpers import keys
from tests.servers.mariadb import MariaServer
from tests.servers.mysql import MySQLServer

MIB = 1024 * 1024

Make = Callable[..., Task]


DAYS = "SELECT id, day, at FROM days; SELECT id, day, at FROM others"


class FoldingMaria(MariaServer):
    """To it names of tables that differ in case only are one."""

    def _small(self) -> list[str]:
        return [*super()._small(), "--lower-case-table-names=1"]


class FoldingMySQL(MySQLServer):
    """The same; MySQL wants it said when the data directory is made."""

    def _small(self) -> list[str]:
        return [*super()._small(), "--lower-case-table-names=1"]


@pytest.fixture(
    scope="module", params=[(MariaServer, FoldingMaria), (MySQLServer, FoldingMySQL)], ids=["mariadb", "mysql"]
)
def servers(request: pytest.FixtureRequest) -> Iterator[tuple[MariaServer, MariaServer]]:
    """The server that databases are pushed from, and the one that they are pulled into."""
    source, target = request.param
    with source("source", **{"max-allowed-packet": "256M"}) as pushed, target("target") as pulled:
        yield pushed, pulled


@pytest.fixture
def database(servers: tuple[MariaServer, MariaServer]) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:8]}"
    servers[0].create_database(name)
    yield name
    for server in servers:
        for found in server.databases():
            server.drop_database(found)


@pytest.fixture
def task(servers: tuple[MariaServer, MariaServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    (tmp_path / "store").mkdir()
    if isinstance(servers[0], MySQLServer):
        monkeypatch.setenv("PATH", f"{servers[0].base}/bin", prepend=os.pathsep)

    def make(action: str, database: str, **others: Any) -> Task:
        server = servers[action == "pull"]
        values = {**keys(action, server, database, tmp_path), **others}
        return Task.from_mapping(values)

    return make


def checksum(server: MariaServer, database: str, *tables: str) -> str:
    return server.sql(f"CHECKSUM TABLE {', '.join(tables)}", database)


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_dates_that_are_none_arrive_as_they_were(
    servers: tuple[MariaServer, MariaServer], database: str, task: Make, tmp_path: Path, form: str
) -> None:
    source, target = servers
    source.sql(
        "SET sql_mode = 'ALLOW_INVALID_DATES';"
        "CREATE TABLE days (id int PRIMARY KEY, day date DEFAULT '2021-02-30', at datetime(3), n int DEFAULT 0);"
        "INSERT INTO days VALUES (1, '2021-02-31', '2021-04-31 01:02:03.456', 0), (2, '0000-00-00', '2021-00-00', 0);"
        "INSERT INTO days (id) VALUES (3), (4);"
        "CREATE TABLE others LIKE days; ALTER TABLE others ENGINE=MyISAM;"  # which copies rows when it is rebuilt
        "INSERT INTO others SELECT * FROM days;"
        "CREATE TRIGGER strict BEFORE INSERT ON days FOR EACH ROW SET NEW.n = 1;",
        database,
    )
    script = tmp_path / "mask.sql"
    script.write_text("UPDATE others SET n = 7 WHERE id = 4; UPDATE days SET n = 7 WHERE id = 4;")
    before = source.sql(DAYS, database)
    mode = "SELECT sql_mode FROM information_schema.triggers WHERE trigger_schema = database()"

    push.push(task("push", database, format=form), Host())
    pulled = pull.pull(task("pull", database, transformation_sql_filename=str(script)), Host())

    assert "2021-02-31" in before
    assert target.sql(DAYS, database) == before
    assert target.sql(mode, database) == source.sql(mode, database)
    assert "2021-02-30" in target.sql("SHOW CREATE TABLE days", database)
    assert pulled["warnings"] == []


def test_values_that_the_server_changes_are_told(
    servers: tuple[MariaServer, MariaServer], database: str, task: Make, tmp_path: Path
) -> None:
    source, target = servers
    source.sql(
        "CREATE TABLE big (id int PRIMARY KEY, n bigint); INSERT INTO big VALUES (1, 5000000000), (2, 5)", database
    )
    push.push(task("push", database, format="custom", compression="none"), Host())
    (path,) = [path for path in (tmp_path / "store" / "mysql").iterdir() if "manifest" not in path.name]
    data = path.read_bytes().replace(b"bigint", b"int   ", 1)
    (tmp_path / "store" / "mysql" / f"2020-01-01T00:00:00-{database}.gz").write_bytes(gzip.compress(data))
    for other in (tmp_path / "store" / "mysql").glob("*manifest*"):
        other.unlink()
    path.unlink()
    pulled = pull.pull(task("pull", database), Host())
    assert pulled["warnings"] == [
        "big may hold other values than it had: loading its rows, the server warned of error 1264"
    ]
    assert target.sql("SELECT n FROM big", database).split() == ["2147483647", "5"]


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_a_value_of_more_than_half_of_what_the_target_takes_at_once(
    servers: tuple[MariaServer, MariaServer], database: str, task: Make, form: str
) -> None:
    source, target = servers
    limit = int(target.sql("SELECT @@global.max_allowed_packet"))
    target.sql(f"SET GLOBAL max_allowed_packet = {4 * MIB}")
    # Random bytes, zeros, and what has to be escaped in quotes; text that looks like digits is text.
    source.sql(
        "SET @seed = 1; CREATE TABLE files (id int PRIMARY KEY, body longblob, said longtext, flags bit(9));"
        f"INSERT INTO files VALUES (1, REPEAT(x'00', {3 * MIB}), '', b'1');"
        "INSERT INTO files VALUES (4, x'27', \"it's \\\\ 0x4142 \\n\", b'0');"
        f"INSERT INTO files VALUES (2, REPEAT(CONCAT(x'00ff275c0a0d1a22', RANDOM_BYTES(1016)), {3 * 1024}), '', NULL);"
        f"INSERT INTO files VALUES (3, x'', REPEAT('0x41424344', {3 * 1024 * 100}), b'111111111')",
        database,
    )
    try:
        pushed = push.push(task("push", database, format=form), Host())
        pulled = pull.pull(task("pull", database), Host())
        assert 3 * MIB < pushed["manifest"]["details"]["longest_statement"] < 3.2 * MIB
        assert checksum(target, database, "files") == checksum(source, database, "files")
        assert pulled["warnings"] == []

        source.sql(f"INSERT INTO files VALUES (5, REPEAT(x'41', {5 * MIB}), '', NULL)", database)
        push.push(task("push", database, format=form), Host())
        for do in (pull.plan, pull.pull):
            with pytest.raises(EnvSyncError, match=r"max_allowed_packet is 4194304 there\. Set .* to 6M or more"):
                do(task("pull", database), Host())
        assert target.databases() == [database]
        target.sql(f"SET GLOBAL max_allowed_packet = {6 * MIB}")
        pull.pull(task("pull", database), Host())
        assert checksum(target, database, "files") == checksum(source, database, "files")
    finally:
        target.sql(f"SET GLOBAL max_allowed_packet = {limit}")


@pytest.mark.parametrize(
    "sql",
    (
        "CREATE TABLE Users (id int); INSERT INTO Users VALUES (1), (2); CREATE TABLE users (id int);"
        " INSERT INTO users VALUES (9)",
        "CREATE TABLE users (id int); CREATE VIEW Users AS SELECT 1 AS id",
    ),
    ids=["tables", "view"],
)
@pytest.mark.parametrize("form", ["directory", "custom"])
def test_names_that_are_one_to_the_target(
    servers: tuple[MariaServer, MariaServer], database: str, task: Make, tmp_path: Path, sql: str, form: str
) -> None:
    source, target = servers
    source.sql(sql, database)
    target.create_database(database, "CREATE TABLE live (id int)")
    push.push(task("push", database, format=form), Host())
    said = "(Users and users|users and Users) are two tables in the point, and one on this server"
    for do in (pull.plan, pull.pull):
        with pytest.raises(EnvSyncError, match=said):
            do(task("pull", database), Host())
    # The original's points have no manifest, and what they hold is known only when it is read.
    folder = tmp_path / "store" / "mysql"
    options = ["--set-gtid-purged=OFF"] if isinstance(source, MySQLServer) else []
    dump = source.dump(database, *options)
    for path in folder.glob(f"*-{database}*"):
        if path.is_file():
            path.unlink()
    (folder / f"2020-01-02T03:04:05-{database}.gz").write_bytes(gzip.compress(dump))
    with pytest.raises(EnvSyncError, match=said):
        pull.pull(task("pull", database), Host())
    assert target.sql("SHOW TABLES", database) == "live"

    push.push(task("push", database, excluded_tables="Users", format=form), Host())
    pull.pull(task("pull", database), Host())
    assert target.sql("SHOW TABLES", database) == "users"
