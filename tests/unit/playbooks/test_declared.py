# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the playbooks on declared tasks say of tasks that can't be deployed: a host that is this machine is enough."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from tests.servers.playbooks import play

LATE = "late: hour '25' is not within 0 to 23; unknown key databse (did you mean database?)"


def inventory(folder: Path) -> dict[str, Any]:
    (folder / "uploads").mkdir()
    (folder / "store").mkdir()
    push = {
        "action": "push",
        "dbms": "files",
        "directory": str(folder / "uploads"),
        "storagebackend": "directory",
        "url": str(folder / "store"),
        "hour": 1,
        "minute": 5,
    }
    values = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "env_sync_become": False,
        "env_sync_variables": {"HOME": str(folder)},
        "env_sync_options": {"state_dir": str(folder / "state")},
        "env_sync_tasks": {
            # With a key that only a pull has, and one that is empty.
            "fine": {**push, "database": "uploads", "old_database": "keep", "jobs": "", "sources": "production"},
            "late": {**push, "database": "late", "databse": "x", "hour": 25},
            "psh": {**push, "database": "other", "action": "psh"},
        },
    }
    return {"all": {"hosts": {"host": values}}}


def test_a_task_that_cannot_be_deployed_fails_in_a_plan_and_is_not_run(tmp_path: Path) -> None:
    hosts = inventory(tmp_path)
    said = play(tmp_path, hosts, "govuk.env_sync.plan", ok=False)
    rows = [line for line in said.splitlines() if re.search(r"  host  ", line)]
    results = {row[2]: row[3:] for row in (re.split("  +", line.strip(' ",')) for line in rows)}
    assert results["fine"][0] == "ok"
    assert results["late"] == ["FAILS", LATE.partition(": ")[2]]
    assert results["psh"][0] == "FAILS" and results["psh"][1].startswith("action must be one of push, pull, s3_sync")

    said = play(tmp_path, hosts, "govuk.env_sync.push", "-e", "env_sync_select=*", ok=False)
    assert f"{LATE}. Nothing was done on host. Correct these." in " ".join(said.split())
    assert list((tmp_path / "store").iterdir()) == []
    play(tmp_path, hosts, "govuk.env_sync.push", "-e", "env_sync_select=fine")
    assert len(list((tmp_path / "store").glob("*-uploads.manifest.json"))) == 1
