# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever hangs, a run that is told to stop ends within 30 seconds, leaves nobody at work, and tells what it left.

All of the table hangs at the same time, as it is a matter of waiting: each row is then looked at by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, TypeVar
from urllib.parse import urlsplit

import pytest

from tests.servers.hanging import BlackHole, Faltering, Silent
from tests.servers.mariadb import MariaServer
from tests.servers.mongo import MongoServer, tools
from tests.servers.postgresql import PostgresServer
from tests.servers.s3 import SwiftS3
from tests.servers.sshd import SshServer

ROOT = Path(__file__).resolve().parents[3]

_Server = TypeVar("_Server", MariaServer, MongoServer, PostgresServer, SshServer, SwiftS3)

#: what is promised, in seconds after the signal
PROMISE = 30.0

#: runs the command with its log files below the folder that is its first argument
PROGRAM = "import sys; from _engine.command import main as cli; cli.LOG_ROOT = sys.argv.pop(1); sys.exit(cli.main())"

#: as that, with a file system that hangs: fsync in a thread that stores, and from then on what is the third argument.
#: Nothing that waits for it comes back, as with a server of files that is gone.
HANGING_FILES = """
import os, sys, threading
from _engine.command import main as cli
cli.LOG_ROOT, fifo, others = sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1)
def hanging(real, when):
    def call(*arguments, **options):
        if not when():
            return real(*arguments, **options)
        open(fifo + ".reached", "w").close()
        os.close(os.open(fifo, os.O_WRONLY))  # nobody ever reads it
    return call
os.fsync = hanging(os.fsync, lambda: threading.current_thread() is not threading.main_thread())
for name in filter(None, others.split(",")):
    setattr(os, name, hanging(getattr(os, name), lambda: os.access(fifo + ".reached", os.F_OK)))
sys.exit(cli.main())
"""


@dataclass
class Ended:
    """How a run ended: ``seconds`` after the signal, and what it left."""

    status: int
    said: str
    seconds: float
    snapshot: dict[str, Any]
    log: str
    at_work: list[str]
    journal: list[str]


@dataclass
class Case:
    """One run: a folder of its own, and what it is made of."""

    folder: Path
    values: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    argv: list[str] = field(default_factory=list)
    #: says that the run hangs where it is to hang
    ready: Callable[[], bool] = lambda: False

    def start(self) -> subprocess.Popen[str]:
        (self.folder / "log" / "govuk_env_sync").mkdir(parents=True, exist_ok=True)
        values = {
            "temppath": self.folder / "temp",
            "state_dir": self.folder / "state",
            "jobs": 2,
            **self.values,
        }
        config = self.folder / "conf" / "case.cfg"
        config.parent.mkdir(exist_ok=True)
        config.write_text("".join(f'{key}="{value}"\n' for key, value in values.items()), encoding="utf-8")
        argv = self.argv or [sys.executable, "-c", PROGRAM, str(self.folder / "log")]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "AWS_"))}
        environment.update(PYTHONPATH=str(ROOT / "plugins" / "module_utils"), HOME=str(self.folder), **self.environment)
        return subprocess.Popen(
            [*argv, "-f", str(config)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop(self, *numbers: int) -> Ended:
        """Start the run, wait until it hangs, send the signals; return how it ended."""
        process = self.start()
        deadline = time.monotonic() + 60
        try:
            while not self.ready():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, "it does not hang"
                time.sleep(0.05)
            time.sleep(0.5)
            began = time.monotonic()
            for place, number in enumerate(numbers):
                time.sleep(1 if place else 0)
                process.send_signal(number)
            _out, said = process.communicate(timeout=60)
            seconds = time.monotonic() - began
            # A guard takes a moment to find what it has to end.
            while (at_work := commands_of(self.folder)) and time.monotonic() < began + seconds + 5:
                time.sleep(0.05)
        finally:
            process.kill()
        return Ended(process.returncode, said, seconds, self._snapshot(), self._log(), at_work, self._journal())

    def _snapshot(self) -> dict[str, Any]:
        path = self.folder / "state" / "status" / "case.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def _log(self) -> str:
        path = self.folder / "log" / "govuk_env_sync" / "govuk_env_sync.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def _journal(self) -> list[str]:
        paths = (self.folder / "state" / "journal").glob("*.json")
        return [point for path in paths for point in json.loads(path.read_text(encoding="utf-8"))["points"]]


def processes_of(folder: Path) -> list[Path]:
    """Return the processes of a run, as /proc shows them: those that have its folder as their home."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"HOME={folder}\0" in (path / "environ").read_text(errors="replace"):
                found.append(path)
    return found


def commands_of(folder: Path) -> list[str]:
    """Return the argument vectors of the processes of a run."""
    found = []
    for path in processes_of(folder):
        with contextlib.suppress(OSError):
            found.append((path / "cmdline").read_text(errors="replace"))
    return found


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def tree(folder: Path, size: int = 1000) -> dict[str, Any]:
    """Return the keys of a push of a directory tree with one file, of so many bytes that can't be made fewer."""
    source = folder / "source"
    source.mkdir()
    (source / "data").write_bytes(os.urandom(size))
    return {"action": "push", "dbms": "files", "database": "tree", "directory": source}


def near(folder: Path) -> dict[str, Any]:
    (folder / "store").mkdir(exist_ok=True)
    return {"storagebackend": "directory", "url": folder / "store", "path": "points"}


# -- the table --------------------------------------------------------------------------------------------------------


class Servers:
    """What the cases hang at; all of it ends when all is over."""

    def __init__(self) -> None:
        self.resources = contextlib.ExitStack()
        self.started: list[object] = []
        self._starting = threading.Lock()
        #: a MariaDB that is stopped, and its socket
        self.frozen = threading.Event()
        self.socket = ""

    def start(self, server: _Server) -> _Server:
        """Start a server, one at a time: together they would take longer than each of them waits for itself."""
        with self._starting:
            self.started.append(server)
            return self.resources.enter_context(server)

    def silent(self) -> Silent:
        return self.resources.enter_context(Silent())

    def black_hole(self) -> BlackHole:
        return self.resources.enter_context(BlackHole())

    def freeze(self, pid: int) -> None:
        """Stop a process, until all is over: it is alive, and answers nobody."""

        def thaw() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        os.kill(pid, signal.SIGSTOP)
        self.resources.callback(thaw)


def s3_never_answers(folder: Path, servers: Servers) -> Case:
    server = servers.silent()
    keys = {"access_key": "x", "region": "x", "endpoint_url": f"http://127.0.0.1:{server.port}"}
    values = {**tree(folder), "storagebackend": "s3", "url": "bucket", "path": "points", **keys}
    del values["access_key"]
    environment = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    return Case(folder, values, environment, ready=server.connected.is_set)


def s3_falls_silent_in_an_upload(folder: Path, servers: Servers) -> Case:
    server = servers.start(SwiftS3())
    server.create_bucket("falling")
    line = servers.resources.enter_context(Faltering(urlsplit(server.endpoint).port or 80, 20 << 20))
    values = {
        **tree(folder, 60 << 20),
        "storagebackend": "s3",
        "url": "falling",
        "path": "points",
        "endpoint_url": f"http://127.0.0.1:{line.port}",
        "region": server.region,
        "addressing_style": "path",
    }
    environment = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    return Case(folder, values, environment, ready=line.silent.is_set)


def _postgres(folder: Path, servers: Servers, action: str) -> tuple[PostgresServer, dict[str, Any]]:
    server = servers.start(PostgresServer(f"stopping-{action}"))
    server.create_database("app", "CREATE TABLE users AS SELECT g AS id FROM generate_series(1, 1000) g")
    values = {
        "action": action,
        "dbms": "postgresql",
        "database": "app",
        "database_hostname": server.host,
        "database_port": server.port,
        "login_user": server.superuser,
        **near(folder),
    }
    return server, values


def _freeze_postgres(server: PostgresServer, servers: Servers) -> None:
    """Stop the server with all its processes."""
    main = int(Path(server.host, "data", "postmaster.pid").read_text(encoding="ascii").split("\n")[0])
    below = Path(f"/proc/{main}/task/{main}/children").read_text(encoding="ascii").split()
    for pid in [main, *map(int, below)]:
        servers.freeze(pid)


def postgresql_stopped_at_the_connection(folder: Path, servers: Servers) -> Case:
    server, values = _postgres(folder, servers, "push")
    _freeze_postgres(server, servers)
    return Case(folder, values, ready=lambda: waits_in(folder))


def postgresql_stopped_in_a_transformation(folder: Path, servers: Servers) -> Case:
    server, values = _postgres(folder, servers, "pull")
    point = {**values, "action": "push"}
    done = Case(folder, point).start()
    assert done.wait(60) == 0, done.communicate()
    path = folder / "sleep.sql"
    path.write_text("SELECT pg_sleep(600);\n", encoding="utf-8")
    values.update(transformation_sql_filename=path, allow_restore_to_source="true")
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    frozen: list[bool] = []

    def ready() -> bool:
        if not frozen and server.psql("postgres", asleep) != "0":
            _freeze_postgres(server, servers)
            frozen.append(True)
        return bool(frozen)

    return Case(folder, values, ready=ready)


def _maria(folder: Path, servers: Servers, name: str) -> tuple[MariaServer, dict[str, Any]]:
    server = servers.start(MariaServer(name))
    server.create_database("app", "CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1), (2)")
    (folder / ".my.cnf").write_text(f"[client]\nuser=root\nsocket={server.socket}\n", encoding="utf-8")
    values = {"action": "push", "dbms": "mysql", "database": "app", **near(folder)}
    return server, values


def mariadb_stopped_at_the_connection(folder: Path, servers: Servers) -> Case:
    assert servers.frozen.wait(120), "the case below stops the server"
    (folder / ".my.cnf").write_text(f"[client]\nuser=root\nsocket={servers.socket}\n", encoding="utf-8")
    values = {"action": "push", "dbms": "mysql", "database": "app", **near(folder)}
    return Case(folder, values, ready=lambda: waits_in(folder))


def mariadb_stopped_in_a_statement(folder: Path, servers: Servers) -> Case:
    server, values = _maria(folder, servers, "stopping-statement")
    path = folder / "sleep.sql"
    path.write_text("SELECT SLEEP(600);\n", encoding="utf-8")
    values["pre_dump_transformation_sql_filename"] = path
    frozen: list[bool] = []

    def ready() -> bool:
        asleep = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'"
        if not frozen and server.sql(asleep) != "0":
            assert server._server is not None
            servers.freeze(server._server.pid)
            frozen.append(True)
            servers.socket = server.socket
            servers.frozen.set()
        return bool(frozen)

    return Case(folder, values, ready=ready)


def a_dump_program_that_is_silent_and_deaf(folder: Path, servers: Servers) -> Case:
    server, values = _maria(folder, servers, "stopping-dump")
    real = server.program(server.dumper)
    for name in ("mariadb-dump", "mysqldump"):
        script(
            folder / "bin" / name,
            f'case "$*" in *--version*) exec {real} --version;; esac\n'
            f"trap '' TERM INT HUP; : >{folder}/dumping\n"
            "while :; do sleep 1; done",
        )
    environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
    return Case(folder, values, environment, ready=(folder / "dumping").exists)


def mysql_at_an_address_that_nobody_answers_at(folder: Path, servers: Servers) -> Case:
    hole = servers.black_hole()
    (folder / ".my.cnf").write_text("[client]\nuser=x\npassword=y\n", encoding="utf-8")
    values = {"action": "push", "dbms": "mysql", "database": "app", **near(folder)}
    values.update(database_hostname="127.0.0.1", database_port=hole.port)
    return Case(folder, values, ready=lambda: waits_in(folder))


def a_dump_of_mongodb_that_hangs(folder: Path, servers: Servers) -> Case:
    server = servers.start(MongoServer("stopping"))
    server.database("app").users.insert_many({"n": number} for number in range(10))
    (folder / "tools").mkdir()
    real = tools(folder / "tools").folder
    script(
        folder / "bin" / "mongodump",
        f'case "$*" in *--version*) exec {real}/mongodump --version;; esac\n: >{folder}/dumping; exec sleep 600',
    )
    values: dict[str, Any] = {"action": "push", "dbms": "mongo", "database": "app", **near(folder)}
    values.update(database_hostname="127.0.0.1", database_port=server.port)
    environment = {"PATH": f"{folder}/bin:{real}:{os.environ['PATH']}"}
    return Case(folder, values, environment, ready=(folder / "dumping").exists)


def mongodb_never_answers(folder: Path, servers: Servers) -> Case:
    server = servers.silent()
    values: dict[str, Any] = {"action": "push", "dbms": "mongo", "database": "app", **near(folder)}
    values.update(database_hostname="127.0.0.1", database_port=server.port)
    environment = {"MONGODB_URI": "mongodb://x/?serverSelectionTimeoutMS=600000"}
    return Case(folder, values, environment, ready=server.connected.is_set)


def elasticsearch_never_answers(folder: Path, servers: Servers) -> Case:
    server = servers.silent()
    values: dict[str, Any] = {"action": "push", "dbms": "elasticsearch", "database": "app"}
    values["storagebackend"] = "es_snapshot"
    values.update(url="repository", database_hostname="127.0.0.1", database_port=server.port)
    return Case(folder, values, ready=server.connected.is_set)


def ssh_never_answers(folder: Path, servers: Servers) -> Case:
    server = servers.silent()
    values = {**tree(folder), "storagebackend": "rsync", "url": "me@127.0.0.1", "path": "/points"}
    values["ssh_port"] = server.port
    return Case(folder, values, ready=server.connected.is_set)


def the_far_side_of_rsync_hangs(folder: Path, servers: Servers) -> Case:
    server = servers.start(SshServer())
    (folder / "far").mkdir()
    authorized = server.key_file.parent / "authorized"
    key = authorized.read_text(encoding="ascii")
    authorized.write_text(f'command=": >{folder}/far/reached; exec sleep 600" {key}', encoding="ascii")
    values = {**tree(folder), **server.values(), "path": folder / "far"}
    return Case(folder, values, ready=(folder / "far" / "reached").exists)


def _hanging_files(folder: Path, names: str) -> Case:
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    argv = [sys.executable, "-c", HANGING_FILES, str(folder / "log"), str(fifo), names]
    return Case(folder, {**tree(folder), **near(folder)}, argv=argv, ready=Path(f"{fifo}.reached").exists)


def a_store_whose_fsync_hangs(folder: Path, servers: Servers) -> Case:
    return _hanging_files(folder, "")


def a_store_that_hangs_in_all_that_is_asked(folder: Path, servers: Servers) -> Case:
    return _hanging_files(folder, "walk,unlink,rmdir")


def a_transformation_that_sleeps_and_is_deaf(folder: Path, servers: Servers) -> Case:
    values = {**tree(folder), **near(folder)}
    path = script(folder / "clean", f"trap '' TERM INT HUP; : >{folder}/running; setsid sleep 600 & wait; sleep 600")
    done = Case(folder, values).start()
    assert done.wait(60) == 0, done.communicate()
    values.update(action="pull", transformation_sql_filename=path, directory=folder / "target")
    values.update(allow_restore_to_source="true")
    return Case(folder, values, ready=(folder / "running").exists)


def _monitored(folder: Path, port: int) -> None:
    (folder / "conf").mkdir()
    text = f'monitor="icinga2"\nicinga2_url="https://127.0.0.1:{port}"\n'
    (folder / "conf" / "monitoring.conf").write_text(text, encoding="utf-8")


def the_monitoring_never_answers(folder: Path, servers: Servers) -> Case:
    server = servers.silent()
    _monitored(folder, server.port)
    return Case(folder, {**tree(folder), **near(folder)}, ready=server.connected.is_set)


def s3_and_the_monitoring_never_answer(folder: Path, servers: Servers) -> Case:
    _monitored(folder, servers.silent().port)
    return s3_never_answers(folder, servers)


def waits_in(folder: Path) -> bool:
    """Say whether the run of this folder waits for its server: another thread does that, beside the one for signals."""
    return any(len(os.listdir(process / "task")) > 2 for process in processes_of(folder))


HANGS: dict[str, Callable[[Path, Servers], Case]] = {
    function.__name__.replace("_", " "): function
    for function in (
        s3_never_answers,
        s3_falls_silent_in_an_upload,
        postgresql_stopped_at_the_connection,
        postgresql_stopped_in_a_transformation,
        mariadb_stopped_at_the_connection,
        mariadb_stopped_in_a_statement,
        a_dump_program_that_is_silent_and_deaf,
        mysql_at_an_address_that_nobody_answers_at,
        a_dump_of_mongodb_that_hangs,
        mongodb_never_answers,
        elasticsearch_never_answers,
        ssh_never_answers,
        the_far_side_of_rsync_hangs,
        a_store_whose_fsync_hangs,
        a_store_that_hangs_in_all_that_is_asked,
        a_transformation_that_sleeps_and_is_deaf,
        s3_and_the_monitoring_never_answer,
        the_monitoring_never_answers,
    )
}

#: the run had done its work when it was told to stop: nothing but its report hung
DONE = frozenset({"the monitoring never answers"})

#: what a run that could not clean up says it left, and where there is an entry of the journal that stays
LEFT = {
    "s3 falls silent in an upload": r"what is left of s3://falling/points/[0-9T:-]+-tree",
    "postgresql stopped in a transformation": "the scratch database of app",
    "a store whose fsync hangs": r"what is left of /\S+/store/points/[0-9T:-]+-tree",
    "a store that hangs in all that is asked": r"what is left of /\S+/store/points/[0-9T:-]+-tree",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ended]]]:
    """Every run of the table, under way at the same time."""
    folder = tmp_path_factory.mktemp("stopping")
    servers = Servers()
    with servers.resources, ThreadPoolExecutor(len(HANGS)) as pool:

        def one(name: str) -> Ended:
            place = folder / re.sub(r"\W+", "_", name)
            place.mkdir()
            return HANGS[name](place, servers).stop(signal.SIGTERM)

        yield {name: pool.submit(one, name) for name in HANGS}


@pytest.mark.parametrize("name", HANGS)
def test_a_run_that_hangs_ends_when_it_is_told_to(runs: dict[str, Future[Ended]], name: str) -> None:
    ended = runs[name].result(timeout=180)
    assert ended.seconds < PROMISE
    assert ended.at_work == []
    if name in DONE:
        assert (ended.status, ended.said, ended.snapshot["state"]) == (0, "", "done")
        return
    assert ended.status == 128 + signal.SIGTERM, ended
    assert re.fullmatch(r"govuk_env_sync: error: case: stopped by SIGTERM[^\n]*\n", ended.said), ended.said
    assert ended.snapshot["state"] == "failed", "nobody may take it for a run that goes on"
    assert f"error: {ended.said.split('error: ', 1)[1]}" in ended.log
    if name in LEFT:
        assert re.search(rf"Left for the next run to clean up: {LEFT[name]}", ended.said), ended.said
    else:
        assert "Left" not in ended.said, ended.said
    assert bool(ended.journal) == (name in LEFT and "what is left" in LEFT[name])


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
        assert case._journal() == []


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
