# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import monitoring
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.monitoring import Outcome, icinga2, nsca


def outcome(ok: bool = True, message: str = "done", finished: float = 1_800_000_000.0) -> Outcome:
    return Outcome("pull_shop", ok, message, finished - 60, finished, 1234, "2027-01-15T07:00:00Z")


def report(what: Outcome, settings: Mapping[str, str], **environ: str) -> list[str]:
    """Report it; return what was logged."""
    logged: list[str] = []
    monitoring.report(what, settings, environ, lambda level, text: logged.append(f"{level}: {text}"))
    return logged


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("no\nway; a|b", "no way, a/b"),
        (r"the file C:\new", "the file C:/new"),
        ("a\0b\x1b[31mc\u202ed", "a?b?[31mc?d"),
        ("a file's name \udce4 in Latin 1", "a file's name ? in Latin 1"),
        ("läuft nicht: 数据库", "läuft nicht: 数据库"),
    ],
)
def test_a_result_is_one_line_without_what_receivers_take_for_their_own(message: str, text: str) -> None:
    assert outcome(False, message).plugin_output == f"CRITICAL: {text}|duration=60.0s"


@pytest.mark.parametrize("character", ["x", "ä", "数"])
def test_a_long_result_is_cut_between_characters_and_keeps_its_figures(character: str) -> None:
    output = outcome(message=character * 2000).plugin_output
    assert 495 < len(output.encode()) <= 500
    assert output.endswith("...|duration=60.0s stored=1234B point_age=3600s")


def test_the_figures_have_no_point_where_there_is_none_and_are_never_negative() -> None:
    assert Outcome("sync", True, "nothing to do", 100.0, 40.0).performance_data == ("duration=0.0s",)


# -- the command pipe ------------------------------------------------------------------------------------------------


def test_the_command_pipe_gets_one_line(tmp_path: Path) -> None:
    pipe = tmp_path / "cmd"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert report(outcome(), {"monitor": "command_file", "command_file": str(pipe), "host_name": "db-1"}) == []
    line = os.read(reader, 4096).decode()
    os.close(reader)
    assert line.split("] ", 1)[1] == (
        "PROCESS_SERVICE_CHECK_RESULT;db-1;GOV.UK environment sync pull_shop;0;"
        "OK: done|duration=60.0s stored=1234B point_age=3600s\n"
    )


def test_a_pipe_that_nobody_reads_or_empties_or_that_is_none_does_not_hold_the_run(
    tmp_path: Path, no_waiting: None
) -> None:
    pipe, file = tmp_path / "cmd", tmp_path / "file"
    os.mkfifo(pipe)
    settings = {"monitor": "command_file", "command_file": str(pipe)}
    assert "nobody reads it" in report(outcome(), settings)[-1]

    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    assert "temporarily unavailable" in report(outcome(), settings)[-1]
    os.close(writer)
    os.close(reader)

    file.write_text("left by somebody")
    assert "it is no pipe" in report(outcome(), {**settings, "command_file": str(file)})[-1]
    assert file.read_text() == "left by somebody"


# -- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"monitor": "command_file", "command_file": "/nowhere/cmd"},
        {"monitor": "nsca", "nsca_host": "127.0.0.1", "nsca_port": "1"},
        {"monitor": "icinga2", "icinga2_url": "https://127.0.0.1:1", "icinga2_user": "u"},
        {"monitor": "icinga2", "icinga2_url": "http://127.0.0.1"},
        {"monitor": "icinga2", "icinga2_url": "https://127.0.0.1:port"},
        {"monitor": "pigeon"},
        {"prometheus_dir": "/nowhere"},
    ],
)
def test_a_monitoring_that_is_not_there_is_logged_and_nothing_else(
    settings: dict[str, str], no_waiting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = report(outcome(), settings, ICINGA2_PASSWORD="hidden")
    assert logged
    assert "hidden" not in str(logged)


def test_a_result_is_sent_again_until_it_is_taken_and_three_times_at_most(no_waiting: None, tmp_path: Path) -> None:
    sender = tmp_path / "send_nsca"
    calls = tmp_path / "calls"
    sender.write_text(
        f"#!/bin/sh\ncat >> '{calls}'\n[ $(wc -l < '{calls}') -ge $ENOUGH ] || {{ echo refused; exit 2; }}\n"
    )
    sender.chmod(0o755)
    settings = {"monitor": "nsca", "nsca_host": "alert", "host_name": "db-1"}
    path = f"{tmp_path}:{os.environ['PATH']}"
    for enough, sent, warnings in (("2", 2, 1), ("9", 3, 3)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ENOUGH", enough)
            logged = report(outcome(), settings, PATH=path)
        assert (len(calls.read_text().splitlines()), len(logged)) == (sent, warnings)
        assert all("refused" in line for line in logged)
        calls.unlink()


def test_what_nobody_thought_of_is_logged_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*arguments: Any) -> None:
        raise ZeroDivisionError("what")

    monkeypatch.setitem(monitoring._SENDERS, "nsca", fail)
    (line,) = report(outcome(), {"monitor": "nsca", "prometheus_dir": str(tmp_path)})
    assert "unexpected ZeroDivisionError" in line
    assert list(tmp_path.iterdir())  # the figures are written all the same


def test_a_server_that_never_comes_to_an_end_holds_the_run_for_its_limit_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "LIMIT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts, and never says a word
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        (line,) = report(outcome(), {"monitor": "icinga2", "icinga2_url": url})
        assert time.monotonic() - began < 3
    assert "not done within" in line


def test_no_program_is_taken_from_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "send_nsca").write_text("#!/bin/sh\ntouch ran\n")
    (tmp_path / "send_nsca").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(monitoring.EnvSyncError):
        nsca.send("h", "s", outcome(), {"nsca_host": "127.0.0.1", "nsca_port": "1"}, {}, 1.0)
    assert not os.path.exists("ran")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://icinga.example.org", ("icinga.example.org", 5665)),
        ("https://icinga.example.org:443/", ("icinga.example.org", 443)),
        ("https://[2001:db8::1]:5665", ("2001:db8::1", 5665)),
    ],
)
def test_the_address_of_the_api_has_its_usual_port(url: str, address: tuple[str, int]) -> None:
    assert icinga2.address(url) == address
