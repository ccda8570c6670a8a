# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of the role and of the playbooks: those that begin with ``env_sync_`` are the collection's."""

from __future__ import annotations

import functools
import os

import yaml
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.keys import did_you_mean

#: the variable that chooses tasks
SELECT = "env_sync_select"

_RUNNING = frozenset(
    {"env_sync_options", "env_sync_serial", "env_sync_throttle", "env_sync_strategy", "env_sync_async"}
)

#: what each playbook takes beside the role's variables, env_sync_hosts and env_sync_become
PLAYBOOKS = {
    "deploy": frozenset(),
    "plan": frozenset({SELECT, "env_sync_options"}),
    "push": _RUNNING | {SELECT},
    "pull": _RUNNING | {SELECT},
    "report": frozenset({SELECT, "env_sync_report_file", "env_sync_report_fail_on", "env_sync_state_dir"}),
    "monitoring": frozenset({"env_sync_monitoring_hosts"}),
    "import_hieradata": frozenset(
        {"env_sync_hieradata", "env_sync_inventory_dir", "env_sync_import_as", "env_sync_replace"}
    ),
    "quickstart": frozenset(),
}

_ALL_PLAYBOOKS = frozenset({"env_sync_hosts", "env_sync_become"})

#: what some variables were called before
_OTHER_NAMES = {
    "env_sync_environment_variables": "env_sync_variables",
    "env_sync_secret_variables": "env_sync_secret_environment",
    "env_sync_task": "env_sync_select",
    "env_sync_host": "env_sync_hosts",
    "env_sync_limit": "env_sync_hosts",
}


@functools.cache
def of_role():
    """Return the names of the role's variables, from its own documentation."""
    path = os.path.join(os.path.dirname(__file__), "..", "..", "roles", "env_sync", "meta", "argument_specs.yml")
    with open(path, encoding="utf-8") as stream:
        specs = yaml.safe_load(stream)["argument_specs"]
    return frozenset(name for spec in specs.values() for name in spec["options"])


def known():
    """Return the names of all variables that the role or a playbook takes."""
    return of_role().union(_ALL_PLAYBOOKS, *PLAYBOOKS.values())


def faults(names, playbook=""):
    """Return what is wrong with variables of these names, one sentence for each.

    :param playbook: which of the playbooks they are given to; empty for the role.
    """
    found = [
        f"there is no variable {name}{did_you_mean(name, sorted(known()), _OTHER_NAMES)}"
        for name in sorted(names)
        if name not in known()
    ]
    if playbook and SELECT in names and SELECT not in PLAYBOOKS[playbook]:
        found.append(f"{SELECT} chooses nothing in {playbook}, which is about all that is declared")
    return found
