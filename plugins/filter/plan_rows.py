# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_rows
short_description: What tasks would do, as rows of a table
version_added: 0.2.0
author:
  - govuk.env_sync contributors (@alphagov)
description:
  - Puts together what the modules say in check mode of the tasks of several hosts. The playbook
    C(govuk.env_sync.plan) uses it.
options:
  _input:
    description:
      - One mapping for each host, with C(host), C(tasks) (title to keys), C(chosen) (titles), and C(results) (what the
        modules returned, with the title as C(item)).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what would be done
  ansible.builtin.debug:
    msg: "{{ planned | govuk.env_sync.plan_rows | govuk.env_sync.table | split('\n') }}"
"""

RETURN = r"""
_value:
  description: The rows, in the order in which the tasks run.
  type: list
  elements: dict
  contains:
    at:
      description: When the task runs first after midnight; empty for one without a schedule.
      type: str
    host:
      description: The host.
      type: str
    task:
      description: The task's title.
      type: str
    result:
      description: V(ok), V(nothing to do), V(FAILS) or V(UNREACHABLE).
      type: str
    what:
      description: The steps, or why there are none.
      type: str
"""

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.inventory import Timing


def plan_rows(hosts):
    """Return one row for each chosen task of each host."""
    rows = []
    for host in hosts:
        results = {result.get("item"): result for result in host["results"]}
        for title in host["chosen"]:
            result, what = _outcome(results.get(title))
            rows.append(
                {
                    "at": _first(host["tasks"][title]),
                    "host": host["host"],
                    "task": title,
                    "result": result,
                    "what": what,
                }
            )
    return sorted(rows, key=lambda row: (row["at"] or "99", row["host"], row["task"]))


def _outcome(result):
    if result is None or result.get("unreachable"):
        return "UNREACHABLE", "the host does not answer"
    if result.get("skipped"):
        return "FAILS", "no pull lands on this host (env_sync_protected)"
    if result.get("reason"):
        return "nothing to do", result["reason"]
    if "steps" not in result:
        return "FAILS", result.get("msg", "")
    return "ok", "; ".join([*result["steps"], *(f"warning: {text}" for text in result.get("warnings", ()))])


def _first(values):
    if not {"hour", "minute"} <= set(values):
        return ""
    try:
        minute = Timing.parse(values).schedule.minutes()[0]
    except ValueError:
        return ""
    return f"{minute // 60:02}:{minute % 60:02}"


class FilterModule:
    """The collection's filters."""

    def filters(self):
        return {"plan_rows": plan_rows}
