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
import pymongo
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.lease import Lease
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo import database as mongo_module
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo import legacy as mongo_legacy
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.archive import (
    Archive,
    Collection,
    Crc64,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.client import (
    Server,
    ServerError,
    complaint,
    uri_of,
    write_config,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.database import Mongo
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.documentdb import DocumentDB
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.scripts import check_script
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.swap import Swap, put_back
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host, read_statuses
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.stopping import Stop
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.manifest import Manifest, Member
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.name import manifest_name, point_name
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.scripts import Script
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Connection, Task

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
        (Connection("db-1"), "mongodb://x/?tls=true", "mongodb://db-1:27017/?tls=true&directConnection=true"),
        (Connection("Y"), "mongodb://a:b@x:1,y/?tls=true", "mongodb://a:b@Y:27017/?tls=true&directConnection=true"),
        (Connection("db-1"), "mongodb://a:b@/", "mongodb://a:b@db-1:27017/?directConnection=true"),
        (
            Connection(),
            "mongodb://x,y/?readPreferenceTags=dc:ny,rack:1&readPreferenceTags=dc:ny&w=a%2Bb&readPreferenceTags=&tls=true",
            "mongodb://x,y/?readPreferenceTags=dc:ny,rack:1&readPreferenceTags=dc:ny&w=a%2Bb&readPreferenceTags=&tls=true",
        ),
        (Connection(user="me"), "mongodb+srv://a:b@x/", "mongodb+srv://me@x/?"),
        (Connection("db-1:27018"), "mongodb://a:b@db-1:1/", "mongodb://a:b@db-1:27018/?directConnection=true"),
        (Connection("db-1:1", 27018), "", "mongodb://db-1:27018/?directConnection=true"),
        (Connection("[::1]:1"), "", "mongodb://[::1]:1/?directConnection=true"),
        (Connection("x,y:1"), "mongodb://a:b@y,x,z/", "mongodb://a:b@x:27017,y:1/?"),
        (Connection("/run/m.sock"), "", "mongodb://%2Frun%2Fm.sock/?directConnection=true"),
    ],
)
def test_an_address_is_of_the_task_and_of_the_environment(connection: Connection, base: str, uri: str) -> None:
    made = uri_of(connection, base, {}).replace("&serverSelectionTimeoutMS=10000", "")
    assert made.replace("serverSelectionTimeoutMS=10000&", "").replace("serverSelectionTimeoutMS=10000", "") == uri


@pytest.mark.parametrize("base", ["mongodb://a:s3cret@x,y:1/?tls=true", "mongodb+srv://a:s3cret@x.example/"])
def test_the_environment_s_password_goes_to_its_own_hosts_alone(base: str) -> None:
    with pytest.raises(EnvSyncError, match=r"are for its own hosts \(x.*Set login_user and login_password") as failed:
        uri_of(Connection("db-1"), base, {})
    assert "s3cret" not in str(failed.value)
    assert uri_of(Connection("db-1", user="me", password="p"), base, {}).startswith("mongodb://me:p@db-1:27017/?")


@pytest.mark.parametrize(
    "own", ["localhost", "localhost:27018", "127.0.0.1:1,x", "[::1]:27017", "%2Frun%2Fm.sock", "127.0.1.1"]
)
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:27017", "127.0.0.1", "::1", "[::1]:1", "/run/other.sock"])
def test_this_host_is_one_host_whatever_it_is_called(host: str, own: str) -> None:
    assert uri_of(Connection(host), f"mongodb://a:b@{own}/", {}).startswith("mongodb://a:b@")
    with pytest.raises(EnvSyncError, match="are for its own hosts"):
        uri_of(Connection("10.0.0.1"), f"mongodb://a:b@{own}/", {})
    with pytest.raises(EnvSyncError, match="are for its own hosts"):
        uri_of(Connection(host), "mongodb://a:b@127.example/", {})


def test_the_programs_get_every_option_that_the_driver_gets(tmp_path: Path) -> None:
    base = "mongodb://x,y/?readPreference=secondary&readPreferenceTags=dc:ny&readPreferenceTags=&replicaSet=r"
    uri = uri_of(Connection(), base, {})
    client: Any = pymongo.MongoClient(uri, connect=False)
    assert client.read_preference.tag_sets == [{"dc": "ny"}, {}]
    assert Path(write_config(str(tmp_path), uri)).read_text() == f"uri: '{base}'\n"


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


def test_mongodbs_programs_are_given_no_limit_that_they_would_take_for_seconds(tmp_path: Path) -> None:
    uri = uri_of(Connection("db-1"), "mongodb://x/?connectTimeoutMS=9&socketTimeoutMS=9&w=majority&tls=true", {})
    assert "serverSelectionTimeoutMS=10000" in uri
    text = Path(write_config(str(tmp_path), uri)).read_text()
    assert text == "uri: 'mongodb://db-1:27017/?w=majority&tls=true&directConnection=true'\n"


def test_what_documentdb_insists_on_wins_however_it_is_written() -> None:
    uri = uri_of(Connection("db-1"), "mongodb://x/?SSL=false&TLS=false&retrywrites=true", {"tls": "true"})
    assert uri.partition("?")[2].split("&")[:2] == ["retrywrites=true", "tls=true"]


_NO_SERVER = (
    "server selection error: context deadline exceeded, current topology: { Type: Single, Servers: "
    "[{ Addr: db-1:27017, Type: Unknown, Last error: dial tcp db-1:27017: connect: connection refused }, ] }"
)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            [f"Failed: can't create session: failed to connect to mongodb://me:p%40ss@db-1/?tls=true: {_NO_SERVER}"],
            f"Failed: can't create session: failed to connect to the server: {_NO_SERVER}",
        ),
        (
            ["error connecting to host: failed to connect to mongodb+srv://me:p%40ss@db-1/?authSource=a: auth error"],
            "error connecting to host: failed to connect to the server: auth error",
        ),
        (
            [
                "restoring `a.b` from `archive on stdin`",
                'Failed: a.b: error creating indexes for a.b: E11000 duplicate key error dup key: { mail: "p@ss" }',
                "9 document(s) restored successfully. 0 document(s) failed to restore.",
            ],
            "Failed: a.b: error creating indexes for a.b: E11000 duplicate key error dup key: "
            "(the rest is withheld, as it may quote data)",
        ),
        (
            ["one", "two", "signal 'terminated' received; attempting to shut down"],
            "one two signal 'terminated' received",
        ),
        (["Failed: corruption found in archive; read bson ( EOF )"], "Failed: corruption found in archive; read bson"),
        ([f"Failed: {'E11000 duplicate key error, ' * 1000}"], "Failed: E11000 duplicate key error, E11000"),
        ([], ""),
    ],
)
def test_of_what_mongodbs_programs_say_only_what_they_died_of_is_repeated(lines: list[str], says: str) -> None:
    """The lines are those of mongodump and mongorestore 100.18.0."""
    said = complaint("".join(f"2026-01-02T03:04:05.678+0000\t{line}\n" for line in lines))
    assert said.startswith(says)
    assert len(said) < 600
    assert "p%40ss" not in said and "p@ss" not in said and "2026" not in said and "restored" not in said


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
    Swap(server, "app", "env_sync_scratch_", keep_old=False, prove=lambda: None).run(views or {}, spared)


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


class Killed(BaseException):
    """SIGKILL, for a test."""


class PlayingServer(StubServer):
    """A stub that does what it is told to its collections, and dies when it has done so many commands.

    ``there[name]["from"]`` is where a collection's contents are from.
    """

    def __init__(self, drop_target: bool, dies_after: int = 10**6) -> None:
        ours = [f"env_sync_scratch_{name}" for name in ("a", "b", "new")]
        super().__init__(collections=("a", "b", "gone", *ours))
        for name, about in self.there.items():
            about["from"] = "the point" if name in ours else "before"
        self._drop_target = drop_target
        self.left = dies_after

    def command(self, database: str, command: dict[str, Any], doing: str) -> dict[str, Any]:
        if "renameCollection" in command:
            if "dropTarget" in command and not self._drop_target:
                raise ServerError(doing, "not implemented", 238)
            old, new = (command[key].partition(".")[2] for key in ("renameCollection", "to"))
            if old not in self.there or (new in self.there and "dropTarget" not in command):
                raise ServerError(doing, "there is none, or there is one", 26)
            self.there[new] = self.there.pop(old)
        elif "drop" in command:
            del self.there[command["drop"]]
        else:
            return super().command(database, command, doing)
        self.step()
        return {}

    def step(self) -> None:
        self.left -= 1
        if not self.left:
            raise Killed

    def live(self) -> dict[str, str]:
        assert not [name for name in self.there if name.startswith("env_sync_")]
        return {name: about["from"] for name, about in self.there.items()}


class Mark:
    """The lock, and its document, which outlives who wrote it."""

    def __init__(self, server: PlayingServer) -> None:
        self._server = server
        self.found: dict[str, Any] = {"token": "x"}

    def note(self, **values: Any) -> str:
        self.found.update(values)
        self._server.step()
        return ""

    def prove(self) -> None: ...


BEFORE = {"a": "before", "b": "before", "gone": "before"}
AFTER = {"a": "the point", "b": "the point", "new": "the point"}


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_module, "_SETTLED", 0.0)


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("keep_old", [False, True])
@pytest.mark.parametrize("drop_target", [False, True])
@pytest.mark.parametrize("dies_after", range(1, 16))
def test_a_swap_that_is_killed_anywhere_is_made_good_by_the_next_run(
    drop_target: bool, keep_old: bool, dies_after: int
) -> None:
    """Where each takes two renames all is as before or all is done; with dropTarget each collection is one or other."""
    server = PlayingServer(drop_target, dies_after)
    database: Any = mongo(server)
    database._lease = database._lock = Mark(server)
    whole = False
    try:
        database.swap(keep_old)
        whole = True
    except Killed:
        pass
    server.left = 10**6
    following: Any = mongo(server)
    following._lease = following._lock = database._lock
    following.sweep()
    following._drop(following._named("env_sync_old_", "dropping what was kept"), "dropping what was kept")

    live = server.live()
    if drop_target and not keep_old:
        assert all(live[name] in ("before", "the point") for name in ("a", "b"))
        assert {name: live[name] for name in live if name not in ("a", "b")} in (
            {"gone": "before"},
            {"new": "the point"},
            {},
        )
    else:
        assert live in (BEFORE, AFTER)
    if whole:
        assert live == AFTER


class LateServer(PlayingServer):
    """A stub in which a killed run's insertion ends after its collection was dropped."""

    late = True

    def command(self, database: str, command: dict[str, Any], doing: str) -> dict[str, Any]:
        answer = super().command(database, command, doing)
        if self.late and command == {"drop": "env_sync_scratch_b"}:
            self.late = False
            self.there["env_sync_scratch_b"] = {"type": "collection", "from": "a dead run"}
        return answer


@pytest.mark.usefixtures("_at_once")
def test_what_a_killed_run_still_inserts_is_swept_too() -> None:
    server = LateServer(drop_target=True)
    database: Any = mongo(server)
    database._lease = database._lock = Mark(server)
    database.sweep()
    assert server.live() == BEFORE


class HeldLock:
    """A lock that notes how it was given up."""

    remains = ""
    keep: Any = None
    kept: Any = None

    def acquire(self) -> str:
        return ""

    def release(self) -> None:
        self.kept = self.keep


@pytest.mark.parametrize(
    ("left", "kept"), [("env_sync_scratch_a", True), ("env_sync_old_a", True), ("env_sync_pull", False)]
)
def test_the_mark_stays_as_long_as_anything_of_ours_does(left: str, kept: bool) -> None:
    database: Any = mongo(StubServer(collections=("a", left)))
    lock: Any = HeldLock()
    database._lock, database._lease = lock, Lease(lock, "locking app", Stop)
    with database.exclusive():
        assert lock.kept is None
    assert lock.kept is kept


def test_what_was_there_or_made_since_is_not_taken_for_what_came_with_the_swap() -> None:
    server = StubServer(collections=("a", "env_sync_old_a", "new", "made since", "system.js"))
    given: Any = server
    assert put_back(given, "app", "env_sync_scratch_", ["new"], lambda: None, "putting back") == ["a"]
    assert server.commands == [
        {"renameCollection": "app.a", "to": "app.env_sync_scratch_a"},
        {"renameCollection": "app.new", "to": "app.env_sync_scratch_new"},
        {"renameCollection": "app.env_sync_old_a", "to": "app.a"},
    ]


def mongo(server: Any, **values: Any) -> Mongo:
    given = {"action": "push", "dbms": "mongo", "database": "app", "dest": "/nowhere", **values}
    database = Mongo.from_task(Task.from_mapping(given), "")
    database._server = server
    database._scratch = "env_sync_scratch_"
    return database


class Secondary(StubServer):
    """A member that answers what a preflight asks, and notes everything else."""

    def __init__(self) -> None:
        super().__init__(primary=False, collections=("env_sync_scratch_a",))

    def system(self, doing: str) -> str:
        return "replica-set"

    def command(self, database: str, command: dict[str, Any], doing: str) -> dict[str, Any]:
        return {"version": "7.0.1"} if "buildInfo" in command else super().command(database, command, doing)

    def close(self) -> None: ...


def test_a_member_that_is_not_primary_has_nothing_to_push_and_is_not_written_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = Secondary()
    monkeypatch.setattr(mongo_module, "Server", lambda uri: server)
    (tmp_path / "points").mkdir()
    given = {"action": "push", "dbms": "mongo", "database": "app", "dest": str(tmp_path / "points")}
    for verb in (push.plan, push.push):
        done = verb(Task.from_mapping({**given, "state_dir": str(tmp_path / "state")}), Host())
        assert (done["changed"], done["skipped"]) == (False, "stub:27017 is not the primary member of its replica set")
    assert server.commands == []
    assert not [path for path in (tmp_path / "points").rglob("*") if path.is_file()]
    [status] = read_statuses(str(tmp_path / "state"))
    assert (status.state, status.message) == ("done", f"nothing to do: {done['skipped']}")


def test_a_member_that_is_not_primary_has_nothing_to_pull_and_is_not_written_to(
    store: DirectoryStore, make_manifest: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    member = Member("2026-01-02T03:04:05-app.dump", 5, "a" * 64, 5)
    manifest = make_manifest(dbms="mongo", members=[member])
    point = point_name(manifest.timestamp, "app")
    store.put_bytes(manifest_name(point), manifest.to_json())
    server = Secondary()
    monkeypatch.setattr(mongo_module, "Server", lambda uri: server)
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


class RefusingServer(StubServer):
    """A stub that answers a rename with an error."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self._code = code

    def command(self, database: str, command: dict[str, Any], doing: str) -> dict[str, Any]:
        if "renameCollection" in command:
            raise ServerError(doing, "refused", self._code)
        about = {"versionArray": [7, 0, 1, 0], "version": "7.0.1"}
        return about if "buildInfo" in command else super().command(database, command, doing)

    def system(self, doing: str) -> str:
        return "replica set 1"


@pytest.fixture
def _mongorestore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "mongorestore").touch(mode=0o755)


@pytest.mark.usefixtures("_mongorestore")
@pytest.mark.parametrize("code", [13, 59, 115, 238, 303])
def test_a_server_or_user_that_cannot_rename_is_refused_before_anything_is_restored(code: int) -> None:
    with pytest.raises(EnvSyncError, match=r"no collection can be renamed there.*refused"):
        mongo(RefusingServer(code)).preflight_restore(None)


@pytest.mark.usefixtures("_mongorestore")
def test_that_there_is_nothing_to_rename_is_no_refusal() -> None:
    assert mongo(RefusingServer(26)).preflight_restore(None).replaces is None


@pytest.mark.usefixtures("_mongorestore")
@pytest.mark.parametrize(
    ("version", "older"), [("8.0.4", True), ("7.2", True), ("7.0.9", False), ("6.0.1", False), ("", False)]
)
def test_that_a_point_is_from_a_newer_server_is_said(
    make_manifest: Callable[..., Manifest], version: str, older: bool
) -> None:
    manifest = make_manifest(dbms="mongo", database="app", server={"version": version})
    warnings = mongo(RefusingServer(26)).preflight_restore(manifest).warnings
    assert warnings == ((f"the point is from version {version}, and stub:27017 has the older 7.0.1",) if older else ())


def test_mongorestore_is_asked_to_pass_over_validators_only_where_there_are_any(
    make_manifest: Callable[..., Manifest],
) -> None:
    manifest = make_manifest(dbms="mongo", database="app")
    plain = {"a": Collection("a", "collection", {}), "system.js": Collection("system.js", "collection", {})}
    odd = {"v*\\": Collection("v*\\", "view", {"viewOn": "a"})}
    strict = {"s": Collection("s", "collection", {"validator": {"x": {"$gt": 1}}})}
    database = mongo(RefusingServer(26))
    excludes = ["--nsExclude=app.system.js", r"--nsExclude=app.v\*\\"]
    assert database._fitting(manifest, {**plain, **odd}, "restoring") == excludes
    assert database._fitting(manifest, {**plain, **odd, **strict}, "restoring") == [
        *excludes,
        "--bypassDocumentValidation",
    ]


ID = {"name": "_id_", "key": {"_id": 1}, "v": 2}
N = {"name": "n", "key": {"n": 1}}
EXPIRING = {"name": "t_1", "key": {"t": 1.0}, "expireAfterSeconds": bson.Int64(60)}


@pytest.mark.parametrize(
    ("count", "there", "wanted", "says"),
    [
        (3, [ID], [ID], ""),
        (2, [ID], [ID], "collection a has 2 documents, and the point's manifest says 3"),
        (4, [ID], [ID], "4 documents"),
        (3, [ID], [ID, {"name": "n_1", "key": {"n": 1}}], "index n_1"),
        (3, [ID, {"name": "n", "key": {"n": 1}}], [ID, {"name": "n", "key": {"n": 1}, "unique": True}], "index n "),
        (3, [ID, {"name": "n", "key": {"n": 1}}], [ID, {**N, "partialFilterExpression": {"n": 1}}], "index n "),
        (3, [ID, {**N, "partialFilterExpression": {"n": 1}}], [ID, {**N, "partialFilterExpression": {"n": 1.0}}], ""),
        (3, [ID, {"name": "n", "key": {"b": 1, "a": 1}}], [ID, {"name": "n", "key": {"a": 1, "b": 1}}], "index n "),
        (2, [ID, {**EXPIRING, "expireAfterSeconds": 60, "key": {"t": 1}}], [ID, EXPIRING], ""),
    ],
)
def test_a_restore_is_proven(count: int, there: list[Any], wanted: list[Any], says: str) -> None:
    """Where documents expire, the server may have taken some since the dump; so may a capped collection."""
    database = mongo(SmallServer(count, there))
    capped = {"capped": True, "size": 4096}
    said = database._prove({"a": Collection("a", "collection", capped, there, max(count, 3))}, "restoring")
    assert len(said) == (count < 3)
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
    with pytest.raises(EnvSyncError, match=says):
        check_script(Script(str(tmp_path / file), text.encode()), "checking")


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
        {"app/.bson": TWO[0]},
        {"app/x.bson": (tarfile.SYMTYPE, "/etc/passwd")},
        {"app/x.bson": (tarfile.LNKTYPE, "app/y.bson")},
    ],
)
def test_a_tar_that_leaves_its_folder_is_refused(tmp_path: Path, entries: dict[str, Any]) -> None:
    with pytest.raises(EnvSyncError, match="which no dump of app does"):
        mongo_legacy.scan(tar_of(**entries), "app", "reading", str(tmp_path / "out"))


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
        mongo_legacy.scan(tar_of(**entries), "app", "reading")


def test_a_tar_that_was_cut_between_two_files_is_refused() -> None:
    whole = tar_of(**{"app/x.bson": TWO[0], "app/y.bson": TWO[0]}).getvalue()
    for size in (1024, 2048):
        with pytest.raises(EnvSyncError, match="the tar has no end"):
            mongo_legacy.scan(io.BytesIO(whole[:size]), "app", "reading")


class Statuses(Server):
    """A server that answers serverStatus only."""

    def __init__(self, uri: str, host: str) -> None:
        super().__init__(uri)
        self._host = host

    def command(self, database: str, command: Any, doing: str) -> dict[str, Any]:
        if "serverStatus" in command:
            return {"host": self._host}
        raise ServerError(doing, "no such command", 59)


@pytest.mark.parametrize(
    ("host", "system"), [("db-1:27018", "db-1:27018"), ("db-1", "db-1:1"), ("", "docdb.example:1")]
)
def test_a_server_that_does_not_know_its_own_name_goes_by_the_tasks(host: str, system: str) -> None:
    assert Statuses("mongodb://docdb.example:1/", host).system("asking") == system


@pytest.mark.parametrize("name", ["prelude.json", "app/prelude.json", "./app/prelude.json"])
def test_what_newer_programs_add_to_a_directory_is_passed_over(tmp_path: Path, name: str) -> None:
    stream = tar_of(**{"app/x.bson": TWO[0], name: b'{"ServerVersion":"7.0.1"}'})
    assert list(mongo_legacy.scan(stream, "app", "reading", str(tmp_path / "out"))) == ["x"]
    assert os.listdir(tmp_path / "out" / "app") == ["x.bson"]


def test_a_tar_is_counted_and_unpacked(tmp_path: Path) -> None:
    stream = tar_of(**{"app/a%24b.bson": b"".join(ONE), "app/a%24b.metadata.json": b'{"indexes": []}'})
    collections = mongo_legacy.scan(stream, "app", "reading", str(tmp_path / "out"))
    assert {name: collection.documents for name, collection in collections.items()} == {"a$b": 3}
    assert (tmp_path / "out" / "app" / "a%24b.bson").read_bytes() == b"".join(ONE)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "3",
        '"x"',
        "{",
        '{"options": ["x"]}',
        '{"options": "x"}',
        '{"options": 3}',
        '{"indexes": {"name": "x"}}',
        '{"indexes": ["x"]}',
        '{"indexes": [{"key": {"a": 1}}]}',
        '{"indexes": [{"name": 3}]}',
        '{"options": {"validator": {"$oid": "x"}}}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:40],
)
def test_metadata_of_another_form_is_not_metadata(text: str) -> None:
    with pytest.raises(ValueError):
        Collection.from_metadata("people", text)
