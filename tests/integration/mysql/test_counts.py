# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows are counted: MySQL and MariaDB."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import arguments as mysql_arguments
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.mariadb import MariaServer
from tests.servers.mysql import MySQLServer

Values = Callable[..., dict[str, Any]]

#: rows that hold what divides them in a dump, and an INSERT in a routine's text, which inserts nothing
SHOP = r"""
CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY, note text, photo blob);
INSERT INTO orders (note, photo) VALUES ('a),(b', 'x'), ('),(', ''), ('''),(''', NULL), ('\\''),(\\', 0x0027292C28),
  ('one\ntwo;\n', '),('), (NULL, NULL), ('(1),(2)', '\n(');
CREATE TABLE `it's),(it` (`),('` int, b int GENERATED ALWAYS AS (`),('` + 1) STORED);
INSERT INTO `it's),(it` (`),('`) VALUES (1), (2);
CREATE TABLE nothing (id int);
CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 3;
INSERT INTO parts VALUES (1), (2), (3), (4), (5);
CREATE TABLE unsafe (id int) ENGINE=MyISAM;
INSERT INTO unsafe VALUES (1), (1), (1);
CREATE VIEW shown AS SELECT id FROM orders;
DELIMITER ;;
CREATE PROCEDURE more() BEGIN
INSERT INTO `parts` VALUES (6),(7);
END ;;
"""

ROWS = {"orders": 7, "it's),(it": 2, "nothing": 0, "parts": 5, "unsafe": 3}


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def servers(request: pytest.FixtureRequest) -> Iterator[tuple[MariaServer, MariaServer]]:
    """Where databases are pushed from, and pulled into."""
    kind = MySQLServer if request.param == "mysql" else MariaServer
    with kind("production") as production, kind("staging") as staging, pytest.MonkeyPatch.context() as patch:
        if production.base is not None:
            patch.setenv("PATH", f"{production.base}/bin", prepend=":")
        yield production, staging


@pytest.fixture
def database(servers: tuple[MariaServer, MariaServer]) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:8]}"
    yield name
    for server in servers:
        for found in server.databases():
            server.drop_database(found)


@pytest.fixture
def task_values(servers: tuple[MariaServer, MariaServer], tmp_path: Path) -> Values:
    (tmp_path / "store").mkdir()

    def values(action: str, database: str, **others: Any) -> dict[str, Any]:
        server = servers[action == "pull"]
        return {
            "action": action,
            "dbms": "mysql",
            "database": database,
            "database_hostname": server.socket,
            "login_user": "root",
            "storagebackend": "directory",
            "url": str(tmp_path / "store"),
            "temppath": str(tmp_path / "temp"),
            "state_dir": str(tmp_path / "state"),
            "jobs": 2,
            **others,
        }

    return values


def run(action: str, task_values: Values, database: str, **how: Any) -> dict[str, Any]:
    task = Task.from_mapping(task_values(action, database, **how))
    return (push.push if action == "push" else pull.pull)(task, Host())


def rows_of(manifest: Mapping[str, Any]) -> dict[str, int]:
    return {table["name"]: table["rows"] for table in manifest["tables"] if "rows" in table}


def change_manifest(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Have the only point's manifest say something else, as who may write to the store can."""
    (path,) = (tmp_path / "store").rglob("*.manifest.json")
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    values.pop("checksum", None)
    path.write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize(("form", "jobs"), [("directory", 1), ("directory", 3), ("custom", 1)])
def test_the_manifest_has_the_rows_of_every_table(
    servers: tuple[MariaServer, MariaServer], database: str, task_values: Values, form: str, jobs: int
) -> None:
    servers[0].create_database(database, SHOP)

    pushed = run("push", task_values, database, format=form, jobs=jobs)

    assert rows_of(pushed["manifest"]) == ROWS
    upkeep.verify(Task.from_mapping(task_values("pull", database)), Host())
    run("pull", task_values, database)
    assert servers[1].sql("SELECT count(*) FROM orders", database) == "7"


def test_each_program_dumps_its_share_where_an_option_file_has_the_others(
    servers: tuple[MariaServer, MariaServer], database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is of a database with tens of thousands of tables, and with both servers' own programs."""
    monkeypatch.setattr(mysql_arguments, "_MOST_ARGUMENTS", 0)
    servers[0].create_database(database, SHOP)

    pushed = run("push", task_values, database, jobs=3)

    assert (rows_of(pushed["manifest"]), pushed["manifest"]["jobs"], pushed["warnings"]) == (ROWS, 3, [])
    run("pull", task_values, database)


@pytest.mark.parametrize("servers", ["mariadb"], indirect=True)
def test_rows_that_a_storage_engine_does_not_keep_go_live_nowhere(
    servers: tuple[MariaServer, MariaServer], database: str, task_values: Values
) -> None:
    """A server that puts all new tables into an engine of its own choice; one whose policy it is."""
    production, staging = servers
    production.create_database(database, "CREATE TABLE a (id int); INSERT INTO a VALUES (1), (2)")
    staging.create_database(database, "CREATE TABLE as_it_was (id int)")
    run("push", task_values, database)
    staging.sql("INSTALL SONAME 'ha_blackhole'; SET GLOBAL enforce_storage_engine = BLACKHOLE")
    try:
        with pytest.raises(EnvSyncError, match=r"table a has 0 rows, and the point's manifest says 2.*storage engine"):
            run("pull", task_values, database)
    finally:
        staging.sql("SET GLOBAL enforce_storage_engine = NULL; UNINSTALL SONAME 'ha_blackhole'")
    assert staging.sql("SHOW TABLES", database) == "as_it_was"
    assert staging.databases() == [database]


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_a_count_that_is_another_is_found_by_verifying_and_by_pulling(
    servers: tuple[MariaServer, MariaServer], database: str, task_values: Values, tmp_path: Path, form: str
) -> None:
    servers[0].create_database(database, "CREATE TABLE a (id int); INSERT INTO a VALUES (1), (2)")
    run("push", task_values, database, format=form)
    change_manifest(tmp_path, lambda values: values["tables"][0].update(rows=3))
    for action in (upkeep.verify, pull.pull):
        with pytest.raises(EnvSyncError, match="table a has 2 rows, and the point's manifest says 3"):
            action(Task.from_mapping(task_values("pull", database)), Host())


def test_tables_that_the_manifest_does_not_have(
    servers: tuple[MariaServer, MariaServer], database: str, task_values: Values, tmp_path: Path
) -> None:
    servers[0].create_database(database, "CREATE TABLE a (id int); CREATE TABLE b (id int)")
    run("push", task_values, database)
    change_manifest(tmp_path, lambda values: values["tables"].pop())
    with pytest.raises(EnvSyncError, match="table b was restored, and the point's manifest does not have it"):
        run("pull", task_values, database)
