# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import progress
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host, Progress, Snapshot

FIRST = Snapshot(title="pull app/x", action="pull", database="app")


def test_no_count_of_any_thread_is_lost() -> None:
    counted = Progress(Host(), FIRST)
    with ThreadPoolExecutor(4) as pool:
        for _unused in range(4):
            pool.submit(lambda: [counted.add(3, 1) for _unused in range(500)])
    assert (counted.snapshot.bytes_done, counted.snapshot.members_done) == (6000, 2000)


def test_a_phase_starts_the_counters_again_and_is_reported_at_once() -> None:
    seen: list[Snapshot] = []
    counted = Progress(Host(progress=seen.append), FIRST, interval=1000)
    counted.phase("dumping", bytes_total=10, members_total=2)
    counted.add(4, 1)
    counted.phase("checking")
    assert [(s.phase, s.bytes_done, s.bytes_total) for s in seen] == [("dumping", 0, 10), ("checking", 0, 0)]


def test_reports_are_no_more_often_than_the_interval() -> None:
    seen: list[Snapshot] = []
    counted = Progress(Host(progress=seen.append), FIRST, interval=1000)
    for _unused in range(100):
        counted.add(1)
    assert len(seen) == 1


def test_rate_and_remaining_time_are_unknown_before_they_can_be_known() -> None:
    start = replace(FIRST, started=50.0, phase_started=100.0, updated=100.0)
    assert (start.rate, start.remaining) == (0.0, None)
    later = replace(start, updated=110.0, bytes_done=50, bytes_total=200)
    assert (later.rate, later.remaining) == (5.0, 30.0)
    assert replace(later, bytes_total=0).remaining is None
    assert replace(later, bytes_done=300).remaining == 0.0, "an estimate that was too low"


def test_the_status_file_says_how_far_a_run_is_and_how_it_ended(tmp_path: Path) -> None:
    counted = Progress(Host(), FIRST, str(tmp_path))
    counted.point("2026-01-02T03:04:05-app")
    [now] = progress.read_statuses(str(tmp_path))
    assert (now.state, now.pid, now.point) == ("running", os.getpid(), "2026-01-02T03:04:05-app")
    counted.finish("done", "stored", {"stored_bytes": 5})
    [now] = progress.read_statuses(str(tmp_path))
    assert (now.state, now.message, now.result) == ("done", "stored", {"stored_bytes": 5})
    assert [path.name for path in (tmp_path / "status").iterdir()] == ["pull_app_x.json"], "and no temporary file"


def test_a_run_whose_process_is_gone_was_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    progress.write_status(progress.status_path(str(tmp_path), "x"), replace(FIRST, pid=process.pid))
    [now] = progress.read_statuses(str(tmp_path))
    assert (now.state, now.message) == ("failed", "the run was killed")


def test_another_process_of_the_same_number_is_not_the_run(tmp_path: Path) -> None:
    Progress(Host(), FIRST, str(tmp_path)).phase("dumping")
    [alive] = progress.read_statuses(str(tmp_path))
    assert (alive.state, alive.pid) == ("running", os.getpid())
    boot, start = alive.process.split()
    path = progress.status_path(str(tmp_path), FIRST.title)
    for process in (f"{boot} {int(start) + 1}", f"{boot[::-1]} {start}"):  # a later one; one of another boot
        progress.write_status(path, replace(alive, process=process))
        [now] = progress.read_statuses(str(tmp_path))
        assert (now.state, now.message) == ("failed", "the run was killed")
    progress.write_status(path, replace(alive, process=""))  # of a version that did not note it
    assert [now.state for now in progress.read_statuses(str(tmp_path))] == ["running"]


def test_a_status_is_never_overtaken_by_an_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow(path: str, snapshot: progress.Snapshot) -> None:
        if threading.current_thread().name == "worker":
            begun.set()
            go_on.wait(5)
        written.append((snapshot.state, snapshot.bytes_done))

    monkeypatch.setattr(progress, "write_status", slow)
    run = Progress(Host(), FIRST, str(tmp_path), interval=0.0)
    worker = threading.Thread(target=run.add, args=(10,), name="worker")
    worker.start()
    assert begun.wait(5)
    threading.Timer(0.2, go_on.set).start()
    run.finish("failed", "the store is gone")
    worker.join()
    run.add(5)
    assert written == [("running", 10), ("failed", 10), ("failed", 15)]


def test_what_is_said_first_of_an_end_counts(tmp_path: Path) -> None:
    run = Progress(Host(), FIRST, str(tmp_path))
    run.finish("failed", "stopped by SIGTERM; it hung")
    run.finish("done", "stored")
    assert [(now.state, now.message) for now in progress.read_statuses(str(tmp_path))] == [
        ("failed", "stopped by SIGTERM; it hung")
    ]


def test_what_is_no_status_is_passed_over(tmp_path: Path) -> None:
    progress.write_status(progress.status_path(str(tmp_path), "good"), replace(FIRST, state="done"))
    for number, text in enumerate(["", "{", "[]", "null", "3", "{}", '{"title": "x"}']):
        (tmp_path / "status" / f"bad{number}.json").write_text(text)
    (tmp_path / "status" / "notes.txt").write_text("{}")
    assert [status.title for status in progress.read_statuses(str(tmp_path))] == [FIRST.title]
    assert progress.read_statuses(str(tmp_path / "nowhere")) == []


def test_keys_of_another_version_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "status" / "x.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"title": "x", "action": "push", "database": "d", "state": "done", "colour": "red"}))
    assert [status.title for status in progress.read_statuses(str(tmp_path))] == ["x"]


def test_a_status_that_can_not_be_written_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("a file where the folder should be")
    Progress(Host(), FIRST, str(tmp_path)).finish("done", "fine")


def test_the_users_own_state_folder_where_the_shared_one_is_not_his(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert progress.default_state_dir() == str(tmp_path / "govuk_env_sync")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/x")
    assert progress.default_state_dir() == "/home/x/.local/state/govuk_env_sync"
