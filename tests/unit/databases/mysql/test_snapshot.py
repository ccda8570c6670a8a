# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.snapshot import share_out


def test_tables_are_shared_out_evenly() -> None:
    sizes = {"a": 10, "b": 7, "c": 3, "d": 0, "e": 0}
    assert share_out(sizes, 2) == [["a", "d", "e"], ["b", "c"]]
    assert share_out(sizes, 9) == [["a"], ["b"], ["c"], ["d"], ["e"]]
