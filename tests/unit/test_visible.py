# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What comes from outside (names of objects and tables, messages of servers) is printable wherever it leaves."""

from __future__ import annotations

import io
import json
import os
import pty
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.filter import table as table_filter
from ansible_collections.govuk.env_sync.plugins.module_utils import _args
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.catalogue import Point
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import main as command_main
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import text as command_text
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command.log import Log
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command.terminal import Terminal
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files.archive import shown
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError, one_line, visible
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import (
    Host,
    Progress,
    Snapshot,
    read_statuses,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.monitoring import command_file, prometheus, report
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.monitoring.outcome import Outcome
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.run import Run
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

#: a name that clears the screen, sets its title, goes back to the line's start, turns the writing, and forges a line
EVIL = "a\x1b[2J\x1b]0;x\x07\r\u202eb\x9bc\x7fd\u2066e\u200bf\n2026-01-01T00:00:00Z t[1]: pulled\tg\u2028h"

#: what may stand in none of the texts that leave
FORBIDDEN = "\x1b\x07\r\x9b\x7f\u202e\u2066\u200b\u2028\t"


def assert_harmless(text: str, lines: int = 1) -> None:
    assert not set(FORBIDDEN) & set(text), ascii(text)
    assert len(text.rstrip("\n").splitlines()) == lines, ascii(text)
    assert "\\x1b[2J" in text and "\\u202e" in text, "and it is seen that it was there"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain, naïve ☃ 'quoted' \\ and done", "plain, naïve ☃ 'quoted' \\ and done"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\x00b\x07c\x08d\x7fe", "a\\x00b\\x07c\\x08d\\x7fe"),
        ("C1 \x9b2J \x85", "C1 \\x9b2J \\x85"),
        ("line\nbreak\r\n", "line\\nbreak\\r\\n"),
        ("bidi \u202e \u2067 \u200f", "bidi \\u202e \\u2067 \\u200f"),
        ("none \u200b \ufeff \u2028", "none \\u200b \\ufeff \\u2028"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("half \udce4", "half \\udce4"),
        ("", ""),
    ],
)
def test_what_does_not_print_is_made_visible(text: str, seen: str) -> None:
    assert visible(text) == seen
    assert visible(seen) == seen


def test_one_line_folds_white_space_before() -> None:
    assert one_line(" a\n\tb\x0b \x85c\x1b ") == "a b c\\x1b"


def test_an_errors_parts(tmp_path: Path) -> None:
    error = EnvSyncError(EVIL, EVIL, EVIL)
    for text in (str(error), error.doing, error.why, error.hint):
        assert_harmless(text)
    assert_harmless(shown(EVIL))


def test_the_log_file_and_syslog(tmp_path: Path) -> None:
    stream = io.StringIO()
    syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    syslog.bind(str(tmp_path / "log"))
    log = Log("x", str(tmp_path / "x.log"), str(tmp_path / "log"), Terminal(stream, shown=False), echo=True)
    log.title = EVIL
    log("warning", EVIL)
    log.write("error", ["Traceback", f"  {EVIL}"])
    lines = (tmp_path / "x.log").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    for line in lines:
        assert_harmless(line)
    assert stream.getvalue().splitlines() == lines
    with syslog:
        assert_harmless(syslog.recv(65536).decode())


def test_the_progress_line_and_what_is_said_above_it() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as stream, Terminal(stream, shown=True) as terminal:
        terminal.say(EVIL)
        terminal.progress(Snapshot(title=EVIL, action="pull", database="app", phase=EVIL))
        sent = ""
        while not sent.partition("\r\n")[2].strip():  # what stays has come, and not yet the progress
            sent += os.read(master, 65536).decode()
    os.close(master)
    said, _line_end, drawn = sent.partition("\r\n")
    assert_harmless(said)
    assert_harmless(drawn.lstrip("\r"))


def test_tables_plans_and_closing_lines() -> None:
    point = Point("2026-01-02T03:04:05", EVIL, "complete", 1, (), environment=EVIL)
    assert_harmless("\n".join(command_text.points([point])), lines=2)
    status = Snapshot(title=EVIL, action="pull", database=EVIL, state="failed", message=EVIL)
    assert_harmless("\n".join(command_text.statuses([status])), lines=2)
    lines = command_text.plan("pull app", {"steps": [EVIL], "warnings": [one_line(EVIL)]})
    assert len(lines) == 4
    assert_harmless("\n".join(map(visible, lines)), lines=4)


def test_the_commands_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real command lists a store that somebody put objects with evil names into."""
    for name in ("a\x1b[2J\u202e\r", "b\nforged", "c\x7f"):
        (tmp_path / f"2026-01-02T03:04:05-{name}.gz").write_bytes(b"x")
    monkeypatch.setattr(command_main, "LOG_ROOT", str(tmp_path / "nowhere"))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out := io.BytesIO(), encoding="utf-8"))
    argv = ["--list", "-S", "directory", "-u", str(tmp_path)]
    assert command_main.main(argv) == 0
    assert_harmless(out.getvalue().decode(), lines=4)
    assert "b\\nforged" in out.getvalue().decode()
    out.truncate(0)
    out.seek(0)
    assert command_main.main([*argv, "--json"]) == 0
    answer = out.getvalue().decode()
    assert not set(FORBIDDEN) & set(answer)
    assert {point["database"] for point in json.loads(answer)} == {"a\x1b[2J\u202e\r", "b\nforged", "c\x7f"}, (
        "JSON lies not"
    )


def test_warnings_and_the_status_file(tmp_path: Path) -> None:
    logged: list[str] = []
    host = Host(log=lambda level, text: logged.append(text))
    task = Task(action="pull", database="app", state_dir=str(tmp_path))
    run = Run(task, host)
    run.warn(EVIL)
    for text in (*run.warnings, *logged):
        assert_harmless(text)
    Progress(host, Snapshot("t", "pull", "app"), str(tmp_path)).finish("failed", EVIL)
    assert_harmless(next(status.message for status in read_statuses(str(tmp_path)) if status.title == "t"))


def test_what_a_module_warns_of_and_fails_with(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Module:
        _name = "env_sync_info"
        _diff = False

        def warn(self, text: str) -> None:
            said.append(text)

        log = warn

        def fail_json(self, msg: str, **more: Any) -> None:
            said.extend([msg, *(more[part] for part in ("doing", "why", "hint") if part in more)])
            raise SystemExit

        def exit_json(self, **result: Any) -> None:
            said.append(result["msg"])

    def work(host: Host) -> dict[str, Any]:
        host.log("warning", EVIL)
        return {"warnings": [f"{EVIL} again"]}

    def refuse(host: Host) -> dict[str, Any]:
        raise EnvSyncError(EVIL, EVIL, EVIL)

    def fail(host: Host) -> dict[str, Any]:
        raise ValueError(EVIL)

    _args.run(Module(), work, lambda result: EVIL)
    for broken in (refuse, fail):
        with pytest.raises(SystemExit):
            _args.run(Module(), broken, lambda result: EVIL)
    assert len(said) == 3 + 1 + 4 + 1
    for text in said:
        assert_harmless(text)


@pytest.mark.parametrize("style", ["text", "markdown", "csv"])
def test_the_tables_of_playbooks(style: str) -> None:
    text = table_filter.table([{"host": "db-1", "message": EVIL}], style)
    assert not set(FORBIDDEN) & set(text)
    assert "\\x1b[2J" in text
    assert len(text.split("\n")) == {"text": 2, "markdown": 3, "csv": 3}[style]


# -- the monitoring ----------------------------------------------------------------------------------------------------


def outcome(title: str) -> Outcome:
    return Outcome(title, False, EVIL, 1.0, 2.0)


def test_nsca_gets_four_fields_and_one_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tab or a line break in a name would be a result for another service."""
    program = tmp_path / "send_nsca"
    program.write_text(f"#!/bin/sh\ncat > {tmp_path}/sent\n", encoding="utf-8")
    program.chmod(0o755)
    settings = {"monitor": "nsca", "host_name": "db-1"}
    report(outcome("pull\tapp\ndb-1\tping\t0\tfine"), settings, {"PATH": f"{tmp_path}:/usr/bin:/bin"}, lambda *_: None)
    sent = (tmp_path / "sent").read_bytes().decode()
    assert sent.count("\n") == 1 and sent.endswith("\n")
    host, service, status, text = sent[:-1].split("\t")
    assert (host, service, status) == ("db-1", "GOV.UK environment sync pull app db-1 ping 0 fine", "2")
    assert text.isprintable()


def test_the_command_file_gets_one_command(tmp_path: Path) -> None:
    pipe = tmp_path / "icinga2.cmd"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    evil = outcome("t")
    command_file.send("db-1", "sync;0;fine", evil, {"command_file": str(pipe)}, {}, 1.0)
    sent = os.read(reader, 65536).decode()
    os.close(reader)
    assert sent.count("\n") == 1 and sent.endswith("\n")
    assert sent.split("] ")[1].startswith("PROCESS_SERVICE_CHECK_RESULT;db-1;sync,0,fine;2;CRITICAL: ")
    assert sent[:-1].isprintable()


def test_a_prometheus_label_is_one_line(tmp_path: Path) -> None:
    prometheus.write(outcome('t"\r\n# TYPE env_sync_x gauge\u2028'), str(tmp_path))
    [file] = tmp_path.glob("*.prom")
    lines = file.read_text(encoding="utf-8").splitlines()
    assert all(line.startswith(("# HELP env_sync_", "# TYPE env_sync_", "env_sync_")) for line in lines)
    assert not [line for line in lines if line.startswith("# TYPE env_sync_x")]
