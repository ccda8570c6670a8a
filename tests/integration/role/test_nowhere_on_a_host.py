# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role deploys, called in a folder full of traps, as root and as the tasks' user: none of them is touched."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.planted import plant
from tests.servers.hosts import Host, Network
from tests.servers.playbooks import play

pytestmark = pytest.mark.timeout(900)

WATCH = Path(__file__).resolve().parents[2] / "servers" / "watch.py"

TASKS = {
    "push_tree": {
        "hour": 1,
        "minute": 1,
        "action": "push",
        "dbms": "files",
        "database": "tree",
        "directory": "/srv/tree",
        "pre_dump_transformation_sql_filename": "tidy.sh",
        "temppath": "/var/tmp/push_tree",
        "storagebackend": "directory",
        "url": "/srv/store",
        "path": "tree",
    },
    "push_roots": {
        "hour": 2,
        "minute": 1,
        "action": "push",
        "dbms": "files",
        "database": "roots",
        "directory": "/srv/roots",
        "become_user": "root",
        "temppath": "/var/tmp/push_roots",
        "storagebackend": "directory",
        "url": "/srv/store",
        "path": "roots",
    },
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host that the role was deployed on."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "tidy.sh").write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
    plant(folder / "traps")
    with Network("database") as network:
        host = network["database"]
        host.ssh("install -d /srv/tree /srv/store && install -d -m 700 /srv/roots && touch /srv/roots/file")
        for path in (folder / "traps", WATCH):
            host.put(path, "/srv")
        host.ssh("chmod -R a+rwX /srv/traps")
        values = {
            "env_sync_tasks": TASKS,
            "env_sync_transformation_sql_files": [str(folder / "tidy.sh")],
            "env_sync_install_packages": False,
        }
        play(folder, {"all": {"hosts": network.inventory(), "vars": values}}, "govuk.env_sync.deploy")
        host.ssh("chown govuk-backup /srv/tree /srv/store")
        yield host


NAME = "/usr/local/bin/govuk_env_sync"
SUDO = (
    f"/usr/bin/sudo -n -u root -g govuk-backup {NAME} --env-dir /etc/govuk_env_sync/env.d "
    "-f /etc/govuk_env_sync/push_roots.cfg"
)
LOCK = "/etc/unattended-reboot/no-reboot/govuk_env_sync"


@pytest.mark.parametrize(
    ("user", "line"),
    [
        *((user, line) for user in ("root", "govuk-backup") for line in (
            f"{NAME} --version",
            f"{NAME} --help",
            f"{NAME}.sh --status",
            f"{NAME} --status --json",
            f"{NAME} -f push_tree --plan",
            f"{NAME} -f push_tree.cfg",
            f"{NAME} --env-dir env.d -f push_tree",
            f"{NAME} -f push_tree --list",
            f"{NAME} -f push_tree --verify",
            f"{NAME} -f push_tree --prune 1 --plan",
            f"{NAME} -f push_tree --prune 1",
            f"/usr/local/bin/with_reboot_lock {LOCK} {NAME} -f push_tree",
            f"/usr/local/bin/with_reboot_lock --check {os.path.dirname(LOCK)}",
            f"/usr/bin/envdir /etc/govuk_env_sync/env.d {NAME}.sh -f /etc/govuk_env_sync/push_tree.cfg",
        )),
        ("root", f"{NAME} -f push_roots"),
        ("govuk-backup", SUDO),
        ("govuk-backup", f"/usr/local/bin/with_reboot_lock {LOCK} {SUDO}"),
    ],
)  # fmt: skip
def test_every_launcher_of_a_host(user: str, line: str, host: Host) -> None:
    """As whom it is called, and by way of sudo, among the traps; PATH means them too."""
    run = f"PATH=:.:$PATH; export PATH; exec {line}"
    as_user = ["su", user, "-c", run] if user != "root" else ["/bin/sh", "-c", run]
    argv = ["/usr/bin/python3", "-I", "/srv/watch.py", "/srv/traps", "/root/notes", *as_user]
    done = host.ssh(shlex.join(argv), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "planted" not in done.stdout + done.stderr
    seen = host.ssh("cat /root/notes; ls -d /tmp/planted* 2>/dev/null || true").stdout.splitlines()
    # envdir itself opens the directory, and nothing in it, to come back to it.
    assert seen == (["./ was opened"] if "/envdir " in line else [])
