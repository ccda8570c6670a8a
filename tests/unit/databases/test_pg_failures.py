# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases import pg_failures
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.base import DumpAgain
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
    found, next_jobs = pg_failures.of_dump(error, jobs)
    assert (isinstance(found, DumpAgain), next_jobs) == (again, then)
    assert again or found is error
