# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: hieradata
short_description: Read the tasks that Puppet's hieradata declares
version_added: 0.2.0
author:
  - govuk.env_sync contributors (@alphagov)
description:
  - Reads YAML files that hold C(govuk_env_sync::tasks) and C(govuk_env_sync::s3_sync_tasks), as they stand.
  - A file that is no YAML, one that holds neither, and a title that is declared twice are errors.
options:
  _terms:
    description: The files. None at all is as good as one without tasks.
    type: list
    elements: str
notes:
  - What Puppet itself would replace in a value, such as C(%{hiera(...\)}), is returned as it stands.
"""

EXAMPLES = r"""
- name: Show the titles that a file declares
  ansible.builtin.debug:
    msg: "{{ lookup('govuk.env_sync.hieradata', 'hieradata/class/production/database.yaml').tasks.keys() }}"
"""

RETURN = r"""
_raw:
  description: One mapping, of the tasks of all files.
  type: list
  elements: dict
  contains:
    tasks:
      description: C(govuk_env_sync::tasks), a mapping from title to keys.
      type: dict
    s3_sync_tasks:
      description: C(govuk_env_sync::s3_sync_tasks), the same for bucket syncs.
      type: dict
"""

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.govuk.env_sync.plugins.plugin_utils.hieradata import KEYS, read


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        found = {name: {} for name in KEYS.values()}
        origin = {}
        for term in terms:
            path = self.find_file_in_search_path(variables, "files", term)
            if path is None:
                raise AnsibleLookupError(f"reading the hieradata {term}: there is no such file")
            for name, tasks in read(path).items():
                for title, values in tasks.items():
                    if title in origin:
                        raise AnsibleLookupError(
                            f"reading the hieradata {path}: {title} is declared in {origin[title]} too. Keep one."
                        )
                    origin[title] = path
                    found[name][title] = values
        return [found]
