# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fetch into the cache whatever tests may want: ``python -m tests.servers.fetch``.

Nothing has to: each test fetches what it needs, or waits for who does it already. But networks and processors are used
together, when this runs beside the tests. What can't be had is for the tests to tell.
"""

from __future__ import annotations

import contextlib
from typing import Any, Callable

from tests.servers import Unavailable, ansible_cores, awscli, hosts, mongo, moto_s3, mysql, opensearch, postgresql, s3

#: what there is, in the order in which tests of one run come to it
COMPONENTS: dict[str, Callable[[], Any]] = {
    "galaxy-importer": ansible_cores.galaxy_importer,
    "ansible-core, oldest": ansible_cores.oldest,
    "ansible-core, newest": ansible_cores.newest,
    "swift": s3.installed,
    "moto": moto_s3.installed,
    "mysql 8.0": mysql.mysql_base,
    "mongosh": mongo.mongosh,
    "opensearch": lambda: opensearch.installed("opensearch"),
    "elasticsearch": lambda: opensearch.installed("elasticsearch"),
    "ferretdb": mongo.ferretdb,
    "mariadb 11.4": mysql.mariadb_base,
    "debian 12": hosts.base_filesystem,
    "mysql 5.7": mysql.mysql_57_base,
    "postgresql 17": lambda: postgresql.other(17),
    "postgresql 18": lambda: postgresql.other(18),
    "postgresql 16": lambda: postgresql.other(16),
    "postgresql 14": lambda: postgresql.other(14),
    "postgresql 13": lambda: postgresql.other(13),
    "debian 11": lambda: hosts.base_filesystem("bullseye", hosts.few_packages("bullseye")),
    "debian 13": lambda: hosts.base_filesystem("trixie", hosts.few_packages("trixie")),
    "awscli": awscli.installed,
}


def main() -> None:
    for fetch in COMPONENTS.values():
        with contextlib.suppress(Unavailable):
            fetch()


if __name__ == "__main__":
    main()
