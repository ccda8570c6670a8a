# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: report_rows
short_description: How tasks stand, as rows of a table
version_added: 0.2.0
author:
  - govuk.env_sync contributors (@alphagov)
description:
  - Puts together what M(govuk.env_sync.env_sync_info) says of the tasks of several hosts. The playbook
    C(govuk.env_sync.report) uses it.
positional: now
options:
  _input:
    description:
      - One mapping for each host, with C(host), C(tasks) (as P(govuk.env_sync.declared_tasks#filter) returns them),
        C(statuses) (as the module returns them), C(error) (why there are none; empty otherwise), C(clock) (the fact
        C(date_time) of the host), and C(selected) (whether tasks were chosen by their titles; a host without any is no
        row then).
    type: list
    elements: dict
    required: true
  now:
    description: The present, in seconds since the epoch.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Show how the tasks stand
  ansible.builtin.debug:
    msg: "{{ asked | govuk.env_sync.report_rows(now().timestamp()) | govuk.env_sync.table | split('\n') }}"
"""

RETURN = r"""
_value:
  description: The rows, what needs somebody's attention first.
  type: list
  elements: dict
  contains:
    state:
      description:
        - V(FAILED), the last run did. V(UNKNOWN), the host does not say. V(OVERDUE), the last success is too long ago.
        - V(never ran), V(running), V(ok), or V(no task), the host has none.
      type: str
    host:
      description: The host.
      type: str
    task:
      description: The task's title.
      type: str
    last_success:
      description: When the last run ended that did its job, in UTC.
      type: str
    next_run:
      description: When the task runs next, by the host's clock.
      type: str
    point:
      description: The point that it made or read.
      type: str
    took:
      description: How long that run took, in seconds.
      type: str
    stored_bytes:
      description: The size of the point in its store.
      type: str
    message:
      description: How the last run ended, or how far it is.
      type: str
"""

import datetime

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.schedule import Schedule
from ansible_collections.govuk.env_sync.plugins.plugin_utils.next_run import next_run
from ansible_collections.govuk.env_sync.plugins.plugin_utils.said import reason

FAILED = "FAILED"
UNKNOWN = "UNKNOWN"
OVERDUE = "OVERDUE"
NEVER = "never ran"
RUNNING = "running"
OK = "ok"
NO_TASK = "no task"
ORDER = (FAILED, UNKNOWN, OVERDUE, NEVER, RUNNING, OK, NO_TASK)


def report_rows(hosts, now):
    """Return one row for each scheduled task of each host, and one for a host that has none."""
    rows = []
    for host in hosts:
        statuses = {status["title"]: status for status in host["statuses"]}
        for task in host["tasks"]:
            status = statuses.get(task["title"], {})
            last = status.get("last_success") or {}
            rows.append(
                _row(
                    UNKNOWN if host["error"] else _state(status, last, task["freshness"], now),
                    host["host"],
                    task["title"],
                    last_success=last.get("finished", ""),
                    next_run=next_run(_schedule(task), host.get("clock") or {})[1],
                    point=last.get("point", ""),
                    took=f"{last['seconds']:.1f} s" if last else "",
                    stored_bytes=str(last.get("stored_bytes") or ""),
                    message=reason(host["error"]) or status.get("message") or status.get("phase", ""),
                )
            )
        if not host["tasks"] and (host["error"] or not host.get("selected")):
            message = reason(host["error"]) or "no task of this host is present (env_sync_tasks)"
            rows.append(_row(UNKNOWN if host["error"] else NO_TASK, host["host"], "", message=message))
    return sorted(rows, key=lambda row: (ORDER.index(row["state"]), row["host"], row["task"]))


def _row(state, host, task, **more):
    columns = ("last_success", "next_run", "point", "took", "stored_bytes", "message")
    return {"state": state, "host": host, "task": task, **{column: more.get(column, "") for column in columns}}


def _schedule(task):
    """Return the schedule that ``declared_tasks`` has as the fields of a crontab."""
    return Schedule.of_crontab(task["schedule"]) if task.get("schedule") else None


def _state(status, last, freshness, now):
    if not status:
        return NEVER
    if status["state"] in ("failed", "running"):
        return FAILED if status["state"] == "failed" else RUNNING
    finished = datetime.datetime.strptime(last["finished"], "%Y-%m-%dT%H:%M:%SZ") if last else None
    if finished is None or finished.replace(tzinfo=datetime.timezone.utc).timestamp() < now - freshness:
        return OVERDUE
    return OK


class FilterModule:
    """The collection's filters."""

    def filters(self):
        return {"report_rows": report_rows}
