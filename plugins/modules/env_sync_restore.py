#!/usr/bin/python

# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: env_sync_restore
short_description: Restore a database from a store (pull)
version_added: 0.1.0
description:
  - Takes a I(point) from a store, restores it into a scratch database, runs the transformation SQL there, checks the
    result, and only then swaps it in under the database's name.
  - The live database serves, untouched, until the swap. A failure before that leaves it as it is.
  - Owner, grants, connection limit and settings of the database that is replaced are carried over. A database that does
    not exist yet is created.
  - Members are restored in parallel, straight from the store. Their sizes and SHA-256 are compared with the manifest
    as they are read.
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
      - Says which point would be restored and what it would replace, after checking the connection, the rights, the
        programs and the point's manifest. The data is not read, so a damaged point is found only when it is
        restored. M(govuk.env_sync.env_sync_store) reads it, with
        O(govuk.env_sync.env_sync_store#module:operation=verify).
  diff_mode:
    support: partial
    details:
      - Shows owner and size of the replaced database, and the point that is there now. No rows.
  idempotent:
    support: none
    details:
      - Every run replaces the database, even by the same point, because the database may have changed since. It always
        returns C(changed=true).
options:
  action:
    description: The task's action. A declared task with another action is refused.
    type: str
    choices:
      - pull
    default: pull
  src:
    description:
      - A directory on the host to take points from, instead of a store. A relative path begins with V(./).
      - One of O(src) and O(url) is needed.
    type: path
  transformation_sql_filename:
    description:
      - SQL scripts to run on the scratch database before it goes live, each in one transaction, which ends at the first
        error.
      - They are files on the host that the module runs on, given by their paths, or by their names in
        C(/etc/govuk_env_sync/transformation_sql). A relative path begins with V(./), because a name is never looked up
        in the current directory.
    type: list
    elements: str
  sources:
    description:
      - The environments whose points may be pulled, by default any. The host's policy may allow fewer.
    type: list
    elements: str
    version_added: 0.4.0
  max_point_age:
    description:
      - How old the point may be, in seconds, or as V(90m), V(36h), V(3d), by default any age. The host's policy may
        allow less.
    type: str
    version_added: 0.4.0
  require_sanitised:
    description: Refuse a pull unless a script sanitises it, here or when the point was pushed.
    type: bool
    default: false
  may_change_nothing:
    description:
      - Accept a transformation that changes no row. Otherwise that is a warning, and an error if sanitised data is
        required.
    type: bool
    default: false
    version_added: 0.4.0
  keep_foreign_servers:
    description:
      - PostgreSQL. Restore foreign servers and user mappings too, and what depends on them. They arrive with the
        source's addresses and passwords, and a write to a foreign table goes to that server.
      - Otherwise they are left out, and a warning names them.
    type: bool
    default: false
    version_added: 0.4.0
  locale:
    description:
      - PostgreSQL. The locale of the restored database, in place of the source's, by its name on the server's system
        (V(C.UTF-8)). Use it if that system does not have the source's locale.
    type: str
    version_added: 0.5.0
  template_database:
    description:
      - PostgreSQL. The database of which the new one begins as a copy. In it, a superuser can create extensions that
        the role of O(login_user) may not create. It must be marked C(IS_TEMPLATE), or belong to a role of which that
        role is a member, and it must have the point's encoding and locale. All its contents will be in the pulled
        database.
      - The default is C(template0), which is empty.
    type: str
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
  excluded_objects:
    description:
      - PostgreSQL. Objects that a pull does not restore, and everything that depends on them. A warning names each.
        Write an object's kind and name as C(pg_restore --list) does, for example V(VIEW public.broken),
        V(INDEX public.by_name), V(FK CONSTRAINT public.child child_fk), V(TABLE DATA public.audit),
        V(SECURITY LABEL *). C(*) and C(?) are wildcards.
      - If a restore fails at an object, its error contains the line that leaves the object out.
    type: list
    elements: str
    version_added: 0.5.0
  allow_restore_to_source:
    description: Allow a point to replace the very database, on the very server, that it was pushed from.
    type: bool
    default: false
  old_database:
    description:
      - What happens to the replaced database. V(keep) leaves it under the name that RV(kept) returns.
    type: str
    choices:
      - drop
      - keep
    default: drop
  restore_as:
    description:
      - With O(dbms=elasticsearch), what the live names become.
      - V(alias) makes each an alias of the restored index, in one atomic request.
      - V(index) goes on to make each the name of an index itself, for applications that cannot use aliases. Each name
        is away for a moment.
    type: str
    choices:
      - alias
      - index
    default: alias
  analyze:
    description: Gather the planner's statistics before the database goes live.
    type: bool
    default: true
seealso:
  - module: govuk.env_sync.env_sync_dump
  - module: govuk.env_sync.env_sync_store
  - module: govuk.env_sync.env_sync_info
"""

EXAMPLES = r"""
- name: Pull the newest point of production's database into staging, sanitised
  govuk.env_sync.env_sync_restore:
    dbms: postgresql
    database: shop
    storagebackend: s3
    url: example-database-backups
    path: postgresql
    transformation_sql_filename: sanitise_shop.sql
    require_sanitised: true

- name: Pull the point of a certain night from a local directory, and keep what it replaces
  govuk.env_sync.env_sync_restore:
    dbms: postgresql
    database: shop
    src: /srv/backups
    timestamp: "2026-01-02T03:04"
    old_database: keep

- name: Say what a declared task would replace
  govuk.env_sync.env_sync_restore: "{{ env_sync_tasks | govuk.env_sync.task_options('pull_shop_daily') }}"
  check_mode: true
  register: plan
"""

RETURN = r"""
msg:
  description: What was done, or in check mode would be, in one sentence. In a failure, what went wrong and what to do.
  returned: always
  type: str
  sample: >-
    pulled 2026-01-02T03:04:05-shop into shop: 52.0 MiB (9.0 MiB stored) in 7.3s, 7.1 MiB/s; the point is 3h old
timestamp:
  description: The point's timestamp.
  returned: success
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
    - For a dump of the original script, which has none, only what its name and size say.
  returned: success, with O(details=true)
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
database:
  description: The name of the database.
  returned: success
  type: str
  sample: shop
replaced:
  description: The replaced database. C(null) if there was none.
  returned: success, outside check mode
  type: dict
  sample:
    owner: shop
    size_bytes: 62914560
    encoding: UTF8
    connection_limit: -1
replaces:
  description: The database that would be replaced. C(null) if there is none.
  returned: success, in check mode
  type: dict
  sample:
    owner: shop
    size_bytes: 62914560
    encoding: UTF8
    connection_limit: -1
kept:
  description: The present name of the replaced database. Empty if it was dropped.
  returned: success, outside check mode
  type: str
  sample: ""
name_away_seconds:
  description: How long nobody could connect to the database's name, in seconds.
  returned: success, outside check mode
  type: float
  sample: 0.031
sanitised:
  description: The scripts that ran, with their SHA-256.
  returned: success, outside check mode
  type: list
  elements: dict
  sample:
    - script: sanitise_shop.sql
      sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
point_age_seconds:
  description: How old the point is, by its timestamp and its manifest.
  returned: success
  type: int
  sample: 12600
raw_bytes:
  description: The size of the dump before compression. For a dump of the original script, the object's size.
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
    restoring: 6.204
    sanitising: 0.311
    checking: 0.502
    swapping: 0.044
    total: 7.3
reason:
  description: Why there was nothing to do. Empty if something was done.
  returned: success, outside check mode
  type: str
  sample: ""
steps:
  description: What would be done, in order.
  returned: success, in check mode
  type: list
  elements: str
  sample:
    - read s3://example-database-backups/postgresql/2026-01-02T03:04:05-shop
    - check the scratch database
    - swap it in as shop on db-2:5432, and drop what is there now
before:
  description: What was, or in check mode is, under the database's name.
  returned: success
  type: dict
  sample:
    database:
      owner: shop
      size_bytes: 62914560
after:
  description: What is, or in check mode would be, under the database's name.
  returned: success
  type: dict
  sample:
    database:
      point: 2026-01-02T03:04:05-shop
      tables: 12
      size_bytes: 54525952
warnings:
  description: What the operator should know besides the result.
  returned: when there is anything
  type: list
  elements: str
  sample:
    - what is left of /srv/backups/2026-01-02T03:04:05-shop could not be removed
no_point:
  description: V(true) where the store has no point of the database yet.
  returned: failure, for that reason
  type: bool
  sample: true
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
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import text as command_text


def main() -> None:
    module = AnsibleModule(**_args.PULL.arguments(), supports_check_mode=True)
    verb, sentence = (pull.plan, planned) if module.check_mode else (pull.pull, command_text.pulled)
    _args.run(module, lambda host: verb(_args.read_task(module.params), host), sentence)


def planned(result: Mapping[str, Any]) -> str:
    """Return the sentence that says what would be done."""
    return f"would pull {result['point']} into {result['database']}"


if __name__ == "__main__":
    main()
