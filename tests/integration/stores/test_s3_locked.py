# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bucket with an object lock (COMPLIANCE, 120 days): what a push, a prune, a sweep and a check do there.

Such a bucket has versions: to remove an object puts a marker before it, and no version goes before its time.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push, store_check, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3.store import Limits, S3Store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import task
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import S3Options, Task

from tests.servers.moto_s3 import MotoS3


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoS3]:
    with MotoS3() as server:
        yield server


@pytest.fixture
def locked(moto: MotoS3) -> str:
    name = f"locked-{uuid.uuid4().hex[:8]}"
    moto.locked_bucket(name)
    return name


@pytest.fixture
def make(moto: MotoS3, locked: str, tmp_path: Path) -> Callable[..., Task]:
    """Return a function that gives a task on a small tree of files, with the bucket for its store."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"data" * 1000)

    def of(action: str, **others: Any) -> Task:
        values = {
            "action": action,
            "dbms": "files",
            "database": "assets",
            "directory": str(tmp_path / ("tree" if action == "push" else "restored")),
            "storagebackend": "s3",
            "url": locked,
            "path": "files",
            "endpoint_url": moto.endpoint,
            "region": moto.region,
            "access_key": moto.access_key,
            "secret_key": moto.secret_key,
            "addressing_style": "path",
            "state_dir": str(tmp_path / "state"),
            "temppath": str(tmp_path / "temp"),
        }
        return Task.from_mapping({**values, **others})

    return of


def versions(moto: MotoS3, bucket: str) -> dict[str, list[bool]]:
    """Return which objects there have been, each with whether its versions are what is seen."""
    found: dict[str, list[bool]] = {}
    for version in moto.client().list_object_versions(Bucket=bucket).get("Versions", []):
        found.setdefault(version["Key"], []).append(version["IsLatest"])
    return found


def test_points_are_pushed_pruned_and_pulled_and_no_byte_goes(
    moto: MotoS3, locked: str, make: Callable[..., Task], tmp_path: Path
) -> None:
    names = [push.push(make("push", timestamp=f"2026-01-0{day}T00:00:00"), Host())["point"] for day in (1, 2, 3)]
    before = versions(moto, locked)
    assert all(latest == [True] for key, latest in before.items() if "/.claim-" not in key)

    pruned = upkeep.prune(make("pull"), Host(), keep=2)

    assert pruned["removed"] == names[:1]
    assert [point.name for point in catalogue.list_points(open_store(make("pull")))] == names[1:]
    after = versions(moto, locked)
    assert set(after) == set(before), "every version is there"
    assert [key for key, latest in after.items() if names[0] in key and True in latest] == []
    assert upkeep.prune(make("pull"), Host(), keep=2)["changed"] is False
    assert pull.pull(make("pull"), Host())["point"] == names[-1]
    assert (tmp_path / "restored" / "file").read_bytes() == b"data" * 1000


def test_a_push_that_fails_is_no_point_and_the_next_one_of_that_time_is(
    moto: MotoS3, locked: str, make: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_unused: Any) -> None:
        raise EnvSyncError("writing the manifest", "it fails")

    with monkeypatch.context() as patched:
        patched.setattr(push, "_manifest", fail)
        with pytest.raises(EnvSyncError, match="it fails"):
            push.push(make("push", timestamp="2026-01-01T00:00:00"), Host())
    assert catalogue.list_points(open_store(make("pull"))) == []
    assert moto.client().list_multipart_uploads(Bucket=locked).get("Uploads", []) == []

    done = push.push(make("push", timestamp="2026-01-01T00:00:00"), Host())

    assert (done["changed"], done["warnings"]) == (True, [])
    assert upkeep.verify(make("pull"), Host())["point"] == done["point"]
    members = [latest for key, latest in versions(moto, locked).items() if key.endswith("/") is False and "tar" in key]
    assert members and all(sorted(latest) == [False, True] for latest in members), "the failed one's bytes stay, unseen"


def test_a_sweep_hides_what_a_killed_push_left(
    moto: MotoS3, locked: str, make: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(make("push"))
    store.put_bytes("2026-01-01T00:00:00-assets/tree.tar.zst", b"data")
    monkeypatch.setattr(upkeep, "ABANDONED_HOURS", 0)
    time.sleep(1.1)
    assert upkeep.sweep(make("pull"), Host())["removed"] == ["2026-01-01T00:00:00-assets"]
    assert list(store.list()) == []
    assert len(versions(moto, locked)) == 1


def test_a_check_says_what_the_lock_keeps_and_until_when(moto: MotoS3, locked: str, make: Callable[..., Task]) -> None:
    found = store_check.check(make("pull"), "", Host())
    by_check = {line["check"]: (line["severity"], line["result"]) for line in found["checks"]}
    assert by_check["object lock"][0] == "note"
    assert by_check["object lock"][1].startswith("COMPLIANCE, 120 days")
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=120)
    assert f"locked until {until:%Y-%m-%d} (COMPLIANCE)" in by_check["leaves nothing"][1]
    assert (len(found["left"]), found["changed"]) == (1, True)
    assert list(open_store(make("pull")).list()) == [], "what is kept is not seen"
    # The throughput was tried by an upload that is given up: eight megabytes are not kept for 120 days.
    kept = moto.client().list_object_versions(Bucket=locked)["Versions"]
    assert [version["Size"] for version in kept] == [1024]


class Stream:
    """A source of so many random bytes."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return os.urandom(size)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("size", "most", "parts"), [(1_100_000, 10_000, 1075), (6_000_000, 1_000, 1_000)])
def test_an_upload_of_a_thousand_parts_and_more(moto: MotoS3, tmp_path: Path, size: int, most: int, parts: int) -> None:
    """Parts are listed in pages of a thousand, and some services allow no more: then they grow."""
    name = f"parts-{uuid.uuid4().hex[:8]}"
    moto.client().create_bucket(Bucket=name)
    keys = {"region": moto.region, "access_key": "key", "secret_key": "any-secret", "addressing_style": "path"}
    options = S3Options(endpoint_url=moto.endpoint, max_upload_parts=most, **keys)
    store = S3Store(name, "", options, str(tmp_path), Limits(part=1024))

    stored = store.put("object", Stream(size), size_hint=size)

    etag = moto.client().head_object(Bucket=name, Key="object")["ETag"]
    sent = int(etag.rpartition("-")[2].strip('"'))
    assert sent == parts if most > parts else 300 < sent <= parts
    digest = hashlib.sha256()
    with contextlib.closing(store.open("object")) as reader:
        for block in iter(lambda: reader.read(1024 * 1024), b""):
            digest.update(block)
    assert digest.hexdigest() == stored.sha256


def test_a_check_of_what_a_bucket_is_set_up_to(moto: MotoS3) -> None:
    name = f"open-{uuid.uuid4().hex[:8]}"
    client = moto.client()
    client.create_bucket(Bucket=name, ACL="public-read")
    rule = {
        "ID": "old",
        "Status": "Enabled",
        "Filter": {"Prefix": "files/"},
        "Expiration": {"Days": 30},
        "Transitions": [{"Days": 7, "StorageClass": "GLACIER"}],
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
    }
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]})

    def check(path: str) -> list[str]:
        values = {"storagebackend": "s3", "url": name, "path": path, "endpoint_url": moto.endpoint}
        keys = {"region": moto.region, "access_key": "key", "secret_key": "any-secret", "addressing_style": "path"}
        of_store = Task.from_mapping({**task.of_store({**values, **keys}), "action": "pull"})
        found = store_check.check(of_store, "push", Host())
        assert found["left"] == []
        return [f"{line['severity']} {line['check']}: {line['result']}" for line in found["checks"]]

    said = check("files")
    assert "failed public: its ACL gives READ to everybody" in said
    assert "failed public: whoever knows its name can read it" in said
    assert "note lifecycle: objects are removed after 30 days" in said
    assert "warning lifecycle: after 7 days objects go to GLACIER, where no pull can read them" in said
    assert not any("removed after" in line for line in check("elsewhere")), "the rule is for another folder"
