# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.name import parse
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task


@pytest.mark.parametrize("asked", ["2026-01-02T03:04:05", "2026-01-02T03:04", ""])
def test_the_point_that_is_made_can_be_found_again(asked: str) -> None:
    made = push._new_point(Task(database="app", timestamp=asked))
    found = parse(made + ".manifest.json")
    assert found is not None
    assert found.timestamp.startswith(asked)
