# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may do what on a host."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.deploy.wanted import FILES, PUSH, entries, jobs, text


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


@pytest.mark.parametrize("folder", ["/etc/polkit-1/rules.d", "/etc/polkit-1/localauthority/50-local.d"])
def test_the_tasks_user_may_inhibit_a_shutdown_where_polkit_asks(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.isdir", lambda path: path == folder)
    (rule,) = [text(entry) for path, entry in entries({}).items() if path.startswith(folder)]
    assert "org.freedesktop.login1.inhibit-block-shutdown" in rule and "govuk-backup" in rule
    for more in ({"user": "root"}, {"lock": "setlock"}):
        assert not [path for path in entries({}, **more) if path.startswith(folder)]
