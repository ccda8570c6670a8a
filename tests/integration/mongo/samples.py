# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of MongoDB store, push, pull, damage and compare."""

from __future__ import annotations

import datetime
import re
import subprocess
import tarfile
import uuid
from pathlib import Path
from typing import Any, Callable

import bson
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.mongo import MongoServer, Tools

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


SCRIPT = [
    {"update": "users", "updates": [{"q": {}, "u": {"$set": {"email": "hidden"}}, "multi": True}]},
    {"delete": "users", "deletes": [{"q": {"age": {"$gte": 80}}, "limit": 0}]},
    {"insert": "notes", "documents": [{"_id": 1}]},
    {"drop": "empty"},
]


def damage(point: Path, how: str) -> None:
    """Damage a stored object: ``how`` is ``missing``, ``truncated`` or ``flipped`` (one bit in its middle)."""
    data = bytearray(point.read_bytes())
    if how == "missing":
        point.unlink()
    elif how == "truncated":
        point.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        point.write_bytes(data)


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


def restoring_users(server: MongoServer, name: str) -> bool:
    """Say whether the scratch collection of ``users`` is there."""
    found = server.database(name).list_collection_names()
    return any(re.fullmatch("env_sync_scratch_[0-9a-f]{8}_users", collection) for collection in found)


def config_for(server: MongoServer, tmp_path: Path) -> Path:
    """Return a file that tells MongoDB's programs where the server is."""
    config = tmp_path / "mongo.yaml"
    config.write_text(f"uri: 'mongodb://{server.host}:{server.port}/?directConnection=true'\n")
    config.chmod(0o600)
    return config
