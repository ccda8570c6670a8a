# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is declared is checked before anything is changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.declare import check_group, check_present, declare
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import Faults

from tests.unit.deploy.wanted import DEFAULTS, PUSH, entries


def test_what_has_to_be_there_before_is_named(tmp_path: Path) -> None:
    wanted = declare({**DEFAULTS, "user": "no-such-user", "group": "no-such-group", "python": str(tmp_path / "x")})
    with pytest.raises(
        EnvSyncError, match=r"there is no .*/x; there is no user no-such-user; there is no group no-such"
    ):
        check_present(wanted)


def test_a_user_who_could_not_read_the_tasks_is_refused() -> None:
    with pytest.raises(
        EnvSyncError, match=r"nobody is there, and not in the group govuk-backup.*of nobody \(nogroup\)"
    ):
        check_group(declare({**DEFAULTS, "user": "nobody"}))
    for user, group in (("nobody", "nogroup"), ("root", "govuk-backup"), ("no-such-user", "govuk-backup")):
        check_group(declare({**DEFAULTS, "user": user, "group": group}))
    check_group(declare({**DEFAULTS, "user": "nobody", "state": "absent"}))


def test_all_that_is_wrong_is_told_at_once_and_no_secret_with_it(tmp_path: Path) -> None:
    python = tmp_path / "python3.8"
    python.write_text("#!/bin/sh\necho 3 8\n", encoding="ascii")
    python.chmod(0o755)
    with pytest.raises(Faults) as raised:
        entries(
            {"late": {**PUSH, "hour": 25}},
            environment_variables={"c-d": "1", "GOOD": "2"},
            secret_environment_variables={"A/B": "hidden"},
            transformation_sql={".profile": ""},
            monitoring={"colour": "red"},
            python=str(python),
        )
    assert raised.value.faults == [
        "late: hour '25' is not within 0 to 23",
        "monitoring: unknown key colour",
        "env_sync_variables: 'c-d' can't be the name of a variable",
        "env_sync_secret_environment: 'A/B' can't be the name of a variable",
        "env_sync_transformation_sql_files: '.profile' can't be the name of a file there",
        f"env_sync_python: {python}: it is Python 3.8, and the command needs 3.9 or later: name another one, "
        "or set env_sync_virtualenv",
    ]


def test_a_monitoring_that_no_result_could_reach_is_refused(tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    good = {
        "monitor": "icinga2",
        "icinga2_url": "https://icinga.example.org:5665",
        "icinga2_user": "env-sync",
        "icinga2_ca": str(authority),
    }
    secret = {"ICINGA2_PASSWORD": "hidden"}

    def said(settings: dict[str, Any], secrets: dict[str, Any]) -> list[str]:
        with pytest.raises(Faults) as raised:
            entries({}, monitoring=settings, secret_environment_variables=secrets)
        return raised.value.faults

    assert said({"monitor": "icinga2"}, {}) == [
        "env_sync_icinga2_url: missing, and monitor icinga2 needs it",
        "env_sync_icinga2_user: missing, and monitor icinga2 needs it",
        "env_sync_icinga2_ca: missing, and monitor icinga2 needs it",
        "env_sync_secret_environment: ICINGA2_PASSWORD is missing, and monitor icinga2 needs it",
    ]
    assert said(good, secret) == [f"env_sync_icinga2_ca: there is no {authority} on this host"]
    authority.touch()
    assert said({**good, "icinga2_url": "http://icinga"}, secret) == [
        "env_sync_icinga2_url: has the form https://HOST:5665, not http://icinga"
    ]
    assert "/etc/govuk_env_sync/monitoring.conf" in entries({}, monitoring=good, secret_environment_variables=secret)
    for other, key in (("nsca", "nsca_host"), ("command_file", "command_file")):
        assert said({"monitor": other, key: ""}, {}) == [f"env_sync_{key}: missing, and monitor {other} needs it"]


@pytest.mark.skipif(os.geteuid() != 0, reason="owners can be set by root only")
def test_a_temppath_that_is_there_has_to_be_one_that_the_task_can_write_to(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents):
        if parent != Path("/tmp") and parent.is_relative_to("/tmp"):
            parent.chmod(0o755)
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    task = {"push": {**PUSH, "temppath": str(folder)}}
    with pytest.raises(Faults, match=r"push: temppath: .*/folder is there, and nobody can't write to it"):
        entries(task, user="nobody")
    assert str(folder) in entries(task, user="root")
    assert str(folder) in entries(task, user="no-such-user"), "one that is made later may be in any group"
    folder.chmod(0o1777)
    assert str(folder) in entries(task, user="nobody")


@pytest.mark.parametrize("name", ["", "two words", "../up"])
def test_a_name_that_can_be_no_commands_is_refused(name: str) -> None:
    with pytest.raises(EnvSyncError, match="checking name"):
        entries({}, name=name)
