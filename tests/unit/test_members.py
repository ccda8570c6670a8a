# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Members through real compressors, into a real directory and back."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import random
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.members import (
    PointSource,
    StoreSink,
    VerifyingReader,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.manifest import Manifest, Member
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams import compression as engine_compression
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.pipeline import Group
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.reader import BLOCK, BytesReader, Reader

Maker = Callable[..., Manifest]
POINT = "2026-01-02T03:04:05-app"
WAYS = {"zstd": ("zstd", True), "zstd, its program": ("zstd", False), "gzip": ("gzip", True), "none": ("none", True)}
UNPACK = {"zstd": ["zstd", "-dcq"], "gzip": ["gzip", "-dc"], "none": ["cat"]}
DATA = random.Random(1).randbytes(BLOCK) + b"text " * BLOCK + b"end"


class Failing:
    """Gives one block and then raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self._given = False
        self.closed = False

    def read(self, size: int) -> bytes:
        if self._given:
            raise self._error
        self._given = True
        return DATA[:size]

    def close(self) -> None:
        self.closed = True


@pytest.fixture(params=WAYS)
def compression(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each compression in turn, by each of the ways there are to do it."""
    name, library = WAYS[request.param]
    monkeypatch.setattr(engine_compression, "HAS_ZSTANDARD", library)
    return name


class Counter:
    def __init__(self) -> None:
        self.size, self.members = 0, 0
        self._lock = threading.Lock()

    def __call__(self, size: int, count: int) -> None:
        with self._lock:
            self.size += size
            self.members += count


def sink(group: Group, store: DirectoryStore, compression: str, progress: Counter | None = None) -> StoreSink:
    return StoreSink(group, store, POINT, engine_compression.Compression(compression), progress or Counter())


def read_all(reader: Reader, size: int = BLOCK) -> bytes:
    with contextlib.closing(reader):
        return b"".join(iter(lambda: reader.read(size), b""))


def put(store: DirectoryStore, compression: str, data: bytes = DATA, name: str = "/1.dat") -> Member:
    with Group() as group:
        return sink(group, store, compression).member(name, BytesReader(data))


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=len)
def test_a_member_is_what_its_tools_unpack_and_what_its_record_says(
    store: DirectoryStore, compression: str, data: bytes
) -> None:
    counted = Counter()
    with Group() as group:
        member = sink(group, store, compression, counted).member("/1.dat", BytesReader(data), table="public.t")
    stored = store.get_bytes(member.name)
    assert member.name == f"{POINT}/1.dat" + {"zstd": ".zst", "gzip": ".gz", "none": ""}[compression]
    assert (member.size, member.sha256) == (len(stored), hashlib.sha256(stored).hexdigest())
    assert (member.raw_size, member.facts) == (len(data), {"table": "public.t"})
    assert (counted.size, counted.members) == (len(data), 1)
    assert subprocess.run(UNPACK[compression], input=stored, capture_output=True, check=True).stdout == data


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=len)
def test_a_point_gives_back_what_went_into_it(
    store: DirectoryStore, make_manifest: Maker, tmp_path: Path, compression: str, data: bytes
) -> None:
    counted = Counter()
    member = put(store, compression, data)
    with Group() as group:
        source = PointSource(group, store, POINT, make_manifest(members=[member], compression=compression), counted)
        assert source.names() == ["/1.dat"]
        assert read_all(source.open("/1.dat"), 65537) == data
        source.send("/1.dat", os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT))
    assert (tmp_path / "out").read_bytes() == data
    assert (counted.size, counted.members) == (2 * member.size, 1)


def test_what_is_compressed_already_is_stored_and_given_back_as_it_is(
    store: DirectoryStore, make_manifest: Maker
) -> None:
    packed = gzip.compress(b"data")
    with Group() as group:
        member = sink(group, store, "gzip").member(".gz", BytesReader(packed), packed=True)
    assert (member.name, member.facts, store.get_bytes(member.name)) == (f"{POINT}.gz", {"packed": True}, packed)
    with Group() as group:
        source = PointSource(group, store, POINT, make_manifest(members=[member], compression="gzip"), Counter())
        assert read_all(source.open(source.names()[0])) == packed


def test_a_source_that_fails_leaves_no_member_and_is_what_is_told(store: DirectoryStore, compression: str) -> None:
    source = Failing(EnvSyncError("dumping", "it broke"))
    with pytest.raises(EnvSyncError, match="dumping: it broke"), Group() as group:
        sink(group, store, compression).member("/1.dat", source)
    assert list(store.list()) == []
    assert source.closed


def test_a_failure_of_the_source_is_known_before_the_compressor_can_see_an_end(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise half a dump would be a well-formed member."""
    monkeypatch.setattr(engine_compression, "HAS_ZSTANDARD", False)
    input_closed: list[bool] = []

    class Watched(Group):
        def fail_unless_consequence(self, error: BaseException) -> None:
            input_closed.append(self._stages[0].stdin.closed)
            super().fail_unless_consequence(error)

    with pytest.raises(EnvSyncError, match="it broke"), Watched() as group:
        sink(group, store, "zstd").member("/1.dat", Failing(EnvSyncError("dumping", "it broke")))
    assert input_closed[0] is False


def test_a_store_that_fails_is_what_is_told_and_not_the_broken_pipe(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, block: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"{type(store).__module__}.write_all", full)
    with pytest.raises(EnvSyncError, match=r"No space left on device. Make room"), Group() as group:
        sink(group, store, "zstd").member("/1.dat", BytesReader(DATA))
    assert list(store.list()) == []


def test_a_compressor_that_is_not_there_is_named(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(engine_compression, "HAS_ZSTANDARD", False)
    with (
        pytest.raises(EnvSyncError, match=r"compressing .*: zstd can't be started: it is not installed\. Install zstd"),
        Group() as group,
    ):
        sink(group, store, "zstd").member("/1.dat", BytesReader(DATA))


def test_members_from_several_threads_are_all_recorded(store: DirectoryStore) -> None:
    with Group() as group:
        into = sink(group, store, "none")
        for number in range(20):
            group.start(into.member, f"/{number}.dat", BytesReader(b"x" * number))
    assert sorted(member.size for member in into.members) == list(range(20))


DAMAGES: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("cut off", lambda data: data[:-1]),
    ("empty", lambda data: b""),
    ("longer", lambda data: data + b"x"),
    ("one bit in the last byte", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    ("one bit in the first byte", lambda data: bytes([data[0] ^ 1]) + data[1:]),
]


@pytest.mark.parametrize("damage", [damage for _name, damage in DAMAGES], ids=[name for name, _damage in DAMAGES])
@pytest.mark.parametrize("size", [1, BLOCK, BLOCK + 1, 2 * BLOCK])
def test_the_last_block_of_a_damaged_member_is_never_given_out(
    store: DirectoryStore, size: int, damage: Callable[[bytes], bytes]
) -> None:
    member = put(store, "none", DATA[:size])
    store.put_bytes(member.name, damage(DATA[:size]))
    given = 0
    reader = VerifyingReader(store, member)
    with pytest.raises(EnvSyncError, match=r"reading .*1.dat: it.*: it is damaged. Choose another point"):
        while True:
            block = reader.read(BLOCK)
            assert block, "an end was told"
            given += len(block)
    reader.close()
    assert given < max(1, len(damage(DATA[:size])))


def test_what_is_behind_a_damaged_member_sees_no_end(
    store: DirectoryStore, make_manifest: Maker, tmp_path: Path, compression: str
) -> None:
    """Damage that the compressor itself would not notice: the member was exchanged for another whole one."""
    member = put(store, compression)
    store.put_bytes(member.name, store.get_bytes(put(store, compression, b"other", "/2.dat").name))
    manifest = make_manifest(members=[member], compression=compression)
    with pytest.raises(EnvSyncError, match="it is damaged"), Group() as group:
        read_all(PointSource(group, store, POINT, manifest, Counter()).open("/1.dat"))
    with pytest.raises(EnvSyncError, match="it is damaged"), Group() as group:
        out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
        PointSource(group, store, POINT, manifest, Counter()).send("/1.dat", out)


def test_of_the_originals_objects_the_size_is_all_there_is_to_compare(store: DirectoryStore) -> None:
    store.put_bytes("x.gz", b"12345")
    assert read_all(VerifyingReader(store, Member("x.gz", 5, "", 5))) == b"12345"
    with pytest.raises(EnvSyncError, match="it has 5 bytes, the manifest says 6"):
        read_all(VerifyingReader(store, Member("x.gz", 6, "", 6)))


def test_a_member_that_the_manifest_does_not_have_is_missed(store: DirectoryStore, make_manifest: Maker) -> None:
    with pytest.raises(EnvSyncError, match=r"it has no member 9\.dat"), Group() as group:
        PointSource(group, store, POINT, make_manifest(), Counter()).open("/9.dat")


def test_a_compression_of_the_future_is_refused(store: DirectoryStore, make_manifest: Maker) -> None:
    with pytest.raises(EnvSyncError, match=r"does not know the compression lz5. Upgrade"), Group() as group:
        PointSource(group, store, POINT, make_manifest(compression="lz5"), Counter())


def test_a_reader_that_goes_away_stops_a_send(store: DirectoryStore, make_manifest: Maker) -> None:
    member = put(store, "none")
    with pytest.raises(EnvSyncError, match="restoring: sh: exit status 3"), Group() as group:
        restore = group.run(["/bin/sh", "-c", "exec <&-; sleep 0.05; exit 3"], "restoring", stdin=subprocess.PIPE)
        source = PointSource(group, store, POINT, make_manifest(members=[member]), Counter())
        group.start(source.send, "/1.dat", os.dup(restore.stdin.fileno()))
        restore.wait()


def test_a_member_keeps_its_place_when_only_its_record_differs(store: DirectoryStore) -> None:
    member = put(store, "none", b"12345")
    wrong = replace(member, sha256="0" * 64)
    with pytest.raises(EnvSyncError, match=f"its SHA-256 is {member.sha256}, the manifest says 0000"):
        read_all(VerifyingReader(store, wrong))


def test_a_store_of_bytes_has_no_server_that_stores_or_vouches(store: DirectoryStore, make_manifest: Maker) -> None:
    manifest = make_manifest(members=[put(store, "none")], compression="none")
    with Group() as group:
        with pytest.raises(EnvSyncError, match="takes bytes only"):
            sink(group, store, "none").by_server()
        with pytest.raises(EnvSyncError, match="takes bytes only"):
            PointSource(group, store, POINT, manifest, Counter()).attest()
