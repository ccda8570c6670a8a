# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: hieradata_variables
short_description: What Puppet's hieradata becomes in an inventory
version_added: 0.2.0
author:
  - govuk.env_sync contributors (@alphagov)
description:
  - Turns hieradata files that declare tasks into files of an inventory's variables. The playbook
    C(govuk.env_sync.import_hieradata) writes them.
options:
  _terms:
    description:
      - The hieradata files, with C(*) and C(?) as wildcards, or folders, of which all files are meant. One text may
        have several, with commas between them.
      - A relative path begins in the directory that the caller is in. Files that have nothing to do with the original
        are passed over.
    type: list
    elements: str
    required: true
  inventory_dir:
    description: Where C(group_vars) and C(host_vars) are. A relative path begins where the caller is.
    type: str
    required: true
  kind:
    description: Whether a file's name is that of a group or of a host.
    type: str
    choices: [group_vars, host_vars]
    default: group_vars
"""

EXAMPLES = r"""
- name: Show what would be written
  ansible.builtin.debug:
    msg: "{{ query('govuk.env_sync.hieradata_variables', 'hieradata/*.yaml', inventory_dir='inventory')
      | map(attribute='dest') }}"
"""

RETURN = r"""
_raw:
  description: One mapping for each file.
  type: list
  elements: dict
  contains:
    source:
      description: The hieradata file.
      type: str
    origin:
      description: The hieradata file's name and that of its folder.
      type: str
    dest:
      description:
        - The inventory's file, C(INVENTORY_DIR/KIND/NAME/env_sync.yml).
        - It is empty where the file declares no tasks, and has something else to tell of.
      type: str
    content:
      description: What is to be in it.
      type: str
    counts:
      description: How many of its tasks are C(present), C(disabled) and C(absent).
      type: dict
    scripts:
      description: The transformation files that its tasks name.
      type: list
      elements: str
    examples:
      description: The shipped example scripts that its tasks will want, adapted.
      type: list
      elements: str
    findings:
      description: What the original did for its tasks that is not brought along, and what to do about it.
      type: list
      elements: dict
      contains:
        about:
          description: The titles of the tasks, or the keys of the hieradata, that it is about.
          type: list
          elements: str
        what:
          description: What the original did.
          type: str
        do:
          description: What to do about it.
          type: str
    faults:
      description:
        - What is wrong with it or with its tasks, in one line; empty where nothing is.
        - A file that is not there, or can't be read, has such a line too, and no C(dest).
      type: str
    obstacle:
      description: Why the inventory can't have the file; empty where it can.
      type: str
    differs:
      description: Whether the inventory has the file, with other content.
      type: bool
"""

from ansible.plugins.lookup import LookupBase
from ansible_collections.govuk.env_sync.plugins.plugin_utils.hieradata import variables as inventory_variables


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        return inventory_variables(terms, self.get_option("inventory_dir"), self.get_option("kind"))
