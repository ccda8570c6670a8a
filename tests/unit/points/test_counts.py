# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points import counts

CAUSE = "Look into the server's log."


def test_equal_counts_pass_whatever_else_was_found() -> None:
    counts.require_equal({"a": 1, "b": 0}, {"b": 0, "a": 1, "c": 5}, "counting", CAUSE)
    counts.require_equal({}, {}, "counting", CAUSE)


@pytest.mark.parametrize("found", [0, 2, 10**12])
def test_a_difference_names_the_table_and_both_counts(found: int) -> None:
    with pytest.raises(EnvSyncError) as caught:
        counts.require_equal({"public.a": 1}, {"public.a": found}, "counting", CAUSE)
    assert str(caught.value) == (f"counting: table public.a has {found} rows, and the point's manifest says 1. {CAUSE}")


def test_a_table_that_is_missing_is_said_before_any_number() -> None:
    with pytest.raises(EnvSyncError, match="table b was not restored, and the point's manifest has it") as caught:
        counts.require_equal({"a": 1, "b": 1}, {"a": 2}, "counting", CAUSE)
    assert "2 rows" not in str(caught.value)


def test_a_table_that_is_there_beyond_the_manifests_is_named() -> None:
    counts.require_no_more({"a", "b"}, {"a"}, "counting", CAUSE)
    with pytest.raises(EnvSyncError, match="index x was restored, and the point's manifest does not have it"):
        counts.require_no_more({"a"}, {"a", "x"}, "counting", CAUSE, "index")


def test_of_many_differences_a_few_are_named() -> None:
    noted = {f"t{number:02}": 1 for number in range(20)}
    with pytest.raises(EnvSyncError, match=r"t04 has 2 rows.*; and 15 more\.") as caught:
        counts.require_equal(noted, dict.fromkeys(noted, 2), "counting", CAUSE)
    assert "t05" not in str(caught.value)
