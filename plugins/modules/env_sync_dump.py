#!/usr/bin/python

# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: env_sync_dump
short_description: Dump a database into a store (push)
version_added: 0.1.0
description:
  - Dumps a database with its own tools and stores the dump as a I(point), while the dump still runs.
  - A point counts once its manifest is stored. The manifest is written last, after every process has succeeded and
    every member's size and SHA-256 match. A push that fails removes what it stored.
  - Anything that a killed push left is removed first.
author:
  - govuk.env_sync contributors (@alphagov)
extends_documentation_fragment:
  - govuk.env_sync._attributes
  - govuk.env_sync._attributes.action_group
  - govuk.env_sync._options.name
  - govuk.env_sync._options.details
  - govuk.env_sync._options.database
  - govuk.env_sync._options.connection
  - govuk.env_sync._options.elastic
  - govuk.env_sync._options.store
  - govuk.env_sync._options.run
  - govuk.env_sync._options.locks
  - govuk.env_sync._options.time
  - govuk.env_sync._options.state
attributes:
  check_mode:
    support: full
    details:
      - Says which point would be stored, after checking the connection, the programs, the rights and the store. Nothing
        is read from the tables, so the dump itself can still fail.
  diff_mode:
    support: full
    details:
      - Shows the store's points of the database.
  idempotent:
    support: none
    details:
      - Every run stores another point. It returns C(changed=true) unless there is nothing to do.
options:
  action:
    description: The task's action. A declared task with another action is refused.
    type: str
    choices:
      - push
    default: push
  dest:
    description:
      - A directory on the host to leave the point in, instead of a store. It must exist.
      - A relative path begins with V(./).
      - One of O(dest) and O(url) is needed.
    type: path
  pre_dump_transformation_sql_filename:
    description:
      - SQL scripts to run on the database itself before it is dumped, each in one transaction.
      - They are files on the host that the module runs on, given by their paths, or by their names in
        C(/etc/govuk_env_sync/transformation_sql). A relative path begins with V(./), because a name is never looked up
        in the current directory.
    type: list
    elements: str
  may_change_nothing:
    description:
      - Accept a script that changes no row. Otherwise that is a warning.
    type: bool
    default: false
    version_added: 0.4.0
  excluded_tables:
    description: Tables to leave out. A name may have a schema, and C(*) and C(?) as wildcards.
    type: list
    elements: str
  excluded_table_data:
    description:
      - Tables whose rows a push leaves out, written as in O(excluded_tables). The tables arrive empty.
      - For PostgreSQL and MySQL. With MySQL's own C(mysqldump), O(format=directory) is needed.
    type: list
    elements: str
    version_added: 0.5.0
  excluded_extensions:
    description:
      - PostgreSQL. Extensions that a pull leaves out, and everything that depends on them. A warning names each. C(*)
        and C(?) are wildcards. A push notes them in the manifest, and every pull of the point leaves them out. The rows
        of their own tables are not stored.
      - A table that depends on an extension is not left out with it. That is an error, which names the table.
    type: list
    elements: str
    version_added: 0.5.0
  format:
    description:
      - With V(directory), every table is a member of its own, dumped and restored in parallel.
      - With V(custom), the point is one object.
    type: str
    choices:
      - directory
      - custom
    default: directory
  compression:
    description: The compression of the point. The original script can read V(gzip) with O(format=custom).
    type: str
    choices:
      - zstd
      - gzip
      - none
    default: zstd
  compression_level:
    description: From 1 (fast) to 19 (small), for gzip up to 9. The default is the compressor's.
    type: int
  stall_timeout:
    description:
      - How many seconds a dump program may write nothing before it is ended and the push fails. Time in which the store
        keeps it waiting does not count.
      - V(0) means that it may be silent for ever.
    type: int
    default: 1800
  environment:
    description: The environment's name, noted in the manifest.
    type: str
requirements:
  - The Python library zstandard or the program C(zstd), which is slower, for O(compression=zstd).
seealso:
  - module: govuk.env_sync.env_sync_restore
  - module: govuk.env_sync.env_sync_store
  - module: govuk.env_sync.env_sync_info
"""

EXAMPLES = r"""
- name: Push a database to a bucket
  govuk.env_sync.env_sync_dump:
    dbms: postgresql
    database: shop
    storagebackend: s3
    url: example-database-backups
    path: postgresql
    region: eu-west-1

- name: Leave a point in a local directory, without two tables
  govuk.env_sync.env_sync_dump:
    dbms: postgresql
    database: shop
    login_host: db-1.example.org
    login_user: backup
    login_password: "{{ vault_backup_password }}"
    dest: /srv/backups
    excluded_tables:
      - audit
      - cache.*

- name: Run a task that the inventory declares for every night
  govuk.env_sync.env_sync_dump: "{{ env_sync_tasks | govuk.env_sync.task_options('push_shop_daily') }}"

- name: Start a push that takes hours
  govuk.env_sync.env_sync_dump:
    name: push_warehouse
    dbms: postgresql
    database: warehouse
    storagebackend: directory
    url: /srv/backups
  async: 36000
  poll: 0
"""

RETURN = r"""
msg:
  description: What was done, or in check mode would be, in one sentence. In a failure, what went wrong and what to do.
  returned: always
  type: str
  sample: >-
    pushed 2026-01-02T03:04:05-shop to s3://example-database-backups/postgresql: 52.0 MiB (9.0 MiB stored) in 5.3s,
    9.8 MiB/s
timestamp:
  description: The point's timestamp.
  returned: success, outside check mode
  type: str
  sample: "2026-01-02T03:04:05"
point:
  description: The name of the point.
  returned: success
  type: str
  sample: 2026-01-02T03:04:05-shop
store:
  description: The store's address.
  returned: success
  type: str
  sample: s3://example-database-backups/postgresql
manifest:
  description:
    - The point's manifest. C(docs/reference/manifest.md) in the collection describes every key.
  returned: success, outside check mode, with O(details=true)
  type: dict
  sample:
    manifest_version: 1
    tool_version: 0.6.0
    dbms: postgresql
    database: shop
    timestamp: "2026-01-02T03:04:05"
    format: directory
    compression: zstd
    raw_bytes: 54525952
    stored_bytes: 9437184
raw_bytes:
  description: The size of the dump before compression.
  returned: success, outside check mode
  type: int
  sample: 54525952
stored_bytes:
  description: The size of the point in the store.
  returned: success, outside check mode
  type: int
  sample: 9437184
rate:
  description: Bytes per second, before compression.
  returned: success, outside check mode
  type: int
  sample: 10905190
durations:
  description: The seconds that each phase took, and V(total).
  returned: success, outside check mode
  type: dict
  sample:
    dumping: 5.021
    writing the manifest: 0.012
    total: 5.3
reason:
  description: Why there was nothing to do. Empty if something was done.
  returned: success
  type: str
  sample: ""
steps:
  description: What would be done, in order.
  returned: success, in check mode
  type: list
  elements: str
  sample:
    - dump shop from db-1:5432 (postgresql 15.4)
    - store it as s3://example-database-backups/postgresql/2026-01-02T03:04:05-shop
facts:
  description: Facts about the database before the dump.
  returned: success, in check mode
  type: dict
  sample:
    size_bytes: 54525952
    tables: 12
    jobs: 2
before:
  description: The store's points of the database before.
  returned: success, when something is done
  type: dict
  sample:
    points: []
after:
  description: The store's points of the database afterwards.
  returned: success, when something is done
  type: dict
  sample:
    points:
      - 2026-01-02T03:04:05-shop
warnings:
  description: What the operator should know besides the result.
  returned: when there is anything
  type: list
  elements: str
  sample:
    - what is left of /srv/backups/2026-01-02T03:04:05-shop could not be removed
doing:
  description: What was being done, to what.
  returned: failure
  type: str
  sample: dumping shop from db-1:5432
why:
  description: What went wrong, in the words of the tool that failed.
  returned: failure
  type: str
  sample: permission denied for table audit
hint:
  description: What to do next. May be empty.
  returned: failure
  type: str
  sample: Give the role of login_user the right that is missing.
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.govuk.env_sync.plugins.module_utils import _args
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import text as command_text


def main() -> None:
    module = AnsibleModule(**_args.PUSH.arguments(), supports_check_mode=True)
    verb, sentence = (push.plan, planned) if module.check_mode else (push.push, command_text.pushed)
    _args.run(module, lambda host: verb(_args.read_task(module.params), host), sentence)


def planned(result: Mapping[str, Any]) -> str:
    """Return the sentence that says what would be done."""
    return f"would push {result['point']} to {result['store']}"


if __name__ == "__main__":
    main()
