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
      - One mapping for each host, with C(host), C(tasks) (title to keys), C(chosen) (titles), C(faults) (why tasks
        can't be deployed, by title), C(results) (what the modules returned, with the title as C(item)), C(error) (why
        the host's tasks can't be read; empty otherwise), C(clock) (the fact C(date_time) of the host), and C(selected)
        (whether tasks were chosen by their titles; a host without any has no row then).
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
      description: When the task runs next, by the host's clock; empty for one without a schedule.
      type: str
    host:
      description: The host.
      type: str
    task:
      description: The task's title; empty where the row is about the host.
      type: str
    result:
      description:
        - V(ok), or V(nothing to do).
        - V(waits), a pull whose first point is still to be pushed by another of the tasks.
        - V(no task), the host has none.
        - V(FAILS), or V(UNREACHABLE).
      type: str
    what:
      description: The steps, or why there are none.
      type: str
"""

import os

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import Timing
from ansible_collections.govuk.env_sync.plugins.plugin_utils.next_run import NEVER, next_run
from ansible_collections.govuk.env_sync.plugins.plugin_utils.said import reason

#: the keys that say what a point is of, and where
PLACE = ("storagebackend", "url", "path", "database")


def plan_rows(hosts):
    """Return the rows: one for each chosen task of each host, and one for a host that has none."""
    pushes = {}
    for host in hosts:
        for title, values in host["tasks"].items():
            if isinstance(values, dict) and values.get("action") == "push":
                when = next_run(_schedule(values), host.get("clock") or {})[1]
                if when:
                    pushes.setdefault(_place(values), f"{title} on {host['host']} makes the first one ({when})")
    found = []
    for host in hosts:
        results = {result.get("item"): result for result in host["results"]}
        for title in host["chosen"]:
            values = host["tasks"][title]
            order, at = next_run(_schedule(values), host.get("clock") or {})
            result, what = _outcome(results.get(title), host.get("unreachable"))
            if (results.get(title) or {}).get("no_point") and _place(values) in pushes:
                result, what = "waits", f"there is no point yet: {pushes[_place(values)]}"
            if title in host.get("faults", {}):
                result, what = "FAILS", host["faults"][title]
            found.append((order, _row(at, host["host"], title, result, what)))
        if not host["chosen"] and (host.get("error") or not host.get("selected")):
            result = "FAILS" if host.get("error") else "no task"
            what = host.get("error") or "no task of this host is present (env_sync_tasks)"
            found.append((NEVER, _row("", host["host"], "", result, what)))
    return [row for _order, row in sorted(found, key=lambda item: (item[0], item[1]["host"], item[1]["task"]))]


def _row(at, host, task, result, what):
    return {"at": at, "host": host, "task": task, "result": result, "what": what}


def _outcome(result, unreachable):
    if result is None or result.get("unreachable"):
        said = reason(unreachable or (result or {}).get("msg", ""))
        return "UNREACHABLE", f"the host does not answer: {said}" if said else "the host does not answer"
    if result.get("skipped"):
        return "FAILS", "no pull lands on this host (env_sync_protected)"
    if result.get("reason"):
        return "nothing to do", result["reason"]
    if "steps" not in result:
        # Where not even the module was run, msg only says to look into the other two.
        said = (result.get(key) for key in ("module_stderr", "module_stdout", "msg"))
        return "FAILS", reason(next(filter(None, said), ""))
    return "ok", "; ".join([*result["steps"], *(f"warning: {text}" for text in result.get("warnings", ()))])


def _place(values):
    """Return what two tasks have in common whose points are the same."""
    place = [str(values.get(key) or "") for key in PLACE]
    place[2] = place[2].strip("/")
    if place[0] == "directory":
        place[1:3] = [os.path.normpath(os.path.join(place[1], place[2])), ""]
    return tuple(place)


def _schedule(values):
    try:
        return Timing.parse(values).schedule if {"hour", "minute"} <= set(values) else None
    except ValueError:
        return None


class FilterModule:
    """The collection's filters."""

    def filters(self):
        return {"plan_rows": plan_rows}
