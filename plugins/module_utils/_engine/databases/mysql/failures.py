# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What it means that ``mysqldump`` failed over something that others did at the database meanwhile."""

from __future__ import annotations

import re

from ...errors import EnvSyncError
from ..base import DumpAgain

#: ALTER, RENAME, DROP and TRUNCATE wait for nobody's consistent snapshot: its transaction can't read the table then
#: (MySQL manual, mysqldump, "--single-transaction"). Numbers, as texts are in the server's language (lc_messages):
#: ER_TABLE_DEF_CHANGED, ER_NO_SUCH_TABLE
_CHANGED = re.compile(r"(?:Error:? |\()(?:1412|1146)\b|Table definition has changed")


def of_dump(error: EnvSyncError) -> EnvSyncError:
    """Return the error that a failed ``mysqldump`` amounts to: ``error``, or one that has the dump begin anew."""
    return changed_meanwhile(error.doing, error.why) if _CHANGED.search(error.why) else error


def changed_meanwhile(doing: str, why: str) -> DumpAgain:
    """Return the error that a change of tables amounts to."""
    hint = "Push at a time when no tables are created, altered, emptied or dropped."
    return DumpAgain(doing, why, hint, "the dump begins anew")
