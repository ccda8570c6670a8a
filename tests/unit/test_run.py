# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import run
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host, read_statuses
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task


def test_a_working_directory_is_empty_private_and_gone_afterwards(tmp_path: Path) -> None:
    with run.work_dir(str(tmp_path / "made" / "too"), "key") as name:
        assert Path(name).parent == tmp_path / "made" / "too"
        assert list(Path(name).iterdir()) == []
        assert Path(name).stat().st_mode & 0o777 == 0o700
        (Path(name) / "deep").mkdir()
        (Path(name) / "deep" / "file").write_text("x")
    assert not Path(name).exists()


def test_a_working_directory_is_called_as_the_kernel_calls_it(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    with run.work_dir(f"{tmp_path}/link/", "key") as name:
        assert Path(name).parent == tmp_path / "disk"


def test_it_is_gone_when_the_run_fails_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run.work_dir(str(tmp_path), "key"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_of_the_same_key_left_goes(tmp_path: Path) -> None:
    killed = run.work_dir(str(tmp_path), "key")
    left = Path(killed.__enter__())
    (left / "dump").mkdir()
    with run.work_dir(str(tmp_path), "other key") as other, run.work_dir(str(tmp_path), "key") as again:
        assert Path(again) == left != Path(other)
        assert list(left.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_directory_of_this_users_is_left_alone(tmp_path: Path, kind: str) -> None:
    with run.work_dir(str(tmp_path), "key") as name:
        pass
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious")
    Path(name).symlink_to(victim) if kind == "link" else Path(name).write_text("x")
    with pytest.raises(EnvSyncError, match="another user's, or no directory"), run.work_dir(str(tmp_path), "key"):
        pass
    assert (victim / "file").read_text() == "precious"


def test_a_place_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvSyncError, match="Set temppath"), run.work_dir(str(tmp_path / "file" / "x"), "key"):
        pass


def test_the_status_says_how_a_run_ended(tmp_path: Path) -> None:
    task = Task(name="nightly", action="push", database="app", state_dir=str(tmp_path))
    with pytest.raises(EnvSyncError), run.running(task, Host()) as this:
        with this.phase("dumping"):
            pass
        raise EnvSyncError("dumping app", "it broke")
    [status] = read_statuses(str(tmp_path))
    assert (status.title, status.state, status.message) == ("nightly", "failed", "dumping app: it broke")


def test_a_dry_run_has_no_status(tmp_path: Path) -> None:
    task = Task(name="nightly", action="prune", database="app", state_dir=str(tmp_path))
    with run.running(task, Host(), dry_run=True) as this:
        this.progress.finish("done", "nothing was done")
    assert read_statuses(str(tmp_path)) == []


def test_a_result_has_warnings_and_the_seconds_of_each_phase(tmp_path: Path) -> None:
    logged: list[tuple[str, str]] = []
    task = Task(action="push", database="app", state_dir=str(tmp_path))
    with run.running(task, Host(log=lambda level, text: logged.append((level, text)))) as this:
        with this.phase("dumping"):
            this.warn("mind the gap")
        values = run.result(this, changed=True)
    assert (values["changed"], values["warnings"]) == (True, ["mind the gap"])
    assert set(values["durations"]) == {"dumping", "total"}
    assert logged == [("info", "dumping"), ("warning", "mind the gap")]
