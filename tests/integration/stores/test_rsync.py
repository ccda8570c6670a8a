# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an rsync store has to itself; test_stores.py has what all stores promise."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.rsync import client as rsync_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.rsync.store import PARTIAL, RsyncStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import SshOptions

from tests.integration.stores.sources import MIB, Random, below, sha256_of, size_below, wait_for
from tests.servers import Unavailable, free_port
from tests.servers.sshd import SshServer


@pytest.fixture
def store(make_rsync_store: Callable[..., RsyncStore]) -> RsyncStore:
    return make_rsync_store()


def test_what_is_stored_is_the_group_s_to_read_and_nobody_else_s(store: RsyncStore, tmp_path: Path) -> None:
    store.put_bytes("point/folder/member", b"data")
    modes = [oct((tmp_path / "far" / name).stat().st_mode & 0o777) for name in below(tmp_path / "far")]
    assert modes == ["0o750", "0o750", "0o640"]


@pytest.mark.parametrize("name", ["point/folder/member", "member"])
def test_a_folder_that_another_push_makes_in_the_same_moment(
    store: RsyncStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    far, run_once = tmp_path / "far", rsync_client.Remote._run_once
    far.symlink_to("not-there-yet")  # as when it is not there, and there when it is to be made

    def run(*given: Any) -> Any:
        done = run_once(*given)
        if far.is_symlink():
            far.unlink()
            far.mkdir()
        return done

    monkeypatch.setattr(rsync_client.Remote, "_run_once", run)
    store.put_bytes(name, b"data")
    assert store.get_bytes(name) == b"data"


def test_a_file_in_the_place_of_the_folder_is_an_error(store: RsyncStore, tmp_path: Path) -> None:
    (tmp_path / "far").write_text("")
    with pytest.raises(EnvSyncError, match=r"storing .*far"):
        store.put_bytes("member", b"data")


def test_names_that_a_shell_or_a_pattern_would_read_otherwise(store: RsyncStore, tmp_path: Path) -> None:
    names = ["$(touch x)/`id`;a|b&c", "--help", "*", "a[b]c?", "#not a comment", "new\nline", "a:b/c:d", "back\\#012",
             "latin\udce9", " lead and trail ", "é" * 127]  # fmt: skip
    for name in names:
        store.put_bytes(name, os.fsencode(name))

    assert [entry.name for entry in store.list()] == sorted(names)
    assert [os.fsdecode(store.get_bytes(name)) for name in names] == names
    store.delete(["*", "a[b]c?"])
    assert [entry.name for entry in store.list()] == sorted(set(names) - {"*", "a[b]c?"})
    store.delete(names)
    assert below(tmp_path / "far") == []


def test_options_that_a_user_has_for_rsync_change_nothing(
    store: RsyncStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    aliases = ("-s --dry-run", "--perms --dry-run", "--list-only --remove-source-files", "--timeout --dry-run")
    (home / ".popt").write_text("".join(f"rsync alias {alias}\n" for alias in aliases))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("RSYNC_RSH", "false")
    monkeypatch.setenv("RSYNC_PARTIAL_DIR", "/nowhere")
    monkeypatch.setenv("POSIXLY_CORRECT", "1")
    store.put_bytes("2021-01-01T00:00:00-app.sql", b"rows")
    assert store.get_bytes("2021-01-01T00:00:00-app.sql", 100) == b"rows"
    assert below(tmp_path / "far") == ["2021-01-01T00:00:00-app.sql"]


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../../x", "a//b", ".env_sync-partial/x", "a/.b.abcdef"])
def test_what_is_no_name_of_an_object_is_refused(store: RsyncStore, name: str) -> None:
    for act in (store.stat, store.open, lambda name: store.put_bytes(name, b""), lambda name: store.delete([name])):
        with pytest.raises(EnvSyncError, match="not a valid object name"):
            act(name)


def test_a_link_over_there_is_no_object(store: RsyncStore, tmp_path: Path) -> None:
    store.put_bytes("a", b"")
    (tmp_path / "far" / "link").symlink_to("/etc/passwd")
    assert [entry.name for entry in store.list()] == ["a"]
    assert store.stat("link") is None


def test_a_path_may_be_below_the_home_and_have_any_characters(
    make_rsync_store: Callable[..., RsyncStore],
) -> None:
    with tempfile.TemporaryDirectory(prefix="it's: a [path]", dir=pwd.getpwuid(os.geteuid()).pw_dir) as folder:
        store = make_rsync_store(path=f"{os.path.basename(folder)}/below")
        store.preflight(write=True)
        store.put_bytes("point/a", b"x")
        assert [entry.name for entry in store.list()] == ["point/a"]
        assert Path(folder, "below", "point", "a").read_bytes() == b"x"


def test_an_object_that_is_stored_again_is_replaced(store: RsyncStore, tmp_path: Path) -> None:
    for data in (b"one", b"two"):
        store.put_bytes("point/a", data)
        os.utime(tmp_path / "far" / "point" / "a", (0, 0))
        assert store.get_bytes("point/a") == data


def test_only_what_changed_is_sent(store: RsyncStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same, changed = os.urandom(3 * MIB), os.urandom(3 * MIB)
    old, new = "2026-01-01T00:00:00-app", "2026-01-02T00:00:00-app"
    for name, data in (("1.dat.zst", same), ("2.dat", changed)):
        store.put_bytes(f"{old}/{name}", data)
    store.put_bytes("2026-01-01T00:00:00-app_2/1.dat.zst", os.urandom(100))
    later = RsyncStore(store._remote.host, store._path, SshOptions(), str(tmp_path / "temp"))
    later._remote = store._remote
    sent = []
    run = store._remote.run

    def watched(argv: list[str], *others: Any, **more: Any) -> Any:
        done = run(["--stats", "--no-human-readable", *argv] if "--perms" in argv else argv, *others, **more)
        sent.extend(
            int(line.split()[-1]) for line in done.stdout.decode().splitlines() if line.startswith("Total bytes sent")
        )
        return done

    monkeypatch.setattr(store._remote, "run", watched)
    later.put_bytes(f"{new}/1.dat.zst", same)
    later.put_bytes(f"{new}/2.dat", b"inserted" + changed)

    far = tmp_path / "far"
    assert os.stat(far / old / "1.dat.zst").st_ino == os.stat(far / new / "1.dat.zst").st_ino
    assert later.get_bytes(f"{new}/2.dat") == b"inserted" + changed
    assert len(sent) == 3 and max(sent) < 100_000, sent
    later.delete([f"{old}/1.dat.zst", f"{old}/2.dat"])
    assert later.get_bytes(f"{new}/1.dat.zst") == same


def test_a_sweep_removes_what_an_interrupted_writer_left_of_that_point(store: RsyncStore, tmp_path: Path) -> None:
    store.put_bytes("point-app/1.dat", b"whole")
    left = [
        "point-app/.2.dat.AbC123",
        f"point-app/{PARTIAL}/3.dat",
        f"{PARTIAL}/point-app.dump",
    ]
    others = ["point-app_2/.2.dat.AbC123", ".point-app_2.dump.AbC123"]
    for name in left + others:
        path = tmp_path / "far" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")

    assert [entry.name for entry in store.list()] == ["point-app/1.dat"]
    assert sorted(store.sweep("point-app")) == sorted(store.url(name) for name in left)
    assert [name for name in below(tmp_path / "far") if (tmp_path / "far" / name).is_file()] == [
        ".point-app_2.dump.AbC123", "point-app/1.dat", "point-app_2/.2.dat.AbC123"]  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "why", "hint"),
    [
        ({"ssh_port": "CLOSED"}, "Connection refused", "Check url, ssh_port and the network"),
        ({"url": "nowhere.invalid"}, "Could not resolve hostname", "Correct url"),
        ({"ssh_known_hosts_file": "NONE"}, "Host key verification failed", "known_hosts"),
        ({"ssh_known_hosts_file": "CHANGED"}, "HAS CHANGED", "find out why"),
        ({"ssh_key_file": "OTHER"}, r"Permission denied \(publickey", "authorized_keys"),
        ({"path": "/nowhere/at/all"}, "there is no directory /nowhere/at on that host", "correct path"),
    ],
)
def test_what_is_set_up_wrongly_is_said_in_one_clear_line(
    make_rsync_store: Callable[..., RsyncStore], ssh_server: SshServer, tmp_path: Path, keys: Any, why: str, hint: str
) -> None:
    changed = tmp_path / "changed"
    changed.write_text(f"[127.0.0.1]:{ssh_server.port} {ssh_server.other_key.with_suffix('.pub').read_text()}")
    real = {"CLOSED": free_port(), "NONE": str(ssh_server.no_hosts), "CHANGED": str(changed),
            "OTHER": str(ssh_server.other_key)}  # fmt: skip
    store = make_rsync_store(**{key: real.get(value, value) for key, value in keys.items()})
    began = time.monotonic()

    with pytest.raises(EnvSyncError, match=why) as caught:
        store.preflight(write=False)

    assert hint in caught.value.hint
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("url", ["", "-oProxyCommand=x", "a b", "host:/path", "host; id", "u@-x", "rsync://host/x"])
def test_what_is_no_host_is_refused(url: str) -> None:
    with pytest.raises(EnvSyncError, match="that is not a host"):
        RsyncStore(url, "", SshOptions())


def test_no_rsync_over_there_is_said(store: RsyncStore, monkeypatch: pytest.MonkeyPatch) -> None:
    start = store._remote.start
    monkeypatch.setattr(store._remote, "start", lambda argv, doing: start(["--rsync-path=no-rsync", *argv], doing))
    with pytest.raises(EnvSyncError, match=r"no-rsync: (command )?not found\. Install rsync"):
        store.preflight(write=False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 80 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80M", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        raise Unavailable("mounting a small file system needs root")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_full_disk_over_there_is_said_and_nothing_is_left(
    make_rsync_store: Callable[..., RsyncStore], small_disk: Path
) -> None:
    store = make_rsync_store(path=str(small_disk / "far"))
    with pytest.raises(EnvSyncError, match=r"No space left on device.*Make room on that host"):
        store.put("point/a", Random(90 * MIB))
    assert below(small_disk) == ["far"]


def test_a_temporary_disk_without_room_is_not_filled(ssh_server: SshServer, tmp_path: Path, small_disk: Path) -> None:
    values = ssh_server.values()
    options = SshOptions(ssh_server.port, values["ssh_key_file"], values["ssh_known_hosts_file"])
    store = RsyncStore(values["url"], str(tmp_path / "far"), options, str(small_disk))
    with pytest.raises(EnvSyncError, match="set temppath to a folder with more room"):
        store.put("a", Random(90 * MIB))
    assert shutil.disk_usage(small_disk).free > 70 * MIB
    assert store.peak_temporary_bytes == 32 * MIB


@pytest.mark.skipif(os.geteuid() != 0, reason="root may write anywhere: a user is needed who may not")
def test_a_directory_that_may_not_be_written_to_is_said(
    make_rsync_store: Callable[..., RsyncStore], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = make_rsync_store()
    store.put_bytes("a", b"")
    start = store._remote.start
    as_nobody = "--rsync-path=setpriv --reuid=65534 --regid=65534 --clear-groups rsync"
    monkeypatch.setattr(store._remote, "start", lambda argv, doing: start([as_nobody, *argv], doing))
    with pytest.raises(EnvSyncError, match=r"Permission denied \(13\)\. Correct the owner or the mode"):
        store.put_bytes("b", b"")


def test_more_members_at_once_than_one_connection_takes(store: RsyncStore) -> None:
    names = [f"point/{number}" for number in range(16)]
    with ThreadPoolExecutor(16) as threads:
        stored = list(threads.map(lambda name: store.put(name, Random(100_000)), names))
        read = list(threads.map(lambda name: sha256_of(store, name), names))
    assert read == [item.sha256 for item in stored]


def test_a_reader_that_is_slow_does_not_keep_what_it_has_read(store: RsyncStore, tmp_path: Path) -> None:
    store.put("a", Random(100 * MIB))
    with contextlib.closing(store.open("a")) as reader:
        read = 0
        while read < 90 * MIB:
            read += len(reader.read(MIB))
        wait_for(lambda: size_below(tmp_path / "temp") == 100 * MIB)
        (path,) = [path for path in (tmp_path / "temp").rglob("a") if path.is_file()]
        assert path.stat().st_blocks * 512 < 40 * MIB
    assert not path.exists()
