# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: task_faults
short_description: What keeps declared tasks from being deployed
version_added: 0.5.0
author:
  - govuk.env_sync contributors (@alphagov)
description:
  - Says of declared tasks what the role refuses to deploy, in the same words, without asking the host. Whether its
    users and files are there is not looked for.
positional: pattern
options:
  _input:
    description: The declared tasks, a mapping from title to keys.
    type: dict
    required: true
  pattern:
    description: Only tasks are told of whose titles match this, with C(*) and C(?) as wildcards.
    type: str
    default: "*"
  scheduled:
    description: Whether a task wants C(hour) and C(minute). One that is run by hand may be without.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ env_sync_tasks | govuk.env_sync.task_faults }}"
"""

RETURN = r"""
_value:
  description: A mapping from the titles of the tasks that have faults to these, in one line each.
  type: dict
"""

import fnmatch

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import Faults, declared


def task_faults(tasks, pattern="*", scheduled=True):
    """Return what is wrong with the tasks, by title."""
    if not scheduled:
        tasks = {
            title: {"hour": 0, "minute": 0, **values} if isinstance(values, dict) else values
            for title, values in tasks.items()
        }
    try:
        declared(tasks, {}, "/nonexistent", here=False)
    except Faults as error:
        faults = error.faults
    else:
        return {}
    found = {}
    # The longest title first: one may begin with another and ": ".
    titles = sorted((str(title) for title in tasks), key=len, reverse=True)
    for fault in faults:
        title = next((title for title in titles if fault.startswith(f"{title}: ")), "")
        if title and fnmatch.fnmatchcase(title, pattern):
            found.setdefault(title, []).append(fault[len(title) + 2 :])
    return {title: "; ".join(lines) for title, lines in found.items()}


class FilterModule:
    """The collection's filters."""

    def filters(self):
        return {"task_faults": task_faults}
