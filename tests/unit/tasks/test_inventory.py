# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import declared

STORE = {"storagebackend": "s3", "url": "bucket", "path": "postgresql"}
PULL = {"hour": "00", "minute": 7, "action": "pull", "dbms": "postgresql", "database": "shop", **STORE}


def faults(tasks: dict[str, Any], **more: Any) -> str:
    with pytest.raises(EnvSyncError) as raised:
        declared(tasks, {}, "/etc/nowhere", **more)
    return raised.value.why


def test_tasks_come_by_title_without_what_is_the_inventorys() -> None:
    second = {**PULL, "database": "other", "ensure": "disabled", "freshness": "3600"}
    syncs = {"assets": {"hour": 1, "minute": 2, "source_bucket": "a", "destination_bucket": "b", "delete": True}}
    found = declared({"z_last": PULL, "b_second": second, "gone": {"ensure": "absent"}}, syncs, "/etc/nowhere")
    assert [(item.title, item.timing.scheduled, item.timing.freshness) for item in found] == [
        ("assets", True, 28 * 3600),
        ("b_second", False, 3600),
        ("z_last", True, 28 * 3600),
    ]
    assert found[0].values == {"action": "s3_sync", "source_bucket": "a", "destination_bucket": "b", "delete": True}
    assert not {"hour", "minute", "ensure", "freshness"} & set(found[1].values)


@pytest.mark.parametrize(
    ("key", "value"),
    [("temppath", "./t"), ("state_dir", ".."), ("transformation_sql_filename", "a.sql, ./b.sql"), ("src", "../points")],
)
def test_no_declared_task_depends_on_where_its_run_begins(key: str, value: str) -> None:
    assert f"pull: {key} must be a name or an absolute path" in faults({"pull": {**PULL, key: value}})


def test_all_faults_are_told_with_task_and_key() -> None:
    said = faults(
        {
            "late": {**PULL, "hour": 25},
            "odd": {**PULL, "database": "b", "colour": "red"},
            "no/name": {**PULL, "database": "c"},
            "leak": {**PULL, "database": "d", "secret_key": "hidden"},
            "script": {**PULL, "database": "e", "transformation_sql_filename": "nowhere.sql"},
            "when": {key: value for key, value in PULL.items() if key != "hour"},
            "many": {
                **PULL,
                "ensure": "maybe",
                "freshness": "soon",
                "jobs": "all",
                "hour": [1, 25],
                "delete": "perhaps",
            },
            "puppet": {**PULL, "database": "f", "url": "%{hiera('bucket')}"},
            "whom": {**PULL, "database": "g", "become_user": "nobody-of-that-name"},
            "lines": {**PULL, "database": "h", "excluded_tables": ["one", "two\nthree"]},
            "no mapping": "push",
        }
    )
    for fault in (
        "late: hour",
        "odd: unknown key colour",
        "no/name: its title",
        "leak: secret_key",
        "script: transformation_sql_filename: there is no nowhere.sql on this host",
        "lines: excluded_tables has a line break",
        "many: ensure must be one of present, disabled, absent, not 'maybe'",
        "freshness must be a whole number, not 'soon'",
        "hour '1,25' is not within 0 to 23",
        "many: jobs must be",
        "many: delete must be true or false",
        "puppet: url has %{hiera('bucket')} in it",
        "whom: become_user: there is no user nobody-of-that-name",
        "no mapping: its title",
        "no mapping: is not a mapping",
    ):
        assert fault in said
    assert "when: missing key hour" in said
    assert "hidden" not in said


def test_days_are_a_matter_of_the_schedule_and_not_of_the_config_file() -> None:
    weekly = {**PULL, "weekday": "mon", "month": "*", "day": "*"}
    (item,) = declared({"weekly": weekly}, {}, "/etc/nowhere")
    assert (item.timing.schedule.crontab(), item.timing.freshness) == ("7 0 * * 1", (7 * 24 + 4) * 3600)
    assert not {"weekday", "month", "day"} & set(item.values)
    said = faults({"odd": {**PULL, "weekday": "8", "day": 32, "monthday": 3, "excluded_table": "x"}})
    for fault in (
        "odd: weekday '8' is not within 0 to 7",
        "odd: day '32' is not within 1 to 31",
        "odd: unknown key monthday (did you mean day?)",
        "odd: unknown key excluded_table (did you mean excluded_table",
    ):
        assert fault in said


def test_two_tasks_may_not_do_the_same_but_may_share_a_temporary_directory() -> None:
    pair = {"a": {**PULL, "temppath": "/tmp/x"}, "b": {**PULL, "temppath": "/tmp/x/"}}
    assert faults(pair) == "b: is the same pull of shop as a"
    pair["b"]["action"] = "push"
    assert [item.title for item in declared(pair, {}, "/etc/nowhere")] == ["a", "b"]


def test_a_disabled_task_is_not_the_twin_of_its_replacement() -> None:
    both = {"old": {**PULL, "ensure": "disabled"}, "new": PULL, "older": {**PULL, "ensure": "disabled"}}
    assert len(declared(both, {}, "/etc/nowhere")) == 3


def test_a_protected_environment_has_no_pulls() -> None:
    assert "pull: action: no pull may be declared" in faults({"pull": PULL}, protected=True)
    assert declared({"push": {**PULL, "action": "push"}}, {}, "/etc/nowhere", protected=True)


def test_a_transformation_file_that_is_deployed_with_the_tasks_is_there() -> None:
    task = {**PULL, "transformation_sql_filename": "shop.sql"}
    assert declared({"pull": task}, {}, "/etc/nowhere", scripts=["shop.sql"])[0].task.transformation_sql == (
        "/etc/nowhere/transformation_sql/shop.sql",
    )


def test_a_bucket_sync_that_is_no_mapping_is_a_fault_too() -> None:
    with pytest.raises(EnvSyncError, match="assets: is not a mapping"):
        declared({}, {"assets": "a to b"}, "/etc/nowhere")


def test_whom_a_task_runs_as_is_not_in_its_config_file() -> None:
    (item,) = declared({"push": {**PULL, "action": "push", "become_user": "root"}}, {}, "/etc/nowhere")
    assert item.become_user == "root"
    assert "become_user" not in item.values


def test_non_ascii_names_of_databases_are_names() -> None:
    (item,) = declared({"pull": {**PULL, "database": "b\u00fccher"}}, {}, "/etc/nowhere")
    assert item.task.database == "b\u00fccher"
