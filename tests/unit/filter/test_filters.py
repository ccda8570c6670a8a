# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.govuk.env_sync.plugins.filter.declared_tasks import declared_tasks
from ansible_collections.govuk.env_sync.plugins.filter.matching_tasks import matching_tasks
from ansible_collections.govuk.env_sync.plugins.filter.plan_rows import plan_rows
from ansible_collections.govuk.env_sync.plugins.filter.report_rows import report_rows
from ansible_collections.govuk.env_sync.plugins.filter.table import table

DAY = 24 * 3600
NOON = 1767268800.0  # 2026-01-01T12:00:00Z


def test_checks_are_for_scheduled_tasks_and_as_fresh_as_these_run() -> None:
    tasks = {
        "b": {"hour": "00", "minute": 5},
        "a": {"hour": "*/6", "minute": 0, "freshness": ""},
        "off": {"hour": 0, "minute": 0, "ensure": "disabled"},
        "gone": {"ensure": "absent"},
    }
    assert declared_tasks(tasks, {"c": {"hour": 1, "minute": 1, "freshness": "3600"}}) == [
        {"title": "a", "freshness": 10 * 3600},
        {"title": "b", "freshness": 28 * 3600},
        {"title": "c", "freshness": 3600},
    ]
    with pytest.raises(AnsibleFilterError, match="the task late: hour '25' is not within 0 to 23"):
        declared_tasks({"late": {"hour": 25, "minute": 0}})


def test_tasks_are_chosen_by_what_they_do_and_by_pattern() -> None:
    tasks = {
        "push_b": {"action": "push"},
        "push_a": {"action": "push", "ensure": "present"},
        "push_off": {"action": "push", "ensure": "disabled"},
        "pull_a": {"action": "pull"},
        "wrong": "push",
    }
    assert matching_tasks(tasks, "push") == ["push_a", "push_b"]
    assert matching_tasks(tasks, "push", "*_[b-z]") == ["push_b"]
    assert matching_tasks(tasks, "pull", "pull_") == []


def test_a_plan_is_in_the_order_of_the_night() -> None:
    host = {
        "host": "db",
        "tasks": {"late": {"hour": "23", "minute": 0}, "early": {"hour": "00", "minute": "07"}, "any": {}, "gone": {}},
        "chosen": ["late", "early", "any", "gone"],
        "results": [
            {"item": "late", "steps": ["read it", "swap it in"], "warnings": ["old"]},
            {"item": "early", "steps": [], "reason": "not primary"},
            {"item": "any", "msg": "there is no database shop"},
        ],
    }
    assert [(row["at"], row["task"], row["result"], row["what"]) for row in plan_rows([host])] == [
        ("00:07", "early", "nothing to do", "not primary"),
        ("23:00", "late", "ok", "read it; swap it in; warning: old"),
        ("", "any", "FAILS", "there is no database shop"),
        ("", "gone", "UNREACHABLE", "the host does not answer"),
    ]


def test_a_report_begins_with_what_needs_attention() -> None:
    def status(title: str, state: str, finished: str = "", **more: Any) -> dict[str, Any]:
        last = {"finished": finished, "seconds": 5.25, "point": "p", "stored_bytes": 7} if finished else {}
        return {"title": title, "state": state, "last_success": last, "message": "", **more}

    statuses = [
        status("good", "done", "2026-01-01T11:00:00Z"),
        status("bad", "failed", "2025-12-31T11:00:00Z", message="no such bucket"),
        status("old", "done", "2025-12-30T11:00:00Z"),
        status("busy", "running", phase="dumping"),
    ]
    tasks = [{"title": title, "freshness": DAY} for title in ("good", "bad", "old", "busy", "new")]
    rows = report_rows(
        [
            {"host": "db-1", "tasks": tasks, "statuses": statuses, "error": ""},
            {"host": "db-2", "tasks": tasks[:1], "statuses": [], "error": "it does not answer"},
        ],
        NOON,
    )
    assert [(row["state"], row["task"], row["message"]) for row in rows] == [
        ("FAILED", "bad", "no such bucket"),
        ("UNKNOWN", "good", "it does not answer"),
        ("OVERDUE", "old", ""),
        ("never ran", "new", ""),
        ("running", "busy", "dumping"),
        ("ok", "good", ""),
    ]
    assert (rows[0]["last_success"], rows[0]["point"], rows[0]["took"], rows[0]["stored_bytes"]) == (
        "2025-12-31T11:00:00Z",
        "p",
        "5.2 s",
        "7",
    )


@pytest.mark.parametrize(
    ("style", "lines"),
    [
        ("text", ["LAST RUN  WHAT", "-         a | b"]),
        ("markdown", ["| last run | what |", "| --- | --- |", "|  | a \\| b |"]),
        ("csv", ["last_run,what", ',"a |\n b"']),
    ],
)
def test_a_table_is_for_people_or_for_programs(style: str, lines: list[str]) -> None:
    assert table([{"last_run": None, "what": "a |\n b"}], style) == "\n".join(lines)


def test_a_table_of_nothing_is_empty_and_a_style_has_to_be_known() -> None:
    assert table([]) == ""
    with pytest.raises(AnsibleFilterError, match="no style html"):
        table([{"a": 1}], "html")
