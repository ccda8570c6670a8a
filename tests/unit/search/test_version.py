# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.search.version import Version, version_of


@pytest.mark.parametrize(
    ("distribution", "number", "features"),
    [
        ("elasticsearch", "5.6.16", (False, False, True, False)),
        ("elasticsearch", "6.8.0", (False, False, True, True)),
        ("elasticsearch", "7.3.0", (True, False, False, True)),
        ("elasticsearch", "8.19.0-SNAPSHOT", (True, True, False, True)),
        ("opensearch", "1.3.0", (True, True, False, True)),
        ("opensearch", "3.1.0", (True, True, False, True)),
    ],
)
def test_features_by_version(distribution: str, number: str, features: tuple[bool, ...]) -> None:
    version = Version(distribution, number)
    assert (version.has_metadata, version.has_hidden, version.has_types, version.has_sequence_numbers) == features
    assert version_of(version.text).distribution == distribution
