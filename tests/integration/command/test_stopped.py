# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What comes after a run was stopped, killed or given up: a second signal, the next run, processes that go on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.command.hangs import (
    Servers,
    a_dump_program_that_is_silent_and_deaf,
    a_transformation_that_sleeps_and_is_deaf,
    s3_falls_silent_in_an_upload,
)
from tests.integration.command.stopped_runs import PROMISE, commands_of, tree
from tests.servers.hanging import Silent
from tests.servers.s3 import SwiftS3


def test_a_second_signal_ends_a_run_at_once(tmp_path: Path) -> None:
    servers = Servers()
    with servers.resources:
        ended = s3_falls_silent_in_an_upload(tmp_path, servers).stop(signal.SIGINT, signal.SIGINT)
    assert ended.status == 128 + signal.SIGINT
    assert ended.seconds < 6  # a second of it lies between the signals
    assert ended.said.startswith("govuk_env_sync: error: case: stopped by SIGINT while dumping"), ended.said
    assert (ended.snapshot["state"], len(ended.journal), ended.at_work) == ("failed", 1, [])


def test_the_next_run_cleans_up_what_a_stopped_one_left(tmp_path: Path) -> None:
    servers = Servers()
    with servers.resources:
        case = s3_falls_silent_in_an_upload(tmp_path, servers)
        ended = case.stop(signal.SIGTERM)
        assert len(ended.journal) == 1
        server = next(iter(servers.started))
        assert isinstance(server, SwiftS3)
        client = server.client()
        assert client.list_multipart_uploads(Bucket="falling").get("Uploads")
        case.values["endpoint_url"] = server.endpoint
        process = case.start()
        assert process.wait(120) == 0, process.communicate()
        assert not client.list_multipart_uploads(Bucket="falling").get("Uploads")
        assert case.journal() == []


def test_a_killed_run_leaves_nobody_at_work(tmp_path: Path) -> None:
    servers = Servers()
    with servers.resources:
        case = a_transformation_that_sleeps_and_is_deaf(tmp_path, servers)
        process = case.start()
        while not case.ready():
            time.sleep(0.05)
        time.sleep(0.5)
        # The script, what it started in a session of its own, and the guard of both.
        assert len(commands_of(tmp_path)) >= 3
        process.kill()
        process.communicate()
        deadline = time.monotonic() + 5
        while found := commands_of(tmp_path):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)


def test_a_dump_that_is_silent_for_too_long_fails_and_says_why(tmp_path: Path) -> None:
    servers = Servers()
    with servers.resources:
        case = a_dump_program_that_is_silent_and_deaf(tmp_path, servers)
        case.values["stall_timeout"] = 2
        process = case.start()
        _out, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(
        r"dumping app from .*: (mariadb-dump|mysqldump) has written nothing for 2 s\. .*stall_timeout", said
    )
    assert list((tmp_path / "store").rglob("*.*")) == []


def test_a_module_that_is_terminated_answers_and_ends(tmp_path: Path) -> None:
    with Silent() as server:
        values = {
            **tree(tmp_path),
            "directory": str(tmp_path / "source"),
            "storagebackend": "s3",
            "url": "bucket",
            "endpoint_url": f"http://127.0.0.1:{server.port}",
            "region": "x",
            "access_key": "x",
            "secret_key": "y",
            "state_dir": str(tmp_path / "state"),
        }
        module = "ansible_collections.govuk.env_sync.plugins.modules.env_sync_dump"
        process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; from {module} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": values}))
            process.stdin.close()
            process.stdin = None
            assert server.connected.wait(60), process.communicate()
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            out, err = process.communicate(timeout=PROMISE)
        finally:
            process.kill()
    assert (process.returncode, err) == (128 + signal.SIGTERM, ""), (out, err)
    assert time.monotonic() - began < PROMISE
    answer = json.loads(out)
    assert answer["failed"] and "stopped by SIGTERM" in answer["msg"]
