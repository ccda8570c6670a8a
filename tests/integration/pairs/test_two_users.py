# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two users of one host, without a folder in common."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.pairs.runs import Values, stopped_at
from tests.servers.postgresql import PostgresServer

PACKAGE = "ansible_collections.govuk.env_sync.plugins.module_utils._engine"


@pytest.mark.parametrize(("first", "second"), [("push", "push"), ("push", "pull"), ("pull", "push"), ("pull", "pull")])
def test_two_users_without_a_folder_in_common_see_each_other_by_the_database(
    production: PostgresServer,
    database: str,
    task_values: Values,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    first: str,
    second: str,
) -> None:
    production.create_database(database, "CREATE TABLE t AS SELECT g FROM generate_series(1, 9) g")
    push.push(Task.from_mapping(task_values("push", database)), Host())
    monkeypatch.setattr(f"{PACKAGE}.databases.postgresql.database._LOCK_PATIENCE", 0.3)
    where = {"database_hostname": production.host, "database_port": production.port, "allow_restore_to_source": True}
    hook = f"before(postgresql.PostgreSQL, {'dump' if first == 'push' else 'check'!r})"
    way = {**where, "database_hostname": "127.0.0.1", "login_password": production.password}
    with stopped_at(task_values(first, database, **where), tmp_path, hook) as run:
        with pytest.raises(EnvSyncError, match="another push or pull of it is running on this host"):
            task = Task.from_mapping(task_values(second, database, **way))
            (push.push if second == "push" else pull.pull)(task, Host())
        assert "error" not in run.end()


def test_two_users_see_each_other_at_one_tree(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = {"storagebackend": "directory", "url": str(tmp_path / "store"), "temppath": str(tmp_path / "temp")}
    values = {"dbms": "files", "database": "tree", "directory": str(tree), "allow_restore_to_source": True, **store}
    values["state_dir"] = str(tmp_path / "state")
    push.push(Task.from_mapping({"action": "push", **values}), Host())
    link = tmp_path / "another way"
    link.symlink_to(tree.parent)
    hook = "from _engine.databases.files import database as files; before(files.Files, 'check')"
    with stopped_at({"action": "pull", **values}, tmp_path, hook) as run:
        for action, do in (("push", push.push), ("pull", pull.pull)):
            with pytest.raises(EnvSyncError, match="another push or pull of it is running"):
                do(Task.from_mapping({**values, "action": action, "directory": str(link / "tree")}), Host())
        assert "error" not in run.end()
    assert [path.name for path in tree.parent.iterdir()] == ["tree"]
