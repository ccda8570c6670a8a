# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MongoDB pushed from one server and pulled into another.

The servers are FerretDB, which lacks ``dropTarget``, views, validators and indexes that expire: the units test those
against stubs. ``mongodump`` and ``mongorestore`` are stand-ins where MongoDB's own are not installed (tests/servers).
"""

from __future__ import annotations

import datetime
import json
import multiprocessing
import os
import re
import signal
import subprocess
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import bson
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.address import uri_of
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.programs import (
    complaint,
    write_config,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.pipeline import Group
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Connection, Task

from tests.servers.mongo import MongoServer, Tools, mongosh, tools

# The first test of all builds the server, which takes minutes on a machine that has never done it.
pytestmark = pytest.mark.timeout(1500)

Values = Callable[..., dict[str, Any]]

EVERYTHING = {
    "double": 1.5,
    "string": "grüße\n'\"$",
    "document": {"b": 1, "a": {"c": []}},
    "array": [1, "two", {"three": 3}],
    "binary": b"\x00\xff",
    "uuid": bson.Binary.from_uuid(uuid.UUID(int=7)),
    "objectid": bson.ObjectId("0123456789ab0123456789ab"),
    "true": True,
    "date": datetime.datetime(2026, 1, 2, 3, 4, 5, 678000),
    "null": None,
    "regex": bson.Regex("^a.*b$", "i"),
    "int32": 2**31 - 1,
    "int64": bson.Int64(2**62),
    "timestamp": bson.Timestamp(1700000000, 3),
}


@pytest.fixture(scope="module")
def source() -> Iterator[MongoServer]:
    with MongoServer("production") as server:
        yield server


@pytest.fixture(scope="module")
def target() -> Iterator[MongoServer]:
    with MongoServer("staging") as server:
        yield server


@pytest.fixture(scope="module")
def dump_tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture(autouse=True)
def _path(dump_tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{dump_tools.folder}:{os.environ['PATH']}")
    monkeypatch.delenv("MONGODB_URI", raising=False)


@pytest.fixture
def name(source: MongoServer, target: MongoServer) -> Iterator[str]:
    """A database's name; gone from both servers afterwards."""
    made = f"test_{uuid.uuid4().hex[:8]}"
    yield made
    for server in (source, target):
        server.drop_database(made)


@pytest.fixture
def values(source: MongoServer, target: MongoServer, tmp_path: Path) -> Values:
    (tmp_path / "store").mkdir()

    def give(action: str, database: str, **others: Any) -> dict[str, Any]:
        server = source if action == "push" else target
        return {
            "action": action,
            "dbms": "mongo",
            "database": database,
            "database_hostname": server.host,
            "database_port": server.port,
            "storagebackend": "directory",
            "url": str(tmp_path / "store"),
            "path": "mongo",
            "temppath": str(tmp_path / "temp"),
            "state_dir": str(tmp_path / "state"),
            **others,
        }

    return give


def do_push(given: dict[str, Any]) -> dict[str, Any]:
    return push.push(Task.from_mapping(given), Host())


def do_pull(given: dict[str, Any]) -> dict[str, Any]:
    return pull.pull(Task.from_mapping(given), Host())


def fill(server: MongoServer, name: str, users: int = 500) -> None:
    """Give the source what the tests compare."""
    database = server.database(name)
    people = [{"_id": n, "email": f"user{n}@example.com", "age": n % 90, "text": "x" * 200} for n in range(users)]
    database.users.insert_many(people)
    database.users.create_index("email", unique=True)
    database.users.create_index([("age", 1), ("email", -1)], name="age and email")
    database["a-dashed name"].insert_one({"_id": 1, **EVERYTHING})
    database.create_collection("empty")


def live(server: MongoServer, name: str) -> None:
    """Give the target what a pull replaces, and a collection that has vanished at the source."""
    server.database(name).users.insert_one({"_id": 0, "email": "old"})
    server.database(name).vanished.insert_one({"_id": 0})


def indexes(server: MongoServer, name: str) -> dict[str, Any]:
    return server.database(name).users.index_information()


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_a_database_survives_push_verify_and_pull(
    source: MongoServer, target: MongoServer, name: str, values: Values, compression: str
) -> None:
    fill(source, name)
    live(target, name)

    pushed = do_push(values("push", name, compression=compression))
    verified = upkeep.verify(Task.from_mapping(values("pull", name)), Host())
    pulled = do_pull(values("pull", name))

    assert verified["point"] == pulled["point"] == pushed["point"]
    assert target.contents(name) == source.contents(name)
    assert indexes(target, name) == indexes(source, name)
    tables = {table["name"]: table for table in pushed["manifest"]["tables"]}
    assert {table: about["rows"] for table, about in tables.items()} == {"users": 500, "a-dashed name": 1, "empty": 0}
    assert {"name": "email_1", "key": [["email", 1]], "unique": True} in tables["users"]["indexes"]
    states = [point.state for point in catalogue.list_points(open_store(Task.from_mapping(values("pull", name))))]
    assert states == ["complete"]


def test_a_target_that_does_not_exist_is_created(
    source: MongoServer, target: MongoServer, name: str, values: Values
) -> None:
    fill(source, name)
    do_push(values("push", name))
    assert do_pull(values("pull", name))["replaced"] is None
    assert target.contents(name) == source.contents(name)


def test_the_point_of_a_timestamp_is_pulled(
    source: MongoServer, target: MongoServer, name: str, values: Values
) -> None:
    source.database(name).notes.insert_one({"_id": 1})
    do_push(values("push", name, timestamp="2026-01-01T01:00"))
    source.database(name).notes.insert_one({"_id": 2})
    do_push(values("push", name, timestamp="2026-01-02T01:00"))
    do_pull(values("pull", name, timestamp="2026-01-01T01:00"))
    assert target.contents(name) == {"notes": [{"_id": 1}]}


def test_an_excluded_collection_is_not_in_the_point_and_stays_at_the_target(
    source: MongoServer, target: MongoServer, name: str, values: Values
) -> None:
    fill(source, name)
    source.database(name).sessions.insert_one({"_id": "of the source"})
    target.database(name).sessions.insert_one({"_id": "of the target"})
    do_push(values("push", name, excluded_tables="sessions"))
    do_pull(values("pull", name))
    assert target.contents(name)["sessions"] == [{"_id": "of the target"}]


def test_an_excluded_collection_that_is_not_there_is_refused(source: MongoServer, name: str, values: Values) -> None:
    fill(source, name)
    with pytest.raises(EnvSyncError, match="excluded_tables names sesions"):
        do_push(values("push", name, excluded_tables="sesions"))


SCRIPT = [
    {"update": "users", "updates": [{"q": {}, "u": {"$set": {"email": "hidden"}}, "multi": True}]},
    {"delete": "users", "deletes": [{"q": {"age": {"$gte": 80}}, "limit": 0}]},
    {"insert": "notes", "documents": [{"_id": 1}]},
    {"drop": "empty"},
]


def test_a_list_of_commands_sanitises_before_the_swap(
    source: MongoServer, target: MongoServer, name: str, values: Values, tmp_path: Path
) -> None:
    fill(source, name)
    source.database(name).users.drop_index("email_1")
    live(target, name)
    script = tmp_path / "sanitise.json"
    script.write_text(json.dumps(SCRIPT))
    do_push(values("push", name))
    pulled = do_pull(values("pull", name, transformation_sql_filename=str(script)))
    contents = target.contents(name)
    assert sorted(contents) == ["a-dashed name", "notes", "users"]
    assert {user["email"] for user in contents["users"]} == {"hidden"}
    assert max(user["age"] for user in contents["users"]) == 79
    assert [entry["script"] for entry in pulled["sanitised"]] == ["sanitise.json"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"update": "nobody", "updates": []}]', "no collection nobody"),
        ('[{"insert": "users", "documents": [{"_id": 1, "email": "secret@example.com"}]}]', "error 11000"),
        ('[{"dropDatabase": 1}]', "command 1"),
        ('[{"update": "users",\n', "no JSON"),
    ],
)
def test_a_script_that_fails_leaves_the_live_database_alone(
    source: MongoServer, target: MongoServer, name: str, values: Values, tmp_path: Path, text: str, says: str
) -> None:
    fill(source, name)
    live(target, name)
    before = target.contents(name)
    (tmp_path / "sanitise.json").write_text(text)
    do_push(values("push", name))
    with pytest.raises(EnvSyncError, match=says) as caught:
        do_pull(values("pull", name, transformation_sql_filename=str(tmp_path / "sanitise.json")))
    assert target.contents(name) == before
    assert "secret" not in str(caught.value)


@pytest.fixture
def _mongosh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{mongosh()}:{os.environ['PATH']}")


@pytest.mark.usefixtures("_mongosh")
def test_mongosh_runs_a_script_on_the_scratch_collections_only(
    source: MongoServer, target: MongoServer, name: str, values: Values, tmp_path: Path
) -> None:
    fill(source, name)
    live(target, name)
    before = target.contents(name)
    do_push(values("push", name))
    script = tmp_path / "sanitise.js"
    script.write_text(
        'db.users.dropIndex("email_1");\n'
        'db.users.updateMany({}, {$set: {email: "hidden"}});\n'
        'db.getCollection("users").find({age: 0}).forEach(user => db.firsts.insertOne({_id: user._id}));\n'
        'db.runCommand({delete: "users", deletes: [{q: {age: 1}, limit: 0}]});\n'
        'if (db.users.getName() !== "users") throw new TypeError("names the scratch one");\n'
        'if (db.getCollectionNames().includes("vanished")) throw new TypeError("sees the live collections");\n'
    )
    broken = tmp_path / "broken.js"
    broken.write_text('db.users.insertOne({_id: 1, email: "secret@example.com"});\n')

    with pytest.raises(EnvSyncError, match="MongoServerError E11000") as caught:
        do_pull(values("pull", name, transformation_sql_filename=str(broken)))
    assert "secret" not in str(caught.value)
    assert target.contents(name) == before

    do_pull(values("pull", name, transformation_sql_filename=str(script)))
    contents = target.contents(name)
    assert sorted(contents) == ["a-dashed name", "empty", "firsts", "users"]
    assert {user["email"] for user in contents["users"]} == {"hidden"}
    assert 1 not in {user["age"] for user in contents["users"]}


def test_the_old_collections_are_kept_and_replaced_by_the_next_pull(
    source: MongoServer, target: MongoServer, name: str, values: Values
) -> None:
    fill(source, name)
    live(target, name)
    do_push(values("push", name))
    pulled = do_pull(values("pull", name, old_database="keep"))
    assert pulled["kept"] == f"{name}.env_sync_old_*"
    contents = target.contents(name)
    assert contents["env_sync_old_users"] == [{"_id": 0, "email": "old"}]
    assert contents["env_sync_old_vanished"] == [{"_id": 0}]
    do_pull(values("pull", name))
    assert target.contents(name) == source.contents(name)


def damage(point: Path, how: str) -> None:
    data = bytearray(point.read_bytes())
    if how == "missing":
        point.unlink()
    elif how == "truncated":
        point.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        point.write_bytes(data)


@pytest.mark.parametrize("how", ["truncated", "flipped", "missing"])
@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_a_damaged_point_is_refused(
    source: MongoServer, target: MongoServer, name: str, values: Values, tmp_path: Path, how: str, compression: str
) -> None:
    fill(source, name)
    live(target, name)
    before = target.contents(name)
    pushed = do_push(values("push", name, compression=compression))
    suffix = ".dump.zst" if compression == "zstd" else ".dump"
    damage(tmp_path / "store" / "mongo" / (pushed["point"] + suffix), how)
    with pytest.raises(EnvSyncError):
        upkeep.verify(Task.from_mapping(values("pull", name)), Host())
    with pytest.raises(EnvSyncError):
        do_pull(values("pull", name, timestamp=pushed["point"][:19]))
    assert target.contents(name) == before


def legacy_point(dump_tools: Tools, source: MongoServer, name: str, tmp_path: Path) -> Path:
    """Store a point as the original made it: a gzipped tar of mongodump's directory."""
    config = config_for(source, tmp_path)
    argv = [str(dump_tools.folder / "mongodump"), f"--config={config}", f"--db={name}", f"--out={tmp_path / 'out'}"]
    subprocess.run(argv, check=True, timeout=60, capture_output=True)
    store = tmp_path / "store" / "mongo"
    store.mkdir()
    with tarfile.open(store / f"2020-01-02T03:04:05-{name}.gz", "w:gz") as tar:
        tar.add(tmp_path / "out" / name, arcname=name)
    return store / f"2020-01-02T03:04:05-{name}.gz"


def test_what_the_original_stored_is_pulled(
    source: MongoServer, target: MongoServer, name: str, values: Values, dump_tools: Tools, tmp_path: Path
) -> None:
    fill(source, name)
    live(target, name)
    legacy_point(dump_tools, source, name, tmp_path)
    do_pull(values("pull", name))
    assert target.contents(name) == source.contents(name)
    assert indexes(target, name) == indexes(source, name)


@pytest.mark.parametrize("how", ["truncated", "flipped", "escaping"])
def test_a_damaged_or_escaping_tar_of_the_original_is_refused(
    source: MongoServer, target: MongoServer, name: str, values: Values, dump_tools: Tools, tmp_path: Path, how: str
) -> None:
    fill(source, name)
    live(target, name)
    before = target.contents(name)
    point = legacy_point(dump_tools, source, name, tmp_path)
    if how == "escaping":
        with tarfile.open(point, "w:gz") as tar:
            tar.add(tmp_path / "out" / name / "users.bson", arcname=f"{name}/../../escaped.bson")
    else:
        damage(point, how)
    with pytest.raises(EnvSyncError):
        do_pull(values("pull", name))
    assert target.contents(name) == before
    assert not list(tmp_path.rglob("escaped.bson"))


def test_a_client_never_sees_data_that_is_not_sanitised_nor_long_nothing(
    source: MongoServer, target: MongoServer, name: str, values: Values, tmp_path: Path
) -> None:
    fill(source, name)
    source.database(name).users.drop_index("email_1")
    live(target, name)
    (tmp_path / "sanitise.json").write_text(json.dumps(SCRIPT[:1]))
    do_push(values("push", name))
    seen: set[str] = set()
    longest = 0.0
    done = threading.Event()

    def look() -> None:
        nonlocal longest
        last = time.monotonic()
        while not done.is_set():
            found = target.database(name).users.find_one()
            now = time.monotonic()
            if found:
                seen.add(found["email"])
                longest, last = max(longest, now - last), now
            time.sleep(0.002)

    client = threading.Thread(target=look)
    client.start()
    try:
        do_pull(values("pull", name, transformation_sql_filename=str(tmp_path / "sanitise.json")))
        time.sleep(0.1)
    finally:
        done.set()
        client.join()
    assert seen == {"old", "hidden"}
    assert longest < 1


def scratch(server: MongoServer, name: str) -> list[str]:
    return [c for c in server.database(name).list_collection_names() if c.startswith("env_sync_")]


def restoring_users(server: MongoServer, name: str) -> bool:
    return any(re.fullmatch("env_sync_scratch_[0-9a-f]{8}_users", found) for found in scratch(server, name))


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


def test_a_pull_killed_in_its_swap_is_taken_back(
    source: MongoServer, target: MongoServer, name: str, values: Values
) -> None:
    fill(source, name)
    live(target, name)
    do_push(values("push", name))
    database = target.database(name)
    # What is there when a swap in two steps dies between them, and after it has brought a collection that is new.
    database.users.rename("env_sync_old_users")
    database["empty"].insert_one({"_id": "half a swap"})
    # What an application makes afterwards is not ours.
    database["made since"].insert_one({"_id": 1})
    mark = {"_id": "pull", "token": "dead", "host": os.uname().nodename, "swapping": True}
    database.env_sync_pull.insert_one({**mark, "new": ["a-dashed name", "empty"]})
    with pytest.raises(EnvSyncError, match="no collection nobody"):
        script = Path(values("pull", name)["url"]) / "sanitise.json"
        script.write_text('[{"update": "nobody", "updates": []}]')
        do_pull(values("pull", name, transformation_sql_filename=str(script)))
    assert target.contents(name) == {
        "made since": [{"_id": 1}],
        "users": [{"_id": 0, "email": "old"}],
        "vanished": [{"_id": 0}],
    }


def test_collections_that_only_look_like_ours_are_not_dropped(
    source: MongoServer, target: MongoServer, name: str, values: Values
) -> None:
    fill(source, name)
    target.database(name)["env_sync_scratch_theirs"].insert_one({"_id": 1})
    do_push(values("push", name))
    with pytest.raises(EnvSyncError, match="no mark"):
        do_pull(values("pull", name))
    assert target.contents(name)["env_sync_scratch_theirs"] == [{"_id": 1}]


def test_a_pull_from_another_host_is_waited_for(
    source: MongoServer, target: MongoServer, name: str, values: Values
) -> None:
    fill(source, name)
    do_push(values("push", name))
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=30)
    target.database(name).env_sync_pull.insert_one({"_id": "pull", "token": "x", "host": "db-2", "until": until})
    with pytest.raises(EnvSyncError, match="db-2 is pulling"):
        do_pull(values("pull", name))


def test_the_source_is_refused_as_target(source: MongoServer, name: str, values: Values) -> None:
    fill(source, name)
    do_push(values("push", name))
    before = source.contents(name)
    with pytest.raises(EnvSyncError, match="it was pushed from"):
        do_pull(values("pull", name, database_port=source.port))
    assert source.contents(name) == before


def test_a_database_that_is_not_there_is_named(name: str, values: Values) -> None:
    with pytest.raises(EnvSyncError, match=f"there is no database {name}"):
        do_push(values("push", name))


def test_a_server_that_is_not_there_is_named(name: str, values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongodb://localhost/?serverSelectionTimeoutMS=300")
    with pytest.raises(EnvSyncError, match=r"127\.0\.0\.1:1"):
        do_push(values("push", name, database_port=1))


def test_the_environment_s_password_is_for_this_host_by_any_name(
    source: MongoServer, name: str, values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FerretDB's package for embedding takes any password, and that by this mechanism only."""
    fill(source, name)
    monkeypatch.setenv(
        "MONGODB_URI", f"mongodb://me:s3cret@localhost:{source.port}/?authMechanism=PLAIN&authSource=$external"
    )
    given = values("push", name, database_hostname=f"127.0.0.1:{source.port}")
    del given["database_port"]
    assert do_push(given)["changed"]
    with pytest.raises(EnvSyncError, match=r"are for its own hosts \(localhost"):
        do_push(values("push", name, database_hostname="127.example"))


def test_a_point_is_restored_by_hand(
    source: MongoServer, target: MongoServer, name: str, values: Values, dump_tools: Tools, tmp_path: Path
) -> None:
    """As docs/operate/restore-by-hand.md says."""
    fill(source, name)
    point = do_push(values("push", name))["point"]
    config = config_for(target, tmp_path)
    with open(tmp_path / "plain", "wb") as plain:
        archive = tmp_path / "store" / "mongo" / f"{point}.dump.zst"
        subprocess.run(["zstd", "-dc", str(archive)], stdout=plain, check=True, timeout=60)
    argv = [str(dump_tools.folder / "mongorestore"), f"--config={config}", "--archive", "--stopOnError"]
    argv += [f"--nsInclude={name}.*", f"--nsFrom={name}.*", f"--nsTo={name}_restored.*"]
    try:
        with open(tmp_path / "plain", "rb") as plain:
            subprocess.run(argv, stdin=plain, check=True, timeout=60, capture_output=True)
        assert target.contents(f"{name}_restored") == source.contents(name)
    finally:
        target.drop_database(f"{name}_restored")


def test_a_dump_that_lacks_a_collection_is_no_point(
    dump_tools: Tools, source: MongoServer, name: str, values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mongodump passes over names that it takes for the server's own, and exits with 0."""
    fill(source, name)
    (tmp_path / "bin").mkdir()
    forgetful = tmp_path / "bin" / "mongodump"
    forgetful.write_text(f'#!/bin/sh\nexec "{dump_tools.folder}/mongodump" "$@" --excludeCollection=users\n')
    forgetful.chmod(0o755)
    monkeypatch.setenv("PATH", f"{forgetful.parent}:{os.environ['PATH']}")
    with pytest.raises(EnvSyncError, match="the dump lacks users"):
        do_push(values("push", name))
    assert not list((tmp_path / "store").rglob(f"*{name}*"))


@pytest.mark.parametrize("program", ["mongodump", "mongorestore"])
def test_a_password_is_in_no_error(dump_tools: Tools, source: MongoServer, tmp_path: Path, program: str) -> None:
    """MongoDB's programs name the whole address when they cannot log in."""
    connection = Connection(source.host, source.port, "me", "s3cr3t/word")
    uri = uri_of(connection, "mongodb:///?authMechanism=SCRAM-SHA-256", {})
    argv = [str(dump_tools.folder / program), "--config", write_config(str(tmp_path), uri), "--archive"]
    argv += ["--db=x"] if program == "mongodump" else ["--nsInclude=x.*", "--nsFrom=x.*", "--nsTo=x.*"]
    with pytest.raises(EnvSyncError, match=r"connect to (the )?server: .*auth") as caught, Group() as group:
        group.run(argv, "connecting", repeatable=complaint).wait()
    assert "s3cr3t" not in str(caught.value)


def test_what_mongorestore_died_of_is_all_that_is_said(
    source: MongoServer, target: MongoServer, name: str, values: Values, dump_tools: Tools, tmp_path: Path
) -> None:
    """Here of a unique index on what is not unique."""
    fill(source, name)
    live(target, name)
    before = target.contents(name)
    source.database(name).people.insert_many([{"_id": n, "email": "secret@example.com"} for n in range(2)])
    point = legacy_point(dump_tools, source, name, tmp_path)
    about = tmp_path / "out" / name / "people.metadata.json"
    described = json.loads(about.read_text())
    described["indexes"].append({"v": 2, "key": {"email": 1}, "name": "email_1", "unique": True})
    about.write_text(json.dumps(described))
    with tarfile.open(point, "w:gz") as tar:
        tar.add(tmp_path / "out" / name, arcname=name)
    with pytest.raises(EnvSyncError, match=r"mongorestore: exit status 1: Failed: .*error creating indexes") as caught:
        do_pull(values("pull", name))
    assert "secret@example.com" not in str(caught.value)
    assert len(str(caught.value)) < 700
    assert target.contents(name) == before


def config_for(server: MongoServer, tmp_path: Path) -> Path:
    config = tmp_path / "mongo.yaml"
    config.write_text(f"uri: 'mongodb://{server.host}:{server.port}/?directConnection=true'\n")
    config.chmod(0o600)
    return config


def test_documentdb_is_spoken_to_over_tls_only(
    dump_tools: Tools, values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The addresses and the certificate authority come from the environment, as the original names them."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=docdb"]
    argv += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(argv, check=True, timeout=60, capture_output=True)
    stem = "CONTENT_STORE_DOCUMENTDB_"
    with MongoServer("docdb-1", (certificate, key)) as origin, MongoServer("docdb-2", (certificate, key)) as goal:
        fill(origin, "content-store")
        monkeypatch.setenv(stem + "HOST", origin.host)
        monkeypatch.setenv(stem + "PASSWD", "a/secret@'quoted'")
        # FerretDB's package for embedding takes any password, and that by this mechanism only.
        monkeypatch.setenv(
            "MONGODB_URI", "mongodb:///?authMechanism=PLAIN&authSource=$external&serverSelectionTimeoutMS=2000"
        )
        common = {"dbms": "documentdb", "database_hostname": ""}
        with pytest.raises(EnvSyncError, match=r"(?i)certificate"):
            do_push(values("push", "content-store", **common, database_port=origin.port))
        monkeypatch.setenv(stem + "CA_FILE", str(certificate))
        do_push(values("push", "content-store", **common, database_port=origin.port))
        do_pull(values("pull", "content-store", **common, database_port=goal.port))
        assert goal.contents("content-store") == origin.contents("content-store")


# No registry has MongoDB's own tools. Where they are named, all of this file runs with them, and this says so.
if os.environ.get("ENV_SYNC_TEST_MONGO_TOOLS"):

    def test_with_the_tools_of_mongodb_themselves(
        dump_tools: Tools, source: MongoServer, target: MongoServer, name: str, values: Values
    ) -> None:
        assert dump_tools.real, "ENV_SYNC_TEST_MONGO_TOOLS names a folder without mongodump"
        fill(source, name)
        do_push(values("push", name))
        do_pull(values("pull", name))
        assert target.contents(name) == source.contents(name)
