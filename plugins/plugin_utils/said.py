# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Ansible says of a task that could not be run, for a row of a table."""

from __future__ import annotations

import re

_FRAME = re.compile(r"(?:Task failed: |Failed to connect to the host via ssh: )+")


def reason(text):
    """Return why, without what Ansible puts before it of how it came to know."""
    return _FRAME.sub("", text, count=1).strip()
