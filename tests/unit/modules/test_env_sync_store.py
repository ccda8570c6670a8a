# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import progress
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.modules import env_sync_store

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def where(tmp_path: Path) -> dict[str, str]:
    place = {"storagebackend": "directory", "url": str(tmp_path / "store"), "path": "pg"}
    return {**place, "database": "app", "state_dir": str(tmp_path / "state")}


@pytest.mark.parametrize(
    ("operation", "needed"),
    [
        ("verify", "dbms"),
        ("prune", "keep"),
        ("copy", "destination"),
        ("s3_sync", "source_bucket, destination_bucket"),
    ],
)
def test_an_operation_names_what_it_needs(run_module: Run, where: dict[str, str], operation: str, needed: str) -> None:
    assert run_module(env_sync_store, operation=operation, **where)["msg"].endswith(needed)


@pytest.mark.parametrize("operation", ["verify", "prune", "copy", "sweep"])
def test_a_point_is_of_a_database_in_a_store(run_module: Run, operation: str) -> None:
    assert "database, storagebackend, url" in run_module(env_sync_store, operation=operation)["msg"]


def test_check_mode_removes_nothing(
    run_module: Run, store: DirectoryStore, put_point: Callable[..., str], where: dict[str, str]
) -> None:
    names = [put_point(store, f"2026-01-0{day}T00:00:00") for day in (1, 2)]
    prune = {"operation": "prune", "keep": 1, **where}

    planned = run_module(env_sync_store, _ansible_check_mode=True, **prune)
    assert [point.name for point in catalogue.list_points(store)] == names
    done = run_module(env_sync_store, **prune)

    assert planned["changed"] and planned["removed"] == done["removed"] == names[:1]
    assert [point.name for point in catalogue.list_points(store)] == names[1:]


def test_a_check_returns_its_table_also_where_it_fails(
    run_module: Run, store: DirectoryStore, where: dict[str, str], tmp_path: Path
) -> None:
    place = {key: value for key, value in where.items() if key != "database"}
    good = run_module(env_sync_store, operation="check", **place)
    assert (good["changed"], good["left"], good["account"]) == (False, [], "")
    assert {line["check"] for line in good["checks"]} >= {"open", "write", "list", "read back", "clock"}
    assert not (tmp_path / "state").exists()  # it is no task, and has no status

    planned = run_module(env_sync_store, operation="check", _ansible_check_mode=True, **place)
    assert [line["severity"] for line in planned["checks"] if line["check"] == "write"] == ["unknown"]

    pulling = run_module(env_sync_store, operation="check", action="pull", **place)
    assert pulling["severity"] == "warning"

    bad = run_module(env_sync_store, operation="check", **{**place, "url": str(tmp_path / "none")})
    assert bad["failed"] and bad["severity"] == "failed"
    assert "there is no such directory. Make it" in bad["msg"]


def test_the_status_of_a_task_is_left_alone(
    run_module: Run, store: DirectoryStore, put_point: Callable[..., str], where: dict[str, str]
) -> None:
    put_point(store, "2026-01-01T00:00:00")

    run_module(env_sync_store, operation="prune", keep=1, name="push_app_nightly", **where)

    (status,) = progress.read_statuses(where["state_dir"])
    assert (status.title, status.action, status.state) == ("prune app", "prune", "done")


def test_keeping_nothing_is_refused(run_module: Run, store: DirectoryStore, where: dict[str, str]) -> None:
    assert "Keep at least one point" in run_module(env_sync_store, operation="prune", keep=0, **where)["hint"]


def test_a_trees_points_are_verified_without_naming_the_tree(
    run_module: Run, store: DirectoryStore, where: dict[str, str]
) -> None:
    answer = run_module(env_sync_store, operation="verify", dbms="files", **where)
    assert "choosing a point of app" in answer["msg"], answer["msg"]
