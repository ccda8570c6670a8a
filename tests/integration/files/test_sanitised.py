# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that sanitise nothing of a tree, each pulled where sanitised data is required; and some that do."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files.scripts import run_scripts
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.scripts import Script
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.pipeline import Group
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

Pull = Callable[..., dict[str, Any]]


@pytest.fixture
def pull_with(tmp_path: Path) -> Pull:
    """Return a function that pulls a tree of four files with a program, where sanitised data is required."""
    (tmp_path / "store").mkdir()
    (tmp_path / "source" / "letters").mkdir(parents=True)
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "live").write_text("live")
    for name in "abcd":
        (tmp_path / "source" / "letters" / name).write_text(f"{name}@example.com")

    def task(action: str, **others: Any) -> Task:
        keys = {
            "action": action,
            "dbms": "files",
            "database": "uploads",
            "directory": str(tmp_path / ("source" if action == "push" else "target")),
            "storagebackend": "directory",
            "url": str(tmp_path / "store"),
            "temppath": str(tmp_path / "temp"),
            "state_dir": str(tmp_path / "state"),
        }
        return Task.from_mapping({**keys, **others})

    push.push(task("push"), Host())

    def run(text: str, **others: Any) -> dict[str, Any]:
        script = tmp_path / "sanitise"
        script.write_text(text)
        script.chmod(0o755)
        wanted = {"require_sanitised": True, "transformation_sql_filename": str(script), **others}
        return pull.pull(task("pull", **wanted), Host())

    return run


def contents(top: Path) -> dict[str, str]:
    return {str(path.relative_to(top)): path.read_text() for path in sorted(top.rglob("*")) if path.is_file()}


NOTHING = [
    ("an empty file", "", "changed nothing"),
    ("a comment", "# rm letters/*\n", "changed nothing"),
    ("exit 0 first", "#!/bin/sh\nexit 0\nrm letters/*\n", "changed nothing"),
    ("a pattern that matches nothing", "#!/bin/sh\nrm -f lettres/*\n", "changed nothing"),
    ("what it makes and removes", "#!/bin/sh\ntouch x && rm x\n", "changed nothing"),
    ("only a look", "#!/bin/sh\ncat letters/* >/dev/null\n", "changed nothing"),
    ("an error", "#!/bin/sh -e\nrm lettres/a\nrm letters/*\n", "exit status 1"),
    (
        "what goes on after its end",
        "#!/bin/sh\n(sleep 60; rm letters/*) >/dev/null 2>&1 &\n",
        "were still running: they have been ended",
    ),
    (
        "what has left its session",
        "#!/bin/sh\nrm letters/a\nsetsid sh -c 'sleep 60; rm letters/b' >/dev/null 2>&1 &\n",
        "were still running: they have been ended",
    ),
]


@pytest.mark.parametrize(("script", "says"), [case[1:] for case in NOTHING], ids=[case[0] for case in NOTHING])
def test_a_program_that_sanitises_nothing_is_refused(pull_with: Pull, tmp_path: Path, script: str, says: str) -> None:
    with pytest.raises(EnvSyncError, match=says):
        pull_with(script)
    assert contents(tmp_path / "target") == {"live": "live"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".env_sync")]
    assert not running(tmp_path)


def running(folder: Path) -> list[str]:
    """Return the processes whose working directory is below a folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if os.readlink(process / "cwd").startswith(str(folder)):
                    found.append(process.name)
            except OSError:
                continue
    return found


@pytest.mark.parametrize(
    ("script", "changed"),
    [
        ("#!/bin/sh\necho hidden > letters/a\n", 1),
        ("#!/bin/sh\nsed -i s/example.com/x.invalid/ letters/*\n", 4),
        ("rm letters/a letters/b\n", 2),
        ("#!/bin/sh\ncp -p letters/a letters/e; chmod 600 letters/b\n", 2),
        ("#!/bin/sh\n(sleep 1; rm letters/*) &\n", 4),
        ("#!/bin/sh\nmv letters/a letters/z\n", 1),
    ],
)
def test_what_a_program_changes_is_counted(pull_with: Pull, tmp_path: Path, script: str, changed: int) -> None:
    done = pull_with(script)
    assert done["sanitised"][0]["changed"] == changed


def test_the_bytes_that_were_read_are_those_that_run(tmp_path: Path) -> None:
    """A program that is replaced meanwhile, by itself or by anybody, runs as it was."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "work").mkdir()
    path = tmp_path / "first"
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    script = Script(str(path), b'#!/bin/sh\necho "$ENV_SYNC_SCRIPT" > where\nstat -c %a "$0" >> where\n')
    with Group() as group:
        (effect,) = run_scripts([script], str(tmp_path / "tree"), "a tree", str(tmp_path / "work"), group)
    assert (tmp_path / "tree" / "where").read_text() == f"{path}\n500\n" and effect.changed == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system with noexec")
def test_a_program_runs_where_temppath_lets_none_run(tmp_path: Path) -> None:
    for folder in ("tree", "work"):
        (tmp_path / folder).mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", str(tmp_path / "work")], check=False)
    if mounted.returncode:
        pytest.skip("this root may not mount (a container)")
    try:
        path = tmp_path / "first"
        path.write_text("")
        path.chmod(0o755)
        script = Script(str(path), b"#!/bin/sh\ntouch made\n")
        with Group() as group:
            run_scripts([script], str(tmp_path / "tree"), "a tree", str(tmp_path / "work"), group)
    finally:
        time.sleep(0.1)
        subprocess.run(["umount", str(tmp_path / "work")], check=True)
    assert (tmp_path / "tree" / "made").exists()
