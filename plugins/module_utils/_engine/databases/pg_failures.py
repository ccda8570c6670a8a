# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What it means that ``pg_dump`` failed over something that others did at the database meanwhile."""

from __future__ import annotations

import re

from ..errors import EnvSyncError
from .base import DumpAgain

#: a worker of ``pg_dump -j`` asks for its table's lock and does not wait: another session's request stands before its
#: own. The leader has that lock already, and can always read. (PostgreSQL manual, pg_dump, "--jobs".) It is pg_dump's
#: own text, in English, as programs are run with LC_ALL=C.UTF-8.
_REFUSED = re.compile(r'could not obtain lock on relation "(.*?)"')

#: an object was dropped between the moment that the snapshot shows and that in which ``pg_dump`` locked it
_GONE = re.compile(
    r'relation "[^"]*" does not exist|could not open relation with OID \d+|cache lookup failed for \w+|'
    r"could not import the requested snapshot|invalid snapshot identifier"
)


def of_dump(error: EnvSyncError, jobs: int) -> tuple[EnvSyncError, int]:
    """Return what a failed ``pg_dump`` amounts to (``error``, or one that knows more), and how many jobs the next has.

    :param jobs: how many it had.
    """
    refused = _REFUSED.search(error.why)
    if refused and jobs > 1:
        found = DumpAgain(
            error.doing,
            f"another session requested an ACCESS EXCLUSIVE lock on {refused.group(1)} (TRUNCATE, ALTER TABLE, "
            "VACUUM FULL), behind which pg_dump with several jobs can't read the table",
            "Push at another time, or set jobs to 1.",
            "the dump begins anew, with one job",
        )
        return found, 1
    if _GONE.search(error.why):
        found = DumpAgain(
            error.doing,
            error.why,
            "Push at a time when no tables are dropped.",
            "something was dropped while the dump began, which begins anew",
        )
        return found, jobs
    return error, jobs
