#!/usr/bin/python
# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: env_sync_deploy
short_description: Deploy the tasks of a host, with command, configuration and schedule
version_added: 0.1.0
author:
  - govuk.env_sync contributors (@alphagov)
description:
  - Puts the engine and its command on the host, a config file for each declared task, the environment, the
    transformation SQL, the reboot lock, log rotation and the schedule, all in one pass.
  - Every task is checked before anything on the host is changed. All faults come in one message.
  - A record of what was deployed is kept on the host, so that what is no longer declared is removed, and nothing else.
    The exception is a config file (C(*.cfg)) without a task, such as one that Puppet left. It is removed too.
  - The role P(govuk.env_sync.env_sync#role) runs this module. Use the role unless you have reasons not to.
attributes:
  check_mode:
    support: full
    description: Says what would be changed, and changes nothing.
  diff_mode:
    support: full
    description: Shows what changes in every file. For secrets, it only shows that they change.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  name:
    description:
      - The name of the command, the lock, and the directories below C(/etc), C(/var/log), C(/var/lib) and
        C(/usr/local/lib).
    type: str
    default: govuk_env_sync
  state:
    description:
      - V(absent) removes everything that was deployed. Logs stay.
    type: str
    choices: [present, absent]
    default: present
  parts:
    description:
      - What to deploy in this run. With an empty list, the tasks are only checked.
    type: list
    elements: str
    choices: [install, configure, monitor, schedule]
    default: [install, configure, monitor, schedule]
  user:
    description:
      - The user that the tasks run as. It must exist.
    type: str
    default: govuk-backup
  group:
    description:
      - The user's group. An existing user must be in it. Only root needs no group.
    type: str
    default: govuk-backup
  tasks:
    description:
      - The declared tasks, a mapping from title to keys, as in C(govuk_env_sync::tasks).
    type: dict
    default: {}
  s3_sync_tasks:
    description:
      - The declared bucket syncs, a mapping from title to keys, as in C(govuk_env_sync::s3_sync_tasks).
    type: dict
    default: {}
  environment:
    description:
      - The name of the environment that this host belongs to, such as V(production). It goes into the host's policy,
        C(/etc/govuk_env_sync/policy.cfg), which every run on the host reads first, and into the manifest of every push.
    type: str
    default: ""
    version_added: 0.4.0
  protected:
    description:
      - Whether this environment is protected. On a protected host, declaring a pull is refused, and so is running one,
        whoever starts it.
    type: bool
    default: false
  require_sanitised:
    description:
      - Refuse every pull on this host unless a script sanitises its data, here or when the point was pushed.
    type: bool
    default: false
    version_added: 0.4.0
  sources:
    description:
      - The environments whose points may be pulled on this host. If it is empty, any.
    type: list
    elements: str
    default: []
    version_added: 0.4.0
  max_point_age:
    description:
      - How old a point pulled on this host may be, in seconds, or as V(90m), V(36h), V(3d). By default, any age.
    type: str
    default: ""
    version_added: 0.4.0
  transformation_sql:
    description:
      - Transformation files to deploy, a mapping from name to content.
    type: dict
    default: {}
  environment_variables:
    description:
      - Variables for every task, a mapping from name to value, deployed as an C(envdir).
    type: dict
    default: {}
  secret_environment_variables:
    description:
      - The same for secrets, such as E(PGPASSWORD), E(AWS_SECRET_ACCESS_KEY) or E(ICINGA2_PASSWORD).
    type: dict
    default: {}
  monitoring:
    description:
      - The contents of C(monitoring.conf), a mapping.
    type: dict
    default: {}
  lock:
    description:
      - What holds the reboot lock while a task runs.
      - V(with_reboot_lock) is deployed with the engine. V(setlock) belongs to daemontools, which then also provides
        C(envdir).
    type: str
    choices: [with_reboot_lock, setlock, none]
    default: with_reboot_lock
  lock_directory:
    description:
      - Where the reboot locks are.
    type: path
    default: /etc/unattended-reboot/no-reboot
  lock_scope:
    description:
      - Whether there is one lock for the V(host), so that one task runs at a time, or one for each V(task).
    type: str
    choices: [host, task]
    default: host
  scheduler:
    description:
      - The scheduler that runs the tasks.
    type: str
    choices: [cron, systemd]
    default: cron
  python:
    description:
      - The Python that the command runs with. It must be able to import what the tasks need.
      - The default is the module's own.
    type: path
"""

EXAMPLES = r"""
- name: Deploy one task
  govuk.env_sync.env_sync_deploy:
    tasks:
      pull_shop_daily:
        ensure: present
        hour: "3"
        minute: "10"
        action: pull
        dbms: postgresql
        storagebackend: s3
        database: shop
        temppath: /tmp/shop_pull
        url: example-database-backups
        path: postgresql
        transformation_sql_filename: shop.sql
    transformation_sql:
      shop.sql: "{{ lookup('ansible.builtin.file', 'shop.sql') }}"
    environment_variables:
      AWS_REGION: eu-west-1

- name: Only check the declared tasks
  govuk.env_sync.env_sync_deploy:
    tasks: "{{ env_sync_tasks }}"
    parts: []
"""

RETURN = r"""
faults:
  description: The faults of the declared tasks, one line for each.
  returned: when there is any
  type: list
  elements: str
  sample: ["push_shop: hour '25' is not within 0 to 23"]
deployed:
  description: Paths that were made or changed.
  returned: success
  type: list
  elements: str
  sample: [/etc/govuk_env_sync/pull_shop_daily.cfg]
removed:
  description: Paths that were removed.
  returned: success
  type: list
  elements: str
  sample: []
declared:
  description: The declared tasks, by title.
  returned: success
  type: list
  elements: dict
  contains:
    title:
      description: The task's title.
      type: str
    ensure:
      description: Whether it is scheduled.
      type: str
    freshness:
      description: How old its last result may be, in seconds.
      type: int
  sample: [{"title": "pull_shop_daily", "ensure": "present", "freshness": 100800}]
timers:
  description: With systemd, the timers that run now.
  returned: success
  type: list
  elements: str
  sample: []
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.declare import check_group, check_present, declare
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.deployment import PARTS, facts, parts
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.host import Change, summary
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.schedule import timers, warnings
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.systemd import UNITS, Systemd
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import Faults

OPTIONS = {
    "name": {"type": "str", "default": "govuk_env_sync"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "parts": {"type": "list", "elements": "str", "choices": list(PARTS), "default": list(PARTS)},
    "user": {"type": "str", "default": "govuk-backup"},
    "group": {"type": "str", "default": "govuk-backup"},
    "tasks": {"type": "dict", "default": {}},
    "s3_sync_tasks": {"type": "dict", "default": {}},
    "environment": {"type": "str", "default": ""},
    "protected": {"type": "bool", "default": False},
    "require_sanitised": {"type": "bool", "default": False},
    "sources": {"type": "list", "elements": "str", "default": []},
    "max_point_age": {"type": "str", "default": ""},
    "transformation_sql": {"type": "dict", "default": {}},
    "environment_variables": {"type": "dict", "default": {}},
    "secret_environment_variables": {"type": "dict", "default": {}, "no_log": True},
    "monitoring": {"type": "dict", "default": {}},
    "lock": {"type": "str", "choices": ["with_reboot_lock", "setlock", "none"], "default": "with_reboot_lock"},
    "lock_directory": {"type": "path", "default": "/etc/unattended-reboot/no-reboot"},
    "lock_scope": {"type": "str", "choices": ["host", "task"], "default": "host"},
    "scheduler": {"type": "str", "choices": ["cron", "systemd"], "default": "cron"},
    "python": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        result = deploy(module)
        if "schedule" in module.params["parts"]:
            for text in warnings(module.params["user"], module.params["name"]):
                module.warn(text)
    except Faults as error:
        lines = [f"{error.doing}:", *(f"  {fault}" for fault in error.faults), error.hint]
        module.fail_json(msg="\n".join(lines), faults=error.faults)
    except EnvSyncError as error:
        module.fail_json(msg=str(error), doing=error.doing, why=error.why, hint=error.hint)
    except OSError as error:
        module.fail_json(msg=f"deploying {module.params['name']}: {error.filename}: {error.strerror}")
    module.exit_json(**result)


def deploy(module: AnsibleModule) -> dict[str, Any]:
    """Make the host as it is declared, unless in check mode; return what differs.

    :raises EnvSyncError: what is declared has faults, or can't be had on this host.
    :raises OSError: something could not be written; what was written before that stays.
    """
    wanted = declare(module.params)
    check_group(wanted)
    changes = [Change(part.entries, part.record, part.others) for part in parts(wanted)]
    systemd = Systemd(module.run_command)
    result: dict[str, Any] = {"changed": False, "deployed": [], "removed": [], "diff": [], **facts(wanted)}
    for change in changes:
        result["diff"] += change.diff()
        for key, paths in summary(change).items():
            result[key] += paths
    idle = systemd.idle(timers(wanted))
    result["changed"] = any(change.changed for change in changes) or bool(idle)
    if result["changed"] and not module.check_mode:
        check_present(wanted)
        apply(changes, systemd, idle)
    return result


def apply(changes: list[Change], systemd: Systemd, idle: list[str]) -> None:
    """Make the host as it is wanted: units stop before their files go, and start when all is there.

    :param idle: timers that are to run, and do not.
    :raises OSError: something could not be written.
    :raises EnvSyncError: a file is not valid, or systemctl failed.
    """
    deployed = [path for change in changes for path in summary(change)["deployed"]]
    removed = [path for change in changes for path in summary(change)["removed"]]
    # While systemd still knows them by their files.
    systemd.stop(units(removed, ".timer"))
    for change in changes:
        if change.changed:
            change.apply()
    if any(path.startswith(UNITS) for path in [*deployed, *removed]):
        systemd.reload()
    systemd.forget(units(removed, ".service"))
    systemd.restart(sorted({*idle, *units(deployed, ".timer")}))


def units(paths: list[str], kind: str) -> list[str]:
    """Return the units of a kind (``.timer``, ``.service``) that have their files among these."""
    return [os.path.basename(path) for path in paths if os.path.dirname(path) == UNITS and path.endswith(kind)]


if __name__ == "__main__":
    main()
