# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that a run can hang at: a case for each, by name, and what the run leaves there."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Callable, TypeVar
from urllib.parse import urlsplit

from tests.integration.command.stopped_runs import HANGING_FILES, Case, near, script, tree, waits_in
from tests.servers.hanging import BlackHole, Faltering, Silent
from tests.servers.mariadb import MariaServer
from tests.servers.mongo import MongoServer, tools
from tests.servers.postgresql import PostgresServer
from tests.servers.s3 import SwiftS3
from tests.servers.sshd import SshServer

_Server = TypeVar("_Server", MariaServer, MongoServer, PostgresServer, SshServer, SwiftS3)


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
