# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Points, dumps and programs that are damaged or fail, and what is said of it."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.address import uri_of
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.programs import (
    complaint,
    write_config,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.pipeline import Group
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Connection, Task

from tests.integration.mongo.samples import (
    Values,
    damage,
    do_pull,
    do_push,
    fill,
    legacy_point,
    live,
)
from tests.servers.mongo import MongoServer, Tools

# The first test of all builds the server, which takes minutes on a machine that has never done it.
pytestmark = pytest.mark.timeout(1500)


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
