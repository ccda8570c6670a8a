# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Points of PostgreSQL, and a dump that the original left."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.restore_by_hand.page import (
    BEGINNING,
    FETCH,
    SAMPLE,
    STREAM,
    TABLES,
    Operator,
    Values,
    copy,
    following,
    pushed,
    same,
)
from tests.servers.postgresql import PostgresServer


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
@following((FETCH, BEGINNING, TABLES), (FETCH, BEGINNING, STREAM))
def test_postgresql(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    psql_values: Values,
    to_staging: Operator,
    way: tuple[str, ...],
    compression: str,
) -> None:
    task = psql_values(format="custom" if STREAM in way else "directory", compression=compression)
    to_staging.follows(way, **copy(to_staging, task, pushed(task)), DATABASE=database)
    same(staging, production, database)


@following((BEGINNING,))
def test_damage_is_noticed_before_anything_is_restored(
    database: str, psql_values: Values, operator: Operator, way: tuple[str, ...]
) -> None:
    task = psql_values()
    point = pushed(task)
    whole = Path(task["url"], task["path"])
    variables = {"STORE": operator.store, "POINT": point}
    shutil.copytree(whole, operator.store)
    assert operator.follows(way, **variables) == ""
    members = [path.relative_to(whole) for path in sorted((whole / point).iterdir())]
    assert len(members) > 4
    for name in [*members, Path(f"{point}.manifest.json")]:
        path, content = operator.store / name, (whole / name).read_bytes()
        middle = len(content) // 2
        for damage in (content[:middle], content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], None):
            path.unlink()
            if damage is not None:
                path.write_bytes(damage)
            done = operator.tries(way, **variables)
            assert done.returncode != 0
            assert name not in members or str(name) in done.stdout
            path.write_bytes(content)
    path.write_bytes(content.replace(b'"encoding": "UTF8"', b'"encoding": "UTF9"'))
    assert operator.tries(way, **variables).stdout.startswith("the manifest is damaged\n")


@following(("A dump of PostgreSQL",))
def test_a_dump_of_postgresql_that_the_original_left(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    to_staging: Operator,
    tmp_path: Path,
    way: tuple[str, ...],
) -> None:
    production.create_database(database, SAMPLE)
    dump = tmp_path / f"2020-01-01T00:00:00-{database}.gz"
    argv = [production.program("pg_dump"), "--format=custom", f"--file={dump}", database]
    subprocess.run(argv, env={**os.environ, **production.env}, check=True)
    to_staging.follows(way, DUMP=dump, DATABASE=database)
    same(staging, production, database)
