# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role on real hosts, reached over SSH: what it refuses, what it would do, what it deploys and what it leaves.

How the deployed tasks then run, by cron and with Icinga watching, is told in extensions/molecule (test_molecule.py).
"""

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

from tests.servers.hosts import Network

SECRET = "not-to-be-seen-anywhere"
SHOP = {
    "dbms": "postgresql",
    "database": "shop",
    "storagebackend": "s3",
    "url": "backups",
    "path": "postgresql",
    "region": "eu-west-1",
    "hour": 1,
    "minute": 15,
}
SANITISE = "UPDATE customers SET email = 'nobody@staging.invalid';\n"


class Site:
    """The two hosts, the variables of their inventory, and what runs playbooks over them."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.folder = folder
        self.tasks: dict[str, dict[str, dict[str, Any]]] = {"production": {}, "staging": {}}
        self.more: dict[str, Any] = {}
        (folder / "shop.sql").write_text(SANITISE, encoding="utf-8")

    def play(self, playbook: str, *arguments: str, ok: bool = True) -> str:
        """Run one of the collection's playbooks; return what it said."""
        hosts = self.network.inventory()
        for name, values in hosts.items():
            values["env_sync_tasks"] = self.tasks[name]  # type: ignore[assignment]
        inventory = {
            "all": {
                "hosts": hosts,
                "vars": {
                    "env_sync_environment": {"AWS_EC2_METADATA_DISABLED": "true"},
                    "env_sync_secret_environment": {"AWS_SECRET_ACCESS_KEY": SECRET},
                    "env_sync_transformation_sql_files": [str(self.folder / "shop.sql")],
                    "env_sync_monitor": "nsca",
                    "env_sync_nsca_host": "monitoring",
                    **self.more,
                },
            }
        }
        path = self.folder / "inventory.json"
        path.write_text(json.dumps(inventory), encoding="utf-8")
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                "-i",
                str(path),
                "-e",
                "env_sync_hosts=production:staging",
                playbook,
                *arguments,
            ],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1", "ANSIBLE_HOST_KEY_CHECKING": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        assert (done.returncode == 0) is ok, done.stdout[-6000:]
        return done.stdout


def changed(said: str) -> dict[str, int]:
    """Return how many tasks changed something, by host, from a playbook's recap."""
    return {host: int(count) for host, count in re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", said, re.M)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Network("production", "staging") as network:
        yield Site(network, tmp_path_factory.mktemp("site"))


def test_all_faults_are_told_at_once_and_nothing_is_changed(site: Site) -> None:
    site.tasks["production"] = {
        "push_shop": {**SHOP, "action": "push", "hour": "25"},
        "pull_shop": {**SHOP, "action": "pull", "dbms": "oracle", "colour": "red"},
        "no/title": {**SHOP, "action": "push"},
    }
    said = site.play("playbooks/deploy.yml", "-e", "env_sync_hosts=production", ok=False)
    for fault in ("push_shop: hour '25'", "pull_shop: ", "colour", "oracle", "no/title: its title", "same push"):
        assert fault in said
    assert changed(said) == {"production": 0}
    assert site.network["production"].ssh("ls /etc/govuk_env_sync", check=False).returncode != 0


def test_check_mode_says_what_would_be_done_and_does_nothing(site: Site) -> None:
    site.tasks["production"] = {"push_shop_daily": {**SHOP, "action": "push", "temppath": "/tmp/push"}}
    site.tasks["staging"] = {
        "pull_shop_daily": {
            **SHOP,
            "action": "pull",
            "temppath": "/tmp/pull",
            "transformation_sql_filename": "shop.sql",
        }
    }
    said = site.play("playbooks/deploy.yml", "--check", "--diff")
    assert "push_shop_daily.cfg" in said
    assert SECRET not in said
    assert site.network["production"].ssh("ls /etc/govuk_env_sync", check=False).returncode != 0


def test_what_is_deployed_is_the_same_the_second_time(site: Site) -> None:
    assert min(changed(site.play("playbooks/deploy.yml")).values()) > 0
    assert changed(site.play("playbooks/deploy.yml")) == {"production": 0, "staging": 0}
    modes = (
        site.network["production"]
        .ssh("cd /etc/govuk_env_sync && stat -c '%a %U %G' push_shop_daily.cfg env.d/AWS_SECRET_ACCESS_KEY")
        .stdout
    )
    assert modes.splitlines() == ["644 root root", "640 root govuk-backup"]
    assert site.network["staging"].ssh("cat /etc/govuk_env_sync/transformation_sql/shop.sql").stdout == SANITISE


def test_uninstalling_leaves_nothing_but_logs(site: Site) -> None:
    site.more["env_sync_state"] = "absent"
    site.play("playbooks/deploy.yml")
    for name in ("production", "staging"):
        left = site.network[name].ssh(
            "find / -xdev -name '*env_sync*' -not -path '/proc/*' -not -path '/tmp/*' -not -path '/var/log/*'"
        )
        assert left.stdout.split() == []
    assert changed(site.play("playbooks/deploy.yml")) == {"production": 0, "staging": 0}
