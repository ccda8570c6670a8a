# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exchange of two trees: what is seen of it, what is kept, and what a killed run leaves."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import text as command_text
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files import swap as files_swap
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host

from tests.integration.files.samples import (
    Make,
    described,
    hidden,
)


def test_a_pull_replaces_the_tree_in_one_step_and_keeps_or_drops_the_old(
    task: Make, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_text("old")
    push.push(task("push"), Host())
    missing = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            if not os.path.exists(target):
                missing.append(time.time())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        planned = pull.plan(task("pull", old_database="keep"), Host())
        kept = pull.pull(task("pull", old_database="keep"), Host())
    finally:
        stop.set()
        watcher.join()

    assert (missing, kept["name_away_seconds"]) == ([], 0.0)
    assert command_text.pulled(kept).endswith("the name was never away")
    assert f":{target}, and keep what is there now" in planned["steps"][-1]
    assert f":{source} (files " in push.plan(task("push", timestamp="2026-01-01T00:00:00"), Host())["steps"][0]
    assert kept["replaced"] == planned["replaces"] == {"path": str(target), "size_bytes": 3, "files": 1}
    assert kept["kept"] == str(tmp_path / ".env_sync_old-target")
    assert os.listdir(kept["kept"]) == ["old"]
    assert described(target) == described(source)

    dropped = pull.pull(task("pull"), Host())
    assert dropped["kept"] == ""
    assert hidden(tmp_path) == []


def test_a_link_to_the_tree_stays_and_its_target_is_replaced(task: Make, source: Path, tmp_path: Path) -> None:
    (tmp_path / "release-1").mkdir()
    (tmp_path / "target").symlink_to("release-1")
    push.push(task("push"), Host())

    pull.pull(task("pull"), Host())

    assert os.readlink(tmp_path / "target") == "release-1"
    assert described(tmp_path / "release-1") == described(source)


@contextlib.contextmanager
def killed(tmp_path: Path, keys: dict[str, Any], until: Callable[[], bool]) -> Iterator[None]:
    """Run a pull in another process and kill it as soon as ``until`` says so."""
    program = (
        "import json, sys\n"
        "from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull\n"
        "from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host\n"
        "from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task\n"
        "pull.pull(Task.from_mapping(json.loads(sys.argv[1])), Host())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(keys)],
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not until():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    yield


def test_a_killed_pull_is_swept_by_the_next(task: Make, source: Path, tmp_path: Path) -> None:
    (source / "large").write_bytes(os.urandom(1 << 20) * 64)
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").write_text("mine")
    push.push(task("push"), Host())
    scratch = tmp_path / ".env_sync_scratch-target"
    keys = {"action": "pull", "dbms": "files", "database": "uploads", "directory": str(tmp_path / "target")}
    keys |= {"storagebackend": "directory", "url": str(tmp_path / "store"), "temppath": str(tmp_path / "temp")}

    with killed(tmp_path, keys, (scratch / "large").exists):
        assert os.listdir(tmp_path / "target") == ["mine"]
    pull.pull(task("pull"), Host())

    assert described(tmp_path / "target") == described(source)
    assert hidden(tmp_path) == []


def test_without_an_exchange_two_renames_do(
    task: Make, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "target").mkdir()
    push.push(task("push"), Host())
    monkeypatch.setattr(files_swap, "exchange", lambda *_names: False)

    pulled = pull.pull(task("pull"), Host())

    assert described(tmp_path / "target") == described(source)
    assert 0 <= pulled["name_away_seconds"] < 1
    assert hidden(tmp_path) == []
