# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases import DATABASES, open_database
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.base import within
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.programs import write_config
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_path_is_made_of_a_working_directory_that_is_not_there(nothing: str | None) -> None:
    with pytest.raises(ValueError, match="no working directory"):
        within(nothing, "my.cnf")
    with pytest.raises(ValueError, match="no working directory"):
        write_config(nothing, "mongodb://host/")


@pytest.mark.parametrize("dbms", DATABASES)
def test_a_plan_leaves_the_current_directory_alone(dbms: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("my.cnf", "mongo.yaml", "script.js", "restore.list")
    for name in names:
        (tmp_path / name).write_text("somebody's")
    monkeypatch.chdir(tmp_path)
    values = {"action": "push", "dbms": dbms, "database": "shop", "directory": "/nowhere", "url": "/nowhere"}
    values["storagebackend"] = "es_snapshot" if dbms == "elasticsearch" else "directory"
    monkeypatch.setenv("SHOP_DOCUMENTDB_HOST", "localhost")
    monkeypatch.setenv("SHOP_DOCUMENTDB_PASSWD", "hidden")
    task = Task.from_mapping(values)
    with open_database(task, None):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
