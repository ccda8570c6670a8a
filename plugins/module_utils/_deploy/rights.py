# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may do what on a host: its policy, sudo's rules, polkit's rules."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.declare import MANAGED, WRAPPER, Declaration
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.host import Entry
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.schedule import run_task
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import policy
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.config import format_config


def policy_file(wanted: Declaration) -> Iterator[Entry]:
    """The host's policy, which every run reads first, and its folder, whatever the command is called."""
    folder = os.path.dirname(policy.PATH)
    yield Entry(folder, 0o755, if_missing=wanted.conf_dir != folder)
    yield Entry(policy.PATH, 0o644, (MANAGED + format_config(wanted.policy.to_config())).encode())


def sudo_rules(wanted: Declaration) -> Iterator[Entry]:
    """What lets the tasks' user run, as another user, the tasks that are declared so: exactly these commands."""
    lines = []
    for item in filter(wanted.other_user, wanted.scheduled):
        command = " ".join(re.sub(r"([,:=\\*?\[\]!])", r"\\\1", word) for word in run_task(wanted, item))
        lines.append(f"{wanted.user} ALL=({item.become_user}:{wanted.group}) NOPASSWD: {command}\n")
    if lines:
        text = "".join([MANAGED, *lines])
        yield Entry(f"/etc/sudoers.d/{wanted.drop_in}", 0o440, text.encode(), validate=("/usr/sbin/visudo", "-cf"))


def polkit_rules(wanted: Declaration) -> Iterator[Entry]:
    """What lets the wrapper inhibit a shutdown: without a session, only polkit's rules give a user that right."""
    if wanted.given["lock"] != WRAPPER or wanted.user == "root":
        return
    user, action = wanted.user, "org.freedesktop.login1.inhibit-block-shutdown"
    if os.path.isdir("/etc/polkit-1/rules.d"):
        text = (
            f"{MANAGED.replace('#', '//', 1)}polkit.addRule(function (action, subject) {{\n"
            f"    if (action.id == {json.dumps(action)} && subject.user == {json.dumps(user)}) {{\n"
            "        return polkit.Result.YES;\n    }\n});\n"
        )
        yield Entry(f"/etc/polkit-1/rules.d/50-{wanted.name}.rules", 0o644, text.encode())
    if os.path.isdir("/etc/polkit-1/localauthority/50-local.d"):
        # What polkit 0.105 reads, which Debian 11 and Ubuntu 22.04 have (pklocalauthority(8)).
        text = f"{MANAGED}[{wanted.name}]\nIdentity=unix-user:{user}\nAction={action}\nResultAny=yes\n"
        yield Entry(f"/etc/polkit-1/localauthority/50-local.d/{wanted.name}.pkla", 0o644, text.encode())
