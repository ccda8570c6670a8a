# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Config files, environment, scripts and folders of a host."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.declare import declare
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.deployment import parts
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.config import read_envdir

from tests.unit.deploy.wanted import DEFAULTS, FILES, PUSH, entries


def test_transformation_files_of_file_trees_are_programs() -> None:
    tasks = {
        "push_files": {**FILES, "pre_dump_transformation_sql_filename": "tidy.sh"},
        "push_shop": {**PUSH, "pre_dump_transformation_sql_filename": "tidy.sql"},
    }
    deployed = entries(tasks, transformation_sql={"tidy.sh": "#!/bin/sh\n", "tidy.sql": "SELECT 1;\n"})
    folder = "/etc/govuk_env_sync/transformation_sql"
    assert [deployed[f"{folder}/{name}"].mode for name in ("tidy.sh", "tidy.sql")] == [0o755, 0o644]


def test_the_environment_is_as_envdir_reads_it(tmp_path: Path) -> None:
    deployed = entries({}, environment_variables={"CERTIFICATE": "one\ntwo", "AWS_EC2_METADATA_DISABLED": True})
    for name in ("CERTIFICATE", "AWS_EC2_METADATA_DISABLED"):
        (tmp_path / name).write_bytes(deployed[f"/etc/govuk_env_sync/env.d/{name}"].content or b"")
    assert read_envdir(str(tmp_path)) == {"CERTIFICATE": "one\ntwo", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.mark.parametrize(
    ("first", "second", "owner", "mode"),
    [("", "", "govuk-backup", 0o775), ("root", "root", "root", 0o1775), ("root", "", "govuk-backup", 0o1775)],
)
def test_a_shared_temppath_is_one_folder(first: str, second: str, owner: str, mode: int) -> None:
    push = {**PUSH, "become_user": first, "temppath": "/tmp/one"}
    pull = {**PUSH, "action": "pull", "become_user": second, "temppath": "/tmp/one/"}
    wanted = declare({**DEFAULTS, "tasks": {"push": push, "pull": pull}})
    (entry,) = [entry for part in parts(wanted) for entry in part.entries if entry.path.startswith("/tmp/one")]
    assert (entry.owner, entry.mode, entry.if_missing) == (owner, mode, True)
