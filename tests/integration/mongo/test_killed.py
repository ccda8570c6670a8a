# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs that are killed, and those that follow them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from tests.integration.mongo.samples import (
    Values,
    do_pull,
    do_push,
    fill,
    live,
    restoring_users,
)
from tests.servers.mongo import MongoServer, Tools

# The first test of all builds the server, which takes minutes on a machine that has never done it.
pytestmark = pytest.mark.timeout(1500)


def test_a_killed_pull_leaves_what_the_next_one_sweeps(
    source: MongoServer, target: MongoServer, name: str, values: Values
) -> None:
    fill(source, name, users=6000)
    live(target, name)
    before = target.contents(name)
    do_push(values("push", name))
    process = multiprocessing.get_context("fork").Process(target=do_pull, args=(values("pull", name),))
    process.start()
    deadline = time.monotonic() + 30
    while not restoring_users(target, name) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert restoring_users(target, name)
    assert {c: d for c, d in target.contents(name).items() if not c.startswith("env_sync_")} == before

    do_pull(values("pull", name))
    assert target.contents(name) == source.contents(name)


def test_a_killed_push_leaves_nothing_that_counts(
    dump_tools: Tools, source: MongoServer, name: str, values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, name)
    (tmp_path / "bin").mkdir()
    slow = tmp_path / "bin" / "mongodump"
    slow.write_text(f'#!/bin/sh\n"{dump_tools.folder}/mongodump" "$@" && touch "{tmp_path}/dumped" && exec sleep 5\n')
    slow.chmod(0o755)
    given = values("push", name, compression="none")
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
        process = multiprocessing.get_context("fork").Process(target=do_push, args=(given,))
        process.start()
        deadline = time.monotonic() + 30
        while not (tmp_path / "dumped").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert process.exitcode == -signal.SIGKILL
    store = tmp_path / "store" / "mongo"
    assert not list(store.glob("*.manifest.json"))

    point = do_push(given)["point"]
    files = {path.name for path in store.rglob("*") if path.is_file()}
    assert files == {f"{point}.dump", f"{point}.manifest.json"}
