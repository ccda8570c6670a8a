# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The swap: what clients see of it, what is kept, and what is taken back."""

from __future__ import annotations

import json
import os
import threading
import time
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
from tests.servers.mongo import MongoServer

# The first test of all builds the server, which takes minutes on a machine that has never done it.
pytestmark = pytest.mark.timeout(1500)


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
