# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's policy on a host of its own: every front end reads it, whoever starts it.

One story, told in order, on file trees: the policy is the same for every DBMS.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.hosts import Host, Network
from tests.servers.playbooks import changed, play

pytestmark = pytest.mark.timeout(900)

STORE = {"dbms": "files", "database": "uploads", "storagebackend": "directory", "url": "/srv/backups", "path": "files"}
PUSH = {**STORE, "hour": 1, "minute": 5, "action": "push", "directory": "/srv/uploads", "become_user": "root"}
PULL = {**STORE, "hour": 2, "minute": 5, "action": "pull", "directory": "/srv/copy", "become_user": "root"}
COMMAND = "-a pull -D files -d uploads --directory /srv/copy -S directory -u /srv/backups -p files"
PROTECTED = "no pull lands on this host"

#: what a playbook that moves data has to be told
ALL = ("-e", "env_sync_select=*")


class Site:
    """The host, and what runs playbooks and modules over it."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.host: Host = network["database"]
        self._hosts = network.inventory()
        self._folder = folder

    def play(self, playbook: str, *arguments: str, ok: bool = True, **variables: Any) -> str:
        values = {"env_sync_tasks": {"push_uploads": PUSH}, "env_sync_install_packages": False, **variables}
        return play(self._folder, {"all": {"hosts": self._hosts, "vars": values}}, playbook, *arguments, ok=ok)

    def restore(self, *arguments: str, **options: Any) -> str:
        """Run the module as an operator would, by himself, as root; it has to fail."""
        task = {"govuk.env_sync.env_sync_restore": {key: STORE[key] for key in STORE} | options}
        path = self._folder / "restore.yml"
        path.write_text(str([{"hosts": "all", "gather_facts": False, "tasks": [task]}]), encoding="utf-8")
        return " ".join(self.play(str(path), *arguments, ok=False).split())

    def command(self, arguments: str, user: str = "root") -> tuple[int, str]:
        line = f"/usr/local/bin/govuk_env_sync {arguments}"
        done = self.host.ssh(f"cd / && su {user} -s /bin/sh -c {shlex.quote(line)}", check=False)
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def copies(self) -> list[str]:
        return self.host.ssh("ls /srv/copy").stdout.split()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Network("database") as network:
        network["database"].ssh(
            "install -d /srv/uploads /srv/copy && touch /srv/uploads/upload /srv/copy/mine && "
            "install -d -m 777 /srv/backups /srv/backups/files"
        )
        yield Site(network, tmp_path_factory.mktemp("site"))


def test_nothing_pulls_into_a_protected_host(site: Site) -> None:
    variables = {"env_sync_environment": "production", "env_sync_protected": True}
    said = site.play("govuk.env_sync.deploy", "--diff", **variables)
    assert '+environment="production"' in said
    again = site.play("govuk.env_sync.deploy", "--diff", **variables)
    assert changed(again) == {"database": 0}, again
    assert site.host.ssh("stat -c '%U %a' /etc/govuk_env_sync/policy.cfg").stdout.split() == ["root", "644"]
    assert site.command("-f push_uploads")[0] == 0
    (manifest,) = site.host.ssh("cat /srv/backups/files/*.manifest.json").stdout.split("\n\n")
    assert '"environment": "production"' in manifest

    # the module by itself, in check mode too, and with another deployment's name in its environment
    assert PROTECTED in site.restore(directory="/srv/copy")
    assert PROTECTED in site.restore("--check", directory="/srv/copy")
    # the command by hand: as root and as the tasks' user, done and planned, and with a name that nobody deployed
    for user in ("root", "govuk-backup"):
        for plan in ("", " --plan"):
            status, said = site.command(COMMAND + plan, user)
            assert status == 1 and PROTECTED in said
    engine = "/usr/local/lib/govuk_env_sync/current/_engine/start.py"
    done = site.host.ssh(f"ENV_SYNC_NAME=other python3 -I {engine} cli {COMMAND}", check=False)
    assert done.returncode == 1 and PROTECTED in done.stderr
    # the playbook, with a pull that only its own inventory declares
    pulls = {"env_sync_tasks": {"pull_uploads": PULL}}
    for arguments in ((), ("--check",)):
        assert PROTECTED in site.play("govuk.env_sync.pull", *ALL, *arguments, ok=False, **pulls)
    assert "FAILS" in site.play("govuk.env_sync.plan", ok=False, **pulls)
    assert site.copies() == ["mine"]


def test_the_inventory_is_heeded_before_it_is_deployed(site: Site) -> None:
    site.host.ssh("rm /etc/govuk_env_sync/policy.cfg")
    pulls = {"env_sync_tasks": {"pull_uploads": PULL}, "env_sync_protected": True}
    assert "is protected (env_sync_protected)" in site.play("govuk.env_sync.pull", *ALL, ok=False, **pulls)
    assert "env_sync_protected" in site.play("govuk.env_sync.plan", ok=False, **pulls)
    assert site.copies() == ["mine"]
    status, said = site.command(COMMAND + " --plan")
    assert status == 0 and "This host has no policy (/etc/govuk_env_sync/policy.cfg): nothing is restricted." in said


def test_a_host_takes_what_its_policy_lets_it_take(site: Site) -> None:
    tasks = {"env_sync_tasks": {"pull_uploads": PULL}}
    site.play("govuk.env_sync.deploy", env_sync_environment="staging", env_sync_sources=["lab"], **tasks)
    status, said = site.command("-f pull_uploads")
    assert status == 1 and "it comes from production, and only points of lab may be pulled here" in said
    assert "only points of lab" in site.restore(directory="/srv/copy")
    assert "sources names production" in site.restore(directory="/srv/copy", sources=["production"])

    site.play("govuk.env_sync.deploy", env_sync_environment="staging", env_sync_require_sanitised=True, **tasks)
    status, said = site.command("-f pull_uploads --plan")
    assert status == 1 and "this environment requires sanitised data" in said
    assert "this environment requires sanitised data" in site.restore(directory="/srv/copy", require_sanitised=False)

    site.play("govuk.env_sync.deploy", env_sync_environment="staging", env_sync_max_point_age="1s", **tasks)
    status, said = site.command("-f pull_uploads")
    assert status == 1 and "(max_point_age)" in said
    assert "(max_point_age)" in site.restore(directory="/srv/copy", max_point_age="9d")
    assert site.copies() == ["mine"]

    site.play("govuk.env_sync.deploy", env_sync_environment="staging", env_sync_sources=["production"], **tasks)
    assert site.command("-f pull_uploads")[0] == 0
    assert site.copies() == ["upload"]


def test_what_the_policy_would_refuse_is_not_deployed(site: Site) -> None:
    for variables, says in (
        (
            {"env_sync_environment": "staging", "env_sync_tasks": {"push": {**PUSH, "environment": "lab"}}},
            "environment lab",
        ),
        ({"env_sync_environment": "{'AWS_REGION': 'eu-west-1'}"}, "what it was before is env_sync_variables"),
        ({"env_sync_max_point_age": "soon"}, "env_sync_max_point_age must be a number of seconds"),
        ({"env_sync_tasks": {"policy": PUSH}}, "its config file would be the host's policy"),
    ):
        assert says in " ".join(site.play("govuk.env_sync.deploy", "--check", ok=False, **variables).split())


def test_the_policy_goes_with_the_deployment(site: Site) -> None:
    site.play("govuk.env_sync.deploy", env_sync_state="absent")
    assert site.host.ssh("ls /etc/govuk_env_sync", check=False).stdout == ""
