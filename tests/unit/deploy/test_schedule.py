# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs the tasks, and what a reboot waits for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.systemd import UNITS

from tests.unit.deploy.wanted import FILES, PUSH, entries, jobs, text


def test_with_setlock_the_command_is_the_originals_word_for_word() -> None:
    (line,) = jobs(entries({"pull_content_data_admin_production_daily": PUSH}, lock="setlock"))
    assert line == (
        "18 0 * * * govuk-backup /usr/bin/ionice -c 2 -n 6 /usr/bin/setlock "
        "/etc/unattended-reboot/no-reboot/govuk_env_sync /usr/bin/envdir /etc/govuk_env_sync/env.d "
        "/usr/local/bin/govuk_env_sync.sh -f /etc/govuk_env_sync/pull_content_data_admin_production_daily.cfg"
    )


def test_a_disabled_task_keeps_its_config_file_and_has_no_schedule() -> None:
    deployed = entries({"push": {**PUSH, "ensure": "disabled"}, "gone": {**PUSH, "ensure": "absent"}})
    assert "/etc/govuk_env_sync/push.cfg" in deployed
    assert not [path for path in deployed if "cron" in path or "gone" in path]


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze (Debian: systemd)")
    tasks = {"push_shop+more": PUSH, "push_files": {**FILES, "hour": "*/6", "become_user": "root"}}
    deployed = entries(tasks, scheduler="systemd")
    for program in ("with_reboot_lock", "govuk_env_sync"):
        (tmp_path / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / "usr/local/bin" / program).symlink_to("/bin/true")
    units = []
    for path, entry in deployed.items():
        if path.startswith(UNITS) and entry.target is None and path.endswith((".service", ".timer")):
            unit = tmp_path / path.lstrip("/")
            unit.parent.mkdir(parents=True, exist_ok=True)
            unit.write_text(text(entry).replace("/usr/local/bin", str(tmp_path / "usr/local/bin")), encoding="utf-8")
            units.append(str(unit))
    assert len(units) == 4
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False, timeout=60
    )
    assert [line for line in done.stderr.splitlines() if str(tmp_path) in line or "govuk_env_sync" in line] == []


def test_a_systemd_service_runs_what_cron_would() -> None:
    cron = jobs(entries({"push": PUSH}))[0].split("govuk-backup ", 1)[1]
    deployed = entries({"push": PUSH}, scheduler="systemd")
    service = text(deployed[f"{UNITS}/govuk_env_sync-push.service"])
    (start,) = [line for line in service.splitlines() if line.startswith("ExecStart=")]
    assert start.replace('"', "").replace("ExecStart=", "/usr/bin/ionice -c 2 -n 6 ") == cron
    assert {"User=govuk-backup", "IOSchedulingClass=best-effort", "IOSchedulingPriority=6"} <= set(service.splitlines())
    assert deployed[f"{UNITS}/timers.target.wants/govuk_env_sync-push.timer"].target == (
        f"{UNITS}/govuk_env_sync-push.timer"
    )
    assert "Persistent=false" in text(deployed[f"{UNITS}/govuk_env_sync-push.timer"])


def test_cron_and_systemd_run_a_task_on_the_same_days() -> None:
    task = {**PUSH, "day": "01", "weekday": "sun"}
    assert jobs(entries({"push": task}))[0].startswith("18 0 1 * 0 govuk-backup ")
    timer = text(entries({"push": task}, scheduler="systemd")[f"{UNITS}/govuk_env_sync-push.timer"])
    calendars = ["OnCalendar=*-*-01 00:18:00", "OnCalendar=Sun *-*-* 00:18:00"]
    assert [line for line in timer.splitlines() if line.startswith("OnCalendar=")] == calendars


@pytest.mark.parametrize("lock", ["with_reboot_lock", "setlock", "none"])
def test_each_task_may_have_a_lock_of_its_own(lock: str) -> None:
    (line,) = jobs(entries({"push": PUSH}, lock=lock, lock_scope="task"))
    assert ("/etc/unattended-reboot/no-reboot/govuk_env_sync_push " in line) is (lock != "none")


def test_reboot_checks_are_deployed_where_something_looks_at_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = str(tmp_path / "no-reboot")
    drop_in = f"{UNITS}/apt-daily-upgrade.service.d/govuk_env_sync.conf"
    there: set[str] = set()
    monkeypatch.setattr("os.path.exists", lambda path: path in there)

    assert not {str(tmp_path / "check/00_govuk_env_sync"), drop_in} & set(entries({}, lock_directory=locks))
    (tmp_path / "check").mkdir()
    there.add("/usr/bin/unattended-upgrade")
    deployed = entries({}, lock_directory=locks)
    check = f"/usr/local/bin/with_reboot_lock --check {locks}"
    assert text(deployed[str(tmp_path / "check/00_govuk_env_sync")]).endswith(f"exec {check}\n")
    assert text(deployed[drop_in]).endswith(f"[Service]\nExecCondition={check}\n")
    assert drop_in not in entries({}, lock_directory=locks, lock="none")
