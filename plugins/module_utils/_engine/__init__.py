# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The product: pushes and pulls of databases, with no dependency on Ansible.

The collection's modules and the command on the database hosts are two thin front ends to this package.
"""

from __future__ import annotations
