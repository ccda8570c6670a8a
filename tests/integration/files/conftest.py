# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A tree of everything, and a task that pushes it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.files.samples import Make


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
