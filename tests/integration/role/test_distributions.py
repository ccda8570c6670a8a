# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role, and what it deploys, on the oldest and the newest Debian, with the Python and the PostgreSQL of each."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.hosts import Host, Network
from tests.servers.playbooks import changed, play

pytestmark = pytest.mark.timeout(900)

SUITES = {"debian11": "bullseye", "debian13": "trixie"}
SHOP = {
    "hour": "0",
    "minute": "18",
    "dbms": "postgresql",
    "database": "shop",
    "storagebackend": "directory",
    "url": "/srv/backups",
    "path": "postgresql",
}
TASKS = {
    "push_shop_daily": {**SHOP, "action": "push"},
    "pull_shop_daily": {
        **SHOP,
        "action": "pull",
        "transformation_sql_filename": "shop.sql",
        "allow_restore_to_source": "true",
    },
}
CUSTOMERS = """CREATE TABLE customers AS
SELECT g AS id, 'customer' || g || '@example.com' AS email FROM generate_series(1, 500) g;
"""
HAS_LIBRARY = "/usr/bin/python3 -c 'import zstandard' 2>/dev/null && echo yes || echo no"
SANITISE = "UPDATE customers SET email = 'nobody@staging.invalid';\n"


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    (tmp_path / "customers.sql").write_text(CUSTOMERS, encoding="ascii")
    with Network(*SUITES, suites=SUITES) as made:
        for host in made.hosts.values():
            host.put(tmp_path / "customers.sql", "/srv")
            host.ssh(
                "cd / && install -d -m 777 /srv/backups && pg_createcluster $(ls /usr/lib/postgresql) main --start && "
                "su postgres -c 'createuser -s govuk-backup && createdb shop && psql -q -f /srv/customers.sql shop'"
            )
        yield made


def test_tasks_are_deployed_once_and_run(network: Network, tmp_path: Path) -> None:
    (tmp_path / "shop.sql").write_text(SANITISE, encoding="ascii")
    variables = {"env_sync_tasks": TASKS, "env_sync_transformation_sql_files": [str(tmp_path / "shop.sql")]}
    inventory = {"all": {"hosts": network.inventory(), "vars": variables}}
    assert min(changed(play(tmp_path, inventory, "govuk.env_sync.deploy")).values()) > 0
    assert changed(play(tmp_path, inventory, "govuk.env_sync.deploy")) == dict.fromkeys(SUITES, 0)
    with_library = [name for name, host in network.hosts.items() if host.ssh(HAS_LIBRARY).stdout == "yes\n"]
    assert with_library == ["debian13"], "Debian 11 has no such package: the program is what runs there"
    for host in network.hosts.values():
        for title in ("push_shop_daily", "pull_shop_daily"):
            nightly(host, title)
        counts = "SELECT count(*), count(DISTINCT email) FROM customers"
        assert (
            host.ssh(f"cd / && su postgres -c {shlex.quote(f'psql -At -c {shlex.quote(counts)} shop')}").stdout
            == "500|1\n"
        )


def nightly(host: Host, title: str) -> None:
    """Run what cron runs for a task, as whom cron runs it."""
    crontab = host.ssh("cat /etc/cron.d/govuk_env_sync").stdout
    (command,) = re.findall(rf"^18 0 \* \* \* govuk-backup (.*/{title}\.cfg)$", crontab, re.M)
    host.ssh(f"cd / && su govuk-backup -c {shlex.quote(command)}")
