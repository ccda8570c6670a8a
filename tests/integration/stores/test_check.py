# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check of a store, on real stores: what it finds, and that it leaves nothing behind."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import store_check
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import main as command_main
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.base import StoredObject
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.rsync import store as rsync_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import task
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.s3 import SwiftS3
from tests.servers.sshd import SshServer

POINT = "2026-01-01T02:30:00-shop.gz"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory store with a point in it, for nobody else to look into."""
    DirectoryStore(str(tmp_path), "points").put_bytes(POINT, b"data")
    return tmp_path / "points"


def directory(folder: Path) -> Task:
    return of_store({"storagebackend": "directory", "url": str(folder.parent), "path": folder.name})


def of_store(values: dict[str, Any]) -> Task:
    return Task.from_mapping({**task.of_store(values), "action": "pull"})


def check(of_task: Task, account: str = "", dry_run: bool = False) -> dict[str, Any]:
    """Check a store; add what was found by what was looked at."""
    found = store_check.check(of_task, account, Host(), dry_run)
    assert len(found["checks"]) >= 2
    return {**found, "by_check": {line["check"]: (line["severity"], line["result"]) for line in found["checks"]}}


def severities(found: dict[str, Any]) -> dict[str, str]:
    return {name: severity for name, (severity, _result) in found["by_check"].items()}


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_good_directory_is_good_and_nothing_is_left(folder: Path) -> None:
    found = check(directory(folder))
    assert (found["severity"], found["changed"], found["left"]) == ("ok", False, [])
    wanted = ["open", "room", "other users", "remove", "write", "throughput", "list", "clock", "read back"]
    assert list(found["by_check"]) == [*wanted, "leaves nothing"]
    assert below(folder) == [POINT]


def test_in_check_mode_nothing_is_written(folder: Path) -> None:
    before = folder.stat().st_mtime_ns
    found = check(directory(folder), dry_run=True)
    assert found["by_check"]["write"][0] == "unknown"
    assert folder.stat().st_mtime_ns == before


def test_a_store_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    found = store_check.check(directory(tmp_path / "nowhere" / "points"), "push", Host())
    assert [(line["check"], line["severity"]) for line in found["checks"]] == [("open", "failed")]
    assert found["checks"][0]["advice"] == "Make it, or mount it, or correct url."


def test_a_pull_that_may_write_and_other_users_that_may_too() -> None:
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        folder = Path(above) / "points"
        folder.mkdir()
        folder.chmod(0o777)
        found = check(directory(folder), "pull")
        assert below(folder) == []
        Path(above).chmod(0o700)
        assert check(directory(folder))["by_check"]["other users"][0] == "ok"
    assert found["by_check"]["other users"] == ("failed", f"every user can write to {folder}")
    assert found["by_check"]["write"][0] == "warning"
    assert found["severity"] == "failed"


def test_a_clock_that_is_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = DirectoryStore.stat

    def stat(self: DirectoryStore, name: str) -> StoredObject | None:
        found = really(self, name)
        return found and StoredObject(found.name, found.size, found.modified + 1000)

    monkeypatch.setattr(DirectoryStore, "stat", stat)
    severity, result = check(directory(folder))["by_check"]["clock"]
    assert severity == "failed"
    assert "16 min 40 s ahead of this host's" in result


def test_a_store_that_gives_back_other_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = DirectoryStore.get_bytes
    monkeypatch.setattr(DirectoryStore, "get_bytes", lambda self, name: really(self, name)[:-1] + b"!")
    assert check(directory(folder))["by_check"]["read back"][0] == "failed"
    assert below(folder) == [POINT]


def test_a_store_that_lists_late(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    until = time.monotonic() + 3
    really = DirectoryStore.list

    def late(self: DirectoryStore, prefix: str = "") -> Iterator[StoredObject]:
        return iter(()) if time.monotonic() < until else really(self, prefix)

    monkeypatch.setattr(DirectoryStore, "list", late)
    severity, result = check(directory(folder))["by_check"]["list"]
    assert severity == "warning"
    assert "listed only after" in result


def test_the_command_prints_a_table_and_ends_by_severity(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command_main, "LOG_ROOT", str(tmp_path / "log"))
    where = ["-S", "directory", "-u", str(folder.parent), "-p", folder.name]
    assert command_main.main(["--check-store", *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["CHECK", "STATE", "RESULT", "WHAT", "TO", "DO"]
    assert lines[-1] == f"checked {folder}: all of {len(lines) - 2} checks are good"
    assert command_main.main(["--check-store", *where, "-a", "pull"]) == 3
    assert f"checked {folder}: look at: write" in capsys.readouterr().err
    assert command_main.main(["--check-store", *where[:-1], "x/../..", "-a", "pull"]) == 1
    assert command_main.main(["--check-store", "--plan", "-S", "directory", "-u", str(folder / "none")]) == 1
    assert "there is no such directory" in capsys.readouterr().out


def test_an_rsync_store(ssh_server: SshServer, folder: Path, tmp_path: Path) -> None:
    folder.chmod(0o750)
    values = {**ssh_server.values(), "path": str(folder), "temppath": str(tmp_path / "temp")}
    found = check(of_store(values), "push")
    assert set(severities(found).values()) == {"ok"}
    assert {"other users", "remove", "write", "list", "clock", "read back"} <= set(found["by_check"])
    assert below(folder) == [POINT]
    folder.chmod(0o777)
    found = check(of_store(values), "pull")
    assert (found["by_check"]["other users"][0], found["by_check"]["write"][0]) == ("failed", "warning")


def test_an_rsync_account_that_may_only_read(
    ssh_server: SshServer, folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """As with rrsync -ro in authorized_keys over there."""
    really = rsync_store.Remote.start

    def start(self: rsync_store.Remote, arguments: list[str], doing: str) -> Any:
        reading = "--list-only" in arguments or "--append" in arguments
        return really(self, arguments if reading else ["--rsync-path=/bin/false", *arguments], doing)

    monkeypatch.setattr(rsync_store.Remote, "start", start)
    monkeypatch.setattr(rsync_store, "_ATTEMPTS", 1)
    monkeypatch.setattr(rsync_store.RsyncStore.__init__, "__defaults__", ("", 1, lambda: False))
    values = {**ssh_server.values(), "path": str(folder), "temppath": str(tmp_path / "temp")}
    assert severities(check(of_store(values), "pull"))["write"] == "ok"
    assert severities(check(of_store(values), "push"))["write"] == "failed"
    assert below(folder) == [POINT]


@pytest.fixture
def bucket_task(s3_server: SwiftS3, bucket: str) -> Callable[..., Task]:
    def make(**others: Any) -> Task:
        values = {
            "storagebackend": "s3",
            "url": bucket,
            "path": "postgresql",
            "endpoint_url": s3_server.endpoint,
            "region": s3_server.region,
            "access_key": s3_server.access_key,
            "secret_key": s3_server.secret_key,
        }
        return of_store({**values, **others})

    return make


def everything_in(server: SwiftS3, bucket: str) -> list[str]:
    client = server.client()
    uploads = [found["Key"] for found in client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]
    versions = client.list_object_versions(Bucket=bucket)
    found = [*versions.get("Versions", []), *versions.get("DeleteMarkers", [])]
    return uploads + [version["Key"] for version in found]


def test_a_bucket(s3_server: SwiftS3, bucket: str, bucket_task: Callable[..., Task]) -> None:
    found = check(bucket_task())
    assert found["left"] == []
    found_by = severities(found)
    for name in ("open", "remove", "read", "write", "throughput", "unfinished uploads", "list", "read back", "clock"):
        assert found_by[name] == "ok", found["by_check"][name]
    assert (found_by["public"], found_by["leaves nothing"]) == ("ok", "ok")
    assert everything_in(s3_server, bucket) == []


def test_a_bucket_with_versions_keeps_none_of_the_check(
    s3_server: SwiftS3, bucket: str, bucket_task: Callable[..., Task]
) -> None:
    client = s3_server.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    found = check(bucket_task())
    assert found["left"] == []
    assert found["by_check"]["versioning"][0] == "note"
    assert everything_in(s3_server, bucket) == []


def test_an_account_of_s3_that_reads_only(s3_server: SwiftS3, bucket: str, bucket_task: Callable[..., Task]) -> None:
    s3_server.share(bucket)
    reader = bucket_task(access_key=s3_server.reader)
    found = severities(check(reader, "pull"))
    assert (found["open"], found["read"], found["write"], found["remove"]) == ("ok", "ok", "ok", "ok")
    assert severities(check(reader, "push"))["write"] == "failed"
    found = severities(check(bucket_task(), "pull"))
    assert (found["write"], found["remove"], found["read back"]) == ("warning", "warning", "unknown")
    assert everything_in(s3_server, bucket) == []
    refused = store_check.check(bucket_task(access_key=s3_server.stranger), "pull", Host())
    assert [line["severity"] for line in refused["checks"]] == ["failed"]
    assert refused["checks"][0]["advice"].startswith("Allow s3:ListBucket")
