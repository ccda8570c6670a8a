# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: declared_tasks
short_description: The tasks of a host that have a check
version_added: 0.1.0
author:
  - govuk.env_sync contributors (@alphagov)
description:
  - Turns a mapping of declared tasks into a list of those that run by themselves, with how old their results may be.
positional: s3_sync_tasks, pattern
options:
  _input:
    description: The declared tasks, a mapping from title to keys.
    type: dict
    required: true
  s3_sync_tasks:
    description: The declared bucket syncs, a mapping from title to keys.
    type: dict
    default: {}
  pattern:
    description: Only tasks are returned whose titles match this, with C(*) and C(?) as wildcards.
    type: str
    default: "*"
    version_added: 0.5.0
"""

EXAMPLES = r"""
- name: Show how old results may be
  ansible.builtin.debug:
    msg: "{{ env_sync_tasks | govuk.env_sync.declared_tasks }}"
"""

RETURN = r"""
_value:
  description: The tasks whose C(ensure) is C(present), by title.
  type: list
  elements: dict
  contains:
    title:
      description: The task's title.
      type: str
    freshness:
      description: How old its last result may be, in seconds.
      type: int
    schedule:
      description: When it runs, as the first five fields of a line of a crontab.
      type: str
"""

import fnmatch

from ansible.errors import AnsibleFilterError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import Timing


def declared_tasks(tasks, s3_sync_tasks=None, pattern="*"):
    """Return title, freshness and schedule of the tasks that are scheduled."""
    found = []
    for title, values in {**(tasks or {}), **(s3_sync_tasks or {})}.items():
        if not isinstance(values, dict) or values.get("ensure") == "absent":
            continue
        if not fnmatch.fnmatchcase(str(title), pattern):
            continue
        try:
            timing = Timing.parse(values)
        except ValueError as error:
            raise AnsibleFilterError(f"the task {title}: {error}") from error
        if timing.scheduled:
            schedule = timing.schedule.crontab()
            found.append({"title": str(title), "freshness": timing.freshness, "schedule": schedule})
    return sorted(found, key=lambda item: item["title"])


class FilterModule:
    """The collection's filters."""

    def filters(self):
        return {"declared_tasks": declared_tasks}
