# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names of the schemas that a pull works with, and of a point's members."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

#: the first bytes of a name of ours; what stands under such a name and carries our mark may be dropped
_SCRATCH_PREFIX = "env_sync_scratch_"
_OLD_PREFIX = "env_sync_old_"

#: the longest name of a schema, in characters
_LONGEST_NAME = 64

# The members, named so that loading them in the order of their names is right.
TABLES = "/1-tables.sql"
ROWS = "/2-rows-"
ROUTINES = "/3-routines.sql"
VIEWS = "/4-views.sql"
TRIGGERS = "/5-triggers.sql"
EVENTS = "/6-events.sql"


@dataclass(frozen=True)
class Names:
    """The schemas of one database.

    ``live`` is the database itself. A point is restored into ``scratch``; ``old`` has what a pull replaced.
    """

    live: str
    scratch: str
    old: str

    @classmethod
    def of(cls, database: str) -> Names:
        """Return the names for a database; the same in every run, so that a later one finds what a killed one left."""
        digest = hashlib.sha256(database.encode()).hexdigest()[:8]
        # Plain ASCII and lower case: such a name is the same to every server, whatever its lower_case_table_names.
        stem = re.sub(r"[^a-z0-9_]", "_", database.lower())[: _LONGEST_NAME - len(_SCRATCH_PREFIX) - len(digest) - 1]
        return cls(database, f"{_SCRATCH_PREFIX}{stem}_{digest}", f"{_OLD_PREFIX}{stem}_{digest}")


def rows_members(tables: Iterable[str]) -> dict[str, str]:
    """Return the name of the member that has a table's rows, for each of these tables."""
    return {
        table: f"{ROWS}{number:05d}-{re.sub('[^A-Za-z0-9_-]', '_', table)[:80]}.sql"
        for number, table in enumerate(sorted(tables), 1)
    }
