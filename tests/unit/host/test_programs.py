# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import programs as mysql_programs
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import (
    programs as postgresql_programs,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import programs
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.pipeline import Group


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with programs in it; in PATH it stands in every way that means it."""
    for name in ("pg_dump", "pg_restore", "mysqldump", "tar", "send_nsca", "true"):
        (tmp_path / name).write_text("#!/bin/sh\ntouch ran\necho 99.1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f":.:./:{os.environ['PATH']}:")
    return tmp_path


def test_no_program_of_the_current_directory_runs(here: Path) -> None:
    assert programs.find("send_nsca") in (None, "/usr/sbin/send_nsca")
    assert all(os.path.isabs(found.path("pg_dump")) for found in postgresql_programs.installed_programs())
    found = mysql_programs._program("mysqldump")
    assert found is None or os.path.isabs(found.path)
    with Group() as group:
        group.run(["true"], "trying").wait()
    assert not (here / "ran").exists()


def test_programs_start_elsewhere_and_look_nowhere_here(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "pass").touch()
    monkeypatch.setenv("PGPASSFILE", "./pass")
    monkeypatch.setenv("NOTE", "./nothing")
    with Group() as group:
        stage = group.run(
            ["sh", "-c", "pwd; echo $PATH; echo $PGPASSFILE; echo $NOTE"], "asking", stdout=subprocess.PIPE
        )
        place, path, passfile, note = stage.stdout.read().decode().splitlines()
        stage.wait()
    assert place == "/"
    assert all(folder.startswith("/") for folder in path.split(":"))
    assert passfile == str(here / "pass"), "what its user names is still meant"
    assert note == "./nothing"


def test_a_path_that_names_nothing_absolute_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("", ".", ":", "bin:."):
        monkeypatch.setenv("PATH", path)
        assert "/usr/bin" in programs.search_path()
