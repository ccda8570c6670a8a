# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import text as command_text
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Snapshot


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1288490189, "1.2 GiB"),
        (3 * 1024**4, "3.0 TiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert command_text.size(count) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"bytes_done": 3 << 20, "bytes_total": 12 << 20, "members_done": 1, "members_total": 4},
            "dumping, 1/4 members, 3.0 MiB of 12.0 MiB (25%), 1.0 MiB/s, about 9 s left",
        ),
        ({"bytes_done": 3 << 20, "members_done": 1}, "dumping, 1 member, 3.0 MiB, 1.0 MiB/s"),
        ({"bytes_done": 9 << 20, "bytes_total": 6 << 20}, "dumping, 9.0 MiB of 6.0 MiB (100%), 3.0 MiB/s"),
        ({"phase": "", "phase_started": 0.0}, "starting"),
    ],
)
def test_progress(values: dict[str, Any], text: str) -> None:
    usual: dict[str, Any] = {"phase": "dumping", "phase_started": 1000.0, "updated": 1003.0}
    assert command_text.progress(Snapshot("x", "push", "x", **{**usual, **values})) == text


def test_a_verified_point_is_said_with_its_rows_where_they_are_counted() -> None:
    manifest: dict[str, Any] = {"format": "directory", "members": [{}, {}], "tables": [{"name": "a"}]}
    result = {
        "manifest": manifest, "point": "p", "store": "/s", "stored_bytes": 2048, "durations": {"total": 3.0},
    }  # fmt: skip
    assert command_text.verified(result).startswith("p in /s is good: 2.0 KiB in 2 members, read in")
    manifest["tables"] += [{"name": "b", "rows": 40}, {"name": "c", "rows": 2}]
    assert " in 2 members, 42 rows in 2 tables, read in" in command_text.verified(result)
