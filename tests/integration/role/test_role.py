# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role on real hosts, reached over SSH: what it refuses, what it would do, what it deploys and what it leaves.

One story, told in order: ``production`` has the original's hieradata as it stands, and is deployed tag by tag;
``staging`` has tasks in the inventory, and Python libraries in a virtual environment. How deployed tasks then run, by
cron and with Icinga watching, is told in extensions/molecule (test_molecule.py).
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.engine import engine_sources

from tests.servers.hosts import Network
from tests.servers.playbooks import changed, play

pytestmark = pytest.mark.timeout(900)

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
#: as the original's hieradata has it: anchors, merge keys, everything a string
HIERADATA = """
_push: &push
  hour: "0"
  action: "push"
  storagebackend: "s3"
  url: "govuk-production-database-backups"

govuk_env_sync::tasks:
  "push_content_data_admin_production_daily":
    <<: *push
    ensure: "present"
    minute: "18"
    dbms: "postgresql"
    database: "content_data_admin_production"
    temppath: "/tmp/push_content_data_admin_production"
    path: "postgresql-backend"
  "push_ckan_production_daily":
    <<: *push
    ensure: "disabled"
    minute: "00"
    dbms: "postgresql"
    database: "ckan_production"
    temppath: "/tmp/push_ckan_production"
    path: "postgresql-backend"
  "pull_gone_daily":
    ensure: "absent"

govuk_env_sync::s3_sync_tasks:
  "assets":
    ensure: "present"
    hour: "4"
    minute: "0"
    source_bucket: "govuk-assets-production"
    destination_bucket: "govuk-assets-production-dr"
    delete: "true"
"""
SANITISE = "UPDATE customers SET email = 'nobody@staging.invalid';\n"
CFG = "/etc/govuk_env_sync"
TAGS = ("install", "configure", "monitor", "schedule")


class Site:
    """The two hosts, the variables of their inventory, and what runs playbooks over them."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.folder = folder
        self.hosts: dict[str, dict[str, Any]] = {"production": {}, "staging": {}}
        (folder / "shop.sql").write_text(SANITISE, encoding="utf-8")
        (folder / "hieradata.yaml").write_text(HIERADATA, encoding="utf-8")

    def deploy(self, *arguments: str, hosts: str = "production:staging", ok: bool = True, **variables: Any) -> str:
        """Run the playbook that deploys; return what it said."""
        inventory = {
            "all": {
                "hosts": {name: {**self.network.inventory()[name], **more} for name, more in self.hosts.items()},
                "vars": {
                    "env_sync_variables": {"AWS_EC2_METADATA_DISABLED": "true"},
                    "env_sync_secret_environment": {"AWS_SECRET_ACCESS_KEY": SECRET},
                    "env_sync_transformation_sql_files": [str(self.folder / "shop.sql")],
                    "env_sync_monitor": "nsca",
                    "env_sync_nsca_host": "monitoring",
                    **variables,
                },
            }
        }
        arguments = ("-e", f"env_sync_hosts={hosts}", *arguments)
        said = play(self.folder, inventory, "govuk.env_sync.deploy", *arguments, ok=ok)
        assert SECRET not in said
        return said


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Network("production", "staging") as network:
        yield Site(network, tmp_path_factory.mktemp("site"))


def test_all_faults_are_told_at_once_and_nothing_is_changed(site: Site) -> None:
    site.network["production"].ssh("mkdir -m 755 /srv/root-only")
    site.hosts["production"]["env_sync_tasks"] = {
        "late": {**SHOP, "action": "push", "hour": "25", "database": "a"},
        "odd": {**SHOP, "action": "push", "database": "b", "colour": "red", "dbms": "oracle"},
        "no/title": {**SHOP, "action": "push", "database": "c"},
        "twice": {**SHOP, "action": "push", "temppath": "/tmp/shop"},
        "again": {**SHOP, "action": "push", "temppath": "/tmp/shop/"},
        "pull": {**SHOP, "action": "pull", "transformation_sql_filename": "gone.sql"},
    }
    said = site.deploy("--tags", "preflight", hosts="production", ok=False, env_sync_protected=True)
    for line in (
        "  late: hour '25' is not within 0 to 23",
        "  odd: unknown key colour",
        "  odd: dbms must be one of postgresql, mysql, files, mongo, documentdb, elasticsearch, not 'oracle'",
        "  no/title: its title can't be the name of a file and a service (letters, digits, _ . + -; at most 100)",
        "  again: is the same push of shop as twice",
        "  pull: transformation_sql_filename: "
        "there is no gone.sql on this host, nor in env_sync_transformation_sql_files",
        "  pull: action: no pull may be declared in this environment (env_sync_protected)",
        "Nothing was changed. Correct these.",
    ):
        assert f"\n{line}\n" in said
    assert changed(said) == {"production": 0}
    assert site.network["production"].ssh(f"id govuk-backup; ls {CFG}", check=False).stdout == ""


def test_check_mode_says_of_a_new_host_what_would_be_done_and_does_nothing(site: Site) -> None:
    site.hosts["production"] = {
        "env_sync_hieradata_files": [str(site.folder / "hieradata.yaml")],
        "env_sync_lock": "setlock",
    }
    pull = {**SHOP, "action": "pull", "temppath": "/var/tmp", "transformation_sql_filename": "shop.sql"}
    pull.update(storagebackend="directory", url="/srv/backups")
    site.hosts["staging"] = {"env_sync_tasks": {"pull_shop_daily": pull}, "env_sync_virtualenv": "/opt/env_sync"}
    # What Ansible's own module needs to tell which packages are missing.
    site.network["staging"].ssh("cd /usr/lib/python3/dist-packages && mv apt /srv/apt && mv apt_pkg.* /srv")
    said = site.deploy("--check", "--diff")
    site.network["staging"].ssh("cd /usr/lib/python3/dist-packages && mv /srv/apt* .")
    assert changed(said) == {"production": 3, "staging": 5}
    assert f"+++ after: {CFG}/push_content_data_admin_production_daily.cfg" in said
    assert '+database="content_data_admin_production"' in said
    assert "+# pull_shop_daily\n+15 1 * * * govuk-backup " in said
    assert re.search(r"Would make sure that these packages are installed: .*python3-venv, .*zstd", said)
    for name in ("production", "staging"):
        left = site.network[name].ssh(
            f"id govuk-backup; ls {CFG} /opt/env_sync /usr/local/lib/govuk_env_sync", check=False
        )
        assert left.stdout == ""


def test_each_tag_deploys_its_part_and_nothing_else(site: Site) -> None:
    host = site.network["production"]
    # What Puppet left: a task that is absent, one that nothing declares any more, a variable.
    host.ssh(f"mkdir -p {CFG}/env.d && touch {CFG}/pull_gone_daily.cfg {CFG}/old.cfg && echo x > {CFG}/env.d/THEIRS")
    parts = {
        "install": ["/usr/local/bin/govuk_env_sync"],
        "configure": [f"{CFG}/push_content_data_admin_production_daily.cfg", "/etc/logrotate.d/govuk_env_sync"],
        "monitor": [f"{CFG}/monitoring.conf"],
        "schedule": ["/etc/cron.d/govuk_env_sync"],
    }
    everything = sorted(path for paths in parts.values() for path in paths)
    there: list[str] = []
    for tag in TAGS:
        site.deploy("--tags", tag, hosts="production")
        there = sorted([*there, *parts[tag]])
        assert sorted(host.ssh(f"ls {' '.join(everything)}", check=False).stdout.split()) == there
    assert sorted(host.ssh(f"cd {CFG} && ls *.cfg env.d").stdout.split()) == [
        "AWS_EC2_METADATA_DISABLED",
        "AWS_SECRET_ACCESS_KEY",
        "THEIRS",
        "assets.cfg",
        "env.d:",
        "policy.cfg",
        "push_ckan_production_daily.cfg",
        "push_content_data_admin_production_daily.cfg",
    ]


def test_the_crontab_has_the_originals_lines_word_for_word(site: Site) -> None:
    lines = site.network["production"].ssh("cat /etc/cron.d/govuk_env_sync").stdout.splitlines()
    run = (
        "govuk-backup /usr/bin/ionice -c 2 -n 6 /usr/bin/setlock /etc/unattended-reboot/no-reboot/govuk_env_sync "
        "/usr/bin/envdir /etc/govuk_env_sync/env.d /usr/local/bin/govuk_env_sync.sh -f /etc/govuk_env_sync/"
    )
    assert [line for line in lines if "govuk-backup" in line] == [
        f"0 4 * * * {run}assets.cfg",
        f"18 0 * * * {run}push_content_data_admin_production_daily.cfg",
    ]


def test_libraries_come_into_a_virtual_environment_where_that_is_asked_for(site: Site) -> None:
    host = site.network["staging"]
    wheels = site.folder / "wheels"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--dest", str(wheels)]
    only = ["--only-binary=:all:", "--python-version=3.11", "psycopg2-binary", "zstandard"]
    subprocess.run([*pip, *only], stdin=subprocess.DEVNULL, check=True, timeout=300)
    host.put(wheels, "/srv")
    host.ssh("printf '[global]\\nno-index = true\\nfind-links = /srv/wheels\\n' > /etc/pip.conf")
    site.deploy(hosts="staging")
    assert "exec /opt/env_sync/bin/python -I " in host.ssh("cat /usr/local/bin/govuk_env_sync").stdout
    assert host.ssh("/opt/env_sync/bin/python -c 'import psycopg2; print(psycopg2.__file__)'").stdout.startswith(
        "/opt/"
    )
    host.ssh("su govuk-backup -c 'govuk_env_sync --version'")


def test_what_is_deployed_is_the_same_the_second_time(site: Site) -> None:
    assert changed(site.deploy()) == {"production": 0, "staging": 0}
    for host in site.network.hosts.values():
        modes = host.ssh(
            f"cd {CFG} && stat -c '%a %U %G' *.cfg env.d/AWS_SECRET_ACCESS_KEY /var/log/govuk_env_sync/*.log"
        )
        assert set(modes.stdout.splitlines()) == {
            "644 root root",
            "640 root govuk-backup",
            "660 govuk-backup govuk-backup",
        }
    staging = site.network["staging"]
    assert staging.ssh(f"cat {CFG}/transformation_sql/shop.sql").stdout == SANITISE
    assert staging.ssh("stat -c '%a %U' /var/tmp").stdout == "1777 root\n", "it was there before"


#: makes of the release that is deployed one as 0.4 was: other files, in other folders
AS_BEFORE = """
import json, os, shutil
os.chdir("/usr/local/lib/govuk_env_sync")
now, before = os.readlink("current"), "0.4.0-0123456789ab"
engine = f"{before}/_engine"
os.makedirs(f"{engine}/databases")
for old in ("__init__.py", "cli.py", "databases/__init__.py", "databases/pg_client.py", "es_client.py"):
    open(f"{engine}/{old}", "w").close()
with open(f"{engine}/start.py", "w") as file:
    file.write("print('the one before')")
shutil.rmtree(now)
os.unlink("current")
os.symlink(before, "current")
with open("deployed-install.json") as file:
    record = [path for path in json.load(file) if f"/{now}" not in path]
for folder, folders, files in os.walk(os.path.abspath(before)):
    record += [os.path.join(folder, name) for name in folders + files]
with open("deployed-install.json", "w") as file:
    json.dump([*record, os.path.abspath(before)], file)
"""


def test_a_release_of_another_layout_is_replaced_and_nothing_of_it_stays(site: Site) -> None:
    host = site.network["staging"]
    (site.folder / "as_before.py").write_text(AS_BEFORE, encoding="utf-8")
    host.put(site.folder / "as_before.py", "/srv")
    host.ssh("python3 /srv/as_before.py && rm /srv/as_before.py")
    assert host.ssh("govuk_env_sync --version").stdout == "the one before\n"
    site.deploy(hosts="staging")
    listed = host.ssh("cd /usr/local/lib/govuk_env_sync && ls -d [0-9]* && cd current && find _engine -type f").stdout
    (release,), files = [line for line in listed.split() if line[0].isdigit()], listed.split()[1:]
    assert not release.startswith("0.4.0-0123") and sorted(files) == [path for path, _content in engine_sources()]
    host.ssh("su govuk-backup -c 'govuk_env_sync --version'")
    assert changed(site.deploy(hosts="staging")) == {"staging": 0}


def test_logrotate_takes_its_file_and_turns_over_a_log_that_is_too_large(site: Site) -> None:
    host = site.network["production"]
    rotate = "logrotate --state /srv/logrotate /etc/logrotate.d/govuk_env_sync && ls /var/log/govuk_env_sync"
    log = "/var/log/govuk_env_sync/govuk_env_sync.log"
    assert host.ssh(f"truncate -s 1M {log} && {rotate}").stdout.split() == ["govuk_env_sync.log"]
    assert host.ssh(f"truncate -s 101M {log} && {rotate}").stdout.split() == [
        "govuk_env_sync.log",
        "govuk_env_sync.log.1",
    ]
    assert host.ssh(f"stat -c '%a %U %G %s' {log}").stdout == "660 govuk-backup govuk-backup 0\n"


def test_uninstalling_leaves_nothing_but_logs_and_what_others_made(site: Site) -> None:
    # What a run leaves, which nobody deployed.
    site.network["staging"].ssh("su govuk-backup -c 'touch /var/lib/govuk_env_sync/status/pull_shop_daily.json'")
    site.deploy(env_sync_state="absent")
    left = {
        name: host.ssh(
            "find / -xdev -name '*env_sync*' -not -path '/proc/*' -not -path '/var/log/*' -not -path '/opt/*'"
        ).stdout.split()
        for name, host in site.network.hosts.items()
    }
    assert left == {"production": [CFG], "staging": []}
    assert site.network["production"].ssh(f"find {CFG} -type f").stdout.split() == [f"{CFG}/env.d/THEIRS"]
    assert changed(site.deploy(env_sync_state="absent")) == {"production": 0, "staging": 0}
