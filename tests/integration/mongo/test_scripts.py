# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scripts that sanitise before the swap."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

from tests.integration.mongo.samples import (
    SCRIPT,
    Values,
    do_pull,
    do_push,
    fill,
    live,
)
from tests.servers.mongo import MongoServer, mongosh

# The first test of all builds the server, which takes minutes on a machine that has never done it.
pytestmark = pytest.mark.timeout(1500)


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
