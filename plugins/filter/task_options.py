# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: task_options
short_description: A declared task as options of a module
version_added: 0.5.0
author:
  - govuk.env_sync contributors (@alphagov)
description:
  - Returns the keys of a declared task that a module has options for. Those that say when, as whom and whether it runs
    by itself are left out; so are options that only the modules of other actions have, as one task may declare what
    another host's task needs.
  - A misspelt key stays, for the module to refuse it.
positional: title
options:
  _input:
    description: The declared tasks, a mapping from title to keys.
    type: dict
    required: true
  title:
    description: The task's title. It becomes the option C(name).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Run a task that the inventory declares for every night
  govuk.env_sync.env_sync_dump: "{{ env_sync_tasks | govuk.env_sync.task_options('push_shop_daily') }}"
"""

RETURN = r"""
_value:
  description: The options.
  type: dict
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.govuk.env_sync.plugins.module_utils._args import OF_ACTIONS
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import DEPLOYMENT
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.keys import KEYS

#: old names of keys, which no module has
OLD = {f"{stem}_file": f"{stem}_filename" for stem in ("transformation_sql", "pre_dump_transformation_sql")}


def task_options(tasks, title):
    """Return the options of a module for a declared task."""
    values = tasks.get(title)
    if not isinstance(values, dict):
        raise AnsibleFilterError(f"there is no task {title} among those that are declared")
    options = OF_ACTIONS.get(str(values.get("action")), {})
    of_others = {option for other in OF_ACTIONS.values() for option in other} - set(options)
    found = {}
    for key, value in values.items():
        # An empty one counts as not given, as in a config file.
        if key in DEPLOYMENT or value is None or value == "":
            continue
        name = OLD.get(key, key)
        if name in of_others:
            continue
        option = _option(key, value, options.get(name, {}))
        found[name] = found[name] + option if name in found else option
    return {**found, "name": title}


def _option(key, value, option):
    """Return a key's value as its module's option takes it: Ansible would cut a text at every comma."""
    if option.get("type") != "list":
        return value
    try:
        return list(KEYS[key](value))
    except ValueError:
        return value  # for the module to refuse it


class FilterModule:
    """The collection's filters."""

    def filters(self):
        return {"task_options": task_options}
