# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MariaDB: what is pushed from one server arrives in another."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.mysql.helpers import (
    LIVE,
    OBJECTS,
    SAMPLE,
    Values,
    checksums,
    contents,
    default_collation,
    do_pull,
    do_push,
)
from tests.servers.mariadb import MariaServer


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
