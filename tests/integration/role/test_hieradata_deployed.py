# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole file of hieradata, as the Puppet module took it, on a host of its own: pasted, imported, deployed, removed.

``hieradata/staging/db_admin.yaml`` has the shape of what a database host of an environment in the middle has: pairs of
a pull and a push that share a temppath.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers.hosts import Host, Network
from tests.servers.playbooks import changed, play

pytestmark = pytest.mark.timeout(900)

HIERADATA = Path(__file__).parents[1] / "hieradata" / "staging"
SHARED = {
    f"/tmp/{name}"
    for name in (
        "licensing_staging",
        *(f"{name}_production" for name in ("assets", "content", "maps", "short_urls", "travel_advice")),
        *(f"{name}_production" for name in ("content_tags", "publishing", "transition", "email_alerts")),
        *(f"{name}_production" for name in ("whitehall_copy", "collections_copy")),
    )
}


class Site:
    """The host, and what runs playbooks over it."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.host: Host = network["database"]
        self.folder = folder
        self._hosts = network.inventory()

    def play(self, playbook: str, *arguments: str, **variables: Any) -> str:
        values = {"env_sync_install_packages": False, **variables}
        return play(
            self.folder, {"all": {"hosts": self._hosts, "vars": values}}, f"govuk.env_sync.{playbook}", *arguments
        )

    def temporary(self) -> set[str]:
        """Return the folders in /tmp, which are the tasks'."""
        return set(self.host.ssh("find /tmp -mindepth 1 -maxdepth 1 -type d").stdout.split())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Network("database") as network:
        network["database"].ssh("rm -rf /tmp/* /etc/unattended-reboot")
        yield Site(network, tmp_path_factory.mktemp("site"))


def _tasks() -> dict[str, Any]:
    """Return what a YAML reader makes of the file's tasks: what is pasted under ``env_sync_tasks``."""
    return dict(yaml.safe_load((HIERADATA / "db_admin.yaml").read_text(encoding="utf-8"))["govuk_env_sync::tasks"])


def test_a_whole_file_is_deployed_as_it_stands(site: Site) -> None:
    assert len(_tasks()) > 20
    files = {"env_sync_hieradata_files": [str(HIERADATA / "db_admin.yaml")]}
    said = site.play("deploy", "--check", "--diff", **files)
    assert said.count("after: /tmp/licensing_staging") == 1
    assert site.temporary() == set()

    site.play("deploy", **files)
    assert site.temporary() == SHARED
    assert len(site.host.ssh("ls /etc/govuk_env_sync/*.cfg").stdout.split()) == len(_tasks()) - 1 + 2
    assert changed(site.play("deploy", **files)) == {"database": 0}


def test_an_import_of_its_folder_is_the_same_deployment(site: Site) -> None:
    inventory = site.folder / "inventory"
    inventory.mkdir()
    options = json.dumps({"env_sync_hieradata": str(HIERADATA), "env_sync_inventory_dir": str(inventory)})
    site.play("import_hieradata", "-e", options)
    written = yaml.safe_load((inventory / "group_vars" / "db_admin" / "env_sync.yml").read_text(encoding="utf-8"))
    assert changed(site.play("deploy", **written)) == {"database": 0}


def test_a_shared_temppath_stays_while_one_of_its_tasks_does(site: Site) -> None:
    tasks = copy.deepcopy(_tasks())
    tasks["pull_maps_production_daily"]["ensure"] = "absent"
    for action in ("pull_transition_production_daily", "push_transition_daily"):
        tasks[action] = {"ensure": "absent"}
    site.play("deploy", env_sync_tasks=tasks)
    assert site.temporary() == SHARED - {"/tmp/transition_production"}


def test_what_was_made_above_a_temppath_and_a_lock_goes_with_them(site: Site) -> None:
    tasks = copy.deepcopy(_tasks())
    for title, values in tasks.items():
        values["temppath"] = "/srv/made/for/them"
        values["become_user"] = "root" if title.startswith("push") else ""
    site.play("deploy", env_sync_tasks=tasks)
    shown = site.host.ssh("stat -c '%a %U' /srv/made/for /srv/made/for/them").stdout.splitlines()
    assert shown == ["755 root", "1775 govuk-backup"]
    assert site.temporary() == set()

    site.host.ssh("touch /srv/made/theirs")
    site.play("deploy", env_sync_state="absent")
    left = site.host.ssh("find /srv/made /etc/unattended-reboot", check=False).stdout.split()
    assert left == ["/srv/made", "/srv/made/theirs"]
