# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bucket has to itself; test_stores.py has what all stores promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3 import store as s3_module
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3.store import Limits, S3Store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.stores.sources import MIB, Stream, s3_options, sha256_of
from tests.servers import free_port
from tests.servers.postgresql import PostgresServer
from tests.servers.s3 import SwiftS3


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


MEMORY = """
import sys
from concurrent.futures import ThreadPoolExecutor
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3.store import S3Store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import S3Options

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
