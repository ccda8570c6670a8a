# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A pull that is killed in its swap, the mark that stays, and members of a replica set that are not primary."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.lease import Lease
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo import database as mongo_module
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.client import ServerError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host, read_statuses
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.stopping import Stop
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.manifest import Manifest, Member
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.name import manifest_name, point_name
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.unit.databases.mongo.stub import StubServer, mongo


class Killed(BaseException):
    """SIGKILL, for a test."""


class PlayingServer(StubServer):
    """A stub that does what it is told to its collections, and dies when it has done so many commands.

    ``there[name]["from"]`` is where a collection's contents are from.
    """

    def __init__(self, drop_target: bool, dies_after: int = 10**6) -> None:
        ours = [f"env_sync_scratch_{name}" for name in ("a", "b", "new")]
        super().__init__(collections=("a", "b", "gone", *ours))
        for name, about in self.there.items():
            about["from"] = "the point" if name in ours else "before"
        self._drop_target = drop_target
        self.left = dies_after

    def command(self, database: str, command: dict[str, Any], doing: str) -> dict[str, Any]:
        if "renameCollection" in command:
            if "dropTarget" in command and not self._drop_target:
                raise ServerError(doing, "not implemented", 238)
            old, new = (command[key].partition(".")[2] for key in ("renameCollection", "to"))
            if old not in self.there or (new in self.there and "dropTarget" not in command):
                raise ServerError(doing, "there is none, or there is one", 26)
            self.there[new] = self.there.pop(old)
        elif "drop" in command:
            del self.there[command["drop"]]
        else:
            return super().command(database, command, doing)
        self.step()
        return {}

    def step(self) -> None:
        self.left -= 1
        if not self.left:
            raise Killed

    def live(self) -> dict[str, str]:
        assert not [name for name in self.there if name.startswith("env_sync_")]
        return {name: about["from"] for name, about in self.there.items()}


class Mark:
    """The lock, and its document, which outlives who wrote it."""

    def __init__(self, server: PlayingServer) -> None:
        self._server = server
        self.found: dict[str, Any] = {"token": "x"}

    def note(self, **values: Any) -> str:
        self.found.update(values)
        self._server.step()
        return ""

    def prove(self) -> None: ...


BEFORE = {"a": "before", "b": "before", "gone": "before"}
AFTER = {"a": "the point", "b": "the point", "new": "the point"}


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_module, "_SETTLED", 0.0)


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("keep_old", [False, True])
@pytest.mark.parametrize("drop_target", [False, True])
@pytest.mark.parametrize("dies_after", range(1, 16))
def test_a_swap_that_is_killed_anywhere_is_made_good_by_the_next_run(
    drop_target: bool, keep_old: bool, dies_after: int
) -> None:
    """Where each takes two renames all is as before or all is done; with dropTarget each collection is one or other."""
    server = PlayingServer(drop_target, dies_after)
    database: Any = mongo(server)
    database._lease = database._lock = Mark(server)
    whole = False
    try:
        database.swap(keep_old)
        whole = True
    except Killed:
        pass
    server.left = 10**6
    following: Any = mongo(server)
    following._lease = following._lock = database._lock
    following.sweep()
    kept = following._collections.named("env_sync_old_", "dropping what was kept")
    following._collections.drop(kept, "dropping what was kept")

    live = server.live()
    if drop_target and not keep_old:
        assert all(live[name] in ("before", "the point") for name in ("a", "b"))
        assert {name: live[name] for name in live if name not in ("a", "b")} in (
            {"gone": "before"},
            {"new": "the point"},
            {},
        )
    else:
        assert live in (BEFORE, AFTER)
    if whole:
        assert live == AFTER


class LateServer(PlayingServer):
    """A stub in which a killed run's insertion ends after its collection was dropped."""

    late = True

    def command(self, database: str, command: dict[str, Any], doing: str) -> dict[str, Any]:
        answer = super().command(database, command, doing)
        if self.late and command == {"drop": "env_sync_scratch_b"}:
            self.late = False
            self.there["env_sync_scratch_b"] = {"type": "collection", "from": "a dead run"}
        return answer


@pytest.mark.usefixtures("_at_once")
def test_what_a_killed_run_still_inserts_is_swept_too() -> None:
    server = LateServer(drop_target=True)
    database: Any = mongo(server)
    database._lease = database._lock = Mark(server)
    database.sweep()
    assert server.live() == BEFORE


class HeldLock:
    """A lock that notes how it was given up."""

    remains = ""
    keep: Any = None
    kept: Any = None

    def acquire(self) -> str:
        return ""

    def release(self) -> None:
        self.kept = self.keep


@pytest.mark.parametrize(
    ("left", "kept"), [("env_sync_scratch_a", True), ("env_sync_old_a", True), ("env_sync_pull", False)]
)
def test_the_mark_stays_as_long_as_anything_of_ours_does(left: str, kept: bool) -> None:
    database: Any = mongo(StubServer(collections=("a", left)))
    lock: Any = HeldLock()
    database._lock, database._lease = lock, Lease(lock, "locking app", Stop)
    with database.exclusive():
        assert lock.kept is None
    assert lock.kept is kept


class Secondary(StubServer):
    """A member that answers what a preflight asks, and notes everything else."""

    def __init__(self) -> None:
        super().__init__(primary=False, collections=("env_sync_scratch_a",))

    def system(self, doing: str) -> str:
        return "replica-set"

    def command(self, database: str, command: dict[str, Any], doing: str) -> dict[str, Any]:
        return {"version": "7.0.1"} if "buildInfo" in command else super().command(database, command, doing)

    def close(self) -> None: ...


def test_a_member_that_is_not_primary_has_nothing_to_push_and_is_not_written_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = Secondary()
    monkeypatch.setattr(mongo_module, "Server", lambda uri: server)
    (tmp_path / "points").mkdir()
    given = {"action": "push", "dbms": "mongo", "database": "app", "dest": str(tmp_path / "points")}
    for verb in (push.plan, push.push):
        done = verb(Task.from_mapping({**given, "state_dir": str(tmp_path / "state")}), Host())
        assert (done["changed"], done["skipped"]) == (False, "stub:27017 is not the primary member of its replica set")
    assert server.commands == []
    assert not [path for path in (tmp_path / "points").rglob("*") if path.is_file()]
    [status] = read_statuses(str(tmp_path / "state"))
    assert (status.state, status.message) == ("done", f"nothing to do: {done['skipped']}")


def test_a_member_that_is_not_primary_has_nothing_to_pull_and_is_not_written_to(
    store: DirectoryStore, make_manifest: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    member = Member("2026-01-02T03:04:05-app.dump", 5, "a" * 64, 5)
    manifest = make_manifest(dbms="mongo", members=[member])
    point = point_name(manifest.timestamp, "app")
    store.put_bytes(manifest_name(point), manifest.to_json())
    server = Secondary()
    monkeypatch.setattr(mongo_module, "Server", lambda uri: server)
    task = Task.from_mapping(
        {
            "action": "pull",
            "dbms": "mongo",
            "database": "app",
            "src": str(tmp_path / "store" / "pg"),
            "state_dir": str(tmp_path / "state"),
        }
    )
    for verb in (pull.plan, pull.pull):
        done = verb(task, Host())
        assert (done["changed"], done["point"]) == (False, point)
        assert done["skipped"] == "stub:27017 is not the primary member of its replica set"
    assert server.commands == []
    [status] = read_statuses(str(tmp_path / "state"))
    assert (status.state, status.message) == ("done", f"nothing to do: {done['skipped']}")
