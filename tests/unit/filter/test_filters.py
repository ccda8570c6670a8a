# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.govuk.env_sync.plugins.filter.declared_tasks import declared_tasks
from ansible_collections.govuk.env_sync.plugins.filter.matching_tasks import matching_tasks
from ansible_collections.govuk.env_sync.plugins.filter.plan_rows import plan_rows
from ansible_collections.govuk.env_sync.plugins.filter.report_rows import report_rows
from ansible_collections.govuk.env_sync.plugins.filter.table import table
from ansible_collections.govuk.env_sync.plugins.filter.task_faults import task_faults
from ansible_collections.govuk.env_sync.plugins.filter.task_options import task_options
from ansible_collections.govuk.env_sync.plugins.filter.variable_faults import variable_faults
from ansible_collections.govuk.env_sync.plugins.plugin_utils import variables

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
        {"title": "a", "freshness": 10 * 3600, "schedule": "0 */6 * * *"},
        {"title": "b", "freshness": 28 * 3600, "schedule": "5 0 * * *"},
        {"title": "c", "freshness": 3600, "schedule": "1 1 * * *"},
    ]
    assert [task["title"] for task in declared_tasks(tasks, pattern="[b-z]")] == ["b"]
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


CLOCK = {"epoch": str(int(NOON)), "tz": "UTC", "tz_offset": "+0000"}


def planned(rows: list[dict[str, str]]) -> list[tuple[str, str, str, str]]:
    return [(row["at"], row["task"], row["result"], row["what"]) for row in rows]


def test_a_plan_is_in_the_order_of_the_night() -> None:
    host = {
        "host": "db",
        "tasks": {
            "late": {"hour": "23", "minute": 0},
            "early": {"hour": "00", "minute": "07"},
            "any": {},
            "gone": {},
            "weekly": {"hour": 3, "minute": 0, "weekday": "mon"},
        },
        "chosen": ["late", "early", "any", "gone", "weekly"],
        "results": [
            {"item": "late", "steps": ["read it", "swap it in"], "warnings": ["old"]},
            {"item": "early", "steps": [], "reason": "not primary"},
            {"item": "any", "msg": "there is no database shop"},
            {"item": "weekly", "steps": ["read it"]},
        ],
        "clock": CLOCK,
    }
    assert planned(plan_rows([host])) == [
        ("2026-01-01 23:00 UTC", "late", "ok", "read it; swap it in; warning: old"),
        ("2026-01-02 00:07 UTC", "early", "nothing to do", "not primary"),
        ("2026-01-05 03:00 UTC", "weekly", "ok", "read it"),
        ("", "any", "FAILS", "there is no database shop"),
        ("", "gone", "UNREACHABLE", "the host does not answer"),
    ]


def test_no_host_is_lost_from_a_plan() -> None:
    task = {"hour": 1, "minute": 0}
    empty: dict[str, Any] = {"tasks": {}, "chosen": [], "results": []}
    hosts = [
        {**empty, "host": "a"},
        {**empty, "host": "b", "error": "there is no such file"},
        {**empty, "host": "c", "selected": True},
        {"host": "d", "tasks": {"t": task}, "chosen": ["t"], "results": [], "unreachable": "ssh: no route"},
    ]
    assert [(row["host"], *rest[1:]) for row, rest in zip(plan_rows(hosts), planned(plan_rows(hosts)))] == [
        ("d", "t", "UNREACHABLE", "the host does not answer: ssh: no route"),
        ("a", "", "no task", "no task of this host is present (env_sync_tasks)"),
        ("b", "", "FAILS", "there is no such file"),
    ]


def test_times_of_hosts_in_other_zones_are_theirs_and_in_order() -> None:
    def host(name: str, zone: str, offset: str) -> dict[str, Any]:
        clock = {**CLOCK, "tz": zone, "tz_offset": offset}
        tasks = {"t": {"hour": 14, "minute": 0}}
        return {"host": name, "tasks": tasks, "chosen": ["t"], "results": [{"item": "t", "steps": []}], "clock": clock}

    rows = plan_rows([host("a", "NST", "-0330"), host("b", "IST", "+0530"), host("c", "UTC", "+0000")])
    assert [(row["host"], row["at"]) for row in rows] == [
        ("c", "2026-01-01 14:00 UTC"),
        ("a", "2026-01-01 14:00 NST"),
        ("b", "2026-01-02 14:00 IST"),
    ]


@pytest.mark.parametrize("pushed", [True, False])
def test_a_pull_waits_for_the_push_of_its_pair(pushed: bool) -> None:
    store = {"storagebackend": "directory", "url": "/srv/backups", "path": "shop/", "database": "shop"}
    push = {"action": "push", "hour": 23, "minute": 30, **store, "path": "/shop"}
    pull = {"action": "pull", "hour": 1, "minute": 0, **store, "url": "/srv/backups/"}
    result = {"item": "pull", "msg": "there is none. Push first.", "no_point": True}
    hosts = [
        {"host": "prod", "tasks": {"push": push} if pushed else {}, "chosen": [], "results": [], "clock": CLOCK},
        {"host": "stag", "tasks": {"pull": pull}, "chosen": ["pull"], "results": [result], "clock": CLOCK},
    ]
    (row,) = [row for row in plan_rows(hosts) if row["task"] == "pull"]
    waits = "there is no point yet: push on prod makes the first one (2026-01-01 23:30 UTC)"
    assert (row["result"], row["what"]) == (("waits", waits) if pushed else ("FAILS", "there is none. Push first."))


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
    tasks = [
        {"title": title, "freshness": DAY, "schedule": "7 3 * * 1"} for title in ("good", "bad", "old", "busy", "new")
    ]
    rows = report_rows(
        [
            {"host": "db-1", "tasks": tasks, "statuses": statuses, "error": "", "clock": CLOCK},
            {"host": "db-2", "tasks": tasks[:1], "statuses": [], "error": "it does not answer"},
            {"host": "db-3", "tasks": [], "statuses": [], "error": "there is no such file"},
            {"host": "db-4", "tasks": [], "statuses": [], "error": ""},
            {"host": "db-5", "tasks": [], "statuses": [], "error": "", "selected": True},
        ],
        NOON,
    )
    assert [(row["state"], row["task"], row["message"]) for row in rows] == [
        ("FAILED", "bad", "no such bucket"),
        ("UNKNOWN", "good", "it does not answer"),
        ("UNKNOWN", "", "there is no such file"),
        ("OVERDUE", "old", ""),
        ("never ran", "new", ""),
        ("running", "busy", "dumping"),
        ("ok", "good", ""),
        ("no task", "", "no task of this host is present (env_sync_tasks)"),
    ]
    assert {row["next_run"] for row in rows if row["host"] == "db-1"} == {"2026-01-05 03:07 UTC"}
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


def test_bytes_have_units_for_people_and_none_for_programs() -> None:
    rows = [{"task": "a", "stored_bytes": "35757056"}, {"task": "b", "stored_bytes": ""}]
    assert table(rows) == "TASK  STORED\na     34.1 MiB\nb     -"
    assert table(rows, "csv") == "task,stored_bytes\na,35757056\nb,"


@pytest.mark.parametrize(
    ("names", "playbook", "said"),
    [
        (["env_sync_slect"], "pull", ["there is no variable env_sync_slect (did you mean env_sync_select?)"]),
        (["env_sync_tasks", "env_sync_require_sanitized"], "", ["env_sync_require_sanitised?"]),
        (["env_sync_environment_variables"], "", ["(did you mean env_sync_variables?)"]),
        (["env_sync_xyzzy"], "report", ["there is no variable env_sync_xyzzy"]),
        (["env_sync_select", "env_sync_hosts"], "deploy", ["env_sync_select chooses nothing in deploy"]),
        (["env_sync_select", "env_sync_report_file", "env_sync_lock"], "plan", []),
    ],
)
def test_variables_that_mean_nothing_are_named(names: list[str], playbook: str, said: list[str]) -> None:
    found = variable_faults(names, playbook)
    assert len(found) == len(said)
    for fault, text in zip(found, said):
        assert text in fault


def test_every_variable_that_is_used_is_known_and_every_known_one_is_used() -> None:
    root = Path(__file__).resolve().parents[3]
    files = [*root.glob("playbooks/**/*.yml"), *root.glob("roles/env_sync/[dmtv]*/*.yml"), *root.glob("roles/**/*.j2")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files if path.name != "argument_specs.yml")
    # what is no variable: modules, plugins, and names of files and checks
    others = {"env_sync_findings", "env_sync_scripts", "env_sync_no_result"}
    names = set(re.findall(r"(?<![\w./])env_sync_[a-z0-9_]+", text)) - others
    assert names - variables.known() == set()
    assert variables.known() - names == set()
    assert set(variables.PLAYBOOKS) == {path.stem for path in root.glob("playbooks/*.yml")}


def test_a_declared_task_is_a_modules_options_without_what_would_do_nothing() -> None:
    task = {
        "ensure": "present",
        "hour": 1,
        "minute": 2,
        "weekday": "mon",
        "freshness": 9,
        "become_user": "root",
        "action": "pull",
        "excluded_tables": "a",
        "transformation_sql_filename": "x.sql",
        "colour": "red",
    }
    assert task_options({"t": task}, "t") == {
        "action": "pull",
        "transformation_sql_filename": ["x.sql"],
        "colour": "red",
        "name": "t",
    }
    with pytest.raises(AnsibleFilterError, match="there is no task u"):
        task_options({"t": task}, "u")


def test_faults_are_those_that_keep_a_task_from_being_deployed() -> None:
    good = {"action": "push", "dbms": "mysql", "storagebackend": "s3", "url": "u", "hour": 1, "minute": 5}
    tasks = {
        "fine": {
            **good,
            "database": "a",
            "become_user": "only-there",
            "transformation_sql_filename": "/x.sql",
        },
        "late": {**good, "database": "b", "hour": 25},
        "day": {**good, "database": "c", "day": 32},
        "never": {**good, "database": "d", "day": 30, "month": 2},
        "open": {**good, "database": "e", "login_password": "s3cret"},
        "misspelt": {**good, "database": "f", "lock_timeuot": 1, "lock_timeout": "1m"},
        "again": {**good, "database": "g"},
        "again: and": {**good, "database": "g"},
        "off": {**good, "database": "h", "hour": 25, "ensure": "absent"},
        "text": "push",
    }
    found = task_faults(tasks)
    assert found.pop("never").startswith("day '30' does not exist")
    assert found.pop("again: and").endswith("is the same push of g as again")
    assert found == {
        "late": "hour '25' is not within 0 to 23",
        "day": "day '32' is not within 1 to 31",
        "open": "login_password is a secret: put it into env_sync_secret_environment",
        "misspelt": "unknown key lock_timeuot (did you mean lock_timeout?); "
        "lock_timeout must be a whole number, not '1m'",
        "text": "is not a mapping of keys",
    }
    assert set(task_faults(tasks, "[dl]*")) == {"late", "day"}
    untimed = {"idle": {**{key: good[key] for key in ("action", "dbms", "storagebackend", "url")}, "database": "i"}}
    assert task_faults(untimed) == {"idle": "missing key hour; missing key minute"}
    assert task_faults({**untimed, "text": "x", "late": tasks["late"]}, scheduled=False).keys() == {"text", "late"}
    host = {"host": "db", "tasks": tasks, "chosen": ["late"], "faults": found, "results": [], "unreachable": "gone"}
    assert [(row["task"], row["result"], row["what"]) for row in plan_rows([host])] == [
        ("late", "FAILS", found["late"])
    ]


@pytest.mark.parametrize("said", ["", "Task failed: ", "Task failed: Failed to connect to the host via ssh: "])
def test_a_row_says_what_ssh_said_and_not_who_asked_it(said: str) -> None:
    why = "ssh: connect to host 192.0.2.3 port 22: No route to host"
    host = {"host": "db", "tasks": {"a": {}}, "chosen": ["a"], "results": [], "unreachable": f"{said}{why}"}
    assert [row["what"] for row in plan_rows([host])] == [f"the host does not answer: {why}"]
    asked = {"host": "db", "tasks": [], "statuses": [], "error": f"the host does not answer: {said}{why}"}
    assert [row["message"] for row in report_rows([asked], NOON)] == [f"the host does not answer: {why}"]


def test_a_table_of_nothing_is_empty_and_a_style_has_to_be_known() -> None:
    assert table([]) == ""
    with pytest.raises(AnsibleFilterError, match="no style html"):
        table([{"a": 1}], "html")
