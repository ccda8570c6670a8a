# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import main as command_main
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import Cancelled, EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host, Snapshot
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.signals import Signals
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import keys, task

Capture = pytest.CaptureFixture[str]

CONFIG = 'action="push"\ndbms="postgresql"\nstoragebackend="directory"\ndatabase="users"\nurl="/backups"\npath="pg"\n'


@pytest.fixture(autouse=True)
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Config and log files go below ``tmp_path``."""
    monkeypatch.setattr(command_main, "CONF_ROOT", str(tmp_path / "etc"))
    monkeypatch.setattr(command_main, "LOG_ROOT", str(tmp_path / "log"))
    monkeypatch.setattr(command_main, "SYSLOG", str(tmp_path / "syslog"))
    monkeypatch.delenv("ENV_SYNC_NAME", raising=False)
    (tmp_path / "etc" / "govuk_env_sync").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def log(roots: Path) -> Path:
    """The log file, in a directory that is there."""
    (roots / "log" / "govuk_env_sync").mkdir(parents=True)
    return roots / "log" / "govuk_env_sync" / "govuk_env_sync.log"


@pytest.fixture
def config(roots: Path) -> Path:
    path = roots / "etc" / "govuk_env_sync" / "push_users_nightly.cfg"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[..., task.Task]:
    """Return a function that calls the command, and returns the task that the engine was given."""

    def call(*arguments: object) -> task.Task:
        tasks: list[task.Task] = []

        def plan(of_task: task.Task, _host: Host) -> dict[str, Any]:
            tasks.append(of_task)
            return {"changed": True, "steps": [], "warnings": []}

        actions = dict.fromkeys(keys.ACTIONS, lambda: command_main._Action(plan, plan, str))
        monkeypatch.setattr(command_main, "_ACTIONS", actions)
        assert command_main.main([*map(str, arguments), "--plan"]) == 0
        return tasks[0]

    return call


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def apply(_task: task.Task, host: Host) -> dict[str, Any]:
        host.log("info", "dumping")
        raise error

    monkeypatch.setattr(command_main, "_ACTIONS", {"push": lambda: command_main._Action(push.plan, apply, str)})


def test_the_flags_of_the_original(given: Callable[..., task.Task]) -> None:
    found = given(
        "-a", "pull", "-D", "postgresql", "-S", "s3", "-T", "/tmp/x", "-d", "users", "-H", "db-1", "-u", "bucket", "-p",
        "pg", "-s", "/a.sql,/b.sql", "-F", "/c.sql", "-e", "logs,audit", "-t", "2026-01-02T03:04",
    )  # fmt: skip
    assert (found.action, found.dbms, found.storagebackend, found.temppath) == ("pull", "postgresql", "s3", "/tmp/x")
    assert (found.database, found.connection.host, found.url, found.path) == ("users", "db-1", "bucket", "pg")
    assert (found.transformation_sql, found.pre_dump_transformation_sql) == (("/a.sql", "/b.sql"), ("/c.sql",))
    assert (found.excluded_tables, found.timestamp, found.name) == (("logs", "audit"), "2026-01-02T03:04", "")


def test_a_config_file_gives_the_task_and_its_name(given: Callable[..., task.Task], config: Path) -> None:
    found = given("-f", config)
    assert (found.name, found.action, found.database, found.url) == ("push_users_nightly", "push", "users", "/backups")


@pytest.mark.parametrize("name", ["push_users_nightly", "push_users_nightly.cfg"])
def test_a_task_is_found_by_its_name(given: Callable[..., task.Task], config: Path, name: str) -> None:
    assert given("-f", name).name == "push_users_nightly"


def test_another_name_has_another_config_directory(
    given: Callable[..., task.Task], roots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENV_SYNC_NAME", "db_sync")
    (roots / "etc" / "db_sync").mkdir()
    (roots / "etc" / "db_sync" / "one.cfg").write_text(CONFIG, encoding="utf-8")
    assert given("-f", "one").name == "one"


def test_flags_win_over_the_file(given: Callable[..., task.Task], config: Path) -> None:
    config.write_text(CONFIG + 'analyze="true"\njobs="2"\n', encoding="utf-8")
    found = given("-f", config, "-d", "other", "-p", "", "--no-analyze", "--login-user", "backup")
    assert (found.database, found.path, found.analyze, found.jobs) == ("other", "", False, 2)
    assert found.connection.user == "backup"


def test_a_flag_wins_over_the_older_name_of_its_key(given: Callable[..., task.Task], config: Path) -> None:
    config.write_text(CONFIG + 'transformation_sql_file="/file.sql"\ndest="/local"\n', encoding="utf-8")
    assert given("-f", config).url == "/local"
    found = given("-f", config, "--transformation-sql-file", os.devnull, "-u", "/elsewhere")
    assert (found.transformation_sql, found.url) == ((os.devnull,), "/elsewhere")


def test_scripts_are_found_beside_the_config_file(given: Callable[..., task.Task], config: Path) -> None:
    config.write_text(CONFIG + 'transformation_sql_filename="users.sql"\n', encoding="utf-8")
    assert given("-f", config).transformation_sql == (str(config.parent / "transformation_sql" / "users.sql"),)


def test_a_directory_sets_the_environment(
    given: Callable[..., task.Task], config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENV_SYNC_TEST_GONE", "x")
    monkeypatch.setenv("ENV_SYNC_TEST_SET", "old")
    (tmp_path / "env.d").mkdir()
    (tmp_path / "env.d" / "ENV_SYNC_TEST_SET").write_text("new\n", encoding="utf-8")
    (tmp_path / "env.d" / "ENV_SYNC_TEST_GONE").write_text("", encoding="utf-8")
    given("-f", config, "--env-dir", tmp_path / "env.d")
    assert os.environ["ENV_SYNC_TEST_SET"] == "new"
    assert "ENV_SYNC_TEST_GONE" not in os.environ


def test_a_deployed_task_brings_its_environment_along(
    given: Callable[..., task.Task], config: Path, roots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGUSER", "caller")
    given("-f", config.stem)
    assert os.environ["PGUSER"] == "caller", "nothing is deployed"
    for folder, user in ((roots / "etc" / "govuk_env_sync" / "env.d", "nightly"), (roots / "other", "other")):
        folder.mkdir()
        (folder / "PGUSER").write_text(f"{user}\n", encoding="ascii")
    elsewhere = roots / "elsewhere.cfg"
    elsewhere.write_text(CONFIG, encoding="utf-8")
    for arguments, user in (
        (("-f", elsewhere), "caller"),
        (("-f", config.stem), "nightly"),
        (("-f", config), "nightly"),
        (("-f", config, "--env-dir", roots / "other"), "other"),
    ):
        monkeypatch.setenv("PGUSER", "caller")
        given(*arguments)
        assert os.environ["PGUSER"] == user, arguments


@pytest.mark.parametrize("key", sorted(keys.SECRETS))
def test_a_secret_in_a_config_file_is_refused_and_not_repeated(config: Path, capsys: Capture, key: str) -> None:
    config.write_text(CONFIG + f'{key}="hunter2"\n', encoding="utf-8")
    assert command_main.main(["-f", str(config), "--plan"]) == 1
    said = capsys.readouterr().err
    assert key in said and "env.d" in said and "hunter2" not in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "no task is given"),
        (["--nonsense"], "--nonsense"),
        (["--list", "--verify"], "not allowed with"),
        (["--list", "--plan", "-f", "x"], "--plan: not allowed with --list"),
        (["--prune", "many", "-f", "x"], "invalid int value"),
        (["-a"], "expected one argument"),
        (["--data", "x"], "--data"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(capsys: Capture, arguments: list[str], why: str) -> None:
    with pytest.raises(SystemExit) as caught:
        command_main.main(arguments)
    said = capsys.readouterr()
    assert (caught.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith("govuk_env_sync: error: ") and why in said.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["-a", "push", "-D", "oracle"], r"dbms must be one of .*postgresql.*, not 'oracle'"),
        (["-a", "push", "-D", "oracle", "-t", "now"], "dbms .*; timestamp must have the form YYYY-MM-DDTHH:MM"),
        (["-a", "shove"], "action must be one of push, pull, s3_sync, not 'shove'"),
        (["-a", "push"], "missing key dbms; missing key database; missing key storagebackend; missing key url"),
        (["-a", "s3_sync", "--list"], "--list is about points, and the action s3_sync makes none. Use --plan"),
        (["-a", "s3_sync", "--prune", "3"], "--prune is about points"),
        (["-f", "nonesuch"], r"/etc/govuk_env_sync/nonesuch\.cfg: No such file"),
        (["-f", "./nonesuch"], r"\./nonesuch: No such file"),
    ],
)
def test_a_wrong_task_is_one_line_and_status_1(capsys: Capture, arguments: list[str], why: str) -> None:
    assert command_main.main(arguments) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert re.search(why, said.err), said.err


def test_an_unexpected_error_is_one_line_with_its_traceback_in_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, config: Path, log: Path
) -> None:
    failing(monkeypatch, KeyError("a value of a row"))
    assert command_main.main(["-f", str(config)]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "unexpected KeyError in test_main.py, line" in said.err
    assert str(log) in said.err and "a value of a row" not in said.err
    assert "Traceback (most recent call last)" in log.read_text(encoding="utf-8")


def test_what_is_planted_in_the_current_directory_is_not_the_task(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nonesuch", "nonesuch.cfg", "env.d"):
        (tmp_path / name).write_text('action="push"', encoding="ascii")
    monkeypatch.chdir(tmp_path)
    for name in ("nonesuch", "nonesuch.cfg"):
        assert command_main.main(["-f", name]) == 1
        why = (
            "/etc/govuk_env_sync/nonesuch.cfg: No such file or directory. Check the task's name; a file in the current"
        )
        assert why in capsys.readouterr().err
        assert command_main.main(["-f", f"./{name}"]) == 1
        assert "missing key dbms" in capsys.readouterr().err
    assert command_main.main(["--env-dir", "env.d", "-a", "push"]) == 1
    assert "/etc/govuk_env_sync/env.d: No such file or directory" in capsys.readouterr().err
    assert command_main.main(["--env-dir", "./env.d", "-a", "push"]) == 1
    assert "reading the environment from ./env.d" in capsys.readouterr().err


def test_a_stop_is_told_by_the_signal(monkeypatch: pytest.MonkeyPatch, capsys: Capture, config: Path) -> None:
    def apply(_task: task.Task, host: Host) -> dict[str, Any]:
        host.progress(Snapshot("push_users_nightly", "push", "users", phase="dumping"))
        os.kill(os.getpid(), signal.SIGHUP)
        assert host.cancelled()
        raise Cancelled("running", "it was told to stop")

    monkeypatch.setattr(command_main, "_ACTIONS", {"push": lambda: command_main._Action(push.plan, apply, str)})
    before = signal.getsignal(signal.SIGHUP)
    assert command_main.main(["-f", str(config)]) == 129
    assert capsys.readouterr().err == "govuk_env_sync: error: push_users_nightly: stopped by SIGHUP while dumping\n"
    assert signal.getsignal(signal.SIGHUP) is before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not signals.came()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_every_end_is_told_to_one_function(
    monkeypatch: pytest.MonkeyPatch, config: Path, given: Callable[..., task.Task]
) -> None:
    endings: list[command_main.Ending] = []
    monkeypatch.setattr(command_main, "on_exit", lambda _log, ending: endings.append(ending))
    given("-f", config)
    failing(monkeypatch, EnvSyncError("dumping users", "no", "Try again."))
    command_main.main(["-f", str(config)])
    command_main.main(["-f", "nonesuch"])
    assert [(e.verb, e.name, e.task is not None, e.status) for e in endings] == [
        ("plan", "push_users_nightly", True, 0),
        ("run", "push_users_nightly", True, 1),
        ("run", "nonesuch", False, 1),
    ]
    assert endings[1].message == "dumping users: no. Try again."


def test_the_log_file_is_for_owner_and_group_and_has_the_task_in_each_line(
    monkeypatch: pytest.MonkeyPatch, config: Path, log: Path
) -> None:
    failing(monkeypatch, EnvSyncError("dumping users", "no"))
    for _unused in range(2):
        command_main.main(["-f", str(config)])
    assert stat.S_IMODE(log.stat().st_mode) == 0o640
    head = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ push_users_nightly\[\d+\]: "
    assert re.fullmatch(f"({head}dumping\n{head}error: dumping users: no\n){{2}}", log.read_text(encoding="utf-8"))


def test_a_log_that_cannot_be_written_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, config: Path, roots: Path
) -> None:
    (roots / "log").write_text("in the way", encoding="utf-8")
    failing(monkeypatch, EnvSyncError("dumping users", "no"))
    assert command_main.main(["-f", str(config)]) == 1
    assert capsys.readouterr().err == "govuk_env_sync: error: dumping users: no\n"


def test_syslog_gets_the_lines_too(monkeypatch: pytest.MonkeyPatch, config: Path, roots: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(roots / "syslog"))
        receiver.settimeout(5)
        failing(monkeypatch, EnvSyncError("dumping users", "no"))
        command_main.main(["-f", str(config)])
        received = [receiver.recv(2000).decode() for _unused in range(2)]
    head = rf"govuk_env_sync\[{os.getpid()}\]: push_users_nightly: "
    assert re.fullmatch(f"<14>{head}dumping", received[0])  # user.info
    assert re.fullmatch(f"<11>{head}dumping users: no", received[1])  # user.err


def test_a_syslog_that_takes_nothing_delays_nothing(monkeypatch: pytest.MonkeyPatch, config: Path, roots: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(roots / "syslog"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    sender.sendto(b"x", str(roots / "syslog"))
        failing(monkeypatch, EnvSyncError("dumping users", "no"))
        assert command_main.main(["-f", str(config)]) == 1


def store_with_points(folder: Path) -> list[str]:
    """Make a store of two of the original's points; return flags that name it."""
    store = DirectoryStore(str(folder), "pg")
    for name in ("2026-01-01T02:30:00-users.gz", "2026-01-02T02:30:00-shop.gz"):
        store.put_bytes(name, b"x" * 2048)
    return ["-S", "directory", "-u", str(folder), "-p", "pg"]


def test_a_list_of_all_databases_and_of_one(tmp_path: Path, capsys: Capture) -> None:
    where = store_with_points(tmp_path)
    assert command_main.main(["--list", *where]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "TIMESTAMP            DATABASE  STATE   RAW  STORED   ENVIRONMENT  SANITISED",
        "2026-01-01T02:30:00  users     legacy  -    2.0 KiB  -            -",
        "2026-01-02T02:30:00  shop      legacy  -    2.0 KiB  -            -",
    ]
    assert command_main.main(["--list", *where, "-d", "shop", "--json"]) == 0
    assert [point["name"] for point in json.loads(capsys.readouterr().out)] == ["2026-01-02T02:30:00-shop"]
    assert command_main.main(["--list", *where, "-d", "sho"]) == 0
    assert capsys.readouterr().out == f"There are no points of sho in {tmp_path}/pg.\n"


@pytest.mark.parametrize("verb", [["--list"], ["--verify"], ["--prune", "1"], ["--prune", "1", "--plan"]])
def test_what_only_reads_the_store_asks_for_no_tree(tmp_path: Path, capsys: Capture, verb: list[str]) -> None:
    where = store_with_points(tmp_path)
    status = command_main.main([*verb, *where, "-D", "files", "-d", "shop"])
    said = capsys.readouterr()
    assert "missing key" not in said.err
    # To verify it is to read it: what the test has stored is no archive.
    assert status == (1 if verb == ["--verify"] else 0), said.err


def test_a_prune_asks_for_no_dbms_but_for_a_database(tmp_path: Path, capsys: Capture) -> None:
    where = store_with_points(tmp_path)
    assert command_main.main(["--prune", "1", *where, "-d", "shop"]) == 0
    assert command_main.main(["--prune", "1", *where]) == 1
    assert "missing key database" in capsys.readouterr().err


def test_the_help_names_every_flag_and_no_secret(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        command_main.main(["-h"])
    said = capsys.readouterr().out
    assert caught.value.code == 0
    for flag in "faDSTdHupsFeth":
        assert re.search(rf"^  -{flag}, --", said, re.M), flag
    assert "PGPASSWORD" in said and "/etc/govuk_env_sync" in said
    assert not re.search("--(login-password|secret-key|session-token|access-key)", said)
