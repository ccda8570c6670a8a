# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deployment makes in the directory of node exporter's text files, and what it takes away."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.declare import declare
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.deployment import parts
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.host import Change
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.monitoring import Outcome, prometheus

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners can be set by root only")

PUSH = {
    "action": "push",
    "dbms": "postgresql",
    "storagebackend": "directory",
    "url": "/backups",
    "hour": 1,
    "minute": 0,
}


def deploy(folder: Path, **ensure: str) -> bool:
    """Deploy tasks with these titles and values of ``ensure``; return whether that changed something."""
    parameters: dict[str, Any] = {
        "name": "govuk_env_sync",
        "state": "present",
        "python": "",
        "user": "nobody",
        "group": "nogroup",
        "tasks": {title: {**PUSH, "database": title, "ensure": value} for title, value in ensure.items()},
        "s3_sync_tasks": {},
        "transformation_sql": {},
        "environment_variables": {},
        "secret_environment_variables": {},
        "environment": "",
        "protected": False,
        "require_sanitised": False,
        "sources": [],
        "max_point_age": "",
        "monitoring": {"prometheus_dir": str(folder / "figures")},
        "parts": ["monitor"],
    }
    (part,) = parts(declare(parameters))
    ours = [entry for entry in part.entries if entry.path.startswith(str(folder))]
    change = Change(ours, str(folder / "record.json"))
    if change.changed:
        change.apply()
    return change.changed


def test_a_task_has_its_file_as_long_as_it_is_scheduled_and_what_a_run_wrote_stays(tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    figures.mkdir(mode=0o755)
    os.chown(figures, 1, 0)
    (figures / "somebody_else.prom").touch()
    assert deploy(tmp_path, push_a="present", push_b="present")
    found = figures.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (1, 0o775)  # its owner is who it was

    prometheus.write(Outcome("push_a", True, "done", 1.0, 2.0), str(figures))
    written = (figures / "env_sync_push_a.prom").read_text()
    assert not deploy(tmp_path, push_a="present", push_b="present")
    assert (figures / "env_sync_push_a.prom").read_text() == written
    assert 'env_sync_task_freshness_seconds{task="push_b"} 100800.0' in (figures / "govuk_env_sync.prom").read_text()

    assert deploy(tmp_path, push_a="disabled")
    assert sorted(os.listdir(figures)) == ["govuk_env_sync.prom", "somebody_else.prom"]
    assert "push_a" not in (figures / "govuk_env_sync.prom").read_text()
