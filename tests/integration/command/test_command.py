# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's command, run as a process of its own on real servers."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import psycopg2
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.config import format_config

from tests.servers.postgresql import PostgresServer

ROOT = Path(__file__).resolve().parents[3]
START = ROOT / "plugins" / "module_utils" / "_engine" / "start.py"
SAMPLE = "CREATE TABLE users AS SELECT g AS id, 'user' || g || '@example.com' AS email FROM generate_series(1, 1000) g"
BIG = "CREATE TABLE users AS SELECT g AS id, repeat(md5(g::text), 20) AS filler FROM generate_series(1, 60000) g"

Values = Callable[..., dict[str, Any]]
Flags = Callable[..., list[str]]
Done = subprocess.CompletedProcess

#: runs the command with its log files below the folder that is its first argument
LOGGING = "import sys; from _engine.command import main as cli; cli.LOG_ROOT = sys.argv.pop(1); sys.exit(cli.main())"


class Command:
    """The command; each call is a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log" / "govuk_env_sync" / "govuk_env_sync.log"
        self.log.parent.mkdir(parents=True)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PG")},
            "PYTHONPATH": str(ROOT / "plugins" / "module_utils"),
            "HOME": str(folder),
        }

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", LOGGING, str(self.folder / "log"), *map(str, arguments)]
        usual: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(argv, env=self.environment, text=True, **{**usual, **options})

    def __call__(self, *arguments: object) -> Done[str]:
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        return Done(process.args, process.returncode, out, err)

    def good(self, *arguments: object) -> str:
        """Run the command, which must succeed without a word on standard error; return its standard output."""
        done = self(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def refused(self, *arguments: object) -> str:
        """Run the command, which must fail with one line on standard error; return that line."""
        done = self(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
        assert done.stderr.startswith("govuk_env_sync: error: ")
        return done.stderr

    def on_a_terminal(self, *arguments: object) -> tuple[int, str]:
        """Run the command with both outputs on a terminal; return its exit status and what the terminal was sent."""
        master, slave = pty.openpty()
        try:
            process = self.start(*arguments, stdout=slave, stderr=slave)
            os.close(slave)
            sent = b""
            with contextlib.suppress(OSError):  # how Linux says that nobody has the other end any more
                while True:
                    sent += os.read(master, 65536)
            return process.wait(timeout=60), sent.decode()
        finally:
            os.close(master)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture
def flags(task_values: Values) -> Flags:
    """Return a function that gives a task as flags: ``flags("push", database, **others)``."""

    def make(action: str, database: str, **others: object) -> list[str]:
        values = task_values(action, database, **others)
        return [text for key, value in values.items() for text in (f"--{key.replace('_', '-')}", str(value))]

    return make


@pytest.fixture
def pushed(command: Command, production: PostgresServer, database: str, flags: Flags) -> str:
    """The database, pushed once; returns the name of the point."""
    production.create_database(database, SAMPLE)
    return str(json.loads(command.good(*flags("push", database), "--json"))["point"])


@contextlib.contextmanager
def unchanged(server: PostgresServer, database: str) -> Iterator[None]:
    """The database stays what it is, and nothing else appears on the server."""
    question = "SELECT oid, (SELECT count(*) FROM pg_database) FROM pg_database WHERE datname = '" + database + "'"
    before = server.psql("postgres", question)
    yield
    assert server.psql("postgres", question) == before


def stored(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def write_config(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(format_config({key: str(value) for key, value in values.items()}), encoding="utf-8")
    return path


def test_a_push_by_config_file_and_a_pull_of_its_minute(
    command: Command,
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    flags: Flags,
) -> None:
    production.create_database(database, SAMPLE)
    config = write_config(command.folder / "push_users_nightly.cfg", task_values("push", database))
    assert command.good("-f", config) == ""
    production.psql(database, "DELETE FROM users")
    command.good(*flags("push", database), "-t", "2020-01-01T00:00:00")

    first = json.loads(command.good("--list", "-f", config, "--json"))[-1]
    assert command.good(*flags("pull", database), "-t", first["timestamp"][:16]) == ""

    assert staging.psql(database, "SELECT count(*) FROM users") == "1000"
    log = command.log.read_text(encoding="utf-8")
    head = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ %s\[\d+\]: "
    assert re.search(rf"^{head % 'push_users_nightly'}dumping$", log, re.M)
    assert re.search(rf"^{head % 'push_users_nightly'}pushed {first['name']} to {command.folder}/store/", log, re.M)
    assert re.search(rf"^{head % f'pull {database}'}pulled {first['name']} into {database}: .* KiB stored", log, re.M)


def test_list_plan_verify_status_and_prune(
    command: Command, staging: PostgresServer, database: str, flags: Flags, pushed: str
) -> None:
    staging.create_database(database)
    store = command.folder / "store"
    objects = stored(store)

    assert [line.split()[1:3] for line in command.good("--list", *flags("pull", database)).splitlines()] == [
        ["DATABASE", "STATE"],
        [database, "complete"],
    ]
    with unchanged(staging, database):
        plan = command.good(*flags("pull", database), "--plan")
        assert re.search(rf"  1\. read {store}/.*{pushed}\n", plan)
        assert plan.endswith("Nothing was changed.\n")
        assert "dump" in command.good(*flags("push", database), "--plan")
    status = command.good("--status", "--state-dir", command.folder / "state").splitlines()
    assert re.match(rf"push {database} +done .* stored {store}/postgresql/{pushed}$", status[1])
    assert re.match(rf"{pushed} in {store}/postgresql is good: ", command.good("--verify", *flags("push", database)))
    assert command.good("--prune", 1, "--plan", *flags("push", database)).startswith("nothing to prune")
    assert stored(store) == objects

    command.good(*flags("push", database), "-t", "2020-01-01T00:00:00")
    assert "2020-01-01T00:00:00" in command.good("--prune", 1, *flags("push", database))
    assert {name.split("/")[1][:19] for name in stored(store)} == {pushed[:19]}


def test_a_damaged_point_is_not_good(command: Command, database: str, flags: Flags, pushed: str) -> None:
    member = next(path for path in (command.folder / "store").rglob("*.dat*") if "toc" not in path.name)
    content = bytearray(member.read_bytes())
    content[len(content) // 2] ^= 1
    member.write_bytes(content)
    assert member.name in command.refused("--verify", *flags("pull", database))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"timestamp": "2020-02-02T02:02"}, "there is none of 2020-02-02T02:02. The nearest points are 20"),
        ({"database_hostname": "/nowhere"}, "connecting to PostgreSQL on /nowhere"),
        ({"database_hostname": "127.0.0.1", "database_port": 1}, "Connection refused"),
        ({"url": "/nowhere"}, "there is no such directory"),
        ({"dbms": "oracle"}, "not 'oracle'"),
        ({"dbms": ""}, "missing key dbms"),
        ({"transformation_sql_filename": "/nowhere.sql"}, "/nowhere.sql"),
    ],
)
def test_a_pull_that_cannot_be_leaves_the_live_database(
    command: Command,
    staging: PostgresServer,
    database: str,
    flags: Flags,
    pushed: str,
    changes: dict[str, Any],
    why: str,
) -> None:
    staging.create_database(database)
    with unchanged(staging, database):
        assert why in command.refused(*flags("pull", database, **changes))


def test_a_wrong_password_is_refused_and_the_right_one_comes_from_the_environment(
    command: Command, staging: PostgresServer, database: str, flags: Flags, pushed: str
) -> None:
    staging.create_database(database)
    over_tcp = flags("pull", database, database_hostname="127.0.0.1")
    command.environment["PGPASSWORD"] = "not-the-password"
    with unchanged(staging, database):
        assert "password authentication failed" in command.refused(*over_tcp)
    (command.folder / "env.d").mkdir()
    (command.folder / "env.d" / "PGPASSWORD").write_text(staging.password + "\n", encoding="utf-8")
    command.good(*over_tcp, "--env-dir", command.folder / "env.d")
    assert staging.psql(database, "SELECT count(*) FROM users") == "1000"


def test_a_push_of_no_database_stores_nothing(command: Command, database: str, flags: Flags) -> None:
    assert f"there is no database {database}" in command.refused(*flags("push", database))
    assert stored(command.folder / "store") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not read a file")
def test_a_config_file_of_another_user(command: Command, database: str, task_values: Values) -> None:
    config = write_config(Path("/tmp") / f"{database}.cfg", task_values("push", database))
    config.chmod(0o600)
    try:
        done = subprocess.run(
            [
                "setpriv",
                "--reuid=65534",
                "--clear-groups",
                sys.executable,
                "-c",
                "import os; os.stat('" + str(ROOT) + "')",
            ],
            check=False,
        )
        if done.returncode != 0:
            pytest.skip("nobody may not look into the checkout")
        done = subprocess.run(
            [
                "setpriv",
                "--reuid=65534",
                "--clear-groups",
                sys.executable,
                "-I",
                str(START),
                "command",
                "-f",
                str(config),
            ],
            env=command.environment,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        config.unlink()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"govuk_env_sync: error: reading the config file {config}: Permission denied. "
        "Run this as root, or as the user that cron runs it as.\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_during_a_push_leaves_nothing_in_the_store(
    command: Command, production: PostgresServer, database: str, flags: Flags, number: signal.Signals
) -> None:
    # Someone holds a lock that pg_dump has to wait for, and nothing before it.
    production.create_database(database, BIG + "; CREATE TABLE events (day date) PARTITION BY RANGE (day)")
    holder = subprocess.Popen(
        [production.program("psql"), "-X", "-q", "-d", database],
        env=dict(os.environ, **production.env),
        stdin=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    holder.stdin.write("BEGIN; LOCK TABLE ONLY events;\n")
    holder.stdin.flush()
    waits = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND wait_event_type = 'Lock'"
    process = command.start(*flags("push", database))
    try:
        until(lambda: production.psql("postgres", waits) != "0")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        holder.stdin.close()
        holder.wait()
    assert (process.returncode, out) == (128 + number, "")
    assert err == f"govuk_env_sync: error: push {database}: stopped by {number.name} while dumping\n"
    assert stored(command.folder / "store") == []
    assert os.listdir(command.folder / "temp") == []
    until(lambda: production.psql("postgres", waits) == "0")


def test_no_secret_is_in_an_argument_vector_a_log_or_an_output(
    command: Command, production: PostgresServer, database: str, flags: Flags
) -> None:
    production.create_database(database, BIG)
    command.environment["PGPASSWORD"] = production.password
    process = command.start(*flags("push", database, database_hostname="127.0.0.1"), "--json", "--verbose")
    seen = set()
    while process.poll() is None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                seen.add(path.read_bytes())
    out, err = process.communicate()
    assert process.returncode == 0
    assert any(b"pg_dump" in argv for argv in seen)
    everything = [*(argv.decode() for argv in seen), out, err, command.log.read_text(encoding="utf-8")]
    everything += [path.read_text(encoding="utf-8") for path in (command.folder / "state").rglob("*.json")]
    everything += [path.read_text(encoding="utf-8") for path in (command.folder / "store").rglob("*.manifest.json")]
    assert [text for text in everything if production.password in text] == []


def test_a_terminal_sees_progress_and_then_what_was_done(
    command: Command, production: PostgresServer, database: str, flags: Flags
) -> None:
    production.create_database(database, BIG)
    status, sent = command.on_a_terminal(*flags("push", database))
    assert status == 0
    lines = sent.split("\r")
    assert any(line.startswith(f"push {database}: dumping") for line in lines)
    assert sent.endswith("\r\n")
    # The progress is blanked out before the one line that stays.
    assert re.search(r"\r +\rpushed \S+ to \S+: \d+\.\d MiB \(\d+\.\d MiB stored\) in .*s, .*/s\r\n\Z", sent)
    status, sent = command.on_a_terminal(*flags("push", database), "-t", "2020-01-01T00:00:00", "--quiet")
    assert (status, sent) == (0, "")


def test_verbose_shows_the_log_on_standard_error(command: Command, database: str, flags: Flags, pushed: str) -> None:
    command.log.unlink()
    done = command(*flags("pull", database), "--verbose")
    assert done.returncode == 0
    assert done.stderr == command.log.read_text(encoding="utf-8")
    assert re.match(rf"pulled {pushed} into {database}: .*; there was no {database} before\n\Z", done.stdout)


def test_verbose_says_nothing_twice(command: Command, database: str, flags: Flags, pushed: str) -> None:
    done = command(*flags("pull", f"-{database}"), "--verbose")
    assert done.returncode == 1
    assert done.stderr.count("choosing a point of") == 1, done.stderr
    assert "choosing a point of" in command.log.read_text(encoding="utf-8")
    status, sent = command.on_a_terminal(*flags("pull", database), "--verbose")
    assert status == 0
    assert sent.count(f"pulled {pushed} into {database}") == 1, sent


def test_a_reader_that_has_seen_enough_is_no_error(command: Command, database: str, flags: Flags, pushed: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = command.start("--list", *flags("pull", database), stdout=writer)
        assert (process.communicate(timeout=60)[1], process.returncode) == ("", 0)
    finally:
        os.close(writer)


def test_an_answer_that_cannot_be_written_is_an_error(
    command: Command, database: str, flags: Flags, pushed: str
) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = command.start("--list", *flags("pull", database), stdout=full)
        _unused, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (
        1,
        "govuk_env_sync: error: writing to standard output: No space left on device\n",
    )


def test_standard_streams_that_are_closed(command: Command, database: str, flags: Flags, pushed: str) -> None:
    """What the run opens is not to take their numbers: tools would write their messages into it."""
    listing = command.start("--list", *flags("pull", database), preexec_fn=lambda: os.close(1))
    _unused, err = listing.communicate(timeout=60)
    assert (listing.returncode, err.partition(". ")[0]) == (
        1,
        "govuk_env_sync: error: writing to standard output: it is closed",
    )
    again = flags("push", database, timestamp="2020-01-01T00:00:00")
    run = command.start(*again, preexec_fn=lambda: os.closerange(0, 3))
    run.communicate(timeout=60)
    assert run.returncode == 0
    assert "2020-01-01T00:00:00" in command.good("--verify", *flags("pull", database), "-t", "2020-01-01T00:00:00")


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


#: what keeps a run waiting for a server: what another session does and has not committed, the task's action and script
BLOCKED = {
    "by a pre-dump script": ("", "push", "SELECT pg_sleep(60)"),
    "by a transformation": ("", "pull", "SELECT pg_sleep(60)"),
    "by a lock during the swap": ("COMMENT ON DATABASE {0} IS 'locked'", "pull", ""),
}


@pytest.mark.parametrize("how", BLOCKED)
def test_a_signal_ends_a_run_that_a_statement_keeps_waiting(
    command: Command, production: PostgresServer, staging: PostgresServer, database: str, flags: Flags, how: str
) -> None:
    sql, action, script = BLOCKED[how]
    production.create_database(database, SAMPLE)
    staging.create_database(database, "CREATE TABLE old AS SELECT 1 AS n")
    command.good(*flags("push", database))
    before = stored(command.folder / "store")
    path = command.folder / "script.sql"
    path.write_text(script, encoding="utf-8")
    key = ("pre_dump_" if action == "push" else "") + "transformation_sql_filename"
    server = production if action == "push" else staging
    waiting = """SELECT count(*) FROM pg_stat_activity
                  WHERE backend_type = 'client backend' AND wait_event_type IN ('Lock', 'Timeout')"""
    blocker = psycopg2.connect(host=server.host, port=server.port, user=server.superuser, dbname="postgres")
    with contextlib.closing(blocker), unchanged(server, database):
        blocker.cursor().execute(sql.format(database) or "SELECT 1")
        process = command.start(*flags(action, database, **{key: path}))
        try:
            until(lambda: server.psql("postgres", waiting) != "0")
            process.send_signal(signal.SIGTERM)
            _unused, err = process.communicate(timeout=20)
        finally:
            process.kill()
        assert process.returncode == 128 + signal.SIGTERM
        assert re.fullmatch(rf"govuk_env_sync: error: {action} {database}: stopped by SIGTERM while .*\n", err)
        assert server.psql("postgres", waiting) == "0", "and the server does not go on with it"
    assert stored(command.folder / "store") == before
    assert staging.psql(database, "SELECT n FROM old") == "1"
