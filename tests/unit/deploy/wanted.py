# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What would be deployed for parameters of the module env_sync_deploy, and some tasks to deploy."""

from __future__ import annotations

from typing import Any

from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.declare import declare
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.deployment import parts
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.host import Entry

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
