# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MongoDB without a server: the archive's own checks, addresses, scripts, and what the test servers can't do."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any, Callable

import bson
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases import mongo_tar
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.documentdb import DocumentDB
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo import Mongo
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo_archive import (
    Archive,
    Collection,
    Crc64,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo_client import (
    ServerError,
    uri_of,
    write_config,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo_script import check_script
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo_swap import Swap
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.manifest import Manifest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.point import manifest_name, point_name
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.progress import Host, read_statuses
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.task import Connection, Task

from tests.servers.mongo_stand_in import block, crc64, end, prelude

ONE = [bson.encode({"_id": n, "text": "x" * n}) for n in range(3)]
TWO = [bson.encode({"_id": "only"})]


def described(name: str, kind: str = "collection", **options: Any) -> dict[str, Any]:
    indexes = [] if kind == "view" else [{"v": 2, "key": {"_id": 1}, "name": "_id_"}]
    return {"options": options, "indexes": indexes, "collectionName": name, "type": kind}


HEAD = prelude("app", [described("one"), described("two"), described("v", "view", viewOn="one", pipeline=[])])
BLOCKS = (
    block("app", "one", ONE[:2])
    + block("app", "two", TWO)
    + end("app", "two", crc64(TWO[0]))
    + block("app", "one", ONE[2:])
    + end("app", "one", crc64(b"".join(ONE)))
)


def read(data: bytes, block_size: int = 1 << 20) -> Archive:
    archive = Archive(io.BytesIO(data), "app", "reading")
    while archive.read(block_size):
        pass
    return archive


@pytest.mark.parametrize("block_size", [1, 7, 1 << 20])
def test_a_whole_archive_is_read_however_it_comes(block_size: int) -> None:
    collections = read(HEAD + BLOCKS, block_size).collections
    assert {name: c.documents for name, c in collections.items()} == {"one": 3, "two": 1, "v": 0}
    assert collections["v"].kind == "view"
    assert collections["v"].options == {"viewOn": "one", "pipeline": []}
    assert collections["one"].indexes[0]["name"] == "_id_"


def test_every_truncated_archive_is_refused() -> None:
    whole = HEAD + BLOCKS
    for size in range(len(whole)):
        with pytest.raises(EnvSyncError, match="damaged"):
            read(whole[:size])


def test_every_flipped_byte_in_the_blocks_is_noticed() -> None:
    """But for those that nothing reads: a block's CRC counts in its last header only."""
    unread = [len(HEAD) + BLOCKS.index(b"CRC\0", start) + 4 for start in starts_of_open_headers()]
    free = {offset + n for offset in unread for n in range(8)}
    for offset in range(len(HEAD), len(HEAD + BLOCKS)):
        if offset not in free:
            data = bytearray(HEAD + BLOCKS)
            data[offset] ^= 1
            with pytest.raises(EnvSyncError, match="damaged"):
                read(bytes(data))


def starts_of_open_headers() -> list[int]:
    heads = [bson.encode({"db": "app", "collection": name, "EOF": False, "CRC": bson.Int64(0)}) for name in _ORDER]
    starts, position = [], 0
    for head in heads:
        position = BLOCKS.index(head, position)
        starts.append(position)
        position += 1
    return starts


_ORDER = ("one", "two", "one")


def test_the_archive_of_another_database_is_refused() -> None:
    with pytest.raises(EnvSyncError, match="holds database other"):
        read(prelude("other", [described("one")]) + end("other", "one", 0))


def test_a_time_series_ends_with_its_buckets() -> None:
    head = prelude("app", [described("series", "timeseries")])
    data = block("app", "system.buckets.series", TWO) + end("app", "system.buckets.series", crc64(TWO[0]))
    assert read(head + data).collections["series"].documents == 1
    with pytest.raises(EnvSyncError, match="ends before collection series"):
        read(head)


def test_crc_is_the_one_of_the_standard() -> None:
    for crc, agrees in ((0x995DC9BBDF1939FA, True), (0x995DC9BBDF1939FB, False)):
        check = Crc64()
        check.update(memoryview(b"1234"))
        check.update(memoryview(b"56789"))
        assert check.agrees(crc) is agrees


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 200001])
def test_crc_of_any_length(size: int) -> None:
    data = bytes(n % 251 for n in range(size))
    check = Crc64()
    check.update(memoryview(data))
    assert check.agrees(crc64(data))


@pytest.mark.parametrize(
    ("connection", "base", "uri"),
    [
        (Connection(), "", "mongodb://localhost:27017/?directConnection=true"),
        (Connection("db-1", 27018, "me@x", "p:/"), "", "mongodb://me%40x:p%3A%2F@db-1:27018/?directConnection=true"),
        (Connection("::1"), "", "mongodb://[::1]:27017/?directConnection=true"),
        (Connection(), "mongodb://a:b@x,y:1/auth?replicaSet=r", "mongodb://a:b@x,y:1/?replicaSet=r&authSource=auth"),
        (Connection("db-1"), "mongodb://a:b@x/?tls=true", "mongodb://a:b@db-1:27017/?tls=true&directConnection=true"),
        (Connection(user="me"), "mongodb+srv://a:b@x/", "mongodb+srv://me@x/?"),
    ],
)
def test_an_address_is_of_the_task_and_of_the_environment(connection: Connection, base: str, uri: str) -> None:
    made = uri_of(connection, base, {}).replace("&serverSelectionTimeoutMS=10000", "")
    assert made.replace("serverSelectionTimeoutMS=10000&", "").replace("serverSelectionTimeoutMS=10000", "") == uri


def documentdb(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(f"CONTENT_STORE_DOCUMENTDB_{name}", value)
    given = {"action": "push", "dbms": "documentdb", "database": "content-store", "dest": "/nowhere"}
    return DocumentDB.uri(Task.from_mapping(given))


def test_documentdb_takes_its_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = documentdb(monkeypatch, HOST="docdb", PASSWD="s3cret", CA_FILE="/etc/ca.pem")
    assert uri.startswith("mongodb://master:s3cret@docdb:27017/?tls=true&retryWrites=false&tlsCAFile=%2Fetc%2Fca.pem")


@pytest.mark.parametrize(("environment", "missing"), [({}, "HOST"), ({"HOST": "docdb"}, "PASSWD")])
def test_documentdb_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], missing: str
) -> None:
    with pytest.raises(EnvSyncError, match=f"CONTENT_STORE_DOCUMENTDB_{missing} in the environment"):
        documentdb(monkeypatch, **environment)


def test_the_config_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = write_config(str(tmp_path), "mongodb://a:it's@x/")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert Path(path).read_text() == "uri: 'mongodb://a:it''s@x/'\n"


class StubServer:
    """A server that plays what FerretDB lacks: ``dropTarget``, views, secondaries."""

    name = "stub:27017"

    def __init__(self, primary: bool = True, collections: tuple[str, ...] = (), views: Any = None) -> None:
        self.primary = primary
        self.there: dict[str, dict[str, Any]] = {name: {"type": "collection"} for name in collections}
        self.there.update({name: {"type": "view", "options": options} for name, options in (views or {}).items()})
        self.commands: list[dict[str, Any]] = []
        self.fails_at = ""

    def hello(self, doing: str) -> dict[str, Any]:
        return {"isWritablePrimary": self.primary}

    def collections(self, database: str, doing: str) -> dict[str, dict[str, Any]]:
        return dict(self.there)

    def command(self, database: str, command: dict[str, Any], doing: str) -> dict[str, Any]:
        if self.fails_at and self.fails_at in str(command):
            raise ServerError(doing, "it failed", 1)
        self.commands.append(command)
        return {}

    def done(self) -> list[str]:
        """Return the commands in few words."""
        return [" ".join(f"{value}" for value in command.values()) for command in self.commands]


def swap(server: Any, views: dict[str, Collection] | None = None, spared: tuple[str, ...] = ()) -> None:
    Swap(server, "app", keep_old=False).run(views or {}, spared)


def test_collections_are_replaced_in_one_step_and_vanished_ones_dropped_last() -> None:
    server = StubServer(collections=("env_sync_scratch_a", "env_sync_scratch_new", "a", "gone", "spared", "system.js"))
    swap(server, spared=("spared",))
    assert server.commands == [
        {"renameCollection": "app.env_sync_scratch_a", "to": "app.a", "dropTarget": True},
        {"renameCollection": "app.env_sync_scratch_new", "to": "app.new"},
        {"drop": "gone"},
    ]


def test_a_swap_that_fails_half_way_says_so() -> None:
    server = StubServer(collections=("env_sync_scratch_a", "env_sync_scratch_b", "a", "b", "gone"))
    server.fails_at = "app.b"
    with pytest.raises(EnvSyncError, match="1 of 2 collections were replaced, then: it failed"):
        swap(server)
    assert {"drop": "gone"} not in server.commands


def test_views_become_what_they_are_at_the_source() -> None:
    plain = {"viewOn": "a", "pipeline": []}
    other = {"viewOn": "b", "pipeline": []}
    french = {**plain, "collation": {"locale": "fr"}}
    server = StubServer(
        collections=("env_sync_scratch_was_view", "was_collection"),
        views={"same": plain, "changed": plain, "collated": plain, "vanished": plain, "was_view": plain},
    )
    views = {"same": plain, "changed": other, "collated": french, "new": plain, "was_collection": plain}
    swap(server, {name: Collection(name, "view", options) for name, options in views.items()})
    assert server.commands == [
        {"drop": "was_view"},
        {"renameCollection": "app.env_sync_scratch_was_view", "to": "app.was_view"},
        {"collMod": "changed", **other},
        {"drop": "collated"},
        {"create": "collated", **french},
        {"create": "new", **plain},
        {"drop": "was_collection"},
        {"create": "was_collection", **plain},
        {"drop": "vanished"},
    ]


def mongo(server: Any, **values: Any) -> Mongo:
    given = {"action": "push", "dbms": "mongo", "database": "app", "dest": "/nowhere", **values}
    database = Mongo.from_task(Task.from_mapping(given), "")
    database._server = server
    return database


def test_a_member_that_is_not_primary_has_nothing_to_push() -> None:
    assert mongo(StubServer(primary=False)).preflight_dump() == {
        "skip": "stub:27017 is not the primary member of its replica set"
    }


class Secondary(StubServer):
    """A member that answers what a preflight asks, and notes everything else."""

    def __init__(self) -> None:
        super().__init__(primary=False, collections=("env_sync_scratch_a",))

    def system(self, doing: str) -> str:
        return "replica-set"

    def command(self, database: str, command: dict[str, Any], doing: str) -> dict[str, Any]:
        return {"version": "7.0.1"} if "buildInfo" in command else super().command(database, command, doing)

    def close(self) -> None: ...


def test_a_member_that_is_not_primary_has_nothing_to_pull_and_is_not_written_to(
    store: DirectoryStore, make_manifest: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manifest = make_manifest(dbms="mongo")
    point = point_name(manifest.timestamp, "app")
    store.put_bytes(manifest_name(point), manifest.to_json())
    server = Secondary()
    module = "ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo"
    monkeypatch.setattr(f"{module}.Server", lambda uri: server)
    task = Task.from_mapping(
        {
            "action": "pull",
            "dbms": "mongo",
            "database": "app",
            "src": str(tmp_path / "store" / "pg"),
            "state_dir": str(tmp_path / "state"),
        }
    )
    for verb in (pull.plan, pull.pull):
        done = verb(task, Host())
        assert (done["changed"], done["point"]) == (False, point)
        assert done["skipped"] == "stub:27017 is not the primary member of its replica set"
    assert server.commands == []
    [status] = read_statuses(str(tmp_path / "state"))
    assert (status.state, status.message) == ("done", f"nothing to do: {done['skipped']}")


@pytest.mark.parametrize("name", ["a.b", "a*", "a b", "x" * 64])
def test_a_name_that_mongodb_does_not_allow_is_refused(name: str) -> None:
    with pytest.raises(EnvSyncError, match="no name for a MongoDB database"):
        mongo(StubServer(), database=name).preflight_dump()


class SmallServer(StubServer):
    """A stub whose scratch collections hold what the test says."""

    def __init__(self, count: int, indexes: list[dict[str, Any]]) -> None:
        super().__init__(collections=("env_sync_scratch_a",))
        self._count = count
        self._indexes = indexes

    def count(self, database: str, collection: str, doing: str) -> int:
        return self._count

    def indexes(self, database: str, collection: str, doing: str) -> list[dict[str, Any]]:
        return self._indexes


ID = {"name": "_id_", "key": {"_id": 1}, "v": 2}
EXPIRING = {"name": "t_1", "key": {"t": 1.0}, "expireAfterSeconds": bson.Int64(60)}


@pytest.mark.parametrize(
    ("count", "there", "wanted", "says"),
    [
        (3, [ID], [ID], ""),
        (2, [ID], [ID], "2 documents, the dump 3"),
        (4, [ID], [ID], "4 documents"),
        (3, [ID], [ID, {"name": "n_1", "key": {"n": 1}}], "index n_1"),
        (3, [ID, {"name": "n", "key": {"n": 1}}], [ID, {"name": "n", "key": {"n": 1}, "unique": True}], "index n "),
        (3, [ID, {"name": "n", "key": {"b": 1, "a": 1}}], [ID, {"name": "n", "key": {"a": 1, "b": 1}}], "index n "),
        (2, [ID, {**EXPIRING, "expireAfterSeconds": 60, "key": {"t": 1}}], [ID, EXPIRING], ""),
    ],
)
def test_a_restore_is_proven(count: int, there: list[Any], wanted: list[Any], says: str) -> None:
    """Where documents expire, the server may have taken some since the dump."""
    database = mongo(SmallServer(count, there))
    collections = {"a": Collection("a", "collection", {}, wanted, 3)}
    if says:
        with pytest.raises(EnvSyncError, match=says):
            database._prove(collections, "restoring")
    else:
        database._prove(collections, "restoring")


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("a.json", "{}", "no list of commands"),
        ("a.json", '[{"aggregate": "users", "pipeline": [{"$out": "live"}]}]', "command 1"),
        ("a.json", '[{"update": {"$oid": "x"}}]', "no JSON"),
        ("a.js", "db.users.drop()", "mongosh is not installed"),
    ],
)
def test_a_script_is_checked_before_anything_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, says: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / file).write_text(text)
    with pytest.raises(EnvSyncError, match=says):
        check_script(str(tmp_path / file), "checking")


def tar_of(**entries: Any) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                tar.addfile(info)
    stream.seek(0)
    return stream


@pytest.mark.parametrize(
    "entries",
    [
        {"app/../x.bson": TWO[0]},
        {"/app/x.bson": TWO[0]},
        {"other/x.bson": TWO[0]},
        {"app/sub/x.bson": TWO[0]},
        {"app/x.sh": b""},
        {"app/x.bson": (tarfile.SYMTYPE, "/etc/passwd")},
        {"app/x.bson": (tarfile.LNKTYPE, "app/y.bson")},
    ],
)
def test_a_tar_that_leaves_its_folder_is_refused(tmp_path: Path, entries: dict[str, Any]) -> None:
    with pytest.raises(EnvSyncError, match="which no dump of app does"):
        mongo_tar.scan(tar_of(**entries), "app", "reading", str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"app/x.bson": TWO[0][:-1]}, "document 1 cannot be"),
        ({"app/x.bson": TWO[0] + TWO[0][:-1] + b"x"}, "document 2 does not end"),
        ({"app/x.metadata.json": b"{"}, "x.metadata.json cannot be read"),
        ({}, "no collection"),
    ],
)
def test_a_damaged_tar_is_refused(entries: dict[str, Any], says: str) -> None:
    with pytest.raises(EnvSyncError, match=says):
        mongo_tar.scan(tar_of(**entries), "app", "reading")


def test_a_tar_is_counted_and_unpacked(tmp_path: Path) -> None:
    stream = tar_of(**{"app/a%24b.bson": b"".join(ONE), "app/a%24b.metadata.json": b'{"indexes": []}'})
    collections = mongo_tar.scan(stream, "app", "reading", str(tmp_path / "out"))
    assert {name: collection.documents for name, collection in collections.items()} == {"a$b": 3}
    assert (tmp_path / "out" / "app" / "a%24b.bson").read_bytes() == b"".join(ONE)
