#!/usr/bin/python

# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: env_sync_info
short_description: List the points of a store, and report the state of the runs on a host
version_added: 0.1.0
description:
  - Lists the I(points) of a store, of one database or of all.
  - Returns the status of each task that has run on the host or runs now, started by cron or by a module.
author:
  - govuk.env_sync contributors (@alphagov)
extends_documentation_fragment:
  - govuk.env_sync._attributes
  - govuk.env_sync._attributes.action_group
  - govuk.env_sync._options.connection
  - govuk.env_sync._options.elastic
  - govuk.env_sync._options.store
  - govuk.env_sync._options.time
  - govuk.env_sync._options.state
attributes:
  check_mode:
    support: full
    details:
      - This module never changes anything.
  diff_mode:
    support: N/A
    details:
      - This module never changes anything.
  idempotent:
    support: full
    details:
      - This module never changes anything.
options:
  url:
    description:
      - The bucket, or the base directory of a directory store.
      - Without it no points are listed.
    type: str
  database:
    description: The database whose points are listed. The default is all databases.
    type: str
  dbms:
    description:
      - With O(details=true), return only points of this kind of database server, and those of an unknown kind.
    type: str
    choices:
      - postgresql
      - mysql
      - files
      - mongo
      - documentdb
      - elasticsearch
      - elasticsearch5
    version_added: 0.5.0
  details:
    description: Read the manifest of every point that is listed, for its size before compression and the like.
    type: bool
    default: false
  name:
    description: The task whose status is returned. The default is all tasks.
    type: str
seealso:
  - module: govuk.env_sync.env_sync_dump
  - module: govuk.env_sync.env_sync_restore
  - module: govuk.env_sync.env_sync_store
"""

EXAMPLES = r"""
- name: List the points of a database
  govuk.env_sync.env_sync_info:
    database: shop
    storagebackend: s3
    url: example-database-backups
    path: postgresql
    details: true
  register: shop

- name: Wait until a push has ended that was started with a poll of 0
  govuk.env_sync.env_sync_info:
    name: push_warehouse
  register: push
  until: push.statuses | selectattr('state', 'ne', 'running')
  retries: 600
  delay: 60
"""

RETURN = r"""
msg:
  description: What was found, in one sentence. In a failure, what went wrong and what to do.
  returned: always
  type: str
  sample: 14 points in s3://example-database-backups/postgresql; the last runs of 2 tasks are known on this host
version:
  description: The version of the collection.
  returned: success
  type: str
  sample: 0.6.0
store:
  description: The store's address. Empty if none is given.
  returned: success
  type: str
  sample: s3://example-database-backups/postgresql
points:
  description: The points, oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The point's name.
      returned: success
      type: str
      sample: 2026-01-02T03:04:05-shop
    timestamp:
      description: The point's timestamp.
      returned: success
      type: str
      sample: "2026-01-02T03:04:05"
    database:
      description: The name of the database.
      returned: success
      type: str
      sample: shop
    state:
      description:
        - V(complete) for a point that has a manifest.
        - V(legacy) for a dump of the original script, which never had one.
        - V(incomplete) for an interrupted push, which is never restored.
        - V(unreadable), with O(details=true), for a point whose manifest is damaged or of a newer version.
      returned: success
      type: str
      sample: complete
    from_future:
      description:
        - Whether it claims a time later than now, by more than 15 minutes. Such a point is restored only if its
          timestamp is given, and pruning neither counts nor removes it.
      returned: success
      type: bool
      sample: false
    stored_bytes:
      description: The size of its members in the store.
      returned: success
      type: int
      sample: 9437184
    finished:
      description: When its last object was written, in UTC.
      returned: success
      type: str
      sample: "2026-01-02T03:04:10Z"
    raw_bytes:
      description: The size of the dump before compression, V(0) without O(details).
      returned: success
      type: int
      sample: 54525952
    dbms:
      description: The kind of database server, empty without O(details).
      returned: success
      type: str
      sample: postgresql
    environment:
      description: The environment that it was pushed from, empty without O(details).
      returned: success
      type: str
      sample: production
    sanitised:
      description: Whether scripts ran before it was dumped, V(false) without O(details).
      returned: success
      type: bool
      sample: false
    manifest:
      description: The point's manifest. C(docs/reference/manifest.md) in the collection describes every key.
      returned: success, when O(details=true) and the point is complete
      type: dict
      sample:
        manifest_version: 1
        dbms: postgresql
        database: shop
statuses:
  description: The status of the last run of each task, by name.
  returned: success
  type: list
  elements: dict
  contains:
    title:
      description: The task's name.
      returned: success
      type: str
      sample: push_shop_daily
    action:
      description: What the run does.
      returned: success
      type: str
      sample: push
    database:
      description: The name of the database.
      returned: success
      type: str
      sample: shop
    state:
      description: V(running), V(done) or V(failed). A run that was killed has failed.
      returned: success
      type: str
      sample: running
    phase:
      description: The phase that the run is in, or was in last.
      returned: success
      type: str
      sample: dumping
    point:
      description: The point that it makes or reads, empty before that is known.
      returned: success
      type: str
      sample: 2026-01-02T03:04:05-shop
    bytes_done:
      description: How many bytes the phase has done.
      returned: success
      type: int
      sample: 27262976
    bytes_total:
      description: How many bytes the phase will do, as far as can be estimated, V(0) if unknown.
      returned: success
      type: int
      sample: 54525952
    members_done:
      description: How many members the phase has done.
      returned: success
      type: int
      sample: 6
    members_total:
      description: How many members the phase will do, V(0) if unknown.
      returned: success
      type: int
      sample: 12
    rate:
      description: Bytes per second in this phase.
      returned: success
      type: int
      sample: 10905190
    remaining_seconds:
      description: How long the phase will still take, as far as can be estimated, C(null) if unknown.
      returned: success
      type: int
      sample: 3
    started:
      description: When the run began, in UTC.
      returned: success
      type: str
      sample: "2026-01-02T03:04:05Z"
    updated:
      description: When the status was last written, in UTC.
      returned: success
      type: str
      sample: "2026-01-02T03:04:08Z"
    message:
      description: How the run ended, in one line.
      returned: success
      type: str
      sample: stored s3://example-database-backups/postgresql/2026-01-02T03:04:05-shop
    last_success:
      description: The last run that succeeded, this one or an earlier one. Empty if there was none.
      returned: success
      type: dict
      contains:
        finished:
          description: When it ended, in UTC.
          type: str
          sample: "2026-01-02T03:04:10Z"
        seconds:
          description: How long it took.
          type: float
          sample: 5.2
        point:
          description: The point that it made or read, empty if there was nothing to do.
          type: str
          sample: 2026-01-02T03:04:05-shop
        stored_bytes:
          description: The size of that point in its store.
          type: int
          sample: 9437184
    pid:
      description: The process that runs it, or ran it.
      returned: success
      type: int
      sample: 4711
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
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import progress
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.name import iso_utc
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import Store, open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import keys, task
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.version import VERSION


def main() -> None:
    module = AnsibleModule(**_args.INFO.arguments(), supports_check_mode=True)
    _args.run(module, lambda host: look(module.params), tell)


def look(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is asked for."""
    found: dict[str, Any] = {"changed": False, "version": VERSION, "store": "", "points": []}
    if params["url"]:
        store = open_store(_args.read_task(task.of_store(params), action="pull"))
        store.preflight(write=False)
        points = catalogue.list_points(store, params["database"] or "", timezone=params["timezone"])
        found["store"] = store.url()
        found["points"] = [read_point(store, point) if params["details"] else point.to_dict() for point in points]
        kinds = (None, "", keys.OLD_DBMS.get(params["dbms"], params["dbms"]))
        found["points"] = [point for point in found["points"] if not params["dbms"] or point["dbms"] in kinds]
    statuses = progress.read_statuses(params["state_dir"] or progress.default_state_dir())
    found["statuses"] = [describe(status) for status in statuses if params["name"] in (None, status.title)]
    return found


def tell(found: Mapping[str, Any]) -> str:
    """Return in one sentence what was found."""
    points, statuses = len(found["points"]), len(found["statuses"])
    runs = f"the last runs of {statuses} task{'' if statuses == 1 else 's'} are known on this host"
    where = f"{points} point{'' if points == 1 else 's'} in {found['store']}; " if found["store"] else ""
    return f"{where}{runs}"


def read_point(store: Store, point: catalogue.Point) -> dict[str, Any]:
    """Return the point with what its manifest says."""
    if point.state == catalogue.COMPLETE:
        point = catalogue.with_manifest(store, point)
    if point.state != catalogue.COMPLETE:
        return point.to_dict()
    return {**point.to_dict(), "manifest": catalogue.read_manifest(store, point).to_dict()}


def describe(status: progress.Snapshot) -> dict[str, Any]:
    """Return the status with times that a person can read."""
    values = dataclasses.asdict(status)
    for internal in ("result", "phase_started"):
        values.pop(internal, None)
    remaining = status.remaining if status.state == "running" else None
    last = values["last_success"]
    if last:
        last = {**last, "finished": iso_utc(last["finished"]), "seconds": round(last["seconds"], 3)}
    return {
        **values,
        "started": iso_utc(status.started),
        "updated": iso_utc(status.updated),
        "last_success": last,
        "rate": round(status.rate),
        "remaining_seconds": None if remaining is None else round(remaining),
    }


if __name__ == "__main__":
    main()
