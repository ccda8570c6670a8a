# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import progress
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.name import manifest_name
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.version import VERSION
from ansible_collections.govuk.env_sync.plugins.modules import env_sync_info

Run = Callable[..., dict[str, Any]]


def test_without_a_store_only_statuses_are_returned(run_module: Run, tmp_path: Path) -> None:
    found = run_module(env_sync_info, state_dir=str(tmp_path))

    assert (found["version"], found["store"], found["points"], found["statuses"]) == (VERSION, "", [], [])


def test_points_are_those_of_one_database_or_of_all(
    run_module: Run, store: DirectoryStore, put_point: Callable[..., str], tmp_path: Path
) -> None:
    where = {"storagebackend": "directory", "url": str(tmp_path / "store"), "path": "pg", "state_dir": str(tmp_path)}
    mine = put_point(store, "2026-01-02T03:04:05", "app")
    other = put_point(store, "2026-01-02T03:04:05", "app2")

    assert [point["name"] for point in run_module(env_sync_info, **where)["points"]] == [mine, other]
    assert [point["name"] for point in run_module(env_sync_info, database="app", **where)["points"]] == [mine]


def test_details_are_what_the_manifests_say(
    run_module: Run, store: DirectoryStore, put_point: Callable[..., str], tmp_path: Path
) -> None:
    where = {"storagebackend": "directory", "url": str(tmp_path / "store"), "path": "pg", "state_dir": str(tmp_path)}
    put_point(store, "2026-01-02T03:04:05", toc=b"12345")
    damaged = put_point(store, "2026-01-03T03:04:05")
    store.put_bytes(manifest_name(damaged), b"{")

    good, bad = run_module(env_sync_info, details=True, **where)["points"]

    assert (good["state"], good["raw_bytes"], good["manifest"]["host"]) == ("complete", 5, "db-1")
    assert bad["state"] == "unreadable" and "manifest" not in bad


def test_a_kind_of_server_may_be_among_the_defaults_of_the_group(
    run_module: Run, store: DirectoryStore, put_point: Callable[..., str], tmp_path: Path
) -> None:
    where = {"storagebackend": "directory", "url": str(tmp_path / "store"), "path": "pg", "state_dir": str(tmp_path)}
    put_point(store, "2026-01-02T03:04:05")

    for dbms, details, count in (("files", False, 1), ("postgresql", True, 1), ("files", True, 0)):
        found = run_module(env_sync_info, dbms=dbms, details=details, **where)
        assert len(found["points"]) == count
        assert found["msg"].startswith(
            f"{count} point{'' if count == 1 else 's'} in {store.url()}; the last runs of 0 "
        )


def test_a_status_is_for_a_person_to_read(run_module: Run, tmp_path: Path) -> None:
    first = progress.Snapshot(title="push_app", action="push", database="app")
    run = progress.Progress(progress.Host(), first, str(tmp_path))
    run.phase("dumping", bytes_total=100)
    progress.Progress(progress.Host(), progress.Snapshot("pull_app", "pull", "app"), str(tmp_path)).finish("done", "ok")

    (status,) = run_module(env_sync_info, state_dir=str(tmp_path), name="push_app")["statuses"]

    assert (status["title"], status["state"], status["phase"], status["bytes_total"]) == (
        "push_app",
        "running",
        "dumping",
        100,
    )
    assert status["started"].endswith("Z") and status["remaining_seconds"] is None


def test_a_store_needs_its_kind(run_module: Run) -> None:
    assert "storagebackend" in run_module(env_sync_info, url="/srv/backups")["msg"]
