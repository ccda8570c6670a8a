# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Directory trees: pushed from one folder and pulled into another."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import text as command_text
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files import swap as files_swap
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

Make = Callable[..., Task]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def task(tmp_path: Path) -> Make:
    """Return a function that gives a task: it pushes ``source``, and pulls into ``target``."""
    (tmp_path / "store").mkdir()

    def make(action: str, **others: Any) -> Task:
        values = {
            "action": action,
            "dbms": "files",
            "database": "uploads",
            "directory": str(tmp_path / ("source" if action == "push" else "target")),
            "storagebackend": "directory",
            "url": str(tmp_path / "store"),
            "temppath": str(tmp_path / "temp"),
            "state_dir": str(tmp_path / "state"),
        }
        return Task.from_mapping({**values, **others})

    return make


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small tree with a name and a kind of everything."""
    top = tmp_path / "source"
    (top / "folder" / "deep").mkdir(parents=True)
    for name in (b"plain", b"-dash", b"new\nline", b"latin\xe9", "snow ☃".encode(), b"x" * 255, b"back\\slash", b"*"):
        Path(os.fsdecode(os.fsencode(top) + b"/" + name)).write_bytes(name)
    (top / "folder" / "deep" / "secret").write_text("of mode 600")
    (top / "folder" / "deep" / "secret").chmod(0o600)
    (top / "folder" / "deep").chmod(0o551)
    (top / "program").write_text("#!/bin/sh")
    (top / "program").chmod(0o755)
    (top / "outside").symlink_to("/etc/hostname")
    (top / "dangling").symlink_to("../nowhere")
    os.link(top / "plain", top / "second name")
    os.mkfifo(top / "fifo")
    with open(top / "sparse", "wb") as stream:
        stream.truncate(50_000_000)
        stream.seek(20_000_000)
        stream.write(b"in the middle")
    os.setxattr(top / "plain", "user.note", b"a=b\n\x00\xff")
    subprocess.run(["setfacl", "-m", "u:nobody:r", str(top / "plain")], check=True)
    subprocess.run(["setfacl", "-d", "-m", "g:nogroup:rx", str(top / "folder")], check=True)
    for folder, folders, names in os.walk(top):
        for name in (*folders, *names):
            os.utime(os.path.join(folder, name), ns=(10**18, 10**18 + 123456789), follow_symlinks=False)
    top.chmod(0o2750)
    return top


def described(top: Path) -> dict[str, Any]:
    """Return all that there is to say of a tree, by name."""

    def one(path: str) -> dict[str, Any]:
        found = os.lstat(path)
        kind = stat.S_IFMT(found.st_mode)
        return {
            "mode": oct(found.st_mode),
            "owner": (found.st_uid, found.st_gid),
            "time": found.st_mtime_ns if path != str(top) and kind != stat.S_IFDIR else 0,
            "links": found.st_nlink,
            "data": Path(path).read_bytes() if kind == stat.S_IFREG else None,
            "target": os.readlink(path) if kind == stat.S_IFLNK else None,
            "xattrs": {
                k: os.getxattr(path, k, follow_symlinks=False) for k in os.listxattr(path, follow_symlinks=False)
            },
        }

    found = {".": one(str(top))}
    for folder, folders, names in os.walk(top):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            found[os.path.relpath(path, top)] = one(path)
    return found


def hidden(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith(".env_sync"))


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_everything_of_a_tree_survives(task: Make, source: Path, tmp_path: Path, compression: str) -> None:
    pushed = push.push(task("push", compression=compression), Host())
    verified = upkeep.verify(task("pull"), Host())
    pulled = pull.pull(task("pull"), Host())

    assert described(tmp_path / "target") == described(source)
    assert os.stat(tmp_path / "target" / "sparse").st_blocks * 512 < 1_000_000
    assert pushed["raw_bytes"] < 1_000_000
    assert verified["point"] == pulled["point"] == pushed["point"]
    assert (pulled["replaced"], pulled["kept"], pushed["warnings"], pulled["warnings"]) == (None, "", [], [])
    assert pushed["manifest"]["details"]["files"] == 15
    assert hidden(tmp_path) == []


@as_root
def test_owners_go_by_name_and_capabilities_are_kept(task: Make, source: Path, tmp_path: Path) -> None:
    os.chown(source / "plain", 65534, 65534)
    os.chown(source / "folder", 4242, 4242)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(source / "program", "security.capability", capability)
    (source / "as its owner").write_text("#!/bin/sh")
    (source / "as its owner").chmod(0o6755)
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))

    pushed = push.push(task("push", allow_special_files=True), Host())
    assert (pushed["warnings"], pushed["manifest"]["details"]["special_files"]) == ([], 3)
    pull.pull(task("pull", allow_special_files="true"), Host())

    assert described(tmp_path / "target") == described(source)
    assert os.getxattr(tmp_path / "target" / "program", "security.capability") == capability
    assert pushed["manifest"]["roles"] == ["nobody", "root"]


def device(path: Path) -> None:
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(8, 0))


def program(mode: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_text("#!/bin/sh")
        path.chmod(mode)

    return make


def capable(path: Path) -> None:
    program(0o755)(path)
    os.setxattr(path, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))


def trusted(path: Path) -> None:
    path.write_text("x")
    os.setxattr(path, "trusted.overlay.opaque", b"y")


SPECIAL = {
    "set-user-ID": program(0o4755),
    "set-group-ID": program(0o2755),
    "device node": device,
    "security.capability": capable,
    "trusted.overlay.opaque": trusted,
}


@as_root
@pytest.mark.parametrize("said", SPECIAL)
def test_special_files_are_refused_unless_the_task_asks(task: Make, tmp_path: Path, said: str) -> None:
    (tmp_path / "source").mkdir()
    SPECIAL[said](tmp_path / "source" / "odd\x1b[2J")
    pushed = push.push(task("push", compression="none"), Host())
    assert re.match(r"the tree has 1 special file \(\./odd\\x1b\[2J (is|has) .*" + said, pushed["warnings"][0])
    with pytest.raises(EnvSyncError, match=r"the point has 1 special file: .*Set allow_special_files"):
        pull.plan(task("pull"), Host())

    # and where the manifest says nothing of it
    path = tmp_path / "store" / f"{pushed['point']}.manifest.json"
    values = json.loads(path.read_text())
    values["details"]["special_files"] = 0
    del values["checksum"]
    path.write_text(json.dumps(values))
    with pytest.raises(EnvSyncError, match=rf"its member \./odd\\x1b\[2J (is|has) .*{said}.*Set allow_special_files"):
        pull.pull(task("pull"), Host())
    assert not (tmp_path / "target").exists()
    assert hidden(tmp_path) == []

    assert upkeep.verify(task("pull"), Host())["point"] == pushed["point"]
    pull.pull(task("pull", allow_special_files=True), Host())
    assert described(tmp_path / "target") == described(tmp_path / "source")


def test_what_is_left_out_of_a_push_is_not_special(task: Make, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    program(0o4755)(tmp_path / "source" / "odd")
    (tmp_path / "source" / "shared").mkdir()
    (tmp_path / "source" / "shared").chmod(0o2775)
    pushed = push.push(task("push", excluded_tables="odd"), Host())
    assert (pushed["warnings"], pushed["manifest"]["details"]["special_files"]) == ([], 0)
    pull.pull(task("pull"), Host())
    assert stat.S_IMODE(os.stat(tmp_path / "target" / "shared").st_mode) == 0o2775


def test_stock_tools_restore_a_point(task: Make, source: Path, tmp_path: Path) -> None:
    point = push.push(task("push"), Host())["point"]
    (tmp_path / "by hand").mkdir()
    archive = tmp_path / "store" / point / "tree.tar.zst"

    command = 'zstd -dc "$1" | tar --extract --preserve-permissions --xattrs --acls --directory "$2"'
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command, "-", str(archive), str(tmp_path / "by hand")], check=True
    )

    assert described(tmp_path / "by hand") == described(source)


def test_a_pull_replaces_the_tree_in_one_step_and_keeps_or_drops_the_old(
    task: Make, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_text("old")
    push.push(task("push"), Host())
    missing = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            if not os.path.exists(target):
                missing.append(time.time())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        planned = pull.plan(task("pull", old_database="keep"), Host())
        kept = pull.pull(task("pull", old_database="keep"), Host())
    finally:
        stop.set()
        watcher.join()

    assert (missing, kept["name_away_seconds"]) == ([], 0.0)
    assert command_text.pulled(kept).endswith("the name was never away")
    assert f":{target}, and keep what is there now" in planned["steps"][-1]
    assert f":{source} (files " in push.plan(task("push", timestamp="2026-01-01T00:00:00"), Host())["steps"][0]
    assert kept["replaced"] == planned["replaces"] == {"path": str(target), "size_bytes": 3, "files": 1}
    assert kept["kept"] == str(tmp_path / ".env_sync_old-target")
    assert os.listdir(kept["kept"]) == ["old"]
    assert described(target) == described(source)

    dropped = pull.pull(task("pull"), Host())
    assert dropped["kept"] == ""
    assert hidden(tmp_path) == []


def test_a_link_to_the_tree_stays_and_its_target_is_replaced(task: Make, source: Path, tmp_path: Path) -> None:
    (tmp_path / "release-1").mkdir()
    (tmp_path / "target").symlink_to("release-1")
    push.push(task("push"), Host())

    pull.pull(task("pull"), Host())

    assert os.readlink(tmp_path / "target") == "release-1"
    assert described(tmp_path / "release-1") == described(source)


def test_excluded_names_and_paths_are_left_out(task: Make, tmp_path: Path) -> None:
    for name in ("a.tmp", "keep/b.tmp", "cache/c", "keep/cache/d", "keep/logs/e", "logs/f", "keep/g"):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)

    push.push(task("push", excluded_tables="*.tmp,/cache,keep/l*"), Host())
    pull.pull(task("pull"), Host())

    found = [str(path.relative_to(tmp_path / "target")) for path in (tmp_path / "target").rglob("*") if path.is_file()]
    assert sorted(found) == ["keep/cache/d", "keep/g", "logs/f"]


def test_options_that_the_environment_has_for_tar_change_nothing(
    task: Make, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAR_OPTIONS", "--exclude=* --no-recursion --transform=s,^,elsewhere/,")
    monkeypatch.setenv("POSIXLY_CORRECT", "1")
    monkeypatch.setenv("GZIP", "--fast --to-stdout --list")
    push.push(task("push", compression="gzip"), Host())
    pull.pull(task("pull"), Host())
    assert described(tmp_path / "target") == described(source)


def test_transformations_are_programs_that_run_in_the_scratch_tree(task: Make, source: Path, tmp_path: Path) -> None:
    script = tmp_path / "sanitise"
    script.write_text("#!/bin/sh -e\nstat -c %a . > mode\nchmod -R u+w folder\nrm -r folder\n")
    push.push(task("push"), Host())

    with pytest.raises(EnvSyncError, match=r"chmod \+x"):
        pull.pull(task("pull", transformation_sql_filename=str(script)), Host())
    script.chmod(0o755)
    pulled = pull.pull(task("pull", transformation_sql_filename=str(script), require_sanitised=True), Host())

    assert not (tmp_path / "target" / "folder").exists()
    assert (tmp_path / "target" / "mode").read_text() == "700\n", "nobody else looks at what is not sanitised yet"
    assert [item["script"] for item in pulled["sanitised"]] == ["sanitise"]

    script.write_text("#!/bin/sh\nrm -r plain\nexit 3\n")
    before = described(tmp_path / "target")
    with pytest.raises(EnvSyncError, match="exit status 3"):
        pull.pull(task("pull", transformation_sql_filename=str(script)), Host())
    assert described(tmp_path / "target") == before
    assert hidden(tmp_path) == []


def test_the_tree_that_a_point_came_from_is_not_replaced(task: Make, source: Path, tmp_path: Path) -> None:
    push.push(task("push"), Host())
    with pytest.raises(EnvSyncError, match="pushed from"):
        pull.pull(task("pull", directory=str(source)), Host())
    (source / "later").write_text("x")
    pull.pull(task("pull", directory=str(source), allow_restore_to_source=True), Host())
    assert not (source / "later").exists()


def test_a_file_that_grows_while_it_is_read_is_a_warning(task: Make, source: Path) -> None:
    stop = threading.Event()

    def grow() -> None:
        with open(source / "log", "ab") as stream:
            while not stop.is_set():
                stream.write(os.urandom(65536))

    with open(source / "log", "wb") as stream:
        stream.write(os.urandom(30_000_000))
    writer = threading.Thread(target=grow)
    writer.start()
    try:
        pushed = push.push(task("push", compression="none"), Host())
    finally:
        stop.set()
        writer.join()

    assert len(pushed["warnings"]) == 1
    assert pushed["warnings"][0].startswith("1 files changed while they were read")
    assert "./log" in pushed["warnings"][0]
    assert pushed["manifest"]["details"]["changed_while_read"] == 1
    assert upkeep.verify(task("pull"), Host())["point"] == pushed["point"]


def archive(*members: tuple[str, bytes, str]) -> bytes:
    """Return a tar archive of members: name, type, and what it links to."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, kind, target in members:
            item = tarfile.TarInfo(name)
            item.type, item.linkname = kind, target
            item.size = 4 if kind == tarfile.REGTYPE else 0
            made.addfile(item, io.BytesIO(b"evil"))
    return stream.getvalue()


def forge(tmp_path: Path, point: str, data: bytes) -> None:
    """Replace a point's archive as somebody could who may write to the store: with a manifest that agrees."""
    (tmp_path / "store" / point / "tree.tar").write_bytes(data)
    path = tmp_path / "store" / f"{point}.manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("checksum", None)
    manifest["members"][0].update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    path.write_text(json.dumps(manifest))


TREE = (".", tarfile.DIRTYPE, "")
LINK = ("./link", tarfile.SYMTYPE, "..")


@pytest.mark.parametrize(
    "members",
    [
        [TREE, ("../outside", tarfile.REGTYPE, "")],
        [TREE, ("/{tmp}/outside", tarfile.REGTYPE, "")],
        [TREE, ("./a/../../outside", tarfile.REGTYPE, "")],
        [TREE, LINK, ("./link/outside", tarfile.REGTYPE, "")],
        [TREE, LINK, ("./same", tarfile.LNKTYPE, "./link"), ("./same/x", tarfile.REGTYPE, "")],
        [TREE, ("./hard", tarfile.LNKTYPE, "../victim"), ("./hard", tarfile.REGTYPE, "")],
        [(".", tarfile.SYMTYPE, "/")],
    ],
    ids=["dots", "absolute", "dots inside", "through a link", "through its second name", "hard link", "tree"],
)  # fmt: skip
def test_members_that_would_leave_the_tree_are_refused(
    task: Make, tmp_path: Path, members: list[tuple[str, bytes, str]]
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "victim").write_text("as it was")
    point = push.push(task("push", compression="none"), Host())["point"]
    forge(tmp_path, point, archive(*((name.format(tmp=tmp_path), kind, target) for name, kind, target in members)))
    before = sorted(os.listdir(tmp_path))

    for act in (pull.pull, upkeep.verify):
        with pytest.raises(EnvSyncError, match=r"its member .* (leads|would)"):
            act(task("pull"), Host())

    assert sorted(os.listdir(tmp_path)) == before
    assert os.listdir(tmp_path / "target") == []
    assert (tmp_path / "victim").read_text() == "as it was"


def test_names_that_become_one_go_live_nowhere(task: Make, tmp_path: Path) -> None:
    """Here a file that is in the archive twice: on a file system that takes no notice of case, two names."""
    for name in ("source", "target", "source/folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "folder" / "a").touch()
    (tmp_path / "source" / "b").symlink_to("a")
    pushed = push.push(task("push", compression="none"), Host())
    assert pushed["manifest"]["details"]["entries"] == 3
    upkeep.verify(task("pull"), Host())
    file = ("./A", tarfile.REGTYPE, "")

    forge(tmp_path, pushed["point"], archive(TREE, file, file, ("./b", tarfile.REGTYPE, "")))
    with pytest.raises(EnvSyncError, match="tree uploads has 2 files and folders, and the point's manifest says 3"):
        pull.pull(task("pull"), Host())
    forge(tmp_path, pushed["point"], archive(TREE, file))
    for act in (pull.pull, upkeep.verify):
        with pytest.raises(EnvSyncError, match="tree uploads has 1 files and folders, and"):
            act(task("pull"), Host())

    assert os.listdir(tmp_path / "target") == []
    assert hidden(tmp_path) == []


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flip], ids=["cut", "flipped"])
@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_damage_is_refused_and_the_tree_is_as_it_was(
    task: Make, source: Path, tmp_path: Path, damage: Callable[[bytes], bytes], compression: str
) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").write_text("mine")
    point = push.push(task("push", compression=compression), Host())["point"]
    (member,) = (tmp_path / "store" / point).iterdir()
    member.write_bytes(damage(member.read_bytes()))

    with pytest.raises(EnvSyncError):
        pull.pull(task("pull"), Host())

    assert os.listdir(tmp_path / "target") == ["mine"]
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("data", [archive(TREE)[:-10240], archive(TREE) + b"more"], ids=["no end", "more"])
def test_an_archive_has_an_end_and_nothing_after_it(task: Make, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "source").mkdir()
    forge(tmp_path, push.push(task("push", compression="none"), Host())["point"], data)
    with pytest.raises(EnvSyncError, match="archive is damaged"):
        upkeep.verify(task("pull"), Host())


def test_what_the_original_wrote_can_be_pulled(task: Make, source: Path, tmp_path: Path) -> None:
    made = tmp_path / "store" / "2020-01-02T03:04:05-uploads.gz"
    subprocess.run(
        ["tar", "--create", "--gzip", "--transform=s,^[.],uploads,S", "--file", str(made), "-C", str(source), "."],
        check=True,
    )
    pull.pull(task("pull"), Host())
    assert (tmp_path / "target" / "folder" / "deep" / "secret").read_text() == "of mode 600"

    made.write_bytes(cut(made.read_bytes()))
    with pytest.raises(EnvSyncError, match="unexpected end of file"):
        pull.pull(task("pull"), Host())
    assert (tmp_path / "target" / "plain").exists()


@contextlib.contextmanager
def killed(tmp_path: Path, keys: dict[str, Any], until: Callable[[], bool]) -> Iterator[None]:
    """Run a pull in another process and kill it as soon as ``until`` says so."""
    program = (
        "import json, sys\n"
        "from ansible_collections.govuk.env_sync.plugins.module_utils._engine import progress, pull, task\n"
        "pull.pull(task.Task.from_mapping(json.loads(sys.argv[1])), progress.Host())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(keys)],
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not until():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    yield


def test_a_killed_pull_is_swept_by_the_next(task: Make, source: Path, tmp_path: Path) -> None:
    (source / "large").write_bytes(os.urandom(1 << 20) * 64)
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").write_text("mine")
    push.push(task("push"), Host())
    scratch = tmp_path / ".env_sync_scratch-target"
    keys = {"action": "pull", "dbms": "files", "database": "uploads", "directory": str(tmp_path / "target")}
    keys |= {"storagebackend": "directory", "url": str(tmp_path / "store"), "temppath": str(tmp_path / "temp")}

    with killed(tmp_path, keys, (scratch / "large").exists):
        assert os.listdir(tmp_path / "target") == ["mine"]
    pull.pull(task("pull"), Host())

    assert described(tmp_path / "target") == described(source)
    assert hidden(tmp_path) == []


def test_without_an_exchange_two_renames_do(
    task: Make, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "target").mkdir()
    push.push(task("push"), Host())
    monkeypatch.setattr(files_swap, "exchange", lambda *_names: False)

    pulled = pull.pull(task("pull"), Host())

    assert described(tmp_path / "target") == described(source)
    assert 0 <= pulled["name_away_seconds"] < 1
    assert hidden(tmp_path) == []


def test_what_cannot_be_done_is_said_before_anything_is(task: Make, source: Path, tmp_path: Path) -> None:
    push.push(task("push"), Host())
    (tmp_path / "file").write_text("x")
    cases = [
        ("push", {"directory": str(tmp_path / "nowhere")}, "No such file"),
        ("push", {"directory": str(tmp_path / "file")}, "Not a directory"),
        ("push", {"database_hostname": "db-1"}, "always this host's"),
        ("pull", {"directory": str(tmp_path / "file")}, "Not a directory"),
        ("pull", {"directory": str(tmp_path / "nowhere" / "below")}, "is not there"),
        ("pull", {"directory": "/proc"}, "mounted on /proc"),
    ]
    for action, keys, said in cases:
        verb = push.plan if action == "push" else pull.plan
        with pytest.raises(EnvSyncError, match=said):
            verb(task(action, **keys), Host())
    with pytest.raises(EnvSyncError, match="missing key directory"):
        task("push", directory="")
    assert len(catalogue.list_points(open_store(task("pull")))) == 1


def test_a_path_as_the_database_names_the_tree_as_the_original_has_it(task: Make, source: Path) -> None:
    pushed = push.push(task("push", database=str(source), directory=""), Host())
    pulled = pull.pull(task("pull", database=str(source)), Host())
    assert pulled["point"] == pushed["point"]
