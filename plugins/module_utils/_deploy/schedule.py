# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When tasks run, what runs them, and what a reboot waits for: cron or systemd, and the reboot lock."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator

from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.declare import MANAGED, WRAPPER, Declaration
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.host import Entry
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.systemd import UNITS
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import Declared

#: where programs are looked for, whatever runs the tasks
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def reboot_checks(wanted: Declaration) -> Iterator[Entry]:
    """What asks whether a task runs, before a reboot: where something is there that looks at it."""
    if wanted.given["lock"] == "none":
        return
    locks = wanted.given["lock_directory"]
    check = f"/usr/local/bin/{WRAPPER} --check {shlex.quote(locks)}"
    folder = os.path.join(os.path.dirname(locks), "check")
    if os.path.isdir(folder):
        yield Entry(os.path.join(folder, f"00_{wanted.name}"), 0o755, f"#!/bin/sh\n{MANAGED}exec {check}\n".encode())
    if os.path.exists("/usr/bin/unattended-upgrade"):
        # An upgrade restarts servers, and may reboot at its end: it waits for its next turn (systemd.service(5)).
        folder = f"{UNITS}/apt-daily-upgrade.service.d"
        yield Entry(folder, 0o755)
        yield Entry(f"{folder}/{wanted.name}.conf", 0o644, f"{MANAGED}[Service]\nExecCondition={check}\n".encode())


def lock_directory(wanted: Declaration) -> Iterator[Entry]:
    """The directory of the reboot locks, open to the tasks' group."""
    if wanted.given["lock"] != "none":
        yield Entry(wanted.given["lock_directory"], 0o775, group=wanted.group)


def run_task(wanted: Declaration, item: Declared) -> list[str]:
    """Return the argument vector of a task's run: the host's command, which reads environment and config file."""
    return [wanted.command, "--env-dir", f"{wanted.conf_dir}/env.d", "-f", wanted.config_file(item)]


def locked(wanted: Declaration, item: Declared) -> list[str]:
    """Return the argument vector that cron or systemd runs for a task: its run, as its user, under the reboot lock."""
    lock_name = wanted.name if wanted.given["lock_scope"] == "host" else f"{wanted.name}_{item.title}"
    lock = os.path.join(wanted.given["lock_directory"], lock_name)
    argv = []
    if wanted.given["lock"] == "setlock":
        argv = ["/usr/bin/setlock", lock]
    elif wanted.given["lock"] == WRAPPER:
        argv = [f"/usr/local/bin/{WRAPPER}", lock]
    other = wanted.other_user(item)
    if other:
        # sudo lets no environment through: the command itself reads it, with the group's right to.
        return [*argv, "/usr/bin/sudo", "-n", "-u", other, "-g", wanted.group, *run_task(wanted, item)]
    if wanted.given["lock"] == "setlock":
        argv += ["/usr/bin/envdir", f"{wanted.conf_dir}/env.d"]
        return [*argv, f"{wanted.command}.sh", "-f", wanted.config_file(item)]
    return [*argv, *run_task(wanted, item)]


def jobs(wanted: Declaration) -> Iterator[Entry]:
    """What runs each task when it is due: a crontab, or a service and a timer for each."""
    if wanted.given["scheduler"] == "systemd":
        for item in wanted.scheduled:
            yield Entry(f"{UNITS}/{_unit(wanted, item)}.service", 0o644, _service(wanted, item).encode())
            timer = f"{UNITS}/{_unit(wanted, item)}.timer"
            yield Entry(timer, 0o644, _timer(item).encode())
            # What `systemctl enable` would make.
            yield Entry(f"{UNITS}/timers.target.wants/{_unit(wanted, item)}.timer", 0o777, target=timer)
    elif wanted.scheduled:
        yield Entry(f"/etc/cron.d/{wanted.drop_in}", 0o644, _crontab(wanted).encode())


def timers(wanted: Declaration) -> list[str]:
    """Return the timers that have to run when all is deployed; none with cron, or where the schedule is not."""
    if wanted.given["scheduler"] != "systemd" or "schedule" not in wanted.given["parts"]:
        return []
    return [f"{_unit(wanted, item)}.timer" for item in wanted.scheduled]


def _crontab(wanted: Declaration) -> str:
    lines = [MANAGED, "SHELL=/bin/sh\n", f"PATH={_PATH}\n"]
    for item in wanted.scheduled:
        argv = ["/usr/bin/ionice", "-c", "2", "-n", "6", *locked(wanted, item)]
        command = shlex.join(argv).replace("%", "\\%")
        lines.append(f"# {item.title}\n{item.timing.schedule.crontab()} {wanted.user} {command}\n")
    return "".join(lines)


def _unit(wanted: Declaration, item: Declared) -> str:
    # The one character of a title that a unit's name can't have, as systemd-escape(1) writes it.
    return f"{wanted.name}-{item.title}".replace("+", "\\x2b")


def _service(wanted: Declaration, item: Declared) -> str:
    quoted = " ".join(
        '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'
        for word in locked(wanted, item)
    )
    return (
        f"{MANAGED}[Unit]\nDescription=Environment sync {item.title}\nAfter=network-online.target\n"
        "Wants=network-online.target\n\n"
        f"[Service]\nType=oneshot\nUser={wanted.user}\nGroup={wanted.group}\n"
        f"Environment=PATH={_PATH}\n"
        f"IOSchedulingClass=best-effort\nIOSchedulingPriority=6\nExecStart={quoted}\n"
        # To be stopped is the command's own affair: it ends what it started, and cleans up.
        "KillMode=mixed\n"
    )


def _timer(item: Declared) -> str:
    calendars = "".join(f"OnCalendar={calendar}\n" for calendar in item.timing.schedule.calendars())
    return (
        f"{MANAGED}[Unit]\nDescription=When environment sync {item.title} runs\n\n"
        f"[Timer]\n{calendars}AccuracySec=1s\nPersistent=false\n\n"
        "[Install]\nWantedBy=timers.target\n"
    )


def warnings(user: str, name: str) -> list[str]:
    """Return what an operator should know of a host that has these tasks from another tool."""
    try:
        done = subprocess.run(
            ["crontab", "-l", "-u", user], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return []
    lines = [line for line in done.stdout.splitlines() if f"/usr/local/bin/{name}" in line and line.lstrip()[0] != "#"]
    if not lines:
        return []
    return [
        f"the crontab of {user} runs {name} too ({len(lines)} lines, as Puppet wrote them): these tasks run twice "
        f"until the lines are removed (crontab -e -u {user})"
    ]
