#!/usr/bin/python

# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# long: Ansible has a module's documentation in its file, which is 500 lines of this one

from __future__ import annotations

DOCUMENTATION = r"""
module: env_sync_store
short_description: Verify, prune and copy the points of a store, check a store, or sync a bucket with another
version_added: 0.1.0
description:
  - Works on I(points) that exist, or with O(operation=s3_sync) on whole buckets. No database server is needed.
author:
  - govuk.env_sync contributors (@alphagov)
extends_documentation_fragment:
  - govuk.env_sync._attributes
  - govuk.env_sync._attributes.action_group
  - govuk.env_sync._options.name
  - govuk.env_sync._options.details
  - govuk.env_sync._options.connection
  - govuk.env_sync._options.elastic
  - govuk.env_sync._options.store
  - govuk.env_sync._options.run
  - govuk.env_sync._options.time
  - govuk.env_sync._options.state
attributes:
  check_mode:
    support: full
    details:
      - O(operation=verify) changes nothing, and reads the point in check mode too.
      - For O(operation=s3_sync), both buckets are listed and compared.
      - For O(operation=check), only what needs no writing is checked.
  diff_mode:
    support: partial
    details:
      - For O(operation=prune) and O(operation=copy), shows the points of the database, for O(operation=copy) those of
        the destination. Nothing for the other operations.
  idempotent:
    support: full
options:
  operation:
    description:
      - V(verify) reads all of a point, compares sizes and SHA-256 with its manifest, and has the database's own tool
        read its contents. It fails when anything is wrong, and never changes anything.
      - V(prune) removes all points of the database but the newest O(keep). Only points that have a manifest are counted
        and removed.
      - V(copy) copies a point to another store, verified on the way, its manifest last.
      - V(sweep) removes pushes of the database that were interrupted more than two days ago, on any host. Younger ones
        may still be running. The next push from a host also removes what was interrupted there.
      - V(check) tries the store itself, once, before anything depends on it. It writes an object of its own, reads it
        back, checks that it is listed at once, removes it, compares the clocks, and looks for rights that are missing
        or not needed, for object locks, versions, encryption and lifecycle rules. It touches no point. It fails
        when anything is wrong, and returns RV(checks) then too.
      - V(s3_sync) makes O(destination_bucket) have what O(source_bucket) has. The servers copy, no data comes to the
        host that the module runs on, and only what is new or changed is copied.
    type: str
    choices:
      - verify
      - prune
      - copy
      - sweep
      - check
      - s3_sync
    required: true
  action:
    description:
      - The action of a task that is declared in inventory.
      - For O(operation=check), the purpose of the store's account. Rights beyond that are a warning or a note. By
        default, an account should be able to do everything.
      - It has no effect on other operations.
    type: str
    choices:
      - push
      - pull
      - s3_sync
  database:
    description:
      - The database whose points to work on.
      - Needed for all operations but O(operation=check) and O(operation=s3_sync).
    type: str
  dbms:
    description: The kind of database server that the points are of. Needed for O(operation=verify).
    type: str
    choices:
      - postgresql
      - mysql
      - files
      - mongo
      - documentdb
      - elasticsearch
      - elasticsearch5
  storagebackend:
    description: The kind of store. Needed for all operations but O(operation=s3_sync).
    type: str
    choices:
      - s3
      - directory
      - rsync
      - es_snapshot
      - elasticsearch
  url:
    description:
      - The bucket, or the base directory of a directory store, which must exist.
      - For rsync, the host, or C(user@host).
      - Needed for all operations but O(operation=s3_sync).
    type: str
  source_bucket:
    description: The bucket, or C(bucket/prefix), that O(operation=s3_sync) copies from.
    type: str
  destination_bucket:
    description:
      - The bucket, or C(bucket/prefix), that O(operation=s3_sync) copies to.
      - Both are reached with the same credentials at the same service.
    type: str
  delete:
    description:
      - Whether O(operation=s3_sync) removes what O(destination_bucket) has and O(source_bucket) does not.
      - Nothing is removed if anything could not be read or copied. With this option, an empty source is an error.
    type: bool
    default: false
  jobs:
    description:
      - How many objects are worked on at once. V(0) means as many as there are processor cores, and for
        O(operation=s3_sync) 16.
    type: int
    default: 0
  keep:
    description: How many points O(operation=prune) leaves, at least 1.
    type: int
  destination:
    description:
      - The store that O(operation=copy) copies to.
      - It shares no options with the store that is copied from.
    type: dict
    suboptions:
      storagebackend:
        description: The kind of store.
        type: str
        choices:
          - s3
          - directory
          - rsync
        required: true
      ssh_port:
        description: As O(ssh_port), for the destination.
        type: int
      ssh_key_file:
        description: As O(ssh_key_file), for the destination.
        type: path
      ssh_known_hosts_file:
        description: As O(ssh_known_hosts_file), for the destination.
        type: path
      url:
        description: The bucket, or the base directory of a directory store, or for rsync the host, or C(user@host).
        type: str
        required: true
      path:
        description: The prefix in the bucket, or the folder below the base directory.
        type: str
      endpoint_url:
        description: As O(endpoint_url), for the destination.
        type: str
        aliases:
          - aws_endpoint_url
          - s3_url
      region:
        description: As O(region), for the destination.
        type: str
        aliases:
          - aws_region
      profile:
        description: As O(profile), for the destination.
        type: str
        aliases:
          - aws_profile
      access_key:
        description: As O(access_key), for the destination.
        type: str
        aliases:
          - aws_access_key_id
          - aws_access_key
      secret_key:
        description: As O(secret_key), for the destination.
        type: str
        aliases:
          - aws_secret_access_key
          - aws_secret_key
      session_token:
        description: As O(session_token), for the destination.
        type: str
        aliases:
          - aws_session_token
      validate_certs:
        description: As O(validate_certs), for the destination.
        type: bool
        default: true
      aws_ca_bundle:
        description: As O(aws_ca_bundle), for the destination.
        type: path
      addressing_style:
        description: As O(addressing_style), for the destination.
        type: str
        choices:
          - auto
          - path
          - virtual
        default: auto
      encryption_mode:
        description: As O(encryption_mode), for the destination.
        type: str
        choices:
          - AES256
          - aws:kms
          - none
      encryption_kms_key_id:
        description: As O(encryption_kms_key_id), for the destination.
        type: str
      acl:
        description: As O(acl), for the destination.
        type: str
      storage_class:
        description: As O(storage_class), for the destination.
        type: str
      max_upload_parts:
        description: As O(max_upload_parts), for the destination.
        type: int
        default: 10000
requirements:
  - For O(operation=verify) of points of PostgreSQL, C(pg_restore) of at least the major version of their server.
  - For O(operation=verify) of points with C(compression=zstd), the Python library zstandard or the program C(zstd).
  - For O(operation=s3_sync), the Python library boto3 on the host that the module runs on.
seealso:
  - module: govuk.env_sync.env_sync_dump
  - module: govuk.env_sync.env_sync_restore
  - module: govuk.env_sync.env_sync_info
"""

EXAMPLES = r"""
- name: Make sure that the newest point can be restored
  govuk.env_sync.env_sync_store:
    operation: verify
    dbms: postgresql
    database: shop
    storagebackend: s3
    url: example-database-backups
    path: postgresql

- name: Keep the points of the last fortnight
  govuk.env_sync.env_sync_store:
    operation: prune
    database: shop
    storagebackend: s3
    url: example-database-backups
    path: postgresql
    keep: 14

- name: Bring the newest point from a bucket to a directory
  govuk.env_sync.env_sync_store:
    operation: copy
    database: shop
    storagebackend: s3
    url: example-database-backups
    path: postgresql
    destination:
      storagebackend: directory
      url: /srv/backups
      path: postgresql

- name: Look whether the account that pulls has its rights, and no more
  govuk.env_sync.env_sync_store:
    operation: check
    action: pull
    storagebackend: s3
    url: example-database-backups
    path: postgresql
  register: checked

- name: Make a bucket have what another has
  govuk.env_sync.env_sync_store:
    operation: s3_sync
    source_bucket: example-production-assets
    destination_bucket: example-staging-assets
    delete: true
    acl: bucket-owner-full-control
"""

RETURN = r"""
msg:
  description: What was done, or in check mode would be, in one sentence. In a failure, what went wrong and what to do.
  returned: always
  type: str
  sample: >-
    2026-01-02T03:04:05-shop in s3://example-database-backups/postgresql is good: 9.0 MiB in 13 members, read in 1.3s
timestamp:
  description: The point's timestamp.
  returned: success, when O(operation) is V(verify) or V(copy)
  type: str
  sample: "2026-01-02T03:04:05"
store:
  description: The store's address.
  returned: success, unless O(operation) is V(s3_sync)
  type: str
  sample: s3://example-database-backups/postgresql
point:
  description: The name of the point.
  returned: success, when O(operation) is V(verify) or V(copy)
  type: str
  sample: 2026-01-02T03:04:05-shop
manifest:
  description:
    - The point's manifest. C(docs/reference/manifest.md) in the collection describes every key.
  returned: success, when O(operation) is V(verify) or V(copy), with O(details=true)
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
stored_bytes:
  description: The size of the point in the store.
  returned: success, when O(operation) is V(verify), or a point is copied
  type: int
  sample: 9437184
raw_bytes:
  description: The size of the dump before compression.
  returned: success, when O(operation=verify)
  type: int
  sample: 54525952
destination:
  description: The address of the store that the point is copied to, or of the bucket that is synced.
  returned: success, when O(operation) is V(copy) or V(s3_sync)
  type: str
  sample: /srv/backups/postgresql
account:
  description: The purpose of the store's account, V(push) or V(pull). Empty if O(action) was not given.
  returned: success, when O(operation=check)
  type: str
  sample: pull
checks:
  description: The checks, in their order.
  returned: when O(operation=check) and the store could be named
  type: list
  elements: dict
  contains:
    check:
      description: The name of the check.
      type: str
      sample: clock
    severity:
      description: V(ok), V(note), V(unknown) (it could not be determined), V(warning) or V(failed).
      type: str
      sample: warning
    result:
      description: What was found.
      type: str
      sample: 2 min 10 s behind this host's
    advice:
      description: What to do. May be empty.
      type: str
      sample: Set both clocks by NTP.
severity:
  description: The worst severity of RV(checks).
  returned: when O(operation=check) and the store could be named
  type: str
  sample: warning
left:
  description: What the check wrote and could not remove, such as versions under an object lock.
  returned: when O(operation=check) and the store could be named
  type: list
  elements: str
  sample: []
source:
  description: The address of the bucket that is copied from.
  returned: success, when O(operation=s3_sync)
  type: str
  sample: s3://example-production-assets
copied:
  description: The number of objects that were, or in check mode would be, copied.
  returned: success, when O(operation=s3_sync)
  type: int
  sample: 12
copied_bytes:
  description: Their size.
  returned: success, when O(operation=s3_sync)
  type: int
  sample: 734003200
unchanged:
  description: The number of objects that both buckets had.
  returned: success, when O(operation=s3_sync)
  type: int
  sample: 48210
deleted:
  description: The number of objects that were, or in check mode would be, removed from the destination.
  returned: success, when O(operation=s3_sync)
  type: int
  sample: 3
extra:
  description: The number of objects that only the destination has, and keeps.
  returned: success, when O(operation=s3_sync)
  type: int
  sample: 0
archived:
  description: The number of objects that were left out because they must be restored from an archive first.
  returned: success, when O(operation=s3_sync)
  type: int
  sample: 0
vanished:
  description: The number of objects that were removed from the source before they were copied.
  returned: success, when O(operation=s3_sync)
  type: int
  sample: 0
rate:
  description: Bytes copied per second.
  returned: success, when O(operation=s3_sync), not in check mode
  type: int
  sample: 104857600
steps:
  description: What would be done.
  returned: success, when O(operation=s3_sync), in check mode
  type: list
  elements: str
  sample:
    - copy 12 objects (734003200 bytes) from s3://example-production-assets to s3://example-staging-assets
copy:
  description: The names of the first hundred objects that would be copied.
  returned: success, when O(operation=s3_sync), in check mode
  type: list
  elements: str
  sample:
    - 2026/logo.png
delete:
  description: The names of the first hundred objects that would be removed.
  returned: success, when O(operation=s3_sync), in check mode
  type: list
  elements: str
  sample:
    - 2025/logo.png
removed:
  description: The names of the points that were, or in check mode would be, removed.
  returned: success, when O(operation) is V(prune) or V(sweep)
  type: list
  elements: str
  sample:
    - 2026-01-01T03:04:05-shop
reason:
  description: Why there was nothing to do. Empty if something was done.
  returned: success
  type: str
  sample: there are 14 complete points
durations:
  description: The seconds that each phase took, and V(total).
  returned: success, but for O(operation=s3_sync) in check mode
  type: dict
  sample:
    verifying: 1.204
    total: 1.3
before:
  description: The points before.
  returned: success, when O(operation) is V(prune) or V(copy)
  type: dict
  sample:
    points:
      - 2026-01-01T03:04:05-shop
      - 2026-01-02T03:04:05-shop
after:
  description: The points afterwards.
  returned: success, when O(operation) is V(prune) or V(copy)
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

import dataclasses
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.govuk.env_sync.plugins.module_utils import _args
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import bucket_sync, store_check, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import text as command_text
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.inspector import FAILED, WARNING
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import keys, task
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

POINTS = ("database", "storagebackend", "url")

#: what each operation can't do without
NEEDED = {
    "verify": (*POINTS, "dbms"),
    "prune": (*POINTS, "keep"),
    "copy": (*POINTS, "destination"),
    "sweep": POINTS,
    "check": ("storagebackend", "url"),
    "s3_sync": ("source_bucket", "destination_bucket"),
}

DESTINATION = {
    **_args.STORE.argument_spec,
    "storagebackend": {"type": "str", "required": True, "choices": list(keys.FILE_STORES)},
    "url": {"type": "str", "required": True},
}

SPEC = _args.UPKEEP | _args.ArgumentSpec(
    {
        "operation": {"type": "str", "required": True, "choices": list(NEEDED)},
        "keep": {"type": "int"},
        "destination": {"type": "dict", "options": DESTINATION},
    },
    required_if=tuple(("operation", operation, needed) for operation, needed in NEEDED.items()),
)


def main() -> None:
    module = AnsibleModule(**SPEC.arguments(), supports_check_mode=True)
    _args.run(
        module,
        lambda host: operate(module.params, module.check_mode, host),
        lambda result: tell(module.params, module.check_mode, result),
    )


def operate(params: Mapping[str, Any], dry_run: bool, host: Host) -> Mapping[str, Any]:
    """Do the operation, or with ``dry_run`` say what it would do."""
    if params["operation"] == "s3_sync":
        sync = bucket_sync.plan if dry_run else bucket_sync.sync
        return sync(_args.read_task(params, action="s3_sync"), host)
    of_task = read_task(params, params)
    if params["operation"] == "check":
        return check(of_task, params["action"] or "", dry_run, host)
    if params["operation"] == "prune":
        return (upkeep.plan_prune if dry_run else upkeep.prune)(of_task, host, params["keep"])
    if params["operation"] == "copy":
        return (upkeep.plan_copy if dry_run else upkeep.copy)(of_task, read_task(params, params["destination"]), host)
    if params["operation"] == "sweep":
        return (upkeep.plan_sweep if dry_run else upkeep.sweep)(of_task, host)
    return upkeep.verify(of_task, host)


def check(of_task: Task, action: str, dry_run: bool, host: Host) -> Mapping[str, Any]:
    """Check the store; what is wrong with it fails the module, which returns the table all the same."""
    found = store_check.check(of_task, "" if action == "s3_sync" else action, host, dry_run)
    texts = {FAILED: [], WARNING: list(found["warnings"])}
    for line in found["checks"]:
        text = f"{line['check']}: {line['result']}"
        texts.setdefault(line["severity"], []).append(f"{text}. {line['advice']}" if line["advice"] else text)
    found["warnings"] = [f"{found['store']}: {text}" for text in texts[WARNING]]
    if texts[FAILED]:
        return {**found, "failed": True, "msg": f"checking {found['store']}: {'; '.join(texts[FAILED])}"}
    return found


def tell(params: Mapping[str, Any], dry_run: bool, result: Mapping[str, Any]) -> str:
    """Return in one sentence what the operation did, or with ``dry_run`` would do."""
    operation, would = params["operation"], "would " if dry_run else ""
    if operation == "s3_sync":
        return f"would {'; '.join(result['steps'])}" if dry_run else command_text.synced(result)
    if operation == "verify":
        return command_text.verified(result)
    if operation == "check":
        return result.get("msg") or f"checked {result['store']}: nothing is wrong with it"
    if operation == "prune":
        return command_text.pruned(params["database"], result, dry_run)
    if operation == "copy":
        what = f"{result['point']} from {result['store']} to {result['destination']}"
        return f"{would}{'copy' if dry_run else 'copied'} {what}"
    what = ", ".join(result["removed"]) or "nothing"
    return f"{would}{'remove' if dry_run else 'removed'} from {result['store']} what interrupted pushes left: {what}"


def read_task(params: Mapping[str, Any], values: Mapping[str, Any]) -> Task:
    """Return the task for the store in ``values``; what else a task must have is stood in for.

    It has no name, so that the status of a task that is declared under that name stays as it is.
    """
    given = {**values, "database": params["database"], "dbms": params["dbms"]}
    stand_ins = {**task.of_store(given), "name": "", "action": "pull"}
    return dataclasses.replace(_args.read_task(stand_ins), action=params["operation"])


if __name__ == "__main__":
    main()
