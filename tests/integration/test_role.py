# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role on real hosts: a production, a staging and a monitoring host, reached over SSH, and an S3 server.

One story, told in order: deploy, let cron push and pull, look at Icinga, break a credential, disable, uninstall.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import re
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.servers.hosts import Host, Network
from tests.servers.s3 import SwiftS3

pytestmark = pytest.mark.timeout(900)

BUCKET = "env-sync-role"
SAMPLE = """
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers SELECT g, 'customer' || g || '@example.com' FROM generate_series(1, 2000) g;
"""
SANITISE = "UPDATE customers SET email = 'nobody@staging.invalid';\n"


class Site:
    """The three hosts, the variables of their inventory, and what runs playbooks over them."""

    def __init__(self, network: Network, s3: SwiftS3, folder: Path) -> None:
        self.network = network
        self.folder = folder
        endpoint = network.forward(int(s3.endpoint.rsplit(":", 1)[1]))
        self.store = {
            "storagebackend": "s3",
            "url": BUCKET,
            "path": "postgresql",
            "endpoint_url": f"http://{endpoint}",
            "region": s3.region,
            "addressing_style": "path",
        }
        self.credentials = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
        self.tasks: dict[str, dict[str, dict[str, Any]]] = {"production": {}, "staging": {}, "monitoring": {}}
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
                    "env_sync_secret_environment": self.credentials,
                    "env_sync_transformation_sql_files": [str(self.folder / "shop.sql")],
                    "env_sync_monitor": "nsca",
                    "env_sync_nsca_host": "monitoring",
                    "env_sync_icinga_create_hosts": True,
                    "env_sync_icinga_reload": ["/usr/lib/icinga2/safe-reload", "/etc/default/icinga2"],
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

    def service(self, host: str, title: str) -> dict[str, Any] | None:
        """Return what Icinga knows of a task's check; None when it has no such check."""
        monitoring = self.network["monitoring"]
        text = monitoring.ssh("cat /etc/icinga2/conf.d/api-users.conf").stdout
        password = re.search(r'password = "([^"]+)"', text)
        assert password is not None
        name = urllib.parse.quote(f"{host}!GOV.UK environment sync {title}")
        request = urllib.request.Request(
            f"https://{monitoring.address}:5665/v1/objects/services/{name}",
            headers={"Authorization": "Basic " + base64.b64encode(f"root:{password[1]}".encode()).decode()},
        )
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as response:
                attributes: dict[str, Any] = json.load(response)["results"][0]["attrs"]
        except urllib.error.HTTPError as error:
            assert error.code == 404, error
            return None
        return attributes

    def result(self, host: str, title: str) -> dict[str, Any] | None:
        """Return the last result that came from the host itself."""
        last: dict[str, Any] | None = (self.service(host, title) or {}).get("last_check_result")
        return last if last and "first result" not in last["output"] else None


def changed(said: str) -> dict[str, int]:
    """Return how many tasks changed something, by host, from a playbook's recap."""
    return {host: int(count) for host, count in re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", said, re.M)}


def until(what: str, condition: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Network("production", "staging", "monitoring") as network, SwiftS3() as s3:
        s3.create_bucket(BUCKET)
        for name in ("production", "staging"):
            start_postgresql(network[name])
        sql(network["production"], "postgres", "CREATE DATABASE shop")
        sql(network["production"], "shop", SAMPLE)
        start_icinga(network["monitoring"])
        yield Site(network, s3, tmp_path_factory.mktemp("site"))


def start_postgresql(host: Host) -> None:
    host.ssh(
        "cd / && install -d -o postgres /srv/pg && B=/usr/lib/postgresql/15/bin && "
        'su postgres -c "$B/initdb -D /srv/pg -A trust --no-sync" >/dev/null && '
        'su postgres -c "$B/pg_ctl -D /srv/pg -l /srv/pg/log -w start" >/dev/null && '
        'su postgres -c \'psql -qc "CREATE ROLE \\"govuk-backup\\" SUPERUSER LOGIN"\''
    )


def start_icinga(host: Host) -> None:
    host.ssh(
        "cd / && icinga2 feature enable command >/dev/null && icinga2 api setup >/dev/null && "
        "rm -f /etc/icinga2/conf.d/hosts.conf /etc/icinga2/conf.d/services.conf && "
        "/usr/lib/icinga2/prepare-dirs /etc/default/icinga2 && icinga2 daemon -d >/dev/null 2>&1 && "
        "sed -i 's|^command_file=.*|command_file=/run/icinga2/cmd/icinga2.cmd|' /etc/nsca.cfg && "
        "sed -i 's|^pid_file=.*|pid_file=/run/nsca.pid|' "
        "/etc/nsca.cfg && usermod -a -G nagios nagios && nsca --daemon -c /etc/nsca.cfg"
    )
    until("Icinga's API answers", lambda: host.ssh("ss -ltn | grep -q :5665", check=False).returncode == 0, 30)


def sql(host: Host, database: str, statements: str) -> str:
    done = subprocess.run(
        ["ssh", *host._network.ssh_options, f"root@{host.address}", f"cd /; su postgres -c 'psql -qAt {database}'"],
        input=statements,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def soon(minutes: int) -> dict[str, str]:
    """Return hour and minute, so many whole minutes from now and a bit, as the hosts' clocks have it."""
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes, seconds=15)
    return {"hour": moment.strftime("%H"), "minute": moment.strftime("%M")}


def test_all_faults_are_told_at_once_and_nothing_is_changed(site: Site) -> None:
    site.tasks["production"] = {
        "push_shop": {
            "action": "push",
            "dbms": "postgresql",
            "database": "shop",
            "hour": "25",
            "minute": 0,
            **site.store,
        },
        "pull_shop": {"action": "pull", "dbms": "oracle", "hour": 1, "minute": 0, "colour": "red", **site.store},
        "no/title": {"action": "push", "dbms": "postgresql", "database": "shop", "hour": 1, "minute": 0, **site.store},
    }
    said = site.play("playbooks/deploy.yml", "-e", "env_sync_hosts=production", ok=False)
    for fault in ("push_shop: hour '25'", "pull_shop: ", "colour", "oracle", "no/title: its title", "same push"):
        assert fault in said
    assert changed(said) == {"production": 0}
    assert site.network["production"].ssh("ls /etc/govuk_env_sync", check=False).returncode != 0


def test_cron_pushes_and_pulls_and_icinga_shows_it(site: Site) -> None:
    production, staging = site.network["production"], site.network["staging"]
    shop = {"dbms": "postgresql", "database": "shop", **site.store}
    site.tasks["production"] = {"push_shop_daily": {"action": "push", "temppath": "/tmp/push", **soon(2), **shop}}
    site.tasks["staging"] = {
        "pull_shop_daily": {
            "action": "pull",
            "temppath": "/tmp/pull",
            "transformation_sql_filename": "shop.sql",
            **soon(3),
            **shop,
        }
    }
    dry = site.play("playbooks/deploy.yml", "--check", "--diff")
    assert "push_shop_daily.cfg" in dry
    assert site.credentials["AWS_SECRET_ACCESS_KEY"] not in dry
    assert production.ssh("ls /etc/govuk_env_sync", check=False).returncode != 0

    site.play("playbooks/monitoring.yml")
    first = site.play("playbooks/deploy.yml")
    assert min(changed(first).values()) > 0
    again = site.play("playbooks/deploy.yml")
    assert changed(again) == {"production": 0, "staging": 0}
    assert changed(site.play("playbooks/monitoring.yml")) == {"monitoring": 0}

    modes = production.ssh(
        "stat -c '%a %U %G %n' /etc/govuk_env_sync/push_shop_daily.cfg /etc/govuk_env_sync/env.d/AWS_SECRET_ACCESS_KEY"
    ).stdout.splitlines()
    assert [line.rsplit(" ", 1)[0] for line in modes] == ["644 root root", "640 root govuk-backup"]
    assert site.service("production", "push_shop_daily") is not None

    for host, title in (("production", "push_shop_daily"), ("staging", "pull_shop_daily")):
        result = until(
            f"Icinga has a result for {title}",
            lambda host=host, title=title: site.result(host, title),
            240,
        )
        log = site.network[host].ssh("cat /var/log/govuk_env_sync/*.log", check=False).stdout
        assert result["output"].startswith("OK: "), log + result["output"]
        assert result["exit_status"] == 0

    emails = "SELECT count(*), count(DISTINCT email), min(email) FROM customers"
    assert sql(staging, "shop", emails) == "2000|1|nobody@staging.invalid"
    assert production.ssh("ls -A /etc/unattended-reboot/no-reboot /tmp/push").stdout.split() == [
        "/etc/unattended-reboot/no-reboot:",
        "/tmp/push:",
    ]


def test_a_broken_credential_turns_the_check_critical_and_says_why(site: Site) -> None:
    right = site.credentials
    site.credentials = {**right, "AWS_SECRET_ACCESS_KEY": "wrong" * 8}
    site.play("playbooks/deploy.yml", "--tags", "configure")
    staging = site.network["staging"]
    line = staging.ssh("grep -v '^#' /etc/cron.d/govuk_env_sync | tail -n 1").stdout
    command = line.split("govuk-backup ", 1)[1].strip()
    done = staging.ssh(f"cd /; su govuk-backup -c '{command}'", check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1

    result = until(
        "the check is critical",
        lambda: (found := site.service("staging", "pull_shop_daily")) and found["state"] == 2 and found,
        20,
    )["last_check_result"]
    assert result["output"].startswith("CRITICAL: ")
    assert "wrong" * 8 not in result["output"] + done.stderr
    assert sql(staging, "shop", "SELECT count(*) FROM customers") == "2000"
    site.credentials = right


def test_a_disabled_task_loses_its_schedule_and_its_check_and_keeps_its_configuration(site: Site) -> None:
    site.tasks["staging"]["pull_shop_daily"]["ensure"] = "disabled"
    site.play("playbooks/deploy.yml")
    site.play("playbooks/monitoring.yml")
    staging = site.network["staging"]
    assert staging.ssh("ls /etc/cron.d/govuk_env_sync", check=False).returncode != 0
    assert "pull_shop_daily.cfg" in staging.ssh("ls /etc/govuk_env_sync").stdout
    assert until("the check is gone", lambda: site.service("staging", "pull_shop_daily") is None, 20)
    assert site.service("production", "push_shop_daily") is not None


def test_uninstalling_leaves_nothing_but_logs(site: Site) -> None:
    site.more["env_sync_state"] = "absent"
    site.play("playbooks/deploy.yml")
    for name in ("production", "staging"):
        left = site.network[name].ssh(
            "find / -xdev -name '*env_sync*' -not -path '/proc/*' -not -path '/tmp/*' -not -path '/var/log/*'"
        )
        assert left.stdout.split() == []
    assert changed(site.play("playbooks/deploy.yml")) == {"production": 0, "staging": 0}
