# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.collations import nearest_collation


@pytest.mark.parametrize(
    ("name", "known", "nearest"),
    [
        ("utf8mb4_0900_ai_ci", {"utf8mb4_uca1400_ai_ci", "utf8mb4_unicode_ci"}, "utf8mb4_uca1400_ai_ci"),
        ("utf8mb4_0900_ai_ci", {"utf8mb4_uca1400_nopad_ai_ci", "utf8mb4_uca1400_ai_ci"}, "utf8mb4_uca1400_nopad_ai_ci"),
        ("utf8mb4_uca1400_nopad_as_cs", {"utf8mb4_0900_as_cs", "utf8mb4_bin"}, "utf8mb4_0900_as_cs"),
        ("utf8mb4_de_pb_0900_as_cs", {"utf8mb4_0900_as_cs"}, "utf8mb4_0900_as_cs"),
        (
            "utf8mb4_sv_0900_ai_ci",
            {"utf8mb4_uca1400_swedish_ai_ci", "utf8mb4_0900_ai_ci"},
            "utf8mb4_uca1400_swedish_ai_ci",
        ),
        ("utf8mb4_uca1400_spanish2_nopad_ai_ci", {"utf8mb4_es_trad_0900_ai_ci"}, "utf8mb4_es_trad_0900_ai_ci"),
        ("utf8mb4_uca1400_swedish_as_cs", {"utf8mb4_0900_as_cs", "utf8mb4_bin"}, "utf8mb4_0900_as_cs"),
        ("utf8mb4_uca1400_swedish_ai_ci", {"utf8mb4_swedish_ci", "utf8mb4_unicode_520_ci"}, "utf8mb4_swedish_ci"),
        ("utf8mb4_0900_as_ci", {"utf8mb4_general_ci", "utf8mb4_bin"}, "utf8mb4_bin"),
        ("utf8mb4_0900_bin", {"utf8mb4_nopad_bin", "utf8mb4_bin"}, "utf8mb4_nopad_bin"),
        ("utf8mb3_general_ci", {"utf8_general_ci"}, "utf8_general_ci"),
        ("latin1_nopad_bin", {"latin1_bin"}, "latin1_bin"),
        ("klingon_general_ci", {"utf8mb4_bin"}, ""),
    ],
)
def test_the_nearest_collation(name: str, known: set[str], nearest: str) -> None:
    assert nearest_collation(name, frozenset(known)) == nearest
