# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role does to the accounts of the host that this runs on, in check mode."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.servers.playbooks import play

INVENTORY = {"all": {"hosts": {"host": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}}}


@pytest.mark.parametrize(
    ("user", "group", "made"),
    [
        ("backup", "backup", {"group": "skipping", "user": "skipping"}),  # its home is not /home/backup
        ("nobody", "daemon", {"group": "skipping", "user": "skipping"}),  # nor is its group daemon
        ("env-sync-nobody", "daemon", {"group": "skipping", "user": "changed"}),
        ("env-sync-nobody", "env-sync-nobody", {"group": "changed", "user": "changed"}),
    ],
)
def test_an_account_that_is_there_stays_as_it_is(tmp_path: Path, user: str, group: str, made: dict[str, str]) -> None:
    playbook = tmp_path / "accounts.yml"
    role = {"name": "govuk.env_sync.env_sync", "tasks_from": "install.yml"}
    given = {
        "env_sync_user": user,
        "env_sync_group": group,
        "env_sync_install_packages": False,
        "_env_sync_package_command": [],
    }
    tasks = [{"ansible.builtin.include_role": role, "vars": given}]
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]), encoding="ascii")
    said = play(tmp_path, INVENTORY, str(playbook), "--check")
    found = dict(re.findall(r"^TASK \[.*: Make the (\w+) that .*\n(\w+): \[host\]", said, re.M))
    assert found == made
