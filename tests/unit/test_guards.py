# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import guards
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.base import Identity
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.manifest import Manifest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.scripts import Effect, Script
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

Maker = Callable[..., Manifest]
SOURCE = Identity("postgresql", "7001", "15.4", "another-name-of-db-1:5432")


def test_a_point_does_not_go_back_where_it_came_from(make_manifest: Maker) -> None:
    with pytest.raises(EnvSyncError, match=r"the server it was pushed from.*set allow_restore_to_source"):
        guards.not_the_source(make_manifest(), SOURCE, "app", allowed=False)


def test_a_tree_is_called_one(make_manifest: Maker) -> None:
    with pytest.raises(EnvSyncError, match=r"the tree it was pushed from.*Check directory"):
        guards.not_the_source(make_manifest(), Identity("files", "7001", "Linux", "db-1"), "app", allowed=False)


def test_unless_that_is_allowed_or_it_is_another_database_or_server(make_manifest: Maker) -> None:
    guards.not_the_source(make_manifest(), SOURCE, "app", allowed=True)
    guards.not_the_source(make_manifest(), SOURCE, "app_copy", allowed=False)
    guards.not_the_source(make_manifest(), Identity("postgresql", "7002", "15.4", "db-1"), "app", allowed=False)


def test_where_sanitising_is_required_something_has_to_have_done_it(make_manifest: Maker) -> None:
    required = Task(require_sanitised=True)
    with pytest.raises(EnvSyncError, match=r"requires sanitised data.*Set transformation_sql_filename"):
        guards.sanitised(required, make_manifest())
    guards.sanitised(Task(require_sanitised=True, transformation_sql=("mask.sql",)), make_manifest())
    guards.sanitised(required, make_manifest(sanitised=({"script": "mask.sql", "sha256": "aa", "changed": 3},)))
    guards.sanitised(Task(), make_manifest())


def test_scripts_that_ran_at_the_push_have_to_have_changed_something(make_manifest: Maker) -> None:
    # A point of an older version does not say.
    for script in ({"script": "mask.sql", "sha256": "aa"}, {"script": "mask.sql", "sha256": "aa", "changed": 0}):
        manifest = make_manifest(sanitised=(script,))
        with pytest.raises(EnvSyncError, match="not known to have changed anything"):
            guards.sanitised(Task(require_sanitised=True), manifest)
        guards.sanitised(Task(require_sanitised=True, may_change_nothing=True), manifest)


def test_scripts_that_change_nothing_are_refused_where_sanitising_is_required(make_manifest: Maker) -> None:
    script = Script("/etc/x/mask.sql", b"select 1;")
    nothing, something = Effect(script, 0), Effect(script, 3)
    manifest = make_manifest()
    with pytest.raises(EnvSyncError, match=r"/etc/x/mask.sql ran to the end and changed nothing.*may_change_nothing"):
        guards.sanitised_something(Task(require_sanitised=True), [nothing], manifest)
    guards.sanitised_something(Task(require_sanitised=True), [nothing, something], manifest)
    guards.sanitised_something(Task(require_sanitised=True, may_change_nothing=True), [nothing], manifest)
    guards.sanitised_something(Task(), [nothing], manifest)
    assert guards.changed_nothing([nothing, something], False) == ["/etc/x/mask.sql ran to the end and changed nothing"]
    assert guards.changed_nothing([nothing], True) == []


def test_a_point_of_another_dbms_is_refused(make_manifest: Maker) -> None:
    guards.same_dbms("pulling", make_manifest(), "postgresql")
    with pytest.raises(EnvSyncError, match="it is a point of postgresql, not of mysql"):
        guards.same_dbms("pulling", make_manifest(), "mysql")
