# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: matching_tasks
short_description: The titles of declared tasks that match
version_added: 0.2.0
author:
  - govuk.env_sync contributors (@alphagov)
description:
  - Chooses among declared tasks those that are present, do what is asked for, and have a title that matches a pattern.
positional: action, pattern
options:
  _input:
    description: The declared tasks, a mapping from title to keys.
    type: dict
    required: true
  action:
    description: What they do, V(push), V(pull) or V(s3_sync).
    type: str
    required: true
  pattern:
    description: The pattern. C(*) is anything, C(?) is one character, C([...]) one of several.
    type: str
    default: "*"
"""

EXAMPLES = r"""
- name: Show the nightly pushes
  ansible.builtin.debug:
    msg: "{{ env_sync_tasks | govuk.env_sync.matching_tasks('push', '*_daily') }}"
"""

RETURN = r"""
_value:
  description: The titles, in order.
  type: list
  elements: str
"""

import fnmatch


def matching_tasks(tasks, action, pattern="*"):
    """Return the titles of the tasks that are present, do ``action``, and match."""
    return sorted(
        str(title)
        for title, values in tasks.items()
        if isinstance(values, dict)
        and values.get("action") == action
        and (values.get("ensure") or "present") == "present"
        and fnmatch.fnmatchcase(str(title), pattern)
    )


class FilterModule:
    """The collection's filters."""

    def filters(self):
        return {"matching_tasks": matching_tasks}
