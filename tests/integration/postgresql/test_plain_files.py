# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Newer minor releases of ``pg_restore`` read plain files only: a pull and a verification do without pipes then.

Where the installed one is of the older kind, a program that refuses what the newer ones refuse stands before it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import feed as postgresql_feed
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

Values = Callable[..., dict[str, Any]]

#: tables above and below what is always a file, and large objects of both kinds
SQL = """
CREATE TABLE large AS SELECT g AS id, md5(g::text) AS text FROM generate_series(1, 20000) g;
CREATE TABLE larger AS SELECT g AS id, md5(g::text) AS text FROM generate_series(1, 40000) g;
CREATE TABLE small AS SELECT g AS id FROM generate_series(1, 10) g;
SELECT lo_from_bytea(0, 'a small object');
SELECT lo_from_bytea(0, convert_to(repeat('a large object', 500000), 'UTF8'));
"""

REFUSING = """#!/bin/sh
# refuses what PostgreSQL 15.20 and others of its day refuse
for directory; do :; done
if [ -d "$directory" ]; then
  pipe=$(find "$directory" -type p | head -n 1)
  if [ "$pipe" ]; then
    echo "pg_restore: error: \\"$pipe\\" is not a regular file" >&2
    exit 1
  fi
fi
exec '{real}' "$@"
"""


@pytest.fixture
def refusing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which("pg_restore")
    assert real is not None
    programs = tmp_path / "programs"
    programs.mkdir()
    # All of one version are in one folder.
    for name in ("pg_dump", "psql", "vacuumdb"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    (programs / "pg_restore").write_text(REFUSING.format(real=real), encoding="utf-8")
    (programs / "pg_restore").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


@pytest.mark.usefixtures("refusing")
def test_a_point_is_pulled_and_verified_from_plain_files(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, SQL)
    pushed = push.push(Task.from_mapping(task_values("push", database)), Host())
    assert upkeep.verify(Task.from_mapping(task_values("pull", database)), Host())["point"] == pushed["point"]
    pull.pull(Task.from_mapping(task_values("pull", database)), Host())
    assert staging.contents(database) == production.contents(database)


@pytest.mark.usefixtures("refusing")
def test_a_disk_without_room_for_them_is_said_before_anything_is_written(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    production.create_database(database, SQL)
    push.push(Task.from_mapping(task_values("push", database)), Host())
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(postgresql_feed.shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    with pytest.raises(EnvSyncError, match=r"plain files only, which take \d+ bytes, and 1000 are free\. Make room"):
        pull.pull(Task.from_mapping(task_values("pull", database)), Host())
    assert database not in staging.databases()
