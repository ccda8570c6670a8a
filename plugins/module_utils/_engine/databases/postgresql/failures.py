# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What it means that ``pg_dump`` failed over something that others did at the database meanwhile."""

from __future__ import annotations

import re

from ...errors import EnvSyncError
from ..base import DumpAgain
from .client import CONFLICT, DIRECT

#: a worker of ``pg_dump -j`` asks for its table's lock and does not wait: another session's request stands before its
#: own. The leader has that lock already, and can always read. (PostgreSQL manual, pg_dump, "--jobs".) It is pg_dump's
#: own text, in English, as programs are run with LC_ALL=C.UTF-8.
_REFUSED = re.compile(r'could not obtain lock on relation "(.*?)"')

#: an object was dropped between the moment that the snapshot shows and that in which ``pg_dump`` locked it
_GONE = re.compile(
    r'relation "[^"]*" does not exist|could not open relation with OID \d+|cache lookup failed for \w+|'
    r"could not import the requested snapshot|invalid snapshot identifier"
)


#: what the server, and libpq, say where the reason is to be found on the server, and what to do then
_HINTS = (
    (re.compile(r"conflict with recovery"), CONFLICT),
    (
        re.compile(r"terminating connection due to administrator command|the database system is shutting down"),
        "Its session was ended by an administrator, or the server was shut down: push again when it is up.",
    ),
    (
        re.compile(r"server closed the connection unexpectedly|connection to server was lost|because of crash"),
        "The server, or the network between, ended the session: look into the server's log, then push again.",
    ),
    (
        re.compile(r"affected by row-level security policy"),
        "Push as a role that has BYPASSRLS, or as the owner of the table.",
    ),
    (re.compile(r"permission denied for"), "Give the role of login_user the right that is missing."),
    (
        re.compile(r"out of shared memory|max_locks_per_transaction"),
        "A dump locks every table: raise max_locks_per_transaction on the server.",
    ),
    (re.compile(r"unsupported startup parameter"), DIRECT),
)


def of_dump(error: EnvSyncError, jobs: int, conflict: bool = False) -> tuple[EnvSyncError, int]:
    """Return what a failed ``pg_dump`` amounts to (``error``, or one that knows more), and how many jobs the next has.

    :param jobs: how many it had.
    :param conflict: a standby has cancelled statements on this database, or ended sessions, meanwhile: the server says
        that in its own language, and of a process of the dump's that was not at work it says nothing.
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
            CONFLICT if conflict else "Push at a time when no tables are dropped.",
            "what it was about to read was gone, and the dump begins anew",
        )
        return found, jobs
    known = (hint for said, hint in _HINTS if said.search(error.why))
    hint = next(known, CONFLICT if conflict else error.hint)
    return EnvSyncError(error.doing, error.why, hint), jobs
