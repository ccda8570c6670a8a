# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this is not a public fragment: it is for this collection's own modules, and may change in any release.

from __future__ import annotations


class ModuleDocFragment:
    """What the modules can do, in the words that they have in common."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description:
      - Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
      - This assumes that the system controlled by the module has not changed in a relevant way.
  async:
    description: Can run with C(async), detached from the connection that started it.
    support: full
    details:
      - With a C(poll) of 0, M(govuk.env_sync.env_sync_info) on the same host reports the run's progress.
      - Ansible ends a job that exceeds its C(async) limit with SIGKILL. The next run cleans up after it.
  platform:
    description: Target operating systems that can be operated against.
    platforms: linux
    support: full
"""

    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/govuk.env_sync.env_sync) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - govuk.env_sync.env_sync
    details:
      - The options that all modules of the group share are those of the store (O(storagebackend), O(url), O(path) and
        the options for S3), O(database) and O(state_dir).
"""
