# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pairs of runs at once: they see each other, or each does its own work, whole.

| pair | what holds |
| --- | --- |
| two hosts push in one second to a directory, to rsync, to S3 | two points, each whole |
| the same with the timestamp given | one point, and one host that is told |
| two users push, push and pull, pull: PostgreSQL | the second is told |
| two ways to spell a server: PostgreSQL, MySQL, MongoDB, Elasticsearch | one lock |
| two users pull and push one tree | the second is told |
| a pull whose lock's connection breaks, and its successor: PostgreSQL, MySQL | the first drops nothing of its |
| a pull that is suspended past its lease, and its successor: MongoDB, Elasticsearch | the same |
| a push that gave up on a write, and the next push | nothing stays of the first, however late it writes |
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import psycopg2
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases import server_keys
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import locks
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.journal import Journal
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers import Unavailable
from tests.servers.mariadb import MariaServer
from tests.servers.mongo import MongoServer, tools
from tests.servers.opensearch import SearchServer
from tests.servers.postgresql import PostgresServer
from tests.servers.s3 import SwiftS3
from tests.servers.sshd import SshServer

ENGINE = Path(__file__).parents[2] / "plugins" / "module_utils"
PACKAGE = "ansible_collections.govuk.env_sync.plugins.module_utils._engine"

Values = Callable[..., dict[str, Any]]

# A run in a process of its own: `reached()` tells the test that it is where it is wanted, and waits for a line.
RUN = """
import json, sys
sys.path.insert(0, {engine!r})
from _engine.host import locks
from _engine import push, pull
from _engine.databases.elasticsearch import database as elasticsearch
from _engine.databases import lease
from _engine.databases.mongo import database as mongo
from _engine.databases.mysql import database as mysql
from _engine.databases.postgresql import database as postgresql
from _engine.host.progress import Host
from _engine.tasks.task import Task

def reached(*args, **kwargs):
    print("reached", flush=True)
    sys.stdin.readline()

def before(owner, name):
    real = getattr(owner, name)
    def stopping(*args, **kwargs):
        reached()
        return real(*args, **kwargs)
    setattr(owner, name, stopping)

{hook}
task = Task.from_mapping(json.loads(sys.argv[1]))
try:
    done = (push.push if task.action == "push" else pull.pull)(task, Host())
    print(json.dumps(dict(point=done["point"], skipped=done["skipped"])))
except Exception as error:
    print(json.dumps(dict(error=str(error))))
"""

# Another host: its own name, its own locks, another boot's identifier.
ANOTHER_HOST = (
    'hostname "$1"; mount -t tmpfs -o mode=700 none "$2"; echo "$1" >"$2/boot"; '
    'mount --bind "$2/boot" /proc/sys/kernel/random/boot_id; shift 2; exec "$@"'
)


class Run:
    """A run of the engine in a process of its own.

    :param host: another host's name; empty: it is another user of this one, with locks and a state of their own.
    """

    def __init__(self, values: dict[str, Any], folder: Path, hook: str = "", host: str = "") -> None:
        own = folder / f"of-{uuid.uuid4().hex[:8]}"
        own.mkdir()
        values = {**values, "state_dir": str(own / "state"), "temppath": str(own / "temp")}
        if not host:
            hook = f"locks.lock_dir = lambda: {str(own)!r}\n{hook}"
        argv = [sys.executable, "-c", RUN.format(engine=str(ENGINE), hook=hook), json.dumps(values)]
        if host:
            if os.geteuid() != 0:
                raise Unavailable("hosts of one's own need root")
            shell = ["sh", "-c", ANOTHER_HOST, "sh", host, locks.lock_dir()]
            argv = ["unshare", "--uts", "--mount", "--propagation", "private", *shell, *argv]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_until_reached(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line != "reached\n":
            self.process.kill()
            pytest.fail(line + self.process.communicate()[1][-2000:])

    def end(self) -> dict[str, Any]:
        """Let it go on, and return how it ended."""
        said, errors = self.process.communicate("\n" * 9, timeout=90)
        lines = [line for line in said.splitlines() if line != "reached"]
        assert lines, errors[-2000:]
        return dict(json.loads(lines[-1]))


@contextlib.contextmanager
def stopped_at(values: dict[str, Any], folder: Path, hook: str) -> Iterator[Run]:
    """Give a run that has come to where ``hook`` stops it; gone afterwards."""
    run = Run(values, folder, hook)
    try:
        run.wait_until_reached()
        yield run
    finally:
        if run.process.poll() is None:
            run.process.send_signal(signal.SIGCONT)
            run.process.kill()
        run.process.communicate()


# -- two hosts in one second -----------------------------------------------------------------------------------------

# The first time that is asked for is the same on both; after that it is what it is.
ONE_SECOND = """
now, times = push.now, iter(["2026-01-02T03:04:05"])
push.now = lambda timezone="utc": next(times, None) or now(timezone)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "sources" / "tree"
    folder.mkdir(parents=True)
    words = [random.Random(number).randbytes(9).hex() for number in range(500)]
    for number in range(4):
        chosen = random.Random(number).choices(words, k=60000)
        (folder / f"file{number}").write_text(" ".join(chosen))
    return folder


@pytest.fixture(params=["directory", "rsync", "s3"])
def store_values(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "rsync":
        server: SshServer = request.getfixturevalue("ssh_server")
        return {**server.values(), "path": str(tmp_path / "far")}
    if request.param == "s3":
        s3: SwiftS3 = request.getfixturevalue("s3_server")
        return {
            "storagebackend": "s3",
            "url": request.getfixturevalue("bucket"),
            "path": "far",
            "endpoint_url": s3.endpoint,
            "access_key": s3.access_key,
            "secret_key": s3.secret_key,
            "region": "us-east-1",
        }
    (tmp_path / "store").mkdir()
    return {"storagebackend": "directory", "url": str(tmp_path / "store"), "path": "far"}


@pytest.mark.parametrize("timestamp", ["", "2026-01-02T03:04:05"])
def test_two_hosts_in_one_second_make_no_mixture(
    store_values: dict[str, Any], tree: Path, tmp_path: Path, timestamp: str
) -> None:
    values = {"action": "push", "dbms": "files", "database": "tree", "directory": str(tree), **store_values}
    # Each with a copy of the data, as a primary and its standby have.
    copy = tmp_path / "standby" / "tree"
    copy.parent.mkdir()
    subprocess.run(["cp", "-a", str(tree), str(copy)], check=True)
    runs = [
        Run({**values, "directory": str(path), "compression_level": level, "timestamp": timestamp}, tmp_path,
            "before(push.claims, 'take')\n" + ONE_SECOND, host)
        for host, level, path in (("db-1", 1, tree), ("db-2", 12, copy))
    ]  # fmt: skip
    for run in runs:
        run.wait_until_reached()
    ends: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda run=run: ends.append(run.end())) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    task = Task.from_mapping({**values, "action": "pull", "temppath": str(tmp_path / "temp")})
    points = catalogue.list_points(open_store(task), "tree")
    assert {point.state for point in points} == {"complete"}
    made = sorted(end["point"] for end in ends if "point" in end)
    assert [point.name for point in points] == made
    told = [end["error"] for end in ends if "error" in end]
    assert len(made) + len(told) == 2
    if timestamp:
        assert len(made) == 1
        assert "another host is making such a point" in told[0] or "there is such a point already" in told[0]
    else:
        assert len(set(made)) == 2, ends
    for point in points:
        assert all("/.claim-" not in name for name in point.objects)
        upkeep.verify(Task.from_mapping({**values, "action": "pull", "timestamp": point.timestamp,
                                         "temppath": str(tmp_path / "temp")}), Host())  # fmt: skip


# -- two users of one host -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [("push", "push"), ("push", "pull"), ("pull", "push"), ("pull", "pull")])
def test_two_users_without_a_folder_in_common_see_each_other_by_the_database(
    production: PostgresServer,
    database: str,
    task_values: Values,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    first: str,
    second: str,
) -> None:
    production.create_database(database, "CREATE TABLE t AS SELECT g FROM generate_series(1, 9) g")
    push.push(Task.from_mapping(task_values("push", database)), Host())
    monkeypatch.setattr(f"{PACKAGE}.databases.postgresql.database._LOCK_PATIENCE", 0.3)
    where = {"database_hostname": production.host, "database_port": production.port, "allow_restore_to_source": True}
    hook = f"before(postgresql.PostgreSQL, {'dump' if first == 'push' else 'check'!r})"
    way = {**where, "database_hostname": "127.0.0.1", "login_password": production.password}
    with stopped_at(task_values(first, database, **where), tmp_path, hook) as run:
        with pytest.raises(EnvSyncError, match="another push or pull of it is running on this host"):
            task = Task.from_mapping(task_values(second, database, **way))
            (push.push if second == "push" else pull.pull)(task, Host())
        assert "error" not in run.end()


def test_two_users_see_each_other_at_one_tree(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = {"storagebackend": "directory", "url": str(tmp_path / "store"), "temppath": str(tmp_path / "temp")}
    values = {"dbms": "files", "database": "tree", "directory": str(tree), "allow_restore_to_source": True, **store}
    values["state_dir"] = str(tmp_path / "state")
    push.push(Task.from_mapping({"action": "push", **values}), Host())
    link = tmp_path / "another way"
    link.symlink_to(tree.parent)
    hook = "from _engine.databases.files import database as files; before(files.Files, 'check')"
    with stopped_at({"action": "pull", **values}, tmp_path, hook) as run:
        for action, do in (("push", push.push), ("pull", pull.pull)):
            with pytest.raises(EnvSyncError, match="another push or pull of it is running"):
                do(Task.from_mapping({**values, "action": action, "directory": str(link / "tree")}), Host())
        assert "error" not in run.end()
    assert [path.name for path in tree.parent.iterdir()] == ["tree"]


# -- two ways to spell one server ------------------------------------------------------------------------------------


def keys(values: dict[str, Any], **others: Any) -> set[str]:
    found = server_keys(Task.from_mapping({**values, **others}))
    return {found.lock, found.journal}


def test_postgresql_has_one_lock_however_it_is_spelt(
    production: PostgresServer, staging: PostgresServer, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = task_values("push", "app")
    monkeypatch.setenv("PGPASSWORD", production.password)
    expected = keys(values)
    for host in ("127.0.0.1", "localhost"):
        assert keys(values, database_hostname=host) == expected
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(production.port))
    assert keys({k: v for k, v in values.items() if k not in ("database_hostname", "database_port")}) == expected
    assert keys(task_values("pull", "app")) != expected
    assert keys(task_values("push", "app2")) != expected


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaServer]:
    with MariaServer("staging") as server:
        yield server


@pytest.fixture
def mysql_values(mariadb: MariaServer, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "mysql-store").mkdir()
    return {
        "dbms": "mysql",
        "database": "app",
        "database_hostname": mariadb.host,
        "database_port": mariadb.port,
        "login_user": mariadb.user,
        "login_password": mariadb.password,
        "storagebackend": "directory",
        "url": str(tmp_path / "mysql-store"),
        "temppath": str(tmp_path / "temp"),
        "state_dir": str(tmp_path / "state"),
        "allow_restore_to_source": True,
    }


def test_mysql_has_one_lock_however_it_is_spelt(mysql_values: dict[str, Any]) -> None:
    found = [
        keys({"action": "push", **mysql_values}, database_hostname=host)
        for host in (mysql_values["database_hostname"], "127.0.0.1", "localhost")
    ]
    assert found[0] == found[1] == found[2]


# -- a lock that is lost ---------------------------------------------------------------------------------------------


def test_postgresql_drops_nothing_of_a_successors_when_its_lock_was_lost(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, "CREATE TABLE t AS SELECT g FROM generate_series(1, 9) g")
    push.push(Task.from_mapping(task_values("push", database)), Host())
    theirs: list[Any] = []

    def lose(snapshot: Any) -> None:
        """End the session that has the lock, take it, and put a scratch database of another run in this one's place."""
        if snapshot.phase != "checking" or theirs:
            return
        server = psycopg2.connect(
            host=staging.host, port=staging.port, user=staging.superuser, password=staging.password, dbname="postgres"
        )
        server.autocommit = True
        theirs.append(server)
        with server.cursor() as cursor:
            cursor.execute("SELECT classid, objid, pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1")
            found = cursor.fetchall()
            for _high, _low, pid in found:
                cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
            for high, low, _pid in found:
                cursor.execute("SELECT pg_advisory_lock((%s::bigint << 32) | %s)", (high, low))
            [scratch] = [name for name in staging.databases() if name.startswith("env_sync_scratch_")]
            cursor.execute(f'DROP DATABASE "{scratch}" WITH (FORCE)')
            cursor.execute(f'CREATE DATABASE "{scratch}"')
            comment = f"env_sync: scratch database of a pull of {database}, run theirs"
            cursor.execute(f"COMMENT ON DATABASE \"{scratch}\" IS '{comment}'")

    with pytest.raises(EnvSyncError, match="the lock was lost"):
        pull.pull(Task.from_mapping(task_values("pull", database)), Host(progress=lose))
    assert [name for name in staging.databases() if name.startswith("env_sync_scratch_")]
    theirs[0].close()
    # The lock is free again, and the next one sweeps what is left, as its holder.
    pull.pull(Task.from_mapping(task_values("pull", database)), Host())
    assert staging.contents(database) == production.contents(database)


def test_mysql_drops_nothing_of_a_successors_when_its_lock_was_lost(
    mariadb: MariaServer, mysql_values: dict[str, Any]
) -> None:
    mariadb.sql("CREATE DATABASE app; CREATE TABLE app.t (n int PRIMARY KEY); INSERT INTO app.t VALUES (1), (2)")
    push.push(Task.from_mapping({"action": "push", **mysql_values}), Host())
    lost: list[str] = []

    def lose(snapshot: Any) -> None:
        if snapshot.phase != "checking" or lost:
            return
        [scratch] = [name for name in mariadb.databases() if name.startswith("env_sync_scratch_")]
        lost.append(scratch)
        for session in mariadb.sql(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND COMMAND = 'Sleep'"
        ).split():
            mariadb.sql(f"KILL {session}")
        mariadb.sql(
            f"DROP DATABASE {scratch}; CREATE DATABASE {scratch}; CREATE TABLE {scratch}.env_sync_mark "
            "(id int PRIMARY KEY) COMMENT = 'env_sync: scratch schema of a pull, run theirs'"
        )

    try:
        with pytest.raises(EnvSyncError, match="the lock was lost"):
            pull.pull(Task.from_mapping({"action": "pull", **mysql_values}), Host(progress=lose))
        assert lost[0] in mariadb.databases()
        pull.pull(Task.from_mapping({"action": "pull", **mysql_values}), Host())
        assert lost[0] not in mariadb.databases()
    finally:
        for name in mariadb.databases():
            mariadb.drop_database(name)


# -- a lease that ran out --------------------------------------------------------------------------------------------

SHORT = "lease.LIFE = 3.0\n"


@pytest.fixture(scope="module")
def ferret() -> Iterator[MongoServer]:
    with MongoServer("staging") as server:
        yield server


@pytest.fixture
def mongo_values(
    ferret: MongoServer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    monkeypatch.setenv("PATH", f"{tools(tmp_path_factory.mktemp('tools')).folder}:{os.environ['PATH']}")
    monkeypatch.delenv("MONGODB_URI", raising=False)
    (tmp_path / "mongo-store").mkdir()
    name = f"test_{uuid.uuid4().hex[:8]}"
    yield {
        "dbms": "mongo",
        "database": name,
        "database_hostname": ferret.host,
        "database_port": ferret.port,
        "storagebackend": "directory",
        "url": str(tmp_path / "mongo-store"),
        "temppath": str(tmp_path / "temp"),
        "state_dir": str(tmp_path / "state"),
        "allow_restore_to_source": True,
    }
    ferret.drop_database(name)


def test_mongodb_has_one_lock_however_it_is_spelt(
    mongo_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = keys({"action": "push", **mongo_values})
    assert keys({"action": "push", **mongo_values}, database_hostname="localhost") == expected
    monkeypatch.setenv("MONGODB_URI", f"mongodb://127.0.0.1:{mongo_values['database_port']}/")
    bare = {k: v for k, v in mongo_values.items() if k not in ("database_hostname", "database_port")}
    assert keys({"action": "push", **bare}) == expected


@pytest.mark.parametrize("where", ["check", "swap", "discard"])
def test_a_mongodb_pull_that_wakes_after_its_lease_leaves_its_successors_work(
    ferret: MongoServer, mongo_values: dict[str, Any], tmp_path: Path, where: str
) -> None:
    name = mongo_values["database"]
    ferret.database(name).users.insert_many([{"_id": n, "email": f"user{n}"} for n in range(50)])
    push.push(Task.from_mapping({"action": "push", **mongo_values}), Host())
    fails = "mongo.Mongo.check = lambda self, group: 1 / 0\n" if where == "discard" else ""
    hook = f"{SHORT}{fails}before(mongo.Mongo, {where!r})"
    after = f"{SHORT}before(mongo.Mongo, 'swap')"
    with stopped_at({"action": "pull", **mongo_values}, tmp_path, hook) as sleeper:
        sleeper.process.send_signal(signal.SIGSTOP)
        time.sleep(3.2)
        with stopped_at({"action": "pull", **mongo_values}, tmp_path, after) as successor:
            theirs = [c for c in ferret.database(name).list_collection_names() if c.startswith("env_sync_scratch_")]
            assert len(theirs) == 1
            sleeper.process.send_signal(signal.SIGCONT)
            ended = sleeper.end()
            assert "error" in ended
            assert where == "discard" or "the lock was lost" in ended["error"]
            assert set(theirs) <= set(ferret.database(name).list_collection_names())
            assert "error" not in successor.end()
    assert ferret.database(name).users.count_documents({}) == 50
    assert not [c for c in ferret.database(name).list_collection_names() if c.startswith("env_sync_")]


def test_a_killed_holders_lease_is_free_at_once_and_another_boots_is_not(
    ferret: MongoServer, mongo_values: dict[str, Any], tmp_path: Path
) -> None:
    name = mongo_values["database"]
    ferret.database(name).users.insert_one({"_id": 1})
    push.push(Task.from_mapping({"action": "push", **mongo_values}), Host())
    with stopped_at({"action": "pull", **mongo_values}, tmp_path, "before(mongo.Mongo, 'check')") as holder:
        with pytest.raises(EnvSyncError, match=r"is pulling into it \(process \d+\)"):
            pull.pull(Task.from_mapping({"action": "pull", **mongo_values}), Host())
        holder.process.kill()
        holder.process.wait()
        mark = ferret.database(name).env_sync_pull
        process = mark.find_one({"_id": "pull"})["process"]
        # A clone of this host has its name, and another boot.
        mark.update_one({"_id": "pull"}, {"$set": {"process": {**process, "mark": "another-boot 1"}}})
        with pytest.raises(EnvSyncError, match="is pulling into it"):
            pull.pull(Task.from_mapping({"action": "pull", **mongo_values}), Host())
        mark.update_one({"_id": "pull"}, {"$set": {"process": process}})
        began = time.monotonic()
        pull.pull(Task.from_mapping({"action": "pull", **mongo_values}), Host())
        assert time.monotonic() - began < 20


@pytest.fixture(scope="module")
def search() -> Iterator[SearchServer]:
    with (
        tempfile.TemporaryDirectory(prefix="env_sync-repositories-") as folder,
        SearchServer("staging", Path(folder)) as server,
    ):
        yield server


def test_an_elasticsearch_pull_that_wakes_after_its_lease_leaves_its_successors_work(
    search: SearchServer, tmp_path: Path
) -> None:
    values = {
        "dbms": "elasticsearch",
        "database": "Search",
        "database_hostname": search.host,
        "database_port": search.port,
        "storagebackend": "es_snapshot",
        "url": "backups",
        "repository_type": "fs",
        "repository_settings": {"location": tmp_path.name},
        "temppath": str(tmp_path / "temp"),
        "state_dir": str(tmp_path / "state"),
        "allow_restore_to_source": True,
    }
    search.call("PUT", "/users", {"mappings": {"properties": {"email": {"type": "keyword"}}}})
    search.fill("users", {str(n): {"email": f"user{n}"} for n in range(5)})
    push.push(Task.from_mapping({"action": "push", **values}), Host())
    assert keys({"action": "push", **values}) == keys({"action": "push", **values}, database_hostname="localhost")
    hook = f"{SHORT}before(elasticsearch.Elasticsearch, 'swap')"
    with stopped_at({"action": "pull", **values}, tmp_path, hook) as sleeper:
        sleeper.process.send_signal(signal.SIGSTOP)
        time.sleep(4.2)  # its clock has whole seconds
        with stopped_at({"action": "pull", **values}, tmp_path, hook) as successor:
            theirs = [name for name in search.indices() if name.startswith("env_sync-") and name != "env_sync-lock"]
            sleeper.process.send_signal(signal.SIGCONT)
            assert "the lock was lost" in sleeper.end()["error"]
            assert set(theirs) <= set(search.indices())
            assert "error" not in successor.end()
    assert len(search.documents("users")) == 5
    search.clear()


# -- a straggler -----------------------------------------------------------------------------------------------------


def test_what_a_straggler_of_a_stopped_push_writes_is_removed_by_the_next(
    production: PostgresServer, database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last fsync takes longer than anybody waits, and then ends."""
    production.create_database(database, "CREATE TABLE t AS SELECT g FROM generate_series(1, 9) g")
    hanging, go_on, stop = threading.Event(), threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not hanging.is_set() and path.endswith(".partial") and os.fstat(descriptor).st_size:
            hanging.set()
            stop.set()
            go_on.wait(60)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    task = Task.from_mapping(task_values("push", database))
    with pytest.raises(EnvSyncError, match="told to stop"):
        push.push(task, Host(cancelled=stop.is_set))
    assert hanging.is_set()
    journal = Journal(task.state_dir, open_store(task).url(), server_keys(task).journal)
    [entry] = journal.unfinished()
    assert entry.claimed and entry.may_write()

    go_on.set()
    store = open_store(task)
    deadline = time.monotonic() + 10
    while not list(store.list(entry.point)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(store.list(entry.point)), "the straggler is to write, for the test to be worth anything"
    push.push(task, Host())

    assert [found.name for found in store.list(entry.point)] == []
    assert [point.state for point in catalogue.list_points(store, database)] == ["complete"]
