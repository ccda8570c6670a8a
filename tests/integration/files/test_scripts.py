# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that run in the scratch tree."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host

from tests.integration.files.samples import (
    Make,
    described,
    hidden,
)


def test_transformations_are_programs_that_run_in_the_scratch_tree(task: Make, source: Path, tmp_path: Path) -> None:
    script = tmp_path / "sanitise"
    script.write_text("#!/bin/sh -e\nstat -c %a . > mode\nchmod -R u+w folder\nrm -r folder\n")
    push.push(task("push"), Host())

    with pytest.raises(EnvSyncError, match=r"chmod \+x"):
        pull.pull(task("pull", transformation_sql_filename=str(script)), Host())
    script.chmod(0o755)
    pulled = pull.pull(task("pull", transformation_sql_filename=str(script), require_sanitised=True), Host())

    assert not (tmp_path / "target" / "folder").exists()
    assert (tmp_path / "target" / "mode").read_text() == "700\n", "nobody else looks at what is not sanitised yet"
    assert [item["script"] for item in pulled["sanitised"]] == ["sanitise"]

    script.write_text("#!/bin/sh\nrm -r plain\nexit 3\n")
    before = described(tmp_path / "target")
    with pytest.raises(EnvSyncError, match="exit status 3"):
        pull.pull(task("pull", transformation_sql_filename=str(script)), Host())
    assert described(tmp_path / "target") == before
    assert hidden(tmp_path) == []
