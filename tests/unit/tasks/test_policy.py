# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import bucket_sync, pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.manifest import Manifest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import policy
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.policy import Policy, read_policy
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

STRICT = """
environment="staging"
protected="false"
require_sanitised="true"
sources="production,staging"
max_point_age="36h"
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the policy is for this test; nothing is there yet."""
    monkeypatch.setattr(policy, "PATH", str(tmp_path / "policy.cfg"))
    monkeypatch.setattr(policy, "OWNER", os.geteuid())
    return tmp_path / "policy.cfg"


def test_without_a_policy_nothing_is_restricted_and_that_is_said(path: Path) -> None:
    assert read_policy() == Policy()
    assert Policy().apply(Task(action="pull")) == Task(action="pull")
    assert Policy().lines() == [f"This host has no policy ({path}): nothing is restricted."]


def test_a_policy_says_what_it_allows(path: Path) -> None:
    path.write_text(STRICT)
    found = read_policy()
    assert found == Policy(str(path), "staging", False, True, ("production", "staging"), 36 * 3600)
    assert found.lines() == [
        f"The host's policy ({path}): environment staging; sanitised data is required; "
        "points of production, staging only; points at most 36 h 00 min old."
    ]
    assert Policy.parse(found.to_config(), str(path)) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('protectd="true"', "protectd is not a key of a policy"),
        ('protected="perhaps"', "protected must be true or false"),
        ('max_point_age="soon"', "max_point_age must be a number of seconds"),
        ('environment="a b"', "environment must be an environment's name"),
        ('sources="production,a b"', "sources must be an environment's name"),
        ("protected", "line 1: it is no assignment"),
        ("protected=$(id)", "line 1: a shell would"),
        ("#" * 70000, "longer than 65536 bytes"),
    ],
)
def test_a_policy_that_is_not_understood_stops_every_run(path: Path, text: str, says: str) -> None:
    path.write_text(text)
    with pytest.raises(EnvSyncError, match=says):
        read_policy()


def test_a_policy_is_a_file_that_only_root_can_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(STRICT)
    path.chmod(0o666)
    with pytest.raises(EnvSyncError, match="others than root could have written it"):
        read_policy()
    path.chmod(0o644)
    monkeypatch.setattr(policy, "OWNER", os.geteuid() + 1)
    with pytest.raises(EnvSyncError, match="others than root could have written it"):
        read_policy()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(EnvSyncError, match="not a regular file"):
        read_policy()
    path.unlink()
    path.mkdir()
    with pytest.raises(EnvSyncError, match="not a regular file"):
        read_policy()


def test_a_task_may_be_stricter_and_never_laxer() -> None:
    host = Policy("/p", "staging", False, True, ("production", "staging"), 7200)
    run = host.apply(Task(action="pull"))
    assert (run.environment, run.require_sanitised) == ("staging", True)
    assert (run.sources, run.max_point_age) == (("production", "staging"), 7200)
    narrow = host.apply(Task(action="pull", sources=("production",), max_point_age=3600))
    assert (narrow.sources, narrow.max_point_age) == (("production",), 3600)
    assert host.apply(Task(action="pull", max_point_age=9999, require_sanitised=False)).max_point_age == 7200
    with pytest.raises(
        EnvSyncError, match=r"sources names lab, and this host takes points of production, staging only"
    ):
        host.apply(Task(action="pull", sources=("production", "lab")))
    with pytest.raises(EnvSyncError, match=r"environment production, and this host is of staging"):
        host.apply(Task(action="push", environment="production"))


def test_no_pull_lands_on_a_protected_host_whoever_asks(path: Path, tmp_path: Path) -> None:
    path.write_text('environment="production"\nprotected="true"\n')
    task = Task(action="pull", dbms="postgresql", database="x", storagebackend="directory", url="/nowhere")
    for attempt in (pull.plan, pull.pull):
        with pytest.raises(EnvSyncError, match=r"no pull lands on this host: its policy .* says protected"):
            attempt(task, Host())


@pytest.mark.parametrize("verb", [push.plan, push.push, pull.plan, pull.pull, bucket_sync.plan, bucket_sync.sync])
def test_every_verb_reads_the_policy_before_anything_else(
    path: Path, tmp_path: Path, verb: Callable[[Task, Host], Any]
) -> None:
    path.write_text("nonsense")
    with pytest.raises(EnvSyncError, match=r"reading this host's policy .*no assignment"):
        verb(Task(state_dir=str(tmp_path)), Host())


def test_a_point_of_another_environment_or_too_old_is_refused(make_manifest: Callable[..., Manifest]) -> None:
    task = Task(action="pull", sources=("production",), max_point_age=3600)
    policy.check_point(task, make_manifest(environment="production"), 3600, "pulling x")
    with pytest.raises(EnvSyncError, match="it comes from lab, and only points of production may be pulled here"):
        policy.check_point(task, make_manifest(environment="lab"), 0, "pulling x")
    with pytest.raises(EnvSyncError, match="from an environment that it does not name"):
        policy.check_point(task, make_manifest(environment=""), 0, "pulling x")
    with pytest.raises(EnvSyncError, match=r"it is 1 h 01 min old, and at most 1 h 00 min is allowed"):
        policy.check_point(task, make_manifest(environment="production"), 3660, "pulling x")
    policy.check_point(Task(action="pull"), make_manifest(environment=""), 1e9, "pulling x")
