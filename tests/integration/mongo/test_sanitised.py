# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MongoDB's scripts that sanitise nothing, each pulled where sanitised data is required; and some that do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.mongo import MongoServer, mongosh, tools

# The first test of all builds the server and installs the shell.
pytestmark = pytest.mark.timeout(300)

NAME = "shop"
USERS = 40

Pull = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The PATH with MongoDB's programs."""
    return f"{tools(tmp_path_factory.mktemp('tools')).folder}:{mongosh()}:{os.environ['PATH']}"


@pytest.fixture(autouse=True)
def _environment(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", path)
    monkeypatch.delenv("MONGODB_URI", raising=False)


@pytest.fixture(scope="module")
def store(path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, MongoServer]]:
    """A folder with one point, and the server to pull it into."""
    folder = tmp_path_factory.mktemp("store")
    with MongoServer("target") as target:
        with pytest.MonkeyPatch.context() as patch, MongoServer("source") as source:
            patch.setenv("PATH", path)
            patch.delenv("MONGODB_URI", raising=False)
            database = source.database(NAME)
            database.users.insert_many([{"_id": n, "email": f"user{n}@example.com"} for n in range(USERS)])
            database.users.create_index("email")
            database.sessions.insert_many([{"_id": n} for n in range(7)])
            push.push(Task.from_mapping(keys("push", source, folder)), Host())
        yield folder, target


def keys(action: str, server: MongoServer, folder: Path, **others: Any) -> dict[str, Any]:
    return {
        "action": action,
        "dbms": "mongo",
        "database": NAME,
        "database_hostname": server.host,
        "database_port": server.port,
        "storagebackend": "directory",
        "url": str(folder),
        "path": "mongo",
        "temppath": str(folder / "temp"),
        "state_dir": str(folder / "state"),
        **others,
    }


@pytest.fixture
def target(store: tuple[Path, MongoServer]) -> Iterator[MongoServer]:
    """The server, with a database that serves."""
    server = store[1]
    server.database(NAME).users.insert_many([{"_id": n, "email": f"live{n}"} for n in range(3)])
    server.database("live").users.insert_one({"_id": 1, "email": "live"})
    yield server
    for name in (NAME, "live"):
        server.drop_database(name)


@pytest.fixture
def pull_with(store: tuple[Path, MongoServer], target: MongoServer, tmp_path: Path) -> Pull:
    def run(text: str, suffix: str = ".js", **others: Any) -> dict[str, Any]:
        script = tmp_path / f"sanitise{suffix}"
        script.write_text(text.replace("PORT", str(target.port)), encoding="utf-8")
        wanted = {"require_sanitised": True, "transformation_sql_filename": str(script), **others}
        return pull.pull(Task.from_mapping(keys("pull", target, store[0], **wanted)), Host())

    return run


UPDATE = 'db.users.updateMany({}, {$set: {email: "hidden"}});\n'

#: what each script does, the script, and what the refusal says
NOTHING: list[tuple[str, str, str | None]] = [
    ("empty", "", "changed nothing"),
    ("a comment", "// db.users.updateMany({}, {})\n", "changed nothing"),
    ("quit first", f"quit();\n{UPDATE}", "ended before its last line"),
    ("quit with a status", f"quit(0);\n{UPDATE}", "ended before its last line"),
    ("process.exit first", f"process.exit(0);\n{UPDATE}", "ended before its last line"),
    ("exit in a function", f"(() => exit())();\n{UPDATE}", "ended before its last line"),
    ("half, then quit", f"db.sessions.deleteMany({{}});\nquit();\n{UPDATE}", "ended before its last line"),
    ("out of a wrapper", f"}})(); quit(); (function (db) {{\n{UPDATE}", "SyntaxError"),
    ("a promise that is never resolved", f"new Promise(() => {{}}).then(() => {{ {UPDATE} }});", "never resolved"),
    ("an interval", f"setInterval(() => {{}}, 100);\n{UPDATE}", "an interval"),
    ("a throw in a timer", f'{UPDATE}setTimeout(() => {{ throw new TypeError("later"); }}, 50);', "TypeError: later"),
    ("a rejection", f'{UPDATE}(async () => {{ throw new TypeError("nobody"); }})();', "TypeError: nobody"),
    (
        "a throw in an event",
        UPDATE + 'const e = new (require("events"))(); e.on("x", () => { throw new TypeError("event"); });'
        'setTimeout(() => e.emit("x"), 10);',
        "TypeError: event",
    ),
    ("a misspelt collection", 'db.userz.updateMany({}, {$set: {email: "x"}});', "no collection userz"),
    ("a misspelt collection, caught", "try { db.userz.deleteMany({}); } catch (e) {}\n", "no collection userz"),
    ("a filter that matches nothing", 'db.users.updateMany({mail: 1}, {$set: {email: "x"}});', "changed nothing"),
    ("an update to the same", "db.users.find().forEach(u => db.users.replaceOne({_id: u._id}, u));", "changed nothing"),
    ("an error that is caught", "try { db.users.insertOne({_id: 1}); } catch (e) {}\n" + UPDATE, "error 11000"),
    ("a write that nobody acknowledges", "db.users.insertOne({_id: 1}, {writeConcern: {w: 0}});", "error 11000"),
    ("a bulk that is not executed", "db.users.initializeUnorderedBulkOp().find({}).delete();", "changed nothing"),
    (
        "a cursor that is not read",
        "const lazy = db.users.find().map(u => db.users.deleteOne({_id: u._id}));",
        "changed nothing",
    ),
    ("an aggregation that is not read", 'db.users.aggregate([{$match: {}}, {$out: "users"}]);', None),
    (
        "a transaction that is aborted",
        "const s = db.getMongo().startSession(); s.startTransaction();"
        f's.getDatabase("{NAME}").users.deleteMany({{}}); s.abortTransaction();',
        None,
    ),
    ("load", 'load("/dev/null");\n' + UPDATE, "load reaches beyond"),
    ("another script", 'require("/dev/null");\n' + UPDATE, "reaches beyond"),
    ("connect", f'db = connect("127.0.0.1:PORT/{NAME}");\n{UPDATE}', "connect reaches beyond"),
    (
        "connect, caught",
        f'try {{ db = connect("127.0.0.1:PORT/{NAME}"); }} catch (e) {{}}\n{UPDATE}',
        "connect reaches",
    ),
    ("new Mongo", f'new Mongo("127.0.0.1:PORT").getDB("{NAME}").users.deleteMany({{}});', "Mongo reaches beyond"),
    ("another database", 'db.getSiblingDB("live").users.deleteMany({});', "database live"),
    ("another database by getMongo", 'db.getMongo().getDB("live").users.deleteMany({});', "database live"),
    ("use live", 'use("live");\ndb.users.deleteMany({});', "database live"),
    ("globalThis.db", 'globalThis.db.getSiblingDB("live").users.drop();', "database live"),
    ("a rename out", f'db.adminCommand({{renameCollection: "live.users", to: "{NAME}.users"}});', "of live"),
    ("dropDatabase", "db.dropDatabase();", "dropDatabase"),
]


@pytest.mark.parametrize(("script", "says"), [case[1:] for case in NOTHING], ids=[case[0] for case in NOTHING])
def test_a_script_that_sanitises_nothing_is_refused(
    pull_with: Pull, target: MongoServer, script: str, says: str | None
) -> None:
    before = {name: target.contents(name) for name in (NAME, "live")}
    with pytest.raises(EnvSyncError, match=says) as caught:
        pull_with(script)
    assert {name: target.contents(name) for name in (NAME, "live")} == before
    assert "@example.com" not in str(caught.value)


LISTS: list[tuple[str, Any, str | None]] = [
    ("an empty list", [], "changed nothing"),
    ("a filter that matches nothing", [{"delete": "users", "deletes": [{"q": {"x": 1}, "limit": 0}]}], "nothing"),
    ("no change", [{"update": "users", "updates": []}], None),
    (
        "a misspelt collection",
        [{"update": "userz", "updates": [{"q": {}, "u": {"$set": {"email": ""}}, "multi": True}]}],
        "no collection userz",
    ),
    ("only an index", [{"createIndexes": "users", "indexes": [{"key": {"x": 1}, "name": "x"}]}], "changed nothing"),
]


@pytest.mark.parametrize(("commands", "says"), [case[1:] for case in LISTS], ids=[case[0] for case in LISTS])
def test_a_list_that_sanitises_nothing_is_refused(
    pull_with: Pull, target: MongoServer, commands: Any, says: str | None
) -> None:
    before = target.contents(NAME)
    with pytest.raises(EnvSyncError, match=says):
        pull_with(json.dumps(commands), ".json")
    assert target.contents(NAME) == before


RIGHT = """
const crypto = require("crypto");
function masked(value) { return crypto.createHash("sha256").update(value).digest("hex").slice(0, 8) + "@x.invalid"; }
const bulk = db.users.initializeUnorderedBulkOp();
db.users.find({}, {email: 1}).forEach(user => {
  bulk.find({_id: user._id}).updateOne({$set: {email: masked(user.email)}});
});
if (bulk.execute().modifiedCount !== 40) throw new TypeError("not all of them");
try { db.sessions.dropIndex("gone"); } catch (error) {}
db.sessions.deleteMany({_id: {$gte: 2}});
db.getCollection("notes").insertMany([{_id: 1}, {_id: 2}]);
db.users.findOneAndUpdate({_id: 3}, {$set: {extra: true}});
const names = db.getCollectionNames().sort().join();
if (names !== "notes,sessions,users") throw new TypeError(names);
async function later() { await new Promise(resolve => setTimeout(resolve, 300)); await db.users.deleteOne({_id: 0}); }
later();
print("done");
"""


def test_a_right_script_is_counted_and_what_it_began_is_waited_for(pull_with: Pull, target: MongoServer) -> None:
    done = pull_with(RIGHT)
    contents = target.contents(NAME)
    assert sorted(contents) == ["notes", "sessions", "users"]
    assert len(contents["users"]) == USERS - 1 and all("x.invalid" in user["email"] for user in contents["users"])
    assert len(contents["sessions"]) == 2 and len(contents["notes"]) == 2
    assert done["sanitised"][0]["changed"] == USERS + 5 + 2 + 1 + 1


def test_a_list_is_counted(pull_with: Pull, target: MongoServer) -> None:
    one = {"update": "users", "updates": [{"q": {}, "u": {"$set": {"email": "hidden"}}}]}
    done = pull_with(json.dumps([one, {"drop": "sessions"}, {"insert": "notes", "documents": [{"_id": 1}]}]), ".json")
    assert done["sanitised"][0]["changed"] == 1 + 7 + 1 and done["sanitised"][0]["altered"] == 1
    assert sorted(target.contents(NAME)) == ["notes", "users"]


def test_a_script_that_may_change_nothing_is_run_to_its_end_all_the_same(pull_with: Pull, target: MongoServer) -> None:
    assert pull_with("db.users.countDocuments({});", may_change_nothing=True)["sanitised"][0]["changed"] == 0
    before = target.contents(NAME)
    with pytest.raises(EnvSyncError, match="ended before its last line"):
        pull_with("quit();", may_change_nothing=True)
    assert target.contents(NAME) == before
