# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: variable_faults
short_description: What is wrong with the names of variables
version_added: 0.5.0
author:
  - govuk.env_sync contributors (@alphagov)
description:
  - Looks among the names of variables that begin with C(env_sync_) for those that neither the role nor a playbook
    takes. The role and the playbooks refuse to do anything where there is one.
positional: playbook
options:
  _input:
    description: The names.
    type: list
    elements: str
    required: true
  playbook:
    description: The playbook that they are given to. It is the role without it.
    type: str
    choices: [deploy, plan, push, pull, report, monitoring, import_hieradata, quickstart]
"""

EXAMPLES = r"""
- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ query('ansible.builtin.varnames', '^env_sync_') | govuk.env_sync.variable_faults }}"
"""

RETURN = r"""
_value:
  description: What is wrong, one sentence for each name. Where a known name is like it, that is in it.
  type: list
  elements: str
"""

from ansible_collections.govuk.env_sync.plugins.plugin_utils.variables import faults


def variable_faults(names, playbook=""):
    """Return what is wrong with the names of variables."""
    return faults(names, playbook)


class FilterModule:
    """The collection's filters."""

    def filters(self):
        return {"variable_faults": variable_faults}
