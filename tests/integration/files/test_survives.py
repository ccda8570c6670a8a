# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Directory trees pushed from one folder and pulled into another."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host

from tests.integration.files.samples import (
    Make,
    cut,
    described,
    hidden,
)


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


def test_stock_tools_restore_a_point(task: Make, source: Path, tmp_path: Path) -> None:
    point = push.push(task("push"), Host())["point"]
    (tmp_path / "by hand").mkdir()
    archive = tmp_path / "store" / point / "tree.tar.zst"

    command = 'zstd -dc "$1" | tar --extract --preserve-permissions --xattrs --acls --directory "$2"'
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command, "-", str(archive), str(tmp_path / "by hand")], check=True
    )

    assert described(tmp_path / "by hand") == described(source)


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


def test_a_path_as_the_database_names_the_tree_as_the_original_has_it(task: Make, source: Path) -> None:
    pushed = push.push(task("push", database=str(source), directory=""), Host())
    pulled = pull.pull(task("pull", database=str(source)), Host())
    assert pulled["point"] == pushed["point"]
