# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.base import DumpAgain
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import (
    failures as postgresql_failures,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

REFUSED = 'pg_dump: exit status 1: pg_dump: error: could not obtain lock on relation "public.orders"'


@pytest.mark.parametrize(
    ("said", "jobs", "again", "then"),
    [
        (REFUSED, 4, True, 1),
        (REFUSED, 1, False, 1),
        (
            'pg_dump: exit status 1: pg_dump: error: query failed: ERROR:  relation "public.x" does not exist',
            4,
            True,
            4,
        ),
        ("pg_dump: exit status 1: pg_dump: error: query failed: ERROR:  cache lookup failed for index 1", 2, True, 2),
        ("pg_dump: exit status 1: pg_dump: error: query failed: ERROR:  permission denied for table x", 2, False, 2),
    ],
)
def test_what_another_dump_gets_around(said: str, jobs: int, again: bool, then: int) -> None:
    error = EnvSyncError("dumping app", said)
    found, next_jobs = postgresql_failures.of_dump(error, jobs)
    assert (isinstance(found, DumpAgain), next_jobs) == (again, then)
    assert again or found.why == error.why


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("ERROR: canceling statement due to conflict with recovery", "max_standby_streaming_delay"),
        ("FATAL: terminating connection due to administrator command", "push again"),
        ("server closed the connection unexpectedly", "server's log"),
        ('ERROR: query would be affected by row-level security policy for table "x"', "BYPASSRLS"),
        ("WARNING: out of shared memory", "max_locks_per_transaction"),
        ("FATAL: unsupported startup parameter: options", "own address"),
    ],
)
def test_what_the_server_says_has_its_hint(said: str, hint: str) -> None:
    found, _jobs = postgresql_failures.of_dump(EnvSyncError("dumping app", f"pg_dump: exit status 1: {said}"), 1)
    assert hint in found.hint and said in found.why


def test_a_standbys_own_count_tells_in_any_language() -> None:
    """What is known for certain counts more: others' statements are cancelled too."""
    said = "pg_dump: exit status 1: FEHLER: storniere Anfrage wegen Konflikt mit der Wiederherstellung"
    assert "standby" in postgresql_failures.of_dump(EnvSyncError("dumping app", said), 1, conflict=True)[0].hint
    assert postgresql_failures.of_dump(EnvSyncError("dumping app", said), 1)[0].hint == ""
    denied = EnvSyncError("dumping app", "pg_dump: exit status 1: ERROR: permission denied for table x")
    assert "right" in postgresql_failures.of_dump(denied, 1, conflict=True)[0].hint
