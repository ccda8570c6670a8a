# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Points copied from any store to any other: a directory, a bucket on a real S3 server, a real host behind sshd."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import Store, open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.base import Stored
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer
from tests.servers.s3 import SwiftS3
from tests.servers.sshd import SshServer

KINDS = ("directory", "s3", "rsync")

#: every kind once as the source and once as the destination
IN_A_CIRCLE = list(zip(KINDS, KINDS[1:] + KINDS[:1]))

# One table is larger than the piece that an upload to S3 begins with.
SAMPLE = """
CREATE TABLE customers (id serial PRIMARY KEY, email text NOT NULL);
INSERT INTO customers (email) SELECT 'user' || g || '@example.com' FROM generate_series(1, 500) g;
CREATE TABLE noise AS SELECT g, sha512(g::text::bytea) FROM generate_series(1, 150000) g;
"""

OLDER, NEWER = "2026-01-01T00:00:00", "2026-01-02T00:00:00"

Place = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def place(s3_server: SwiftS3, ssh_server: SshServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Return a function that gives the keys of a new, empty place in a store of that kind."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "far").mkdir()
    bucket = f"test-{uuid.uuid4().hex[:8]}"
    s3_server.create_bucket(bucket)
    numbers = itertools.count()

    def make(kind: str) -> dict[str, Any]:
        path = f"{next(numbers)}"
        if kind == "s3":
            where = {
                "url": bucket,
                "path": path,
                "endpoint_url": s3_server.endpoint,
                "region": s3_server.region,
                "access_key": s3_server.access_key,
                "secret_key": s3_server.secret_key,
            }
        elif kind == "rsync":
            where = {
                "url": ssh_server.host,
                "path": str(folder / "far" / path),
                "ssh_port": ssh_server.port,
                "ssh_key_file": str(ssh_server.key_file),
                "ssh_known_hosts_file": str(ssh_server.known_hosts),
            }
        else:
            where = {"url": str(folder), "path": path}
        return {"storagebackend": kind, "temppath": str(folder / "temp"), **where}

    yield make
    s3_server.delete_bucket(bucket)


@pytest.fixture(scope="module")
def pushed(
    production: PostgresServer, place: Place, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """A database's name, and by kind the keys of a store that has two points of it."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    production.create_database(name, SAMPLE)
    server = {"database_hostname": production.host, "database_port": production.port}
    places = {kind: place(kind) for kind in KINDS}
    for where, timestamp in itertools.product(places.values(), (OLDER, NEWER)):
        values = {
            "action": "push",
            "dbms": "postgresql",
            "database": name,
            "jobs": 2,
            "login_user": production.superuser,
            **server,
            **where,
        }
        state_dir = str(tmp_path_factory.mktemp("state"))
        push.push(Task.from_mapping({**values, "timestamp": timestamp, "state_dir": state_dir}), Host())
    yield name, places
    production.drop_database(name)


@pytest.fixture
def of(pushed: tuple[str, dict[str, dict[str, Any]]], tmp_path: Path) -> Callable[..., Task]:
    """Return a function that gives the task of a copy from, or to, a place."""

    def make(where: dict[str, Any], **others: Any) -> Task:
        values = {"action": "pull", "dbms": "postgresql", "database": pushed[0], "state_dir": str(tmp_path / "state")}
        return Task.from_mapping({**values, **where, **others})

    return make


def contents(store: Store) -> dict[str, bytes]:
    return {found.name: store.get_bytes(found.name) for found in store.list()}


@pytest.mark.parametrize(("source", "destination"), list(itertools.product(KINDS, KINDS)))
def test_a_point_goes_from_any_store_to_any_other(
    pushed: Any, place: Place, of: Callable[..., Task], source: str, destination: str
) -> None:
    here, there = of(pushed[1][source]), of(place(destination))

    planned = upkeep.plan_copy(here, there, Host())
    assert contents(open_store(there)) == {}
    copied = upkeep.copy(here, there, Host())
    again = upkeep.copy(here, there, Host())

    point = f"{NEWER}-{pushed[0]}"
    assert planned["changed"] and copied["changed"] and not again["changed"]
    assert planned["point"] == copied["point"] == again["point"] == point
    of_the_point = {name: data for name, data in contents(open_store(here)).items() if name.startswith(point)}
    assert len(of_the_point) > 3
    assert contents(open_store(there)) == of_the_point
    assert upkeep.verify(there, Host())["manifest"] == copied["manifest"]


@pytest.mark.parametrize(("source", "destination"), IN_A_CIRCLE)
def test_a_damaged_point_is_refused_and_nothing_of_it_arrives(
    pushed: Any, place: Place, of: Callable[..., Task], source: str, destination: str
) -> None:
    damaged, there = of(place(source)), of(place(destination))
    upkeep.copy(of(pushed[1]["directory"]), damaged, Host())
    store = open_store(damaged)
    name, data = max(contents(store).items(), key=lambda item: len(item[1]))
    store.put_bytes(name, data[:-1] + bytes([data[-1] ^ 1]))

    with pytest.raises(EnvSyncError, match=f"{name}: its SHA-256 is .* it is damaged"):
        upkeep.copy(damaged, there, Host())

    assert contents(open_store(there)) == {}
    assert open_store(there).sweep("") == []


def test_what_arrives_damaged_does_not_count(
    pushed: Any, place: Place, of: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = of(place("directory"))
    really = DirectoryStore.put

    def put(self: DirectoryStore, name: str, *args: Any) -> Stored:
        stored = really(self, name, *args)
        with open(self.url(name), "r+b") as stream:
            stream.write(b"\0")
        return stored

    monkeypatch.setattr(DirectoryStore, "put", put)
    with pytest.raises(EnvSyncError, match="it is damaged"):
        upkeep.copy(of(pushed[1]["s3"]), there, Host())
    assert contents(open_store(there)) == {}


# Comes to a stand in the middle of the largest member, when the others are there.
STOPPING = """
import json, sys, threading
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.run import Run
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

source, destination, size, others = json.load(sys.stdin)
arrived = threading.Semaphore(0)

class Reader(upkeep.VerifyingReader):
    passed = 0
    def read(self, size_):
        block = super().read(size_)
        self.passed += len(block)
        if self._member.size == size and self.passed > 8_500_000:
            for _number in range(2 * others):
                arrived.acquire()
            print("half-way", flush=True)
            threading.Event().wait()
        if not block and self._member.size != size:
            arrived.release()  # once when it is copied, once when it is read back
        return block

upkeep.VerifyingReader = Reader
upkeep.copy(Task.from_mapping(source), Task.from_mapping(destination), Host())
"""


@pytest.mark.parametrize(("source", "destination"), IN_A_CIRCLE)
def test_a_copy_that_is_killed_leaves_no_point_and_the_next_one_clears_up(
    pushed: Any,
    place: Place,
    of: Callable[..., Task],
    s3_server: SwiftS3,
    tmp_path: Path,
    source: str,
    destination: str,
) -> None:
    name, places = pushed
    where = place(destination)
    keys = {"action": "pull", "dbms": "postgresql", "database": name, "state_dir": str(tmp_path / "state")}
    planned = upkeep.plan_copy(of(places[source]), of(where), Host())
    sizes = sorted(member["size"] for member in planned["manifest"]["members"])
    asked = [{**keys, **places[source], "timestamp": OLDER}, {**keys, **where}, sizes[-1], len(sizes) - 1]

    with subprocess.Popen(
        [sys.executable, "-c", STOPPING],
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(asked))
        process.stdin.close()
        assert process.stdout.readline() == "half-way\n"
        process.kill()

    store = open_store(of(where))
    assert [point.state for point in catalogue.list_points(store)] == [catalogue.INCOMPLETE]
    with pytest.raises(EnvSyncError, match="only interrupted pushes"):
        upkeep.verify(of(where), Host())
    upkeep.copy(of(places[source]), of(where), Host())

    assert {found.name[: len(NEWER)] for found in store.list()} == {NEWER}
    assert store.sweep("") == []
    assert upkeep.verify(of(where), Host())["point"] == f"{NEWER}-{name}"
