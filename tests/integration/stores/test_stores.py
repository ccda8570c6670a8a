# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every store promises, on real ones; then what S3 alone can do wrong."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import Store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.rsync.store import RsyncStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3 import client as s3_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3 import download as s3_download
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3 import store as s3_module
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3.store import Limits, S3Store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import S3Options, SshOptions, Task

from tests.servers.postgresql import PostgresServer, free_port
from tests.servers.s3 import SwiftS3

MIB = 1024 * 1024
NOISE = os.urandom(MIB)


class Stream:
    """A source of ``size`` bytes, each MiB of them different, that raises ``failure`` at its end."""

    def __init__(self, size: int, failure: BaseException | None = None) -> None:
        self.hash = hashlib.sha256()
        self._left = size
        self._failure = failure

    def read(self, size: int) -> bytes:
        size = min(size, self._left, 300_000)
        if not size and self._failure:
            raise self._failure
        block = (self._left.to_bytes(8, "big") + NOISE)[:size]
        self._left -= size
        self.hash.update(block)
        return block

    def close(self) -> None:
        pass


def sha256_of(store: Store, name: str, size: int | None = None) -> str:
    digest = hashlib.sha256()
    reader = store.open(name, size)
    with contextlib.closing(reader):
        for block in iter(lambda: reader.read(MIB), b""):
            digest.update(block)
    return digest.hexdigest()


def s3_options(server: SwiftS3, **others: Any) -> S3Options:
    values = {
        "endpoint_url": server.endpoint,
        "region": server.region,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
    }
    return S3Options(**{**values, **others})


@pytest.fixture
def s3_store(s3_server: SwiftS3, bucket: str) -> S3Store:
    return S3Store(bucket, "a path/below", s3_options(s3_server))


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


def test_a_sweep_aborts_the_uploads_of_its_own_point_alone(s3_server: SwiftS3, bucket: str, s3_store: S3Store) -> None:
    client = s3_server.client()
    s3_store.put_bytes("point-app/1.dat", b"whole")
    for name in ["point-app/2.dat", "point-app.dump", "point-app_2/1.dat", "point-app.x/1.dat"]:
        key = f"a path/below/{name}"
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"half")

    assert [text.rpartition("/below/")[2] for text in s3_store.sweep("point-app")] == [
        "point-app.dump",
        "point-app/2.dat",
    ]
    left = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [item["Key"].rpartition("below/")[2] for item in left] == ["point-app.x/1.dat", "point-app_2/1.dat"]
    assert [item.name for item in s3_store.list()] == ["point-app/1.dat"]


def test_more_objects_than_one_request_removes(s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "DELETE_BATCH", 3)
    names = [f"{number}" for number in range(8)]
    for name in names:
        s3_store.put_bytes(name, b"")

    s3_store.delete([*names[:5], "never there", *names[5:7]])
    assert [item.name for item in s3_store.list()] == ["7"]


def test_parts_grow_when_the_hint_was_far_too_small(s3_server: SwiftS3, bucket: str, tmp_path: Path) -> None:
    store = S3Store(bucket, "", s3_options(s3_server, max_upload_parts=4), str(tmp_path), Limits(part=5 * MIB))
    stored = store.put("object", Stream(60_000_000), size_hint=10)

    assert s3_server.client().head_object(Bucket=bucket, Key="object")["ETag"].endswith('-3"')
    assert sha256_of(store, "object") == stored.sha256
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_region_is_put_right_by_what_the_server_says(s3_server: SwiftS3, bucket: str) -> None:
    """It declines every request of another region, and says which one is its own."""
    store = S3Store(bucket, "", s3_options(s3_server, region="eu-west-3"), limits=Limits(attempts=2))
    store.preflight(write=True)
    stored = store.put("object", Stream(20_000_000))
    assert sha256_of(store, "object") == stored.sha256


def test_a_listing_in_pages(s3_store: S3Store) -> None:
    names = [
        f"2026-01-{day:02}T00:00:00-app{suffix}" for day in range(1, 13) for suffix in ("/1.dat", ".manifest.json")
    ]
    for name in names:
        s3_store.put_bytes(name, b"")
    asked: list[str] = []
    events = s3_store._bucket.client._client.meta.events
    events.register("provide-client-params.s3.ListObjectsV2", lambda params, **_more: {**params, "MaxKeys": 5})
    events.register("before-call.s3", lambda model, **_more: asked.append(model.name))

    assert sorted(item.name for item in s3_store.list()) == sorted(names)
    assert catalogue.choose(s3_store, "app").timestamp == "2026-01-12T00:00:00"

    assert set(asked) == {"ListObjectsV2"}, "no manifest is read"
    assert len(asked) >= 2 * len(names) // 5


class CuttingProxy:
    """Passes connections on to a server, and cuts each of the first ``cuts`` that got ``after`` bytes from it."""

    def __init__(self, target: str, after: int, cuts: int) -> None:
        host, port = target.rpartition("/")[2].split(":")
        self._target = (host, int(port))
        self._after = after
        self.cuts = cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                server = socket.create_connection(self._target)
                threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            for block in iter(lambda: source.recv(65536), b""):
                if counted and self.cuts > 0 and passed + len(block) > self._after:
                    self.cuts -= 1
                    sink.sendall(block[: self._after - passed])
                    break
                passed += len(block)
                sink.sendall(block)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class SlowProxy(CuttingProxy):
    """Passes on so many bytes a second in each direction."""

    rate = 400_000

    def _pass_on(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            for block in iter(lambda: source.recv(self.rate // 10), b""):
                sink.sendall(block)
                time.sleep(len(block) / self.rate)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_a_proxy_that_is_slow_to_hand_out_is_waited_for(
    s3_server: SwiftS3, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer than an answer may: as long as something arrives, nothing is given up, or sent again."""
    monkeypatch.setattr(s3_client, "_READ_TIMEOUT", 4)
    proxy = SlowProxy(s3_server.endpoint, 0, 0)
    try:
        stored = S3Store(bucket, "", s3_options(s3_server)).put("object", Stream(2_500_000))
        store = S3Store(bucket, "", s3_options(s3_server, endpoint_url=proxy.endpoint), limits=Limits(attempts=1))
        began = time.monotonic()
        assert sha256_of(store, "object") == stored.sha256
        assert time.monotonic() - began > 5
    finally:
        proxy.close()


def test_a_bucket_may_be_given_as_a_url(s3_server: SwiftS3, bucket: str) -> None:
    store = S3Store(f"s3://{bucket}/deep/", "path", s3_options(s3_server))
    store.put_bytes("object", b"")

    assert store.url("object") == f"s3://{bucket}/deep/path/object"
    assert S3Store(bucket, "deep", s3_options(s3_server)).stat("path/object") is not None


@pytest.mark.parametrize("option", [{"encryption_mode": "AES256"}, {"storage_class": "STANDARD_IA"}])
def test_options_reach_the_server_which_says_no(s3_server: SwiftS3, bucket: str, option: dict[str, str]) -> None:
    """This server has neither; on one that is not AWS nothing of it is sent by default."""
    store = S3Store(bucket, "", s3_options(s3_server, **option))
    with pytest.raises(EnvSyncError, match=r"not (supported|valid)") as caught:
        store.put("object", Stream(100))
    assert next(iter(option)) in caught.value.hint


def test_an_acl_that_is_none_is_named(s3_server: SwiftS3, bucket: str) -> None:
    store = S3Store(bucket, "", s3_options(s3_server, acl="nonsense"))
    with pytest.raises(EnvSyncError, match=r"InvalidArgument.*\(x-amz-acl: nonsense\)\. Correct acl\."):
        store.put_bytes("object", b"")


#: an access key without rights, which another server than the throwaway one does not have
STRANGER = [
    ({"access_key": "STRANGER"}, "ListObjectsV2: AccessDenied", "Allow s3:ListBucket on the bucket"),
][: 0 if os.environ.get("ENV_SYNC_TEST_S3") else None]


@pytest.mark.parametrize(
    ("options", "why", "hint"),
    [
        ({"secret_key": "a-wrong-secret"}, "SignatureDoesNotMatch", "Correct access_key and secret_key"),
        *STRANGER,
        ({"access_key": "", "secret_key": ""}, "Unable to locate credentials", "AWS_ACCESS_KEY_ID"),
        ({"profile": "nobody"}, "profile .nobody. could not be found", "Correct profile"),
        ({"endpoint_url": "DOWN"}, "Could not connect to the endpoint", "Check endpoint_url"),
        ({"endpoint_url": "no-scheme"}, "Invalid endpoint", "endpoint_url"),
        ({"endpoint_url": "TLS"}, "SSL", "certificate"),
        ({"aws_ca_bundle": "/nowhere", "endpoint_url": "TLS"}, "No such file", "aws_ca_bundle"),
        ({"bucket": "not-made-yet"}, "there is no bucket not-made-yet", "Make the bucket, or correct url"),
    ],
)
def test_what_is_set_up_wrongly_is_said_in_one_clear_line(
    s3_server: SwiftS3, bucket: str, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], why: str, hint: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    real = {
        "STRANGER": s3_server.stranger,
        "DOWN": f"http://user:p4ss@127.0.0.1:{free_port()}",
        "TLS": s3_server.endpoint.replace("http://", "https://"),
    }
    options = {name: real.get(value, value) for name, value in options.items()}
    store = S3Store(options.pop("bucket", bucket), "", s3_options(s3_server, **options), limits=Limits(attempts=2))

    with pytest.raises(EnvSyncError, match=why) as caught:
        store.preflight(write=True)

    assert hint in caught.value.hint
    for secret in (s3_server.secret_key, "a-wrong-secret", "p4ss"):
        assert secret not in str(caught.value)


@pytest.fixture
def cutting(s3_server: SwiftS3, bucket: str) -> Iterator[Callable[..., tuple[CuttingProxy, S3Store]]]:
    """Return a function that gives a proxy in front of the server, and a store behind it."""
    proxies = []

    def make(after: int, cuts: int) -> tuple[CuttingProxy, S3Store]:
        proxies.append(CuttingProxy(s3_server.endpoint, after, cuts))
        options = s3_options(s3_server, endpoint_url=proxies[-1].endpoint)
        return proxies[-1], S3Store(bucket, "a path/below", options, limits=Limits(attempts=2))

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.mark.parametrize("size", [5_000_000, 40_000_000])
def test_a_download_that_is_cut_is_taken_up_again(s3_store: S3Store, cutting: Any, size: int) -> None:
    stored = s3_store.put("object", Stream(size))
    proxy, store = cutting(after=1_000_000, cuts=3)

    assert sha256_of(store, "object", size) == stored.sha256
    assert proxy.cuts == 0


@pytest.mark.parametrize("size", [5_000_000, 40_000_000])
def test_a_download_that_is_always_cut_is_an_error_and_no_end(
    s3_store: S3Store, cutting: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_download, "_PAUSES", (0.1, 0.2))
    s3_store.put("object", Stream(size))
    _proxy, store = cutting(after=20_000, cuts=1000)

    with pytest.raises(EnvSyncError, match=r"reading s3://.*/object: the connection was cut 3 times"):
        sha256_of(store, "object")


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(s3_store: S3Store) -> None:
    s3_store.put("object", Stream(80_000_000))
    reader = s3_store.open("object")
    reader.read(100)
    s3_store.put("object", Stream(80_000_001))
    with contextlib.closing(reader), pytest.raises(EnvSyncError, match="Somebody replaced the object"):
        while reader.read(MIB):
            pass


MEMORY = """
import sys
from concurrent.futures import ThreadPoolExecutor
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3 import S3Store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.task import S3Options

class Zeros:
    left = 75_000_000
    def read(self, size):
        size = min(size, self.left)
        self.left -= size
        return bytes(size)

store = S3Store(sys.argv[1], "", S3Options(endpoint_url=sys.argv[2], region="us-east-1"))

def copy(name):
    store.put(name, Zeros())
    reader = store.open(name)
    while reader.read(1 << 20):
        pass
    reader.close()

with ThreadPoolExecutor(4) as threads:
    list(threads.map(copy, "abcd"))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(status["VmHWM"].split()[0])
"""


def test_four_large_members_at_once_take_little_memory(s3_server: SwiftS3, bucket: str) -> None:
    environment = {
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"],
    }
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, bucket, s3_server.endpoint],
        env=dict(os.environ, **environment),
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    assert int(done.stdout) < 150 * 1024


SAMPLE = """
CREATE TABLE customers (id serial PRIMARY KEY, email text NOT NULL);
INSERT INTO customers (email) SELECT 'user' || g || '@example.com' FROM generate_series(1, 5000) g;
CREATE TABLE noise AS SELECT g, sha512(g::text::bytea) FROM generate_series(1, 150000) g;
"""


def test_a_database_goes_through_a_bucket(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Callable[..., dict[str, Any]],
    s3_server: SwiftS3,
    bucket: str,
) -> None:
    production.create_database(database, SAMPLE)
    where = {
        "storagebackend": "s3",
        "url": bucket,
        "endpoint_url": s3_server.endpoint,
        "region": s3_server.region,
        "access_key": s3_server.access_key,
        "secret_key": s3_server.secret_key,
    }

    pushed = push.push(Task.from_mapping(task_values("push", database, **where)), Host())
    verified = upkeep.verify(Task.from_mapping(task_values("pull", database, **where)), Host())
    pulled = pull.pull(Task.from_mapping(task_values("pull", database, **where)), Host())

    assert pushed["store"] == f"s3://{bucket}/postgresql"
    assert pushed["stored_bytes"] > 8 * MIB
    assert verified["point"] == pulled["point"] == pushed["point"]
    for query in (
        "SELECT count(*), max(email) FROM customers",
        "SELECT md5(string_agg(n::text, '' ORDER BY g)) FROM noise n",
    ):
        assert staging.psql(database, query) == production.psql(database, query)
