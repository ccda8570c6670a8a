# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import monitoring
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.monitoring import Outcome, prometheus


def outcome(ok: bool = True, message: str = "done", finished: float = 1_800_000_000.0) -> Outcome:
    return Outcome("pull_shop", ok, message, finished - 60, finished, 1234, "2027-01-15T07:00:00Z")


def test_a_result_is_one_line_without_what_receivers_take_for_their_own() -> None:
    assert outcome(False, "no\nway; a|b").text == "CRITICAL: no way, a/b"
    assert len(outcome(message="x" * 2000).text) == 500


def test_the_command_pipe_gets_one_line(tmp_path: Path) -> None:
    pipe = tmp_path / "cmd"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    logged: list[str] = []
    settings = {"monitor": "command_file", "command_file": str(pipe), "host_name": "db-1"}
    monitoring.report(outcome(), settings, {}, lambda level, text: logged.append(text))
    line = os.read(reader, 4096).decode()
    os.close(reader)
    assert line.split("] ", 1)[1] == (
        "PROCESS_SERVICE_CHECK_RESULT;db-1;GOV.UK environment sync pull_shop;0;OK: done\n"
    )
    assert logged == []


@pytest.mark.parametrize(
    "settings",
    [
        {"monitor": "command_file", "command_file": "/nowhere/cmd"},
        {"monitor": "nsca", "nsca_host": "127.0.0.1", "nsca_port": "1"},
        {"monitor": "icinga2", "icinga2_url": "https://127.0.0.1:1", "icinga2_user": "u"},
        {"monitor": "icinga2", "icinga2_url": "http://127.0.0.1"},
        {"monitor": "pigeon"},
        {"prometheus_dir": "/nowhere"},
    ],
)
def test_a_monitoring_that_is_not_there_is_logged_and_nothing_else(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    logged: list[str] = []
    monitoring.report(outcome(), settings, {"ICINGA2_PASSWORD": "hidden"}, lambda level, text: logged.append(text))
    assert logged
    assert "hidden" not in str(logged)


def test_figures_of_the_last_success_outlive_a_failure(tmp_path: Path) -> None:
    prometheus.write(outcome(finished=1_800_000_000.0), str(tmp_path))
    prometheus.write(outcome(ok=False, finished=1_800_086_400.0), str(tmp_path))
    (path,) = tmp_path.iterdir()
    assert path.name == "env_sync_pull_shop.prom"
    lines = dict(line.rsplit(" ", 1) for line in path.read_text().splitlines() if not line.startswith("#"))
    assert lines['env_sync_last_success_timestamp_seconds{task="pull_shop"}'] == "1800000000.0"
    assert lines['env_sync_last_run_timestamp_seconds{task="pull_shop"}'] == "1800086400.0"
    assert lines['env_sync_last_run_success{task="pull_shop"}'] == "0.0"
    assert lines['env_sync_point_bytes{task="pull_shop"}'] == "1234.0"
