# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel tells of processes, and what ends them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import linux


def test_the_children_of_a_process_on_any_kernel() -> None:
    with subprocess.Popen(["sleep", "60"]) as one, subprocess.Popen(["sleep", "60"]) as two:
        try:
            assert {one.pid, two.pid} <= set(linux._children_by_parent(os.getpid()))
            assert {one.pid, two.pid} <= set(linux.children(os.getpid()))
            assert linux._children_by_parent(one.pid) == linux.children(one.pid) == []
        finally:
            one.kill()
            two.kill()


def test_a_kernel_that_lists_no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    real = open

    def lacking(path: object, *arguments: object, **options: object) -> object:
        if str(path).endswith("/children"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return real(path, *arguments, **options)

    with subprocess.Popen(["sleep", "60"]) as child:
        monkeypatch.setattr("builtins.open", lacking)
        assert child.pid in linux.children(os.getpid())
        child.kill()
    with pytest.raises(OSError):
        linux.children(child.pid)


def test_a_process_is_told_from_others_of_its_number() -> None:
    mark = linux.process_mark(os.getpid())
    assert mark and mark == linux.process_mark(os.getpid())
    with subprocess.Popen(["sleep", "60"]) as child:
        time.sleep(0.02)
        assert linux.process_mark(child.pid) not in (None, "", mark)
        child.kill()
    assert linux.process_mark(child.pid) is None


def test_what_a_program_says(tmp_path: Path) -> None:
    assert linux.said(["echo", "tool 1.2"], 10) == "tool 1.2\n"
    assert linux.said(["false"], 10) == ""
    assert linux.said([str(tmp_path / "nonesuch")], 10) == ""


def test_a_program_that_hangs_with_what_it_started_is_ended() -> None:
    began = time.monotonic()
    assert linux.said(["/bin/sh", "-c", "echo no; sleep 60 & sleep 60"], 0.3) == ""
    assert time.monotonic() - began < 3
