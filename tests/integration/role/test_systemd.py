# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Timers instead of cron, on a host that a real systemd runs: one story, told in order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.hosts import Host, Network
from tests.servers.playbooks import changed, play

pytestmark = pytest.mark.timeout(900)

PUSH = {
    "hour": "*",
    "minute": "*",
    "action": "push",
    "dbms": "files",
    "database": "uploads",
    "directory": "/srv/uploads",
    "pre_dump_transformation_sql_filename": "wait.sh",
    "storagebackend": "directory",
    "url": "/srv/backups",
    "path": "files",
}
OTHER = {**PUSH, "hour": "3", "database": "other", "pre_dump_transformation_sql_filename": ""}
#: says how it runs, and holds the run up, so that the host can be looked at meanwhile
WAIT = """#!/bin/sh
{ id -un; echo "$GREETING"; ionice -p $$; } > /tmp/how
touch /tmp/began
while [ ! -e /tmp/go ]; do sleep 0.1; done
"""
RUN = "govuk_env_sync-push_uploads"


class Site:
    """The host, and what deploys to it."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.host: Host = network["booted"]
        self._network = network
        self._folder = folder
        (folder / "wait.sh").write_text(WAIT, encoding="ascii")

    def deploy(self, **variables: Any) -> dict[str, int]:
        """Deploy; return how many tasks changed something."""
        values = {
            "env_sync_scheduler": "systemd",
            "env_sync_install_packages": False,
            "env_sync_tasks": {"push_uploads": PUSH, "push_other": OTHER},
            "env_sync_transformation_sql_files": [str(self._folder / "wait.sh")],
            "env_sync_variables": {"GREETING": "hello"},
            **variables,
        }
        inventory = {"all": {"hosts": self._network.inventory(), "vars": values}}
        return changed(play(self._folder, inventory, "govuk.env_sync.deploy"))

    def until(self, command: str, seconds: float) -> None:
        """Wait for a command to succeed on the host."""
        deadline = time.monotonic() + seconds
        while self.host.ssh(command, check=False).returncode != 0:
            assert time.monotonic() < deadline, command
            time.sleep(0.3)

    def shows(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.host.ssh(f"systemctl show --value -p {name} {unit}").stdout.strip()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Network("booted", with_systemd=["booted"]) as network:
        network["booted"].ssh(
            "mkdir -p /etc/unattended-reboot/check && "
            "install -d -m 777 /srv/backups /srv/uploads && touch /srv/uploads/upload"
        )
        yield Site(network, tmp_path_factory.mktemp("site"))


def test_a_timer_starts_a_run_that_keeps_the_host_from_rebooting(site: Site) -> None:
    host = site.host
    assert site.deploy()["booted"] > 0
    assert (site.shows(f"{RUN}.timer", "ActiveState"), site.shows(f"{RUN}.timer", "UnitFileState")) == (
        "active",
        "enabled",
    )
    assert site.deploy() == {"booted": 0}

    # At the next whole minute.
    site.until("test -e /tmp/began", 90)
    assert site.shows(f"{RUN}.service", "ActiveState") == "activating"
    assert host.ssh("cat /tmp/how").stdout == "govuk-backup\nhello\nbest-effort: prio 6\n"

    # What keeps the host up: an inhibitor lock, and a check for whoever asks; no upgrade begins meanwhile.
    assert "env_sync" in host.ssh("systemd-inhibit --list --no-legend").stdout
    refused = host.ssh("systemctl --check-inhibitors=yes reboot", check=False)
    assert refused.returncode != 0 and "govuk_env_sync runs" in refused.stderr
    check = "/etc/unattended-reboot/check/00_govuk_env_sync"
    assert host.ssh(check, check=False).stdout == "govuk_env_sync is running\n"
    host.ssh("systemctl start apt-daily-upgrade.service", check=False)
    assert site.shows("apt-daily-upgrade.service", "Result") == "exec-condition"

    host.ssh("touch /tmp/go")
    site.until(f"systemctl show --value -p ActiveState {RUN}.service | grep -x inactive", 60)
    assert site.shows(f"{RUN}.service", "Result") == "success"
    host.ssh("ls /srv/backups/files/*-uploads.manifest.json")
    assert "env_sync" not in host.ssh("systemd-inhibit --list --no-legend").stdout
    host.ssh(check)


def test_to_stop_a_run_ends_it_cleanly(site: Site) -> None:
    host = site.host
    host.ssh(f"systemctl stop {RUN}.timer; rm -f /tmp/began /tmp/go")
    before = host.ssh("ls /srv/backups/files").stdout
    host.ssh(f"systemctl start --no-block {RUN}.service")
    site.until("test -e /tmp/began", 60)
    host.ssh(f"systemctl stop {RUN}.service")
    assert host.ssh("pgrep -af '[w]ait.sh|[_]engine'", check=False).stdout == ""
    assert host.ssh("ls /srv/backups/files /etc/unattended-reboot/no-reboot").stdout.split() == [
        "/etc/unattended-reboot/no-reboot:",
        "/srv/backups/files:",
        *before.split(),
    ]
    assert "told to stop" in host.ssh("govuk_env_sync --status").stdout


def test_timers_go_by_what_is_declared(site: Site) -> None:
    host = site.host
    # One that somebody stopped runs again.
    assert site.deploy() == {"booted": 1}
    assert site.shows(f"{RUN}.timer", "ActiveState") == "active"

    later = {**PUSH, "hour": "2", "minute": "30"}
    site.deploy(env_sync_tasks={"push_uploads": later, "push_other": {**OTHER, "ensure": "disabled"}})
    assert " 02:30:00 " in site.shows(f"{RUN}.timer", "NextElapseUSecRealtime")
    there = host.ssh("find /etc/systemd/system /etc/govuk_env_sync -name '*push*'").stdout
    assert sorted(Path(path).name for path in there.split()) == [
        f"{RUN}.service",
        f"{RUN}.timer",
        f"{RUN}.timer",
        "push_other.cfg",
        "push_uploads.cfg",
    ]
    assert len(host.ssh("systemctl list-timers --all --no-legend 'govuk*'").stdout.splitlines()) == 1


def test_uninstalling_leaves_systemd_as_it_was(site: Site) -> None:
    host = site.host
    # A run that was stopped is one that failed: when the task is gone, it is not to keep the host's state degraded.
    host.ssh(f"rm -f /tmp/began; systemctl stop {RUN}.service; systemctl start --no-block {RUN}.service")
    site.until("test -e /tmp/began", 60)
    host.ssh(f"systemctl stop {RUN}.service")
    assert site.shows(f"{RUN}.service", "ActiveState") == "failed"
    site.deploy(env_sync_state="absent")
    assert host.ssh("systemctl list-units --all --no-legend 'govuk*'").stdout == ""
    assert host.ssh("find /etc/systemd/system /etc/polkit-1 -name '*govuk*'").stdout == ""
