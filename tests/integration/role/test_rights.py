# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rights in S3 that each action needs: the policies in ``docs/stores/policies`` allow these, no more and no less.

The S3 server here knows no policies. So a gate in the engine's own client reads them, and answers as AWS does to what
they do not allow; what they allow goes to the server.
"""

from __future__ import annotations

import fnmatch
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import (
    bucket_sync,
    catalogue,
    pull,
    push,
    store_check,
    upkeep,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.bucket_sync import Limits
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.base import DumpAgain
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.database import PostgreSQL
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3 import client as s3_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer
from tests.servers.s3 import SwiftS3

POLICIES = Path(__file__).resolve().parents[3] / "docs" / "stores" / "policies"

MIB = 1024 * 1024

# One table is larger than the piece that an upload to S3 begins with.
SAMPLE = "CREATE TABLE noise AS SELECT g, sha512(g::text::bytea) FROM generate_series(1, 150000) g"

#: an action, and the ARN that it is done to
Need = tuple[str, str]

#: what each operation takes, as AWS documents it ("Required permissions for Amazon S3 API operations")
BUCKET_ACTIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectVersions": "s3:ListBucketVersions",
    "GetBucketAcl": "s3:GetBucketAcl",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "GetBucketPolicyStatus": "s3:GetBucketPolicyStatus",
    "GetBucketVersioning": "s3:GetBucketVersioning",
    "GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
}
OBJECT_ACTIONS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
    "CopyObject": "s3:PutObject",
    "UploadPartCopy": "s3:PutObject",
}


def needs(operation: str, params: dict[str, Any]) -> list[Need]:
    bucket = f"arn:aws:s3:::{params['Bucket']}"
    if operation in BUCKET_ACTIONS:
        return [(BUCKET_ACTIONS[operation], bucket)]
    if operation == "DeleteObjects":
        return [("s3:DeleteObject", f"{bucket}/{item['Key']}") for item in params["Delete"]["Objects"]]
    found = [(OBJECT_ACTIONS[operation], f"{bucket}/{params['Key']}")]
    if "CopySource" in params:
        found.append(("s3:GetObject", "arn:aws:s3:::{Bucket}/{Key}".format(**params["CopySource"])))
    if "ACL" in params:
        found.append(("s3:PutObjectAcl", f"{bucket}/{params['Key']}"))
    return found


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


class Gate:
    """Lets through what all of several sets of policies allow (a bucket's, and a user's), and remembers it."""

    def __init__(self) -> None:
        self.sets: list[list[dict[str, Any]]] = []
        self.operations: set[str] = set()
        self.used: set[tuple[str, str]] = set()
        self.denied: set[str] = set()
        #: the operation that fails, on an object whose name ends so, as if it were not allowed
        self.broken = ("", "")

    def allow(self, *files: str, **names: str) -> None:
        """Take a set of policies; ``names`` are the buckets, by what the files call them."""
        statements = []
        for file in files:
            text = (POLICIES / f"{file}.json").read_text(encoding="utf-8")
            for name, real in names.items():
                text = text.replace(name.replace("_", "-"), real)
            statements += json.loads(text)["Statement"]
        self.sets.append(statements)

    @property
    def unused(self) -> set[tuple[str, str]]:
        """What is allowed by some statement, and was not needed: its ``Sid`` and the action."""
        every = [statement for statements in self.sets for statement in statements]
        return {(found["Sid"], action) for found in every for action in listed(found["Action"])} - self.used

    def note(self, params: dict[str, Any], context: dict[str, Any], **_others: Any) -> None:
        context["params of the call"] = dict(params)

    def decide(self, model: Any, context: dict[str, Any], **_others: Any) -> Any:
        params = context["params of the call"]
        broken = self.broken[0] == model.name and params["Key"].endswith(self.broken[1])
        for action, arn in needs(model.name, params):
            if broken or not all(self._allowed(found, action, arn, params) for found in self.sets):
                self.denied.add(action)
                error = {"Code": "AccessDenied", "Message": "Access Denied"}
                return SimpleNamespace(status_code=403), {"Error": error, "ResponseMetadata": {"HTTPStatusCode": 403}}
        self.operations.add(model.name)
        return None

    def _allowed(self, statements: list[dict[str, Any]], action: str, arn: str, params: dict[str, Any]) -> bool:
        facts = {"s3:prefix": params.get("Prefix", ""), "s3:x-amz-acl": params.get("ACL", "")}
        allowed = False
        for found in statements:
            conditions = [pair for test in found.get("Condition", {}).values() for pair in test.items()]
            if (
                action in listed(found["Action"])
                and any(fnmatch.fnmatchcase(arn, wanted) for wanted in listed(found["Resource"]))
                and all(fnmatch.fnmatchcase(facts[key], wanted) for key, wanted in conditions)
            ):
                self.used.add((found["Sid"], action))
                allowed = True
        return allowed


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate that all of the engine's clients have before them."""
    made = Gate()
    really = s3_client._connect

    def connect(*args: Any, **others: Any) -> tuple[Any, bool]:
        client, aws = really(*args, **others)
        client.meta.events.register("provide-client-params.s3", made.note)
        client.meta.events.register("before-call.s3", made.decide)
        return client, aws

    monkeypatch.setattr(s3_client, "_connect", connect)
    return made


@pytest.fixture
def other_bucket(s3_server: SwiftS3) -> Iterator[str]:
    name = f"other-{uuid.uuid4().hex[:8]}"
    s3_server.create_bucket(name)
    yield name
    s3_server.delete_bucket(name)


@pytest.fixture
def task(
    production: PostgresServer,
    database: str,
    task_values: Callable[..., dict[str, Any]],
    s3_server: SwiftS3,
    bucket: str,
) -> Callable[..., Task]:
    """Return a function that gives the task of an action on a small database, with ``bucket`` for the store."""
    production.create_database(database, SAMPLE)

    def make(action: str, **others: Any) -> Task:
        where = {
            "storagebackend": "s3",
            "url": bucket,
            "endpoint_url": s3_server.endpoint,
            "region": s3_server.region,
            "access_key": s3_server.access_key,
            "secret_key": s3_server.secret_key,
        }
        return Task.from_mapping(task_values(action, database, **{**where, **others}))

    return make


@pytest.fixture
def pushed(task: Callable[..., Task]) -> dict[str, Any]:
    """What a push returned, by a user with all rights."""
    return push.push(task("push", timestamp="2026-01-01T00:00:00"), Host())


def test_a_push_takes_no_right_to_read_or_remove(task: Callable[..., Task], gate: Gate, bucket: str) -> None:
    gate.allow("push", example_database_backups=bucket)

    done = push.push(task("push"), Host())

    assert (done["changed"], done["warnings"]) == (True, [])
    multipart = {"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"}
    claim = {"ListMultipartUploads", "AbortMultipartUpload"}
    assert gate.operations == {"ListObjectsV2", "PutObject", *multipart, *claim}
    assert gate.denied == set()


def test_a_push_after_one_that_failed_goes_on_without_the_right_to_remove(
    task: Callable[..., Task], gate: Gate, bucket: str
) -> None:
    gate.allow("push", example_database_backups=bucket)
    for gate.broken in [("CompleteMultipartUpload", ""), ("PutObject", ".manifest.json")]:
        with pytest.raises(EnvSyncError, match=f"{gate.broken[0]}: AccessDenied"):
            push.push(task("push", timestamp="2026-01-01T00:00:00"), Host())
    gate.broken = ("", "")

    done = push.push(task("push", timestamp="2026-01-02T00:00:00"), Host())
    assert "2026-01-01T00:00:00" in done["warnings"][0] and "Allow s3:DeleteObject" in done["warnings"][0]
    assert gate.denied == {"s3:PutObject", "s3:DeleteObject"}
    states = [(point.timestamp[:10], point.state) for point in catalogue.list_points(open_store(task("pull")))]
    assert states == [("2026-01-01", catalogue.INCOMPLETE), ("2026-01-02", catalogue.COMPLETE)]

    # Somebody who may clears up; then the push has nothing to say any more.
    gate.sets.clear()
    store = open_store(task("pull"))
    store.delete([found.name for found in store.list("2026-01-01")])
    gate.allow("push", example_database_backups=bucket)
    assert push.push(task("push", timestamp="2026-01-03T00:00:00"), Host())["warnings"] == []
    assert gate.unused == set()


def test_a_dump_that_begins_anew_takes_no_right_to_remove(
    task: Callable[..., Task],
    gate: Gate,
    bucket: str,
    staging: PostgresServer,
    production: PostgresServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dump = PostgreSQL.dump
    failures = [DumpAgain("dumping", "a lock was refused", "", "the dump begins anew")]

    def fails_at_first(self: Any, *how: Any) -> Any:
        facts = dump(self, *how)
        if failures:
            raise failures.pop()
        return facts

    monkeypatch.setattr(PostgreSQL, "dump", fails_at_first)
    gate.allow("push", example_database_backups=bucket)
    done = push.push(task("push"), Host())
    assert ["begins anew" in done["warnings"][0], "Allow s3:DeleteObject" in done["warnings"][1]] == [True, True]

    gate.sets.clear()
    pull.pull(task("pull"), Host())
    assert staging.contents(database) == production.contents(database)


def test_what_no_right_removes_of_a_dump_that_failed_gets_into_no_point(
    task: Callable[..., Task],
    gate: Gate,
    bucket: str,
    production: PostgresServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A restore by hand takes all that is there. Here the next dump has a table less, so overwrites not all."""
    dump = PostgreSQL.dump
    failures = [DumpAgain("dumping", "a table was dropped", "", "the dump begins anew")]

    def fails_at_first(self: Any, *how: Any) -> Any:
        facts = dump(self, *how)
        if failures:
            production.psql(database, "DROP TABLE noise")
            raise failures.pop()
        return facts

    monkeypatch.setattr(PostgreSQL, "dump", fails_at_first)
    gate.allow("push", example_database_backups=bucket)
    with pytest.raises(EnvSyncError, match=r"1 objects of a dump that failed .* Allow s3:DeleteObject") as failed:
        push.push(task("push", format="directory"), Host())
    assert "/toc.dat" not in failed.value.why

    gate.sets.clear()
    assert [point.state for point in catalogue.list_points(open_store(task("pull")))] == [catalogue.INCOMPLETE]


def test_a_bucket_of_another_account_takes_the_right_to_set_the_acl(
    task: Callable[..., Task], gate: Gate, bucket: str
) -> None:
    of = task("push", acl="bucket-owner-full-control")
    gate.allow("push", example_database_backups=bucket)
    with pytest.raises(EnvSyncError, match="AccessDenied"):
        push.push(of, Host())
    assert "s3:PutObjectAcl" in gate.denied

    gate.sets.clear()
    gate.allow("push", "acl", example_database_backups=bucket)
    assert push.push(of, Host())["changed"]


@pytest.mark.parametrize("verb", [pull.pull, pull.plan, upkeep.verify])
def test_another_account_lists_and_reads_and_writes_nothing(
    pushed: dict[str, Any],
    task: Callable[..., Task],
    gate: Gate,
    s3_server: SwiftS3,
    bucket: str,
    verb: Callable[[Task, Host], dict[str, Any]],
) -> None:
    """Both have to allow it: the bucket's policy, and the user's own. And here, the server's own ACL."""
    more = {}
    if s3_server.reader:
        s3_server.share(bucket)
        more = {"access_key": s3_server.reader}
        with pytest.raises(EnvSyncError, match="AccessDenied"):
            open_store(task("pull", **more)).put_bytes("object", b"")
    gate.operations.clear()
    gate.allow("bucket", example_database_backups=bucket)
    gate.allow("pull", example_database_backups=bucket)

    assert verb(task("pull", **more), Host())["point"] == pushed["point"]

    assert gate.operations == {"ListObjectsV2", "GetObject"}
    assert (gate.unused, gate.denied) == (set(), set())


def test_a_check_tells_missing_rights_and_rights_that_are_too_many(
    task: Callable[..., Task], gate: Gate, s3_server: SwiftS3, bucket: str
) -> None:
    """With the very rights of the policies it finds nothing wrong; to see a bucket's settings takes check.json."""

    def check(account: str) -> dict[str, str]:
        found = store_check.check(task("pull"), account, Host())
        # An account that removes and may not see versions can't know.
        assert all("older versions" in text and "if any" in text for text in found["left"])
        return {line["check"]: line["severity"] for line in found["checks"]}

    gate.allow("push", "check", example_database_backups=bucket)
    found = check("push")
    assert not {"warning", "failed"} & set(found.values()), found
    assert (found["write"], found["remove"], found["read"]) == ("ok", "ok", "ok")
    # Everything that check.json allows is asked for.
    assert gate.unused & {("SeeSettings", action) for action in BUCKET_ACTIONS.values()} == set()

    gate.sets.clear()
    gate.allow("push", "pull", "prune", example_database_backups=bucket)
    found = check("pull")
    assert (found["write"], found["remove"], found["versioning"]) == ("warning", "warning", "unknown")

    gate.sets.clear()
    gate.allow("pull", example_database_backups=bucket)
    found = check("pull")
    assert (found["write"], found["remove"], found["read"]) == ("ok", "ok", "ok")
    assert not {"warning", "failed"} & set(found.values()), found
    assert check("push")["write"] == "failed"
    assert s3_server.client().list_objects_v2(Bucket=bucket).get("KeyCount", 0) == 0


def test_a_prune_lists_and_removes(pushed: dict[str, Any], task: Callable[..., Task], gate: Gate, bucket: str) -> None:
    push.push(task("push"), Host())
    gate.operations.clear()
    gate.allow("prune", example_database_backups=bucket)

    assert upkeep.prune(task("pull"), Host(), keep=1)["removed"] == [pushed["point"]]

    assert gate.operations == {"ListObjectsV2", "DeleteObjects"}
    assert (gate.unused, gate.denied) == (set(), set())


def test_a_sweep_also_ends_unfinished_uploads(
    task: Callable[..., Task],
    gate: Gate,
    s3_server: SwiftS3,
    bucket: str,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = f"postgresql/2026-01-01T00:00:00-{database}"
    s3_server.client().put_object(Bucket=bucket, Key=f"{key}/1.dat", Body=b"half")
    s3_server.client().create_multipart_upload(Bucket=bucket, Key=f"{key}/2.dat")
    first = f"postgresql/2026-01-02T00:00:00-{database}"
    for of_another in ("", "_2"):
        s3_server.client().create_multipart_upload(Bucket=bucket, Key=f"{first}{of_another}.dump.zst")
    monkeypatch.setattr(upkeep, "ABANDONED_HOURS", -1)
    gate.allow("sweep", example_database_backups=bucket)

    removed = upkeep.sweep(task("pull"), Host())["removed"]

    assert [f"postgresql/{name}" for name in removed] == [key, first]
    left = s3_server.client().list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [upload["Key"] for upload in left] == [f"{first}_2.dump.zst"]
    assert (gate.unused, gate.denied) == (set(), set())


def test_a_copy_pulls_on_one_side_and_pushes_and_reads_back_on_the_other(
    pushed: dict[str, Any], task: Callable[..., Task], gate: Gate, bucket: str, other_bucket: str
) -> None:
    gate.operations.clear()
    gate.allow("pull", example_database_backups=bucket)
    gate.allow("push", "pull", example_database_backups=other_bucket)
    gate.sets = [gate.sets[0] + gate.sets[1]]  # one user's

    assert upkeep.copy(task("pull"), task("pull", url=other_bucket), Host())["point"] == pushed["point"]

    assert gate.denied == set()
    assert {"GetObject", "UploadPart"} <= gate.operations
    assert not {"DeleteObject", "DeleteObjects"} & gate.operations


@pytest.mark.parametrize("delete", [False, True])
def test_a_bucket_sync_reads_one_and_writes_the_other(
    s3_server: SwiftS3, gate: Gate, bucket: str, other_bucket: str, tmp_path: Path, delete: bool
) -> None:
    client = s3_server.client()
    for name, data in (("small", b"1"), ("large", bytes(6 * MIB))):
        client.put_object(Bucket=bucket, Key=name, Body=data)
    client.put_object(Bucket=bucket, Key="replaced", Body=b"one")
    client.put_object(Bucket=other_bucket, Key="old", Body=b"")
    time.sleep(1.1)
    client.put_object(Bucket=other_bucket, Key="replaced", Body=b"two")
    values = {
        "action": "s3_sync",
        "source_bucket": bucket,
        "destination_bucket": other_bucket,
        "delete": delete,
        "endpoint_url": s3_server.endpoint,
        "region": s3_server.region,
        "access_key": s3_server.access_key,
        "secret_key": s3_server.secret_key,
        "state_dir": str(tmp_path),
    }
    names = {"example_production_assets": bucket, "example_staging_assets": other_bucket}
    gate.allow(*["s3_sync"] + ["s3_sync_delete"] * delete, **names)

    gate.broken = ("CompleteMultipartUpload", "")
    with pytest.raises(EnvSyncError, match="AccessDenied"):
        bucket_sync.sync(Task.from_mapping(values), Host(), Limits(threshold=5 * MIB, part=5 * MIB))
    gate.broken, gate.denied = ("", ""), set()
    done = bucket_sync.sync(Task.from_mapping(values), Host(), Limits(threshold=5 * MIB, part=5 * MIB))

    assert (done["changed"], done["deleted"]) == (True, int(delete))
    assert (gate.unused, gate.denied) == (set(), set())

    time.sleep(1.1)
    client.put_object(Bucket=other_bucket, Key="replaced", Body=b"two")
    gate.broken = ("HeadObject", "replaced")
    blind = bucket_sync.sync(Task.from_mapping(values), Host(), Limits(threshold=5 * MIB, part=5 * MIB))
    assert "replaced" not in blind.get("copy", [])
    assert "1 objects of " in blind["warnings"][0] and "could not be looked at" in blind["warnings"][0]
