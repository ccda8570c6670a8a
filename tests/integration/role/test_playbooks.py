# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks and the role on a database host of its own, reached over SSH: whom tasks run as, plans, reports.

One story, told in order. Beside the database's host, the inventory has one that does not answer (``gone``), one without
sudo (``bare``), one without a task (``idle``), and one whose tasks can't be read (``lost``).
"""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from tests.servers.hosts import Host, Network
from tests.servers.playbooks import changed, play

pytestmark = pytest.mark.timeout(900)

STORE = {"storagebackend": "directory", "url": "/srv/backups"}
TASKS: dict[str, dict[str, Any]] = {
    # peer authentication: the server lets in whom the operating system says it is
    "push_shop": {
        "hour": "00",
        "minute": "07",
        "action": "push",
        "dbms": "postgresql",
        "database": "shop",
        "become_user": "postgres",
        "temppath": "/tmp/push_shop",
        "path": "postgresql",
        **STORE,
    },
    # a tree that nobody but root may read
    "push_uploads": {
        "hour": "1",
        "minute": 5,
        "action": "push",
        "dbms": "files",
        "database": "uploads",
        "directory": "/srv/uploads",
        "become_user": "root",
        "pre_dump_transformation_sql_filename": "tidy.sh",
        "path": "files",
        **STORE,
    },
    "push_nothing": {
        "hour": 2,
        "minute": 0,
        "action": "push",
        "dbms": "files",
        "database": "/srv/none",
        "path": "none",
        **STORE,
    },
}


class Site:
    """The host, and what runs playbooks over it."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.host: Host = network["database"]
        self.folder = folder
        self._hosts = network.inventory()
        self._hosts["gone"] = {**self._hosts["database"], "ansible_host": self.host.address.rsplit(".", 1)[0] + ".99"}
        self._hosts["bare"] = {**self._hosts["database"], "ansible_become_exe": "/nowhere/sudo"}
        self._hosts["idle"] = {**self._hosts["database"], "env_sync_tasks": {"push_shop": {"ensure": "absent"}}}
        self._hosts["lost"] = {**self._hosts["database"], "env_sync_hieradata_files": ["/nowhere/hieradata.yaml"]}
        (folder / "tidy.sh").write_text("#!/bin/sh\ntouch tidied\n", encoding="ascii")

    def play(
        self,
        playbook: str,
        *arguments: str,
        hosts: str = "database",
        ok: bool = True,
        environment: Mapping[str, str] = MappingProxyType({}),
        **variables: Any,
    ) -> str:
        """Run one of the collection's playbooks; return what it said."""
        values = {
            "env_sync_tasks": TASKS,
            "env_sync_transformation_sql_files": [str(self.folder / "tidy.sh")],
            "env_sync_install_packages": False,
            **variables,
        }
        inventory = {"all": {"hosts": self._hosts, "vars": values}}
        arguments = ("-e", f"env_sync_hosts={hosts}", *arguments)
        named = f"govuk.env_sync.{playbook}"
        return play(self.folder, inventory, named, *arguments, ok=ok, environment=environment)

    def as_backup_user(self, command: str) -> subprocess.CompletedProcess[str]:
        return self.host.ssh(f"cd / && su govuk-backup -c {shlex.quote(command)}", check=False)

    def nightly(self, title: str) -> subprocess.CompletedProcess[str]:
        """Run what cron runs for a task, as whom cron runs it."""
        crontab = self.host.ssh("cat /etc/cron.d/govuk_env_sync").stdout
        (command,) = re.findall(rf"^[\d ]+\* \* \* govuk-backup (.*/{title}\.cfg)$", crontab, re.M)
        return self.as_backup_user(command)


def table(said: str) -> list[str]:
    """Return the lines of the table that a playbook shows."""
    (shown,) = re.findall(r'"msg": \[\n(.*?)\n    \]', said, re.S)
    return [json.loads(line.strip().rstrip(",")) for line in shown.splitlines()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Network("database") as network:
        postgres = "/usr/lib/postgresql/15/bin"
        network["database"].ssh(
            "cd / && install -d -o postgres /srv/pg && "
            f'su postgres -c "{postgres}/initdb -D /srv/pg -A peer --no-sync && '
            f'{postgres}/pg_ctl -D /srv/pg -l /srv/pg/log -w start && createdb shop" >/dev/null && '
            "install -d -m 700 /srv/uploads && touch /srv/uploads/upload && install -d /etc/unattended-reboot/check && "
            "install -d -m 777 /srv/backups /srv/backups/postgresql /srv/backups/files"
        )
        yield Site(network, tmp_path_factory.mktemp("site"))


def test_tasks_run_as_whom_they_need_and_as_nobody_else(site: Site) -> None:
    site.play("deploy")
    assert changed(site.play("deploy")) == {"database": 0}

    for title in ("push_shop", "push_uploads"):
        done = site.nightly(title)
        assert done.returncode == 0, done.stderr
    stored = site.host.ssh("ls /srv/backups/*").stdout
    assert re.search(r"-shop\.manifest\.json$", stored, re.M) and re.search(r"-uploads\.manifest\.json$", stored, re.M)
    assert site.host.ssh("ls /srv/uploads").stdout.split() == ["tidied", "upload"]
    log = site.host.ssh("cat /var/log/govuk_env_sync/govuk_env_sync.log").stdout
    assert "push_shop[" in log and "push_uploads[" in log

    site.host.ssh("visudo -c")
    exact = "sudo -n -u {} -g govuk-backup /usr/local/bin/govuk_env_sync --env-dir /etc/govuk_env_sync/env.d -f {}"
    for other in (
        "sudo -n true",
        exact.format("root", "/etc/govuk_env_sync/push_shop.cfg"),
        exact.format("root", "/etc/govuk_env_sync/push_uploads.cfg") + " --url /tmp",
    ):
        refused = site.as_backup_user(other)
        assert refused.returncode != 0 and "password is required" in refused.stderr


def test_a_reboot_is_refused_while_a_task_runs(site: Site) -> None:
    check = "/etc/unattended-reboot/check/00_govuk_env_sync"
    folder = "/etc/unattended-reboot/no-reboot"
    assert site.host.ssh(check).stdout == ""
    for wrapper, leaves in (("/usr/local/bin/with_reboot_lock", ""), ("/usr/bin/setlock", "govuk_env_sync\n")):
        during = site.as_backup_user(f"{wrapper} {folder}/govuk_env_sync {check}")
        assert (during.returncode, during.stdout) == (1, "govuk_env_sync is running\n")
        assert site.host.ssh(f"ls {folder}").stdout == leaves
        assert site.host.ssh(check).stdout == ""
    site.host.ssh(f"rm {folder}/govuk_env_sync")


def test_a_mistyped_variable_does_nothing(site: Site) -> None:
    for playbook in ("deploy", "plan", "push", "pull", "report", "monitoring"):
        said = site.play(playbook, "-e", "env_sync_slect=push_shop", ok=False)
        assert "there is no variable env_sync_slect (did you mean env_sync_select?)" in said, playbook
        assert set(changed(said).values()) <= {0}
    said = site.play("deploy", ok=False, env_sync_schedular="systemd")
    assert "there is no variable env_sync_schedular (did you mean env_sync_scheduler?)" in " ".join(said.split())
    said = site.play("deploy", "-e", "env_sync_select=push_shop", ok=False)
    assert "env_sync_select chooses nothing in deploy" in said


def test_what_moves_data_has_to_be_told_which(site: Site) -> None:
    said = site.play("push", ok=False)
    assert "Set env_sync_select to the title of what is to be pushed" in " ".join(said.split())
    assert "There are: push_nothing, push_shop, push_uploads. Nothing was done." in " ".join(said.split())
    for playbook, variable, hosts in (
        ("push", "env_sync_hosts", "databses"),
        ("monitoring", "env_sync_monitoring", ""),
    ):
        said = site.play(playbook, ok=False, hosts=hosts or "database")
        assert "No host of the inventory is in " in said and variable in said


def test_a_plan_says_what_the_night_brings_of_every_host_and_changes_nothing(site: Site) -> None:
    before = site.host.ssh("ls -lR /srv/backups /srv/uploads /var/lib/govuk_env_sync").stdout
    said = site.play("plan", ok=False, hosts="all")
    lines = table(said)
    # By the host's clock, with its zone, as far as the host answers.
    rows = [re.sub(r"^\d{4}-\d\d-\d\d (\d\d:\d\d)( UTC)?", r"\1\2", line) for line in lines[1:]]
    assert [re.split(r"  +", row)[:4] for row in rows] == [
        ["00:07 UTC", "bare", "push_shop", "FAILS"],
        ["00:07 UTC", "database", "push_shop", "ok"],
        ["00:07", "gone", "push_shop", "UNREACHABLE"],
        ["01:05 UTC", "bare", "push_uploads", "ok"],
        ["01:05 UTC", "database", "push_uploads", "ok"],
        ["01:05", "gone", "push_uploads", "UNREACHABLE"],
        ["02:00 UTC", "bare", "push_nothing", "FAILS"],
        ["02:00 UTC", "database", "push_nothing", "FAILS"],
        ["02:00", "gone", "push_nothing", "UNREACHABLE"],
        ["-", "idle", "-", "no task"],
        ["-", "lost", "-", "FAILS"],
    ]
    assert "/nowhere/sudo: not found" in lines[1] and "dump shop from" in lines[2] and "/srv/none" in lines[8]
    assert "7 of 11 rows would fail" in said
    assert site.host.ssh("ls -lR /srv/backups /srv/uploads /var/lib/govuk_env_sync").stdout == before

    assert len(table(site.play("plan", "-e", "env_sync_select=push_shop"))) == 2
    assert "is called pull_*" in site.play("plan", "-e", "env_sync_select=pull_*", ok=False)
    assert "is called *_shops. There are: push_nothing, push_shop, push_uploads." in " ".join(
        site.play("push", "-e", "env_sync_select=*_shops", ok=False).split()
    )


def test_a_plan_where_a_whole_loop_fails_is_of_each_task_all_the_same(site: Site) -> None:
    # An older Ansible says nothing of a loop one of whose users can't be had; this is what happens then.
    unprivileged = {"ANSIBLE_PIPELINING": "0"}
    nobody = {**TASKS, "push_nothing": {**TASKS["push_nothing"], "become_user": "nobody-of-that-name"}}
    said = site.play("plan", ok=False, environment=unprivileged, env_sync_tasks=nobody)
    assert [re.split(r"  +", line)[2:4] for line in table(said)[1:]] == [
        ["push_shop", "ok"],
        ["push_uploads", "ok"],
        ["push_nothing", "FAILS"],
    ]


def test_tables_are_tables_in_yaml_too(site: Site) -> None:
    yaml_format = {"ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"}
    said = site.play("plan", "-e", "env_sync_select=push_*s", environment=yaml_format)
    head, row = re.findall(r"^ +(AT .*|\d{4}-.* push_uploads .*)$", said, re.M)
    assert head.index("TASK") == row.index("push_uploads") and head.index("WHAT") == row.index("run /etc")


def test_pushes_run_by_hand_become_each_tasks_user_and_are_reported(site: Site) -> None:
    said = site.play("push", "-e", "env_sync_strategy=free", "-e", "env_sync_select=*", ok=False)
    assert "Using a template" not in said
    pushed = r"pushed 20\S+ to /srv/backups/\w+: [\d.]+ [KM]?i?B \([\d.]+ [KM]?i?B stored\) in "
    for title, outcome in (("push_shop", pushed), ("push_uploads", pushed), ("push_nothing", "FAILED, ")):
        assert re.search(f"database {title}: {outcome}", said)
    failed = site.nightly("push_nothing")
    assert failed.returncode == 1

    report = site.folder / "report.csv"
    said = site.play("report", "-e", f"env_sync_report_file={report}", hosts="all", ok=False)
    lines = table(said)
    assert [re.split(r"  +", line)[:3] for line in lines[1:]] == [
        ["FAILED", "database", "push_nothing"],
        *(
            ["UNKNOWN", host, title]
            for host in ("bare", "gone")
            for title in ("push_nothing", "push_shop", "push_uploads")
        ),
        ["UNKNOWN", "lost", "-"],
        ["ok", "database", "push_shop"],
        ["ok", "database", "push_uploads"],
        ["no task", "idle", "-"],
    ]
    assert "8 of 11 rows need attention: FAILED, UNKNOWN" in " ".join(said.split())
    with open(report, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert "/srv/none" in rows[0]["message"] and rows[0]["last_success"] == ""
    assert rows[8]["point"].endswith("-shop") and int(rows[8]["stored_bytes"]) > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", rows[8]["last_success"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d 00:07 UTC", rows[8]["next_run"])

    # What it fails on is chosen; a state that does not exist is refused.
    site.play("report", "-e", "env_sync_select=push_[su]*")
    site.play("report", "-e", "env_sync_report_fail_on=OVERDUE,running")
    site.play("report", "-e", "env_sync_report_fail_on=none", hosts="database:gone")
    said = site.play("report", "-e", "env_sync_report_fail_on=failed", ok=False)
    assert "names failed, which is no state of a task" in " ".join(said.split())


def test_a_deployed_task_has_its_environment_however_it_is_started(site: Site) -> None:
    site.host.ssh(
        "echo '/nowhere' > /etc/govuk_env_sync/env.d/PGHOST && chgrp govuk-backup /etc/govuk_env_sync/env.d/*"
    )
    for argument in ("push_shop", "/etc/govuk_env_sync/push_shop.cfg"):
        done = site.host.ssh(f"cd /etc && govuk_env_sync -f {argument} --plan", check=False)
        assert done.returncode == 1 and "/nowhere" in done.stderr, "root is no role there, but that is not reached"
    site.host.ssh("rm /etc/govuk_env_sync/env.d/PGHOST")


def test_what_is_not_wanted_any_more_goes(site: Site) -> None:
    less = {title: {**values, "become_user": ""} for title, values in TASKS.items() if title != "push_nothing"}
    less["push_uploads"]["ensure"] = "disabled"
    site.play("deploy", "--tags", "configure,schedule", env_sync_tasks=less, env_sync_scheduler="systemd")
    there = site.host.ssh("ls /etc/govuk_env_sync /etc/systemd/system /etc/cron.d /etc/sudoers.d").stdout
    assert "push_uploads.cfg" in there and "push_nothing.cfg" not in there
    assert {"govuk_env_sync-push_shop.service", "govuk_env_sync-push_shop.timer"} <= set(there.split())
    assert not {"govuk_env_sync-push_uploads.timer", "govuk_env_sync"} & set(there.split())

    said = site.play("deploy", env_sync_tasks={"push_shop": {"ensure": "absent"}})
    assert "database has no task" in said
    left = site.host.ssh(
        "find /etc /usr /var /home -name '*env_sync*' -not -path '/var/log/*' -not -path '/var/lib/postgresql/*'"
    )
    assert left.stdout.split() == []


def test_a_python_that_is_too_old_is_refused_before_anything_is_changed(site: Site) -> None:
    site.host.ssh("printf '#!/bin/sh\\necho 3 8\\n' > /srv/python3.8 && chmod 755 /srv/python3.8")
    said = site.play("deploy", ok=False, env_sync_python="/srv/python3.8")
    assert "it is Python 3.8, and the command needs 3.9 or later" in said and "changed=0" in said


def test_hieradata_is_imported_once_and_never_over_what_is_there(site: Site) -> None:
    hieradata, inventory = site.folder / "class", site.folder / "inventory"
    hieradata.mkdir()
    inventory.mkdir()
    (hieradata / "ntp.yaml").write_text("ntp::servers: []\n", encoding="ascii")
    keys = {key: value for key, value in TASKS["push_shop"].items() if key != "become_user"}
    (hieradata / "shop.yaml").write_text(
        yaml.safe_dump({"govuk_env_sync::tasks": {"push_shop": keys}}), encoding="ascii"
    )
    where = {"env_sync_hieradata": f"{hieradata}/*.yaml", "env_sync_inventory_dir": str(inventory)}
    options = ["-e", json.dumps(where)]

    site.play("import_hieradata", *options, "--check")
    assert list(inventory.iterdir()) == []
    said = site.play("import_hieradata", *options)
    written = inventory / "group_vars" / "shop" / "env_sync.yml"
    assert yaml.safe_load(written.read_text(encoding="utf-8")) == {"env_sync_tasks": {"push_shop": keys}}
    assert "shop/env_sync.yml: 1 tasks present, 0 disabled, 0 absent" in said
    assert "changed=0" in site.play("import_hieradata", *options)

    written.write_text("env_sync_tasks: {}\n", encoding="ascii")
    assert "would be overwritten" in site.play("import_hieradata", *options, ok=False)
    assert written.read_text(encoding="ascii") == "env_sync_tasks: {}\n"
    site.play("import_hieradata", *options, "-e", "env_sync_replace=true")
    assert "push_shop" in written.read_text(encoding="utf-8")
    assert len(list(written.parent.glob("env_sync.yml*~"))) == 1
