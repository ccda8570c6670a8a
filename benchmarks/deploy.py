# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role beside a plain loop of ``template`` and ``cron``, deploying the same tasks on a host over SSH.

``python -m benchmarks.deploy`` runs it (as root on Linux); ``--tasks 30`` with fewer tasks. Each way has a fresh host
of its own, Ansible's default settings, and runs twice: what is not there yet, then what is. The role also copies the
engine, has the package manager look for what the tasks need, checks every task, and removes what is not declared any
more; the loop only writes config files and cron entries. Nothing here is a test: figures are printed beside the aim.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.servers.hosts import Network

ROOT = Path(__file__).resolve().parent.parent

#: for each run of the role, the seconds that it may take with 150 tasks on 2 cores
AIMS = {"first": 40, "again, nothing changed": 15}

PLAIN = """
- hosts: plain
  gather_facts: false
  tasks:
    - ansible.builtin.file: {path: /etc/plain, state: directory, mode: "0755"}
    - ansible.builtin.template:
        src: task.cfg.j2
        dest: "/etc/plain/{{ item.key }}.cfg"
        mode: "0644"
      loop: "{{ env_sync_tasks | dict2items }}"
      loop_control: {label: "{{ item.key }}"}
    - ansible.builtin.cron:
        name: "{{ item.key }}"
        cron_file: plain
        user: root
        hour: "{{ item.value.hour }}"
        minute: "{{ item.value.minute }}"
        job: "/usr/local/bin/govuk_env_sync -f /etc/plain/{{ item.key }}.cfg"
      loop: "{{ env_sync_tasks | dict2items }}"
      loop_control: {label: "{{ item.key }}"}
"""

TEMPLATE = """{% for key, value in item.value | dictsort if key not in ['hour', 'minute'] %}
{{ key }}="{{ value }}"
{% endfor %}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--tasks", type=int, default=150, help="how many tasks the host has")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="env_sync-bench-") as name, Network("role", "plain") as network:
        folder = Path(name)
        namespace = folder / "ansible_collections" / "govuk"
        namespace.mkdir(parents=True)
        (namespace / "env_sync").symlink_to(ROOT)
        (folder / "plain.yml").write_text(PLAIN, encoding="utf-8")
        (folder / "task.cfg.j2").write_text(TEMPLATE, encoding="utf-8")
        variables = {"env_sync_hosts": "role", "env_sync_tasks": tasks(options.tasks)}
        inventory = {"all": {"hosts": network.inventory(), "vars": variables}}
        (folder / "inventory.json").write_text(json.dumps(inventory), encoding="utf-8")
        # One after the other: the loop takes minutes, in which the load may become another.
        role = [play(folder, "govuk.env_sync.deploy") for _run in AIMS]
        loop = [play(folder, "plain.yml") for _run in AIMS]
        report(options.tasks, role, loop)


def tasks(count: int) -> dict[str, dict[str, Any]]:
    """Return so many pushes, spread over the night."""
    return {
        f"push_database{n:03}_daily": {
            "action": "push",
            "dbms": "postgresql",
            "storagebackend": "s3",
            "database": f"database{n:03}",
            "database_hostname": f"postgresql-{n % 5}.example.com",
            "temppath": f"/tmp/push_database{n:03}_daily",
            "url": "example-database-backups",
            "path": "postgresql",
            "region": "eu-west-1",
            "hour": n % 6,
            "minute": n % 60,
        }
        for n in range(count)
    }


def play(folder: Path, playbook: str) -> tuple[float, float]:
    """Run a playbook; return the seconds that it took, and the load of the last minute when it began."""
    load = os.getloadavg()[0]
    began = time.monotonic()
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventory.json", playbook],
        cwd=folder,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(folder), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(done.stdout[-4000:])
    return time.monotonic() - began, load


def report(count: int, role: list[tuple[float, float]], loop: list[tuple[float, float]]) -> None:
    """Print the seconds of each run of the role and of the loop, with the load that there was before it."""
    print(f"\ndeploying {count} tasks over SSH, {os.cpu_count()} cores (in brackets: the load when it began)")
    print(f"  {'':24} {'role':>14} {'loop':>15} {'loop / role':>12}")
    for (run, aim), (ours, load), (plain, plain_load) in zip(AIMS.items(), role, loop):
        print(
            f"  {run:24} {ours:7.1f} s ({load:.1f}) {plain:7.1f} s ({plain_load:.1f}) {plain / ours:12.1f}"
            f"   (aim: the role at most {aim} s)"
        )


if __name__ == "__main__":
    main()
