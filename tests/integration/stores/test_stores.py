# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every store promises, on real ones: whole or not at all, in order, and nothing left behind."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import Store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.rsync.store import RsyncStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import SshOptions

from tests.integration.stores.sources import MIB, Stream, sha256_of


@pytest.fixture(params=["directory", "s3", "rsync"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        return request.getfixturevalue("s3_store")
    if request.param == "rsync":
        server = request.getfixturevalue("ssh_server")
        options = SshOptions(server.port, str(server.key_file), str(server.known_hosts))
        return RsyncStore(server.host, str(tmp_path / "a path"), options, str(tmp_path / "temp"))
    return DirectoryStore(str(tmp_path), "a path/below")


def test_an_object_that_was_put_is_found_read_and_removed(store: Store) -> None:
    stored = store.put_bytes("point/1.dat", b"some data")
    found = store.stat("point/1.dat")

    assert (stored.size, stored.sha256) == (9, hashlib.sha256(b"some data").hexdigest())
    assert found is not None
    assert [(item.name, item.size) for item in store.list()] == [(found.name, found.size)] == [("point/1.dat", 9)]
    assert store.get_bytes("point/1.dat") == b"some data"
    store.delete(["point/1.dat", "point/never there"])
    assert store.stat("point/1.dat") is None
    assert list(store.list()) == []


def test_what_is_not_there_is_an_error_to_open(store: Store) -> None:
    store.put_bytes("there", b"")
    with pytest.raises(EnvSyncError, match="not there"):
        store.open("not there")


def test_an_empty_object_is_an_object(store: Store) -> None:
    assert store.put_bytes("empty", b"").size == 0
    assert [(item.name, item.size) for item in store.list()] == [("empty", 0)]
    assert store.get_bytes("empty") == b""


@pytest.mark.parametrize("size_known", [True, False])
def test_a_large_object_is_streamed_both_ways(store: Store, size_known: bool) -> None:
    source = Stream(70_000_000)
    stored = store.put("large", source)

    assert (stored.size, stored.sha256) == (70_000_000, source.hash.hexdigest())
    assert sha256_of(store, "large", 70_000_000 if size_known else None) == stored.sha256


@pytest.mark.parametrize("size", [8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 16 * MIB])
def test_the_edges_of_a_part_are_no_edges_of_an_object(store: Store, size: int) -> None:
    stored = store.put("object", Stream(size), size)
    assert stored.size == size
    assert sha256_of(store, "object", size) == sha256_of(store, "object") == stored.sha256


@pytest.mark.parametrize(
    "failure", [EnvSyncError("dumping", "it failed"), BrokenPipeError("gone"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("size", [1000, 30_000_000])
def test_a_source_that_fails_at_its_end_leaves_nothing(store: Store, size: int, failure: BaseException) -> None:
    with pytest.raises(type(failure)) as caught:
        store.put("object", Stream(size, failure))

    assert caught.value is failure
    assert list(store.list()) == []
    assert store.sweep("") == []


def test_names_of_any_characters_come_back_as_they_were(store: Store) -> None:
    names = ["2026-01-02T03:04:05-a+b/toc.dat", "50% off", "%2F", "a b  c", "d&e=f?g#h", "naïve/日本", "q'uote\""]
    for name in names:
        store.put_bytes(name, name.encode())

    assert [item.name for item in store.list()] == sorted(names)
    assert [store.get_bytes(name).decode() for name in names] == names
    assert all(store.stat(name) for name in names)
    store.delete(names)
    assert list(store.list()) == []


def test_a_listing_has_what_begins_with_the_prefix_in_order(store: Store) -> None:
    for name in ["b/2", "a", "b/10", "b-", "b/1", "ba"]:
        store.put_bytes(name, b"")

    assert [item.name for item in store.list()] == ["a", "b-", "b/1", "b/10", "b/2", "ba"]
    assert [item.name for item in store.list("b")] == ["b-", "b/1", "b/10", "b/2", "ba"]
    assert [item.name for item in store.list("b/")] == ["b/1", "b/10", "b/2"]


def test_several_members_at_once(store: Store) -> None:
    sources = {f"point/{number}.dat": Stream(20_000_000 + number) for number in range(6)}
    with ThreadPoolExecutor(6) as threads:
        stored = list(threads.map(lambda name: store.put(name, sources[name]), sources))
        read = list(threads.map(lambda name: sha256_of(store, name), sources))

    assert read == [item.sha256 for item in stored] == [source.hash.hexdigest() for source in sources.values()]


def test_what_was_begun_shows_while_it_is_not_finished(store: Store) -> None:
    store.put_bytes("point/1.dat", b"whole")
    seen: list[str] = []

    class Looking(Stream):
        def read(self, size: int) -> bytes:
            if self._left < 1_000_000:
                seen.extend(os.path.dirname(found.name) for found in store.begun())
            return super().read(size)

    store.put("point/2.dat", Looking(20_000_000))
    # rsync sends a file when it is whole, and then it is there at once.
    assert set(seen) == (set() if isinstance(store, RsyncStore) else {"point"})
    assert list(store.begun()) == []


def test_a_sweep_removes_what_an_interrupted_writer_left_and_nothing_finished(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path), "path")
    store.put_bytes("point/1.dat", b"whole")
    (tmp_path / "path/point/.0123.partial").write_bytes(b"half")

    assert store.sweep("point") == [str(tmp_path / "path/point/.0123.partial")]
    assert [item.name for item in store.list()] == ["point/1.dat"]
