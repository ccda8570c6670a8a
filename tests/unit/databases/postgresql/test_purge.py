# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.purge import (
    in_order,
    kept_rows,
)


def test_a_view_comes_after_those_that_it_reads() -> None:
    reads = {1: frozenset({2, 9}), 2: frozenset({3}), 3: frozenset({9}), 4: frozenset({8})}
    assert in_order(reads) == [3, 4, 2, 1]
    assert sorted(in_order({1: frozenset({2}), 2: frozenset({1})})) == [1, 2], "what can't be is no endless loop"


TABLE = 'INFO:  vacuuming "public.users2"\n'
FOUND = 'INFO:  "public.users2": found 5 removable, 7 nonremovable row versions in 12 pages\nDETAIL:  {} {}\nCPU: 1.\n'


@pytest.mark.parametrize(
    ("notices", "kept"),
    [
        ([], None),
        ([TABLE], None),
        (["WARNING:  permission denied to vacuum users2, skipping it\n"], None),
        ([TABLE, FOUND.format(0, "dead row versions cannot be removed yet.")], 0),
        ([TABLE, FOUND.format(3, "dead row versions cannot be removed yet.")], 3),
        (
            [
                "INFO:  »public.users2«: 5 entfernbare, 7 nicht entfernbare Zeilenversionen in 12 Seiten\n"
                "DETAIL:  3 tote Zeilenversionen können noch nicht entfernt werden.\n"
            ],
            3,
        ),
        (
            [FOUND.format(0, "x"), 'INFO:  "users2": scanned 12 of 12 pages, containing 7 live rows and 0 dead rows\n'],
            0,
        ),
    ],
)
def test_the_rows_that_stayed_are_read_from_what_the_server_says(notices: list[str], kept: int | None) -> None:
    assert kept_rows(notices) == kept
