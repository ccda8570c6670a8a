# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scripts, checked before they run."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.scripts import check_script
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.scripts import Script


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("a.json", "{}", "no list of commands"),
        ("a.json", '[{"aggregate": "users", "pipeline": [{"$out": "live"}]}]', "command 1"),
        ("a.json", '[{"update": {"$oid": "x"}}]', "no JSON"),
        ("a.js", "db.users.drop()", "mongosh is not installed"),
    ],
)
def test_a_script_is_checked_before_anything_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, says: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvSyncError, match=says):
        check_script(Script(str(tmp_path / file), text.encode()), "checking")
