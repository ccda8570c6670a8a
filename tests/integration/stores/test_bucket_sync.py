# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One bucket made to have what another has."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import socketserver
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable
from urllib.parse import urlsplit

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import bucket_sync
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.bucket_sync import Limits
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import Cancelled, EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3 import client as s3_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task
from ansible_collections.govuk.env_sync.plugins.modules import env_sync_store

from tests.servers.s3 import SwiftS3

MIB = 1024 * 1024
START = Path(__file__).resolve().parents[3] / "plugins" / "module_utils" / "_engine" / "start.py"

Make = Callable[..., Task]


@pytest.fixture
def other_bucket(s3_server: SwiftS3) -> Iterator[str]:
    name = f"other-{uuid.uuid4().hex[:8]}"
    s3_server.create_bucket(name)
    yield name
    s3_server.delete_bucket(name)


@pytest.fixture
def task(s3_server: SwiftS3, bucket: str, other_bucket: str, tmp_path: Path) -> Make:
    """Return a function that gives a sync of ``bucket`` to ``other_bucket``."""

    def make(**others: Any) -> Task:
        values = {
            "action": "s3_sync",
            "source_bucket": bucket,
            "destination_bucket": other_bucket,
            "endpoint_url": s3_server.endpoint,
            "region": s3_server.region,
            "access_key": s3_server.access_key,
            "secret_key": s3_server.secret_key,
            "state_dir": str(tmp_path / "state"),
        }
        return Task.from_mapping({**values, **others})

    return make


class Contents:
    """What is in a bucket, by name."""

    def __init__(self, server: SwiftS3, bucket: str) -> None:
        self.client = server.client()
        self.bucket = bucket

    def put(self, **objects: bytes) -> None:
        for name, data in objects.items():
            self.client.put_object(Bucket=self.bucket, Key=name, Body=data)

    def get(self) -> dict[str, bytes]:
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {
            item["Key"]: self.client.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read() for item in found
        }

    def modified(self) -> dict[str, Any]:
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {item["Key"]: item["LastModified"] for item in found}


@pytest.fixture
def source(s3_server: SwiftS3, bucket: str) -> Contents:
    return Contents(s3_server, bucket)


@pytest.fixture
def destination(s3_server: SwiftS3, other_bucket: str) -> Contents:
    return Contents(s3_server, other_bucket)


def test_only_what_is_new_or_changed_is_copied(task: Make, source: Contents, destination: Contents) -> None:
    source.put(same=b"same", changed=b"old", longer=b"x")
    first = bucket_sync.sync(task(), Host())
    assert (first["copied"], first["copied_bytes"], first["unchanged"], first["changed"]) == (3, 8, 0, True)
    time.sleep(1.1)
    source.put(changed=b"new", longer=b"xx", new=b"")
    destination.put(extra=b"mine")
    before = destination.modified()

    second = bucket_sync.sync(task(), Host())
    third = bucket_sync.sync(task(), Host())

    assert destination.get() == {**source.get(), "extra": b"mine"}
    assert destination.modified()["same"] == before["same"]
    assert (second["copied"], second["unchanged"], second["extra"], second["deleted"]) == (3, 1, 1, 0)
    assert (third["copied"], third["changed"]) == (0, False)
    assert "has all 4 objects" in third["skipped"]


def test_an_object_of_the_same_size_with_other_bytes_that_is_younger_is_copied(
    task: Make, source: Contents, destination: Contents
) -> None:
    """The times say nothing, and the ETags all."""
    source.put(same=b"same", other=b"from the source")
    time.sleep(1.1)
    destination.put(same=b"same", other=b"somebody else's")

    planned = bucket_sync.plan(task(), Host())
    done = bucket_sync.sync(task(), Host())

    assert (planned["copied"], planned["copy"], planned["unchanged"]) == (1, ["other"], 1)
    assert (done["copied"], done["unchanged"], done["warnings"]) == (1, 1, [])
    assert destination.get() == source.get()
    assert bucket_sync.sync(task(), Host())["changed"] is False


def in_parts(contents: Contents, name: str, *parts: bytes) -> None:
    where = {"Bucket": contents.bucket, "Key": name}
    where["UploadId"] = contents.client.create_multipart_upload(**where)["UploadId"]
    sent = []
    for number, body in enumerate(parts, 1):
        etag = contents.client.upload_part(**where, PartNumber=number, Body=body)["ETag"]
        sent.append({"PartNumber": number, "ETag": etag})
    contents.client.complete_multipart_upload(**where, MultipartUpload={"Parts": sent})


def test_objects_in_parts_of_other_sizes_are_not_copied_again_and_again(
    task: Make, source: Contents, destination: Contents
) -> None:
    """Their ETags differ though their bytes do not."""
    data = os.urandom(12 * MIB)
    in_parts(source, "large", data[: 5 * MIB], data[5 * MIB : 10 * MIB], data[10 * MIB :])
    time.sleep(1.1)
    in_parts(destination, "large", data[: 6 * MIB], data[6 * MIB : 11 * MIB], data[11 * MIB :])
    assert bucket_sync.sync(task(), Host())["changed"] is False


def test_the_names_of_what_is_removed_are_not_kept_in_memory(
    task: Make, source: Contents, destination: Contents, tmp_path: Path
) -> None:
    source.put(a=b"")
    names = [f"line\nbreak {number}" for number in range(5)] + ["naïve/日本"]
    destination.put(**dict.fromkeys(names, b""))
    done = bucket_sync.sync(task(delete=True, temppath=str(tmp_path / "temp")), Host())
    assert (done["deleted"], sorted(destination.get())) == (len(names), ["a"])
    assert list((tmp_path / "temp").iterdir()) == []


class SlowToAnswer(socketserver.ThreadingTCPServer):
    """Passes connections on to the S3 server, and keeps back the answers to copies for ``seconds``; counts these."""

    daemon_threads = True

    def __init__(self, target: str, seconds: float) -> None:
        self.target = urlsplit(target)
        self.seconds = seconds
        self.copies = 0
        super().__init__(("127.0.0.1", 0), _PassOn)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _PassOn(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, SlowToAnswer)
        copying = False
        far = socket.create_connection((str(server.target.hostname), int(server.target.port or 0)))
        with contextlib.suppress(OSError), far:
            while True:
                for line in select.select([self.request, far], [], [])[0]:
                    data = line.recv(65536)
                    if not data:
                        return
                    if line is far:
                        if copying:
                            time.sleep(server.seconds)
                        copying = False
                        self.request.sendall(data)
                    else:
                        if b"x-amz-copy-source:" in data.lower():
                            server.copies += 1
                            copying = True
                        far.sendall(data)


def test_a_copy_may_take_longer_than_other_requests(
    task: Make, source: Contents, destination: Contents, s3_server: SwiftS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that answers when it has copied up to 5 GiB is not asked again meanwhile."""
    monkeypatch.setattr(s3_client, "_READ_TIMEOUT", 4)
    source.put(a=b"data")
    with SlowToAnswer(s3_server.endpoint, 6.0) as server:
        done = bucket_sync.sync(task(endpoint_url=server.endpoint), Host())
        assert (done["copied"], server.copies) == (1, 1)
        server.shutdown()
    assert destination.get() == {"a": b"data"}


def test_names_of_any_characters(task: Make, source: Contents, destination: Contents) -> None:
    names = ["a b+c%20", "naïve/日本", "d&e=f?g#h", "x/", "𝄞", "\uffdc", "Z", "z/y/x", "q'uote\""]
    source.put(**{name: name.encode() for name in names})

    bucket_sync.sync(task(), Host())

    assert destination.get() == {name: name.encode() for name in names}
    assert bucket_sync.sync(task(delete=True), Host())["changed"] is False


def test_delete_removes_what_the_source_does_not_have(task: Make, source: Contents, destination: Contents) -> None:
    source.put(a=b"a", c=b"c")
    destination.put(_first=b"", b=b"b", c=b"old!", d=b"d")

    planned = bucket_sync.plan(task(delete=True), Host())
    assert sorted(destination.get()) == ["_first", "b", "c", "d"], "a plan changes nothing"
    synced = bucket_sync.sync(task(delete="true"), Host())

    assert (planned["copy"], planned["delete"], planned["changed"]) == (["a", "c"], ["_first", "b", "d"], True)
    assert len(planned["steps"]) == 2
    assert (planned["copied"], planned["deleted"]) == (synced["copied"], synced["deleted"]) == (2, 3)
    assert destination.get() == {"a": b"a", "c": b"c"}


def test_prefixes_are_synced_and_nothing_beside_them(
    task: Make, source: Contents, destination: Contents, bucket: str, other_bucket: str
) -> None:
    source.put(**{"live/a": b"a", "live/b/c": b"c", "live2/x": b"x", "y": b"y"})
    destination.put(**{"copy/old": b"", "copy2/keep": b"keep", "keep": b"keep"})

    keys = {"source_bucket": f"s3://{bucket}/live/", "destination_bucket": f"{other_bucket}/copy", "delete": True}
    bucket_sync.sync(task(**keys), Host())

    assert destination.get() == {"copy/a": b"a", "copy/b/c": b"c", "copy2/keep": b"keep", "keep": b"keep"}


def test_an_empty_or_unreadable_source_never_empties_the_destination(
    task: Make, source: Contents, destination: Contents, s3_server: SwiftS3
) -> None:
    destination.put(a=b"a", b=b"b")
    before = destination.get()
    cases = [
        (task(delete=True), "is empty, and so would this be"),
        (task(delete=True, source_bucket="never-made"), "there is no bucket never-made"),
        (task(delete=True, secret_key="wrong"), "SignatureDoesNotMatch"),
    ]
    if s3_server.stranger:
        cases.append((task(delete=True, access_key=s3_server.stranger), "AccessDenied"))
    for of, why in cases:
        for verb in (bucket_sync.plan, bucket_sync.sync):
            with pytest.raises(EnvSyncError, match=why):
                verb(of, Host())
    assert destination.get() == before

    harmless = bucket_sync.sync(task(), Host())
    assert (harmless["changed"], len(harmless["warnings"])) == (False, 1)


def test_nothing_is_removed_when_something_could_not_be_copied(
    task: Make, source: Contents, destination: Contents
) -> None:
    source.put(a=b"a", b=b"b")
    destination.put(c=b"c")
    # This server has no such class.
    with pytest.raises(EnvSyncError, match=r"copying s3://.*2 objects could not be copied.*storage_class"):
        bucket_sync.sync(task(delete=True, storage_class="STANDARD_IA"), Host())
    assert destination.get() == {"c": b"c"}


def test_an_object_that_goes_while_it_is_copied_is_a_warning(
    task: Make, source: Contents, destination: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put(a=b"a", b=b"b")
    really = bucket_sync._Copier._copy

    def copy(self: Any, item: Any) -> None:
        if item.name == "a":
            source.client.delete_object(Bucket=source.bucket, Key="a")
        really(self, item)

    monkeypatch.setattr(bucket_sync._Copier, "_copy", copy)
    synced = bucket_sync.sync(task(), Host())

    assert (synced["copied"], synced["vanished"], len(synced["warnings"])) == (1, 1, 1)
    assert destination.get() == {"b": b"b"}


def test_a_large_object_is_copied_in_parts_with_its_properties(
    task: Make, source: Contents, destination: Contents
) -> None:
    data = os.urandom(17 * MIB)
    source.client.put_object(
        Bucket=source.bucket, Key="large", Body=data, ContentType="text/x-large", Metadata={"colour": "blue"}
    )
    source.put(small=b"small")
    time.sleep(1.1)  # a copy counts as younger from the next second on

    synced = bucket_sync.sync(task(), Host(), Limits(threshold=10 * MIB, part=5 * MIB))

    found = destination.client.head_object(Bucket=destination.bucket, Key="large")
    assert found["ETag"].endswith('-4"')
    assert (found["ContentType"], found["Metadata"]) == ("text/x-large", {"colour": "blue"})
    assert destination.get() == {"large": data, "small": b"small"}
    assert synced["copied_bytes"] == len(data) + 5
    assert bucket_sync.sync(task(), Host())["changed"] is False


def test_a_copy_in_parts_that_fails_leaves_no_upload(task: Make, source: Contents, destination: Contents) -> None:
    source.put(large=os.urandom(6 * MIB))
    # Parts of less than 5 MiB are refused when the upload is completed.
    with pytest.raises(EnvSyncError, match="copying s3://"):
        bucket_sync.sync(task(), Host(), Limits(threshold=MIB, part=MIB))
    assert destination.get() == {}
    assert destination.client.list_multipart_uploads(Bucket=destination.bucket).get("Uploads", []) == []


def test_the_owner_of_the_bucket_gets_full_control_by_choice(
    task: Make, source: Contents, destination: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    really = bucket_sync._Copier._copy
    monkeypatch.setattr(
        bucket_sync._Copier, "_copy", lambda self, item: (asked.append(dict(self._keeping)), really(self, item))
    )
    source.put(a=b"a")
    bucket_sync.sync(task(acl="bucket-owner-full-control"), Host())
    source.put(b=b"b")
    bucket_sync.sync(task(), Host())
    assert asked == [{"ACL": "bucket-owner-full-control"}, {}]
    assert sorted(destination.get()) == ["a", "b"]


def test_a_copy_in_parts_stops_when_it_is_told_to(
    task: Make, source: Contents, destination: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_sync, "_PARTS_AT_ONCE", 1)
    source.put(large=os.urandom(26 * MIB))
    seen: list[int] = []

    def parts() -> int:
        uploads = destination.client.list_multipart_uploads(Bucket=destination.bucket).get("Uploads", [])
        for item in uploads:
            found = destination.client.list_parts(Bucket=destination.bucket, Key=item["Key"], UploadId=item["UploadId"])
            return len(found.get("Parts", []))
        return 0

    def cancelled() -> bool:
        seen.append(parts())
        return seen[-1] > 0

    with pytest.raises(Cancelled):
        bucket_sync.sync(task(), Host(cancelled=cancelled), Limits(threshold=10 * MIB, part=5 * MIB))

    assert max(seen) < 5, "the last part was never asked for"
    assert destination.get() == {}
    assert parts() == 0


@pytest.mark.parametrize(("one", "other"), [("", ""), ("/a", ""), ("", "/a"), ("/a", "/a/b")])
def test_a_bucket_is_not_synced_into_itself(task: Make, bucket: str, one: str, other: str) -> None:
    with pytest.raises(EnvSyncError, match="one is in the other"):
        bucket_sync.plan(task(source_bucket=bucket + one, destination_bucket=bucket + other), Host())


def test_two_prefixes_of_one_bucket_are_two_places(task: Make, bucket: str, source: Contents) -> None:
    source.put(**{"a/x": b"x"})
    bucket_sync.sync(task(source_bucket=f"{bucket}/a", destination_bucket=f"{bucket}/ab"), Host())
    assert source.get() == {"a/x": b"x", "ab/x": b"x"}


def test_the_command_syncs_what_a_config_file_says(
    s3_server: SwiftS3, bucket: str, other_bucket: str, tmp_path: Path
) -> None:
    Contents(s3_server, bucket).put(one=b"1", two=b"22")
    config = tmp_path / "sync_assets.cfg"
    config.write_text(
        f'action="s3_sync"\nsource_bucket="{bucket}"\ndestination_bucket="{other_bucket}"\n'
        f'endpoint_url="{s3_server.endpoint}"\nregion="{s3_server.region}"\nstate_dir="{tmp_path}"\n',
        encoding="utf-8",
    )
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
    }

    def command(*arguments: str) -> str:
        argv = [sys.executable, "-I", str(START), "command", "-f", str(config), "--verbose", *arguments]
        return subprocess.run(argv, env=environment, check=True, capture_output=True, text=True).stdout

    assert "copy 2 objects" in command("--plan")
    assert Contents(s3_server, other_bucket).get() == {}
    assert "2 objects copied" in command()
    assert Contents(s3_server, other_bucket).get() == {"one": b"1", "two": b"22"}
    assert "nothing to do" in command()


def test_the_module_syncs_and_in_check_mode_says_what_it_would_do(
    s3_server: SwiftS3,
    source: Contents,
    destination: Contents,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source.put(one=b"1", two=b"22")
    destination.put(old=b"")
    declared = {
        "name": "sync_assets_daily",
        "action": "s3_sync",
        "source_bucket": source.bucket,
        "destination_bucket": destination.bucket,
        "delete": "true",
    }
    how = {
        "endpoint_url": s3_server.endpoint,
        "region": s3_server.region,
        "access_key": s3_server.access_key,
        "secret_key": s3_server.secret_key,
        "state_dir": str(tmp_path),
    }

    def module(**more: Any) -> dict[str, Any]:
        with patch_module_args({"operation": "s3_sync", **declared, **how, **more}), pytest.raises(SystemExit):
            env_sync_store.main()
        return dict(json.loads(capsys.readouterr().out))

    planned = module(_ansible_check_mode=True)
    assert destination.get() == {"old": b""}
    assert not list(tmp_path.iterdir()), "the task's status is left as it was"
    synced, again = module(), module()
    emptied = module(source_bucket=f"{source.bucket}/nothing")

    assert destination.get() == {"one": b"1", "two": b"22"}
    assert (planned["copy"], planned["delete"], len(planned["steps"])) == (["one", "two"], ["old"], 2)
    for done in (planned, synced):
        assert (done["changed"], done["copied"], done["copied_bytes"], done["deleted"]) == (True, 2, 3, 1)
    assert (again["changed"], again["unchanged"]) == (False, 2)
    assert again["reason"].endswith(f"has all 2 objects of s3://{source.bucket}")
    assert emptied["failed"] and "is empty, and so would this be" in emptied["why"]
    assert s3_server.secret_key not in json.dumps([planned, synced, again, emptied])
