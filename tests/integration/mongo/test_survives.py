# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MongoDB pushed from one server and pulled into another."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.mongo.samples import (
    Values,
    config_for,
    do_pull,
    do_push,
    fill,
    indexes,
    legacy_point,
    live,
)
from tests.servers.mongo import MongoServer, Tools

# The first test of all builds the server, which takes minutes on a machine that has never done it.
pytestmark = pytest.mark.timeout(1500)


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


def test_what_the_original_stored_is_pulled(
    source: MongoServer, target: MongoServer, name: str, values: Values, dump_tools: Tools, tmp_path: Path
) -> None:
    fill(source, name)
    live(target, name)
    legacy_point(dump_tools, source, name, tmp_path)
    do_pull(values("pull", name))
    assert target.contents(name) == source.contents(name)
    assert indexes(target, name) == indexes(source, name)


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


# No registry has MongoDB's own tools. Where they are named, all of this folder runs with them, and this says so.
if os.environ.get("ENV_SYNC_TEST_MONGO_TOOLS"):

    def test_with_the_tools_of_mongodb_themselves(
        dump_tools: Tools, source: MongoServer, target: MongoServer, name: str, values: Values
    ) -> None:
        assert dump_tools.real, "ENV_SYNC_TEST_MONGO_TOOLS names a folder without mongodump"
        fill(source, name)
        do_push(values("push", name))
        do_pull(values("pull", name))
        assert target.contents(name) == source.contents(name)
