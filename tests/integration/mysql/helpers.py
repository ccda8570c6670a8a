# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Databases, and what the tests of this folder do with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.mariadb import MariaServer

Values = Callable[..., dict[str, Any]]

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


def keys(action: str, server: MariaServer, database: str, folder: Path) -> dict[str, Any]:
    """Return the keys of a task between a server and a directory store; store and working folders are in ``folder``."""
    return {
        "action": action,
        "dbms": "mysql",
        "database": database,
        "database_hostname": server.host,
        "database_port": server.port,
        "login_user": server.user,
        "login_password": server.password,
        "storagebackend": "directory",
        "url": str(folder / "store"),
        "path": "mysql",
        "temppath": str(folder / "temp"),
        "state_dir": str(folder / "state"),
    }
