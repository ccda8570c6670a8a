# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.scripts import Effect, Script, read_scripts


def test_what_is_hashed_is_what_runs_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mask.sql"
    path.write_bytes(b"select 1;")
    (script,) = read_scripts([str(path)])
    path.write_bytes(b"select 2;")
    assert (script.name, script.content) == ("mask.sql", b"select 1;")
    assert script.sha256 == hashlib.sha256(b"select 1;").hexdigest()


def test_a_script_that_is_not_there_is_missed_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(EnvSyncError, match=r"reading the script .*mask.sql: No such file.*Check the transformation"):
        read_scripts([str(tmp_path / "mask.sql")])


def test_an_effect_says_what_changed_and_no_row() -> None:
    script = Script("/etc/x/mask.sql", b"")
    assert Effect(script, 0).nothing
    assert not Effect(script, 0, altered=["users lost the column email"]).nothing
    effect = Effect(script, 7, {"users": 5, "orders": 2})
    assert not effect.nothing
    assert effect.sentence == "/etc/x/mask.sql changed 7 rows in 2 tables"
    assert effect.to_dict() == {"script": "mask.sql", "sha256": script.sha256, "changed": 7, "altered": 0}
