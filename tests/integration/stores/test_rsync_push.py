# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pushes and pulls through an rsync store; one of them is killed."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.rsync.store import PARTIAL
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.stores.sources import MIB, below, size_below, wait_for
from tests.servers.postgresql import PostgresServer
from tests.servers.sshd import SshServer

PUSH = """
import json, sys
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task
push.push(Task.from_mapping(json.loads(sys.argv[1])), Host())
"""


def test_a_killed_push_stops_sending_and_is_swept_by_the_next(ssh_server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "large").write_bytes(os.urandom(MIB) * 200)
    keys = {
        **ssh_server.values(), "action": "push", "dbms": "files", "database": "app", "compression": "none",
        "directory": str(tmp_path / "tree"), "path": str(tmp_path / "far"), "temppath": str(tmp_path / "temp"),
        "state_dir": str(tmp_path / "state"),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", PUSH, json.dumps(keys)],
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
    )
    wait_for(lambda: size_below(tmp_path / "far") > 10 * MIB)
    process.kill()
    process.wait()
    wait_for(lambda: not any(path.name.startswith(".tree.tar.") for path in (tmp_path / "far").rglob("*")))
    files = [path.name for path in (tmp_path / "far").rglob("*") if path.is_file()]
    left = [name for name in files if not name.startswith(".claim-")]  # whose the point is, until it is swept
    assert left in ([], ["tree.tar"]), "its beginning at most, under the name of a part"
    assert all(path.parent.name == PARTIAL for path in (tmp_path / "far").rglob("tree.tar"))

    (tmp_path / "tree" / "large").write_bytes(b"small")
    point = push.push(Task.from_mapping(keys), Host())["point"]

    assert [name for name in below(tmp_path / "far") if not name.endswith("tar")] == [point, f"{point}.manifest.json"]
    gc.collect()
    assert os.listdir(tmp_path / "temp") == []


SAMPLE = """
CREATE TABLE customers (id serial PRIMARY KEY, email text NOT NULL);
INSERT INTO customers (email) SELECT 'user' || g || '@example.com' FROM generate_series(1, 5000) g;
CREATE TABLE noise AS SELECT g, sha512(g::text::bytea) FROM generate_series(1, 50000) g;
"""


def test_a_database_goes_by_rsync(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Callable[..., dict[str, Any]],
    ssh_server: SshServer,
    tmp_path: Path,
) -> None:
    production.create_database(database, SAMPLE)
    far = {**ssh_server.values(), "path": str(tmp_path / "far")}

    first = push.push(Task.from_mapping(task_values("push", database, **far)), Host())
    production.psql(database, "UPDATE customers SET email = 'new' WHERE id = 1")
    time.sleep(1)
    second = push.push(Task.from_mapping(task_values("push", database, **far)), Host())
    verified = upkeep.verify(Task.from_mapping(task_values("pull", database, **far)), Host())
    pulled = pull.pull(Task.from_mapping(task_values("pull", database, **far)), Host())

    assert verified["point"] == pulled["point"] == second["point"]
    for query in (
        "SELECT count(*), md5(string_agg(email, ',' ORDER BY id)) FROM customers",
        "SELECT count(*), md5(string_agg(n::text, ',' ORDER BY g)) FROM noise n",
    ):
        assert staging.psql(database, query) == production.psql(database, query)
    shared = [path for path in (tmp_path / "far" / first["point"]).iterdir() if path.stat().st_nlink == 2]
    assert len(shared) == 1, "the table that did not change is there once"
    assert second["manifest"]["peak_temporary_bytes"] > 0
    assert [name for name in os.listdir(tmp_path / "temp") if not name.startswith("env_sync-rsync")] == []
