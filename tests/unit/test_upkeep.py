# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host, read_statuses
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.run import running
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.base import Stored
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.reader import Reader
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

Putter = Callable[..., str]
DAYS = [f"2026-01-0{day}T01:00:00" for day in range(1, 6)]


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., Task]:
    """Return a function that gives a task of the store of the fixture ``store``, or of ``url``."""

    def make(**values: Any) -> Task:
        return Task.from_mapping(
            {
                "action": "pull",
                "dbms": "postgresql",
                "database": "app",
                "storagebackend": "directory",
                "url": str(tmp_path / "store"),
                "path": "pg",
                "state_dir": str(tmp_path / "state"),
                "jobs": 2,
                **values,
            }
        )

    return make


def names(store: DirectoryStore) -> list[str]:
    return [found.name for found in store.list()]


def points(store: DirectoryStore) -> list[str]:
    return [name[: -len(".manifest.json")] for name in names(store) if name.endswith(".manifest.json")]


def test_the_status_of_a_tasks_own_runs_stays(
    store: DirectoryStore, task: Callable[..., Task], put_point: Putter, tmp_path: Path
) -> None:
    nightly = task(name="nightly")
    for day in DAYS:
        put_point(store, day)
    with running(nightly, Host()) as run:
        run.progress.finish("done", "pulled")
    upkeep.plan_prune(nightly, Host(), keep=4)
    upkeep.plan_sweep(nightly, Host())
    assert [status.title for status in read_statuses(str(tmp_path / "state"))] == ["nightly"]
    upkeep.prune(nightly, Host(), keep=4)
    statuses = {status.title: status.message for status in read_statuses(str(tmp_path / "state"))}
    assert statuses == {"nightly": "pulled", "prune app": "1 points removed"}


# -- prune -------------------------------------------------------------------------------------------------------------


def test_prune_keeps_the_newest(store: DirectoryStore, task: Callable[..., Task], put_point: Putter) -> None:
    made = [put_point(store, day) for day in DAYS]
    done = upkeep.prune(task(), Host(), keep=2)
    assert (done["changed"], done["removed"], done["after"]) == (True, made[:3], {"points": made[3:]})
    assert points(store) == made[3:]
    assert {name.split("/")[0] for name in names(store) if "/" in name} == set(made[3:]), "and no member is left"
    again = upkeep.prune(task(), Host(), keep=2)
    assert (again["changed"], again["removed"]) == (False, [])


def test_prune_does_not_count_or_touch_what_is_no_point_or_another_databases(
    store: DirectoryStore, task: Callable[..., Task], put_point: Putter
) -> None:
    good = put_point(store, DAYS[0])
    put_point(store, DAYS[0], "app_old")
    for day in DAYS[1:]:
        store.put_bytes(f"{day}-app/toc.dat", b"interrupted")
    before = names(store)
    assert upkeep.prune(task(), Host(), keep=1)["removed"] == []
    assert names(store) == before
    assert good in points(store)


def test_prune_neither_counts_nor_removes_what_is_from_the_future(
    store: DirectoryStore, task: Callable[..., Task], put_point: Putter
) -> None:
    made = [put_point(store, day) for day in DAYS]
    false = [put_point(store, f"2099-01-0{day}T00:00:00") for day in (1, 2)]
    done = upkeep.prune(task(), Host(), keep=1)
    assert (done["removed"], done["after"]) == (made[:-1], {"points": made[-1:]})
    assert [
        text.partition(" claims a time later than now: it is not counted, and stays")[0] for text in done["warnings"]
    ] == [store.url(name) for name in false]
    assert points(store) == [made[-1], *false]


def test_a_copy_takes_the_newest_that_is_not_from_the_future(
    store: DirectoryStore, task: Callable[..., Task], target: tuple[Task, DirectoryStore], put_point: Putter
) -> None:
    made = put_point(store, DAYS[0])
    put_point(store, "2099-01-01T00:00:00")
    done = upkeep.copy(task(), target[0], Host())
    assert done["point"] == made
    assert "1 point is passed over" in done["warnings"][0]


def test_prune_without_doing_it_only_says(store: DirectoryStore, task: Callable[..., Task], put_point: Putter) -> None:
    made = [put_point(store, day) for day in DAYS]
    assert upkeep.plan_prune(task(), Host(), keep=4)["removed"] == made[:1]
    assert points(store) == made


@pytest.mark.parametrize("keep", [0, -1])
def test_prune_never_takes_the_last(
    store: DirectoryStore, task: Callable[..., Task], put_point: Putter, keep: int
) -> None:
    made = put_point(store, DAYS[0])
    with pytest.raises(EnvSyncError, match="Keep at least one"):
        upkeep.prune(task(), Host(), keep=keep)
    assert points(store) == [made]


def test_what_an_interrupted_prune_leaves_is_no_point(
    store: DirectoryStore, task: Callable[..., Task], put_point: Putter, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [put_point(store, day) for day in DAYS[:2]]
    deletions: list[list[str]] = []
    delete = DirectoryStore.delete

    def interrupted(self: DirectoryStore, found: Any) -> None:
        deletions.append(list(found))
        if len(deletions) == 2:
            raise EnvSyncError("removing", "the network went away")
        delete(self, deletions[-1])

    monkeypatch.setattr(DirectoryStore, "delete", interrupted)
    with pytest.raises(EnvSyncError, match="the network went away"):
        upkeep.prune(task(), Host(), keep=1)
    assert points(store) == made[1:]


# -- copy --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def target(tmp_path: Path, task: Callable[..., Task]) -> tuple[Task, DirectoryStore]:
    (tmp_path / "other").mkdir()
    return task(url=str(tmp_path / "other")), DirectoryStore(str(tmp_path / "other"), "pg")


def contents(store: DirectoryStore) -> dict[str, bytes]:
    return {name: store.get_bytes(name) for name in names(store)}


def test_a_copy_is_the_same_with_its_manifest_last(
    store: DirectoryStore,
    task: Callable[..., Task],
    target: tuple[Task, DirectoryStore],
    put_point: Putter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []
    put = DirectoryStore.put

    def noting(self: DirectoryStore, name: str, source: Reader, size_hint: int | None = None) -> Stored:
        stored = put(self, name, source, size_hint)
        written.append(name)
        return stored

    point = put_point(store, DAYS[0], **{f"m{number}": b"x" * number for number in range(30)})
    monkeypatch.setattr(DirectoryStore, "put", noting)
    done = upkeep.copy(task(), target[0], Host())
    assert (done["changed"], done["point"], done["after"]) == (True, point, {"points": [point]})
    assert contents(target[1]) == contents(store)
    assert written[-1] == f"{point}.manifest.json"


def test_a_copy_that_is_there_is_not_made_again(
    store: DirectoryStore, task: Callable[..., Task], target: tuple[Task, DirectoryStore], put_point: Putter
) -> None:
    put_point(store, DAYS[0])
    assert upkeep.plan_copy(task(), target[0], Host())["changed"] is True
    assert names(target[1]) == []
    upkeep.copy(task(), target[0], Host())
    again = upkeep.copy(task(), target[0], Host())
    assert again["changed"] is False
    assert "is there already" in again["skipped"]


def test_a_copy_never_passes_for_another_point_of_its_name(
    store: DirectoryStore, task: Callable[..., Task], target: tuple[Task, DirectoryStore], put_point: Putter
) -> None:
    put_point(store, DAYS[0], a=b"this")
    put_point(target[1], DAYS[0], a=b"that")
    before = contents(target[1])
    with pytest.raises(EnvSyncError, match=r"copying .*there is another point of that name.* Remove that one"):
        upkeep.copy(task(), target[0], Host())
    assert contents(target[1]) == before


def test_a_damaged_point_is_not_copied_and_nothing_of_it_is_left(
    store: DirectoryStore, task: Callable[..., Task], target: tuple[Task, DirectoryStore], put_point: Putter
) -> None:
    point = put_point(store, DAYS[0], good=b"1", bad=b"2", fine=b"3")
    store.put_bytes(f"{point}/bad", b"X")
    with pytest.raises(EnvSyncError, match="it is damaged"):
        upkeep.copy(task(), target[0], Host())
    assert names(target[1]) == []


@pytest.mark.parametrize(
    "written",
    [
        f"{DAYS[1]}-app/toc",
        f"{DAYS[1]}-app.manifest.json",
        f"{DAYS[0]}-other/toc",
        f"{DAYS[0]}-app/../{DAYS[1]}-app/toc",
    ],
)
def test_a_copy_writes_no_name_of_another_point(
    store: DirectoryStore,
    task: Callable[..., Task],
    target: tuple[Task, DirectoryStore],
    put_point: Putter,
    written: str,
) -> None:
    """A manifest that lists another day's objects would have them overwritten, or make a point of another database."""
    point = put_point(store, DAYS[0], toc=b"new")
    put_point(target[1], DAYS[1], toc=b"good")
    values = json.loads(store.get_bytes(f"{point}.manifest.json"))
    values["members"][0]["name"] = written
    del values["checksum"]
    store.put_bytes(f"{point}.manifest.json", json.dumps(values).encode())
    before = contents(target[1])
    with pytest.raises(EnvSyncError, match=r"it is damaged: members\[0\]\.name is .*, which is not a member of "):
        upkeep.copy(task(), target[0], Host())
    assert contents(target[1]) == before


def test_an_object_of_the_originals_is_not_copied(
    store: DirectoryStore, task: Callable[..., Task], target: tuple[Task, DirectoryStore]
) -> None:
    store.put_bytes(f"{DAYS[0]}-app.gz", b"x")
    with pytest.raises(EnvSyncError, match="it has no manifest"):
        upkeep.copy(task(), target[0], Host())


# -- sweep -------------------------------------------------------------------------------------------------------------


def test_sweep_takes_old_interrupted_pushes_and_nothing_else(
    store: DirectoryStore, task: Callable[..., Task], put_point: Putter, tmp_path: Path
) -> None:
    good = put_point(store, DAYS[0])
    for day, database in ((DAYS[1], "app"), (DAYS[2], "app"), (DAYS[1], "app_old")):
        store.put_bytes(f"{day}-{database}/toc.dat", b"interrupted")
    partial = tmp_path / "store" / "pg" / f"{DAYS[1]}-app" / ".00ff.partial"
    partial.write_bytes(b"half")
    young = f"{DAYS[2]}-app/toc.dat"
    for path in (tmp_path / "store").rglob("*"):
        hours = 47 if str(path).endswith(young) else 49
        os.utime(path, (time.time() - hours * 3600,) * 2)
    assert upkeep.plan_sweep(task(), Host())["removed"] == [f"{DAYS[1]}-app"]
    assert partial.exists()
    done = upkeep.sweep(task(), Host())
    assert (done["changed"], done["removed"]) == (True, [f"{DAYS[1]}-app"])
    assert names(store) == [f"{good}.manifest.json", f"{good}/toc", f"{DAYS[1]}-app_old/toc.dat", young]
    assert not partial.parent.exists()
    assert upkeep.sweep(task(), Host())["changed"] is False


def test_sweep_leaves_what_the_original_may_have_stored(
    store: DirectoryStore, task: Callable[..., Task], put_point: Putter, tmp_path: Path
) -> None:
    for day in DAYS[:2]:
        store.put_bytes(f"{day}-app.gz", b"a dump of the original's")
    store.put_bytes(f"{DAYS[2]}-app.dump.zst", b"ours, interrupted")
    put_point(store, DAYS[3])
    for path in (tmp_path / "store").rglob("*"):
        os.utime(path, (time.time() - 49 * 3600,) * 2)
    assert upkeep.sweep(task(), Host())["removed"] == [f"{DAYS[2]}-app"]
    assert [name for name in names(store) if name.endswith(".gz")] == [f"{day}-app.gz" for day in DAYS[:2]]


def test_sweep_finds_a_push_that_was_killed_in_its_first_member(
    store: DirectoryStore, task: Callable[..., Task], put_point: Putter, tmp_path: Path
) -> None:
    good = put_point(store, DAYS[0])
    for name, hours in ((f"{DAYS[1]}-app", 49), (f"{DAYS[2]}-app", 47), (f"{DAYS[1]}-app_old", 49), (good, 49)):
        partial = tmp_path / "store" / "pg" / name / ".00ff.partial"
        partial.parent.mkdir(exist_ok=True)
        partial.write_bytes(b"half")
        os.utime(partial, (time.time() - hours * 3600,) * 2)
    assert upkeep.plan_sweep(task(), Host())["removed"] == [f"{DAYS[1]}-app"]
    assert upkeep.sweep(task(), Host())["removed"] == [f"{DAYS[1]}-app"]
    left = sorted(path.parent.name for path in (tmp_path / "store").rglob("*.partial"))
    assert left == [good, f"{DAYS[1]}-app_old", f"{DAYS[2]}-app"]
