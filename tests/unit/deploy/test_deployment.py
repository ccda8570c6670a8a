# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.declare import check_group, check_present, declare
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.deployment import parts
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.host import Entry
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.systemd import UNITS
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.config import read_envdir
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import Faults

STORE = {"storagebackend": "directory", "url": "/srv/backups"}
PUSH = {"hour": "0", "minute": "18", "action": "push", "dbms": "postgresql", "database": "shop", **STORE}
FILES = {
    "hour": "2",
    "minute": 0,
    "action": "push",
    "dbms": "files",
    "database": "uploads",
    "directory": "/srv",
    **STORE,
}
DEFAULTS = {
    "name": "govuk_env_sync",
    "state": "present",
    "parts": ["install", "configure", "monitor", "schedule"],
    "user": "govuk-backup",
    "group": "govuk-backup",
    "tasks": {},
    "s3_sync_tasks": {},
    "environment": "",
    "protected": False,
    "require_sanitised": False,
    "sources": [],
    "max_point_age": "",
    "transformation_sql": {},
    "environment_variables": {},
    "secret_environment_variables": {},
    "monitoring": {},
    "lock": "with_reboot_lock",
    "lock_directory": "/etc/unattended-reboot/no-reboot",
    "lock_scope": "host",
    "scheduler": "cron",
    "python": None,
}


def entries(tasks: dict[str, Any], **more: Any) -> dict[str, Entry]:
    """Return what would be deployed, by path."""
    wanted = declare({**DEFAULTS, "tasks": tasks, **more})
    return {entry.path: entry for part in parts(wanted) for entry in part.entries}


def text(entry: Entry) -> str:
    assert entry.content is not None
    return entry.content.decode()


def jobs(deployed: dict[str, Entry]) -> list[str]:
    """Return the lines of the crontab that run something."""
    lines = text(deployed["/etc/cron.d/govuk_env_sync"]).splitlines()
    return [line for line in lines if "govuk-backup" in line]


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


def test_transformation_files_of_file_trees_are_programs() -> None:
    tasks = {
        "push_files": {**FILES, "pre_dump_transformation_sql_filename": "tidy.sh"},
        "push_shop": {**PUSH, "pre_dump_transformation_sql_filename": "tidy.sql"},
    }
    deployed = entries(tasks, transformation_sql={"tidy.sh": "#!/bin/sh\n", "tidy.sql": "SELECT 1;\n"})
    folder = "/etc/govuk_env_sync/transformation_sql"
    assert [deployed[f"{folder}/{name}"].mode for name in ("tidy.sh", "tidy.sql")] == [0o755, 0o644]


def test_another_user_is_had_by_sudo_for_exactly_that_command() -> None:
    deployed = entries({"push": {**PUSH, "become_user": "root", "temppath": "/tmp/push"}, "other": FILES})
    command = "/usr/local/bin/govuk_env_sync --env-dir /etc/govuk_env_sync/env.d -f /etc/govuk_env_sync/push.cfg"
    sudoers = deployed["/etc/sudoers.d/govuk_env_sync"]
    assert text(sudoers).splitlines()[1:] == [f"govuk-backup ALL=(root:govuk-backup) NOPASSWD: {command}"]
    assert sudoers.mode == 0o440
    assert [line for line in jobs(deployed) if "sudo" in line] == [
        "18 0 * * * govuk-backup /usr/bin/ionice -c 2 -n 6 /usr/local/bin/with_reboot_lock "
        f"/etc/unattended-reboot/no-reboot/govuk_env_sync /usr/bin/sudo -n -u root -g govuk-backup {command}"
    ]
    assert deployed["/tmp/push"].owner == "root"


@pytest.mark.parametrize("tasks", [{"push": PUSH}, {"push": {**PUSH, "become_user": "root"}}])
def test_no_more_sudo_than_needed(tasks: dict[str, Any]) -> None:
    user = tasks["push"].get("become_user", "govuk-backup")
    assert "/etc/sudoers.d/govuk_env_sync" not in entries(tasks, user=user)


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


@pytest.mark.parametrize("folder", ["/etc/polkit-1/rules.d", "/etc/polkit-1/localauthority/50-local.d"])
def test_the_tasks_user_may_inhibit_a_shutdown_where_polkit_asks(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.isdir", lambda path: path == folder)
    (rule,) = [text(entry) for path, entry in entries({}).items() if path.startswith(folder)]
    assert "org.freedesktop.login1.inhibit-block-shutdown" in rule and "govuk-backup" in rule
    for more in ({"user": "root"}, {"lock": "setlock"}):
        assert not [path for path in entries({}, **more) if path.startswith(folder)]


def test_what_has_to_be_there_before_is_named(tmp_path: Path) -> None:
    wanted = declare({**DEFAULTS, "user": "no-such-user", "group": "no-such-group", "python": str(tmp_path / "x")})
    with pytest.raises(
        EnvSyncError, match=r"there is no .*/x; there is no user no-such-user; there is no group no-such"
    ):
        check_present(wanted)


def test_a_user_who_could_not_read_the_tasks_is_refused() -> None:
    with pytest.raises(
        EnvSyncError, match=r"nobody is there, and not in the group govuk-backup.*of nobody \(nogroup\)"
    ):
        check_group(declare({**DEFAULTS, "user": "nobody"}))
    for user, group in (("nobody", "nogroup"), ("root", "govuk-backup"), ("no-such-user", "govuk-backup")):
        check_group(declare({**DEFAULTS, "user": user, "group": group}))
    check_group(declare({**DEFAULTS, "user": "nobody", "state": "absent"}))


def test_all_that_is_wrong_is_told_at_once_and_no_secret_with_it(tmp_path: Path) -> None:
    python = tmp_path / "python3.8"
    python.write_text("#!/bin/sh\necho 3 8\n", encoding="ascii")
    python.chmod(0o755)
    with pytest.raises(Faults) as raised:
        entries(
            {"late": {**PUSH, "hour": 25}},
            environment_variables={"c-d": "1", "GOOD": "2"},
            secret_environment_variables={"A/B": "hidden"},
            transformation_sql={".profile": ""},
            monitoring={"colour": "red"},
            python=str(python),
        )
    assert raised.value.faults == [
        "late: hour '25' is not within 0 to 23",
        "monitoring: unknown key colour",
        "env_sync_variables: 'c-d' can't be the name of a variable",
        "env_sync_secret_environment: 'A/B' can't be the name of a variable",
        "env_sync_transformation_sql_files: '.profile' can't be the name of a file there",
        f"env_sync_python: {python}: it is Python 3.8, and the command needs 3.9 or later: name another one, "
        "or set env_sync_virtualenv",
    ]


def test_a_monitoring_that_no_result_could_reach_is_refused(tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    good = {
        "monitor": "icinga2",
        "icinga2_url": "https://icinga.example.org:5665",
        "icinga2_user": "env-sync",
        "icinga2_ca": str(authority),
    }
    secret = {"ICINGA2_PASSWORD": "hidden"}

    def said(settings: dict[str, Any], secrets: dict[str, Any]) -> list[str]:
        with pytest.raises(Faults) as raised:
            entries({}, monitoring=settings, secret_environment_variables=secrets)
        return raised.value.faults

    assert said({"monitor": "icinga2"}, {}) == [
        "env_sync_icinga2_url: missing, and monitor icinga2 needs it",
        "env_sync_icinga2_user: missing, and monitor icinga2 needs it",
        "env_sync_icinga2_ca: missing, and monitor icinga2 needs it",
        "env_sync_secret_environment: ICINGA2_PASSWORD is missing, and monitor icinga2 needs it",
    ]
    assert said(good, secret) == [f"env_sync_icinga2_ca: there is no {authority} on this host"]
    authority.touch()
    assert said({**good, "icinga2_url": "http://icinga"}, secret) == [
        "env_sync_icinga2_url: has the form https://HOST:5665, not http://icinga"
    ]
    assert "/etc/govuk_env_sync/monitoring.conf" in entries({}, monitoring=good, secret_environment_variables=secret)
    for other, key in (("nsca", "nsca_host"), ("command_file", "command_file")):
        assert said({"monitor": other, key: ""}, {}) == [f"env_sync_{key}: missing, and monitor {other} needs it"]


def test_the_environment_is_as_envdir_reads_it(tmp_path: Path) -> None:
    deployed = entries({}, environment_variables={"CERTIFICATE": "one\ntwo", "AWS_EC2_METADATA_DISABLED": True})
    for name in ("CERTIFICATE", "AWS_EC2_METADATA_DISABLED"):
        (tmp_path / name).write_bytes(deployed[f"/etc/govuk_env_sync/env.d/{name}"].content or b"")
    assert read_envdir(str(tmp_path)) == {"CERTIFICATE": "one\ntwo", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.mark.skipif(os.geteuid() != 0, reason="owners can be set by root only")
def test_a_temppath_that_is_there_has_to_be_one_that_the_task_can_write_to(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents):
        if parent != Path("/tmp") and parent.is_relative_to("/tmp"):
            parent.chmod(0o755)
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    task = {"push": {**PUSH, "temppath": str(folder)}}
    with pytest.raises(Faults, match=r"push: temppath: .*/folder is there, and nobody can't write to it"):
        entries(task, user="nobody")
    assert str(folder) in entries(task, user="root")
    assert str(folder) in entries(task, user="no-such-user"), "one that is made later may be in any group"
    folder.chmod(0o1777)
    assert str(folder) in entries(task, user="nobody")


@pytest.mark.parametrize(
    ("first", "second", "owner", "mode"),
    [("", "", "govuk-backup", 0o775), ("root", "root", "root", 0o1775), ("root", "", "govuk-backup", 0o1775)],
)
def test_a_shared_temppath_is_one_folder(first: str, second: str, owner: str, mode: int) -> None:
    push = {**PUSH, "become_user": first, "temppath": "/tmp/one"}
    pull = {**PUSH, "action": "pull", "become_user": second, "temppath": "/tmp/one/"}
    wanted = declare({**DEFAULTS, "tasks": {"push": push, "pull": pull}})
    (entry,) = [entry for part in parts(wanted) for entry in part.entries if entry.path.startswith("/tmp/one")]
    assert (entry.owner, entry.mode, entry.if_missing) == (owner, mode, True)


@pytest.mark.parametrize("name", ["", "two words", "../up"])
def test_a_name_that_can_be_no_commands_is_refused(name: str) -> None:
    with pytest.raises(EnvSyncError, match="checking name"):
        entries({}, name=name)
