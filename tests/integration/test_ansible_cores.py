# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deploy, plan, push, pull and report with each version of ansible-core, on one host that is reached over SSH."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Unavailable
from tests.servers.ansible_cores import Tools, has_newer_python, newest, oldest
from tests.servers.hosts import Network
from tests.servers.playbooks import changed

pytestmark = pytest.mark.timeout(900)

#: the newest wants a newer Python than Debian 12 has: where there is none, this is not collected
CORES = ["oldest", "of the checkout", *(["newest"] if has_newer_python() else [])]
COMMON = {
    "hour": 1,
    "minute": 0,
    "dbms": "files",
    "database": "tree",
    "become_user": "root",
    "storagebackend": "directory",
    "url": "/srv/backups",
    "path": "files",
}
TASKS: dict[str, dict[str, Any]] = {
    "push_tree": {**COMMON, "action": "push", "directory": "/srv/tree"},
    "pull_tree": {**COMMON, "action": "pull", "directory": "/srv/copy", "hour": 2},
}


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network("database") as network:
        network["database"].ssh(
            "install -d /srv/tree /srv/copy /srv/backups/files && echo from the tree >/srv/tree/file && "
            "echo before >/srv/copy/file"
        )
        yield network


def core(name: str) -> tuple[list[str], dict[str, str]]:
    """Return how ansible-playbook of a version is called: the first of its arguments, and the environment."""
    if name == "of the checkout":
        return [str(Path(sys.executable).with_name("ansible-playbook"))], dict(os.environ)
    try:
        tools: Tools = {"oldest": oldest, "newest": newest}[name]()
    except Unavailable as error:
        pytest.skip(str(error))
    return tools.argv("ansible", "playbook"), tools.environment()


@pytest.mark.parametrize("name", CORES)
def test_everything_an_operator_does(network: Network, tmp_path: Path, name: str) -> None:
    argv, environment = core(name)
    values = {"env_sync_tasks": TASKS, "env_sync_install_packages": False}
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": network.inventory(), "vars": values}}), encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def play(playbook: str, *arguments: str) -> str:
        done = subprocess.run(
            [*argv, "-i", str(inventory), f"govuk.env_sync.{playbook}", *arguments],
            cwd=elsewhere,
            env={**environment, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1", "ANSIBLE_HOST_KEY_CHECKING": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        # of a user that was never logged in: Ansible's own, and right once
        said = re.sub(r"\[WARNING\]: Module remote_tmp \S+ did not exist", "", done.stdout)
        assert "WARNING" not in said and "DEPRECAT" not in said, said[-6000:]
        return done.stdout

    host = network["database"]
    host.ssh("echo before >/srv/copy/file")
    there = host.ssh("test -e /etc/govuk_env_sync", check=False).returncode == 0
    assert (changed(play("deploy"))["database"] == 0) is there, "what one version deployed is right for the others"
    play("push", "-e", "env_sync_select=push_tree")
    assert "pull_tree" in play("plan", "-e", "env_sync_select=*")
    play("pull", "-e", "env_sync_select=pull_tree")
    assert host.ssh("cat /srv/copy/file").stdout == "from the tree\n"
    play("report", "-e", "env_sync_report_file=report.csv")
    report = (elsewhere / "report.csv").read_text(encoding="utf-8")
    assert report.count("database,") == 2 and "ok" in report
