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
    by itself are left out; so are those of the other action, as one task may declare what another host's task needs.
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
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.inventory import DEPLOYMENT

#: keys that the module of an action has no use for
OF_THE_OTHER = {
    "push": {"transformation_sql_filename", "transformation_sql_file", "excluded_objects"},
    "pull": {
        "excluded_tables",
        "excluded_table_data",
        "pre_dump_transformation_sql_filename",
        "pre_dump_transformation_sql_file",
    },
}


def task_options(tasks, title):
    """Return the options of a module for a declared task."""
    values = tasks.get(title)
    if not isinstance(values, dict):
        raise AnsibleFilterError(f"there is no task {title} among those that are declared")
    unused = DEPLOYMENT | OF_THE_OTHER.get(str(values.get("action")), set())
    return {**{key: value for key, value in values.items() if key not in unused}, "name": title}


class FilterModule:
    """The collection's filters."""

    def filters(self):
        return {"task_options": task_options}
