# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the declared tasks mean for a host: which files it gets, and what is in them."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pkgutil
import pwd
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.govuk.env_sync.plugins.module_utils import _engine
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.host import Entry, recorded
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.systemd import UNITS
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import monitoring
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import start as engine_start
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import main as engine_command
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import reboot_lock as engine_reboot_lock
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.ownership import names_in
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.monitoring import prometheus
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import policy
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.config import format_config
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import (
    TITLE,
    Declared,
    Faults,
    declared,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.policy import Policy
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.version import VERSION

#: imported so that they are here: what is deployed is what Ansible brought along, and it brings what is imported
DEPLOYED = (engine_start, engine_command, engine_reboot_lock)

MANAGED = "# Managed by govuk.env_sync: changes made here will be lost.\n"

_WRAPPER = "with_reboot_lock"

#: where programs are looked for, whatever runs the tasks
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: the name of an environment variable, and of a file in an envdir
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)

#: the oldest Python that the engine runs on
_PYTHON = (3, 9)


def given_as_mapping(text: str) -> bool:
    """Say whether a variable that is a text now was given as the mapping that it was before version 0.4.0."""
    return text.lstrip().startswith("{")


@dataclass(frozen=True)
class Part:
    """What can be deployed by itself: entries, the path of their record, files that go though they are in no record."""

    entries: list[Entry]
    record: str
    others: list[str]


class Deployment:
    """The entries wanted for a module's parameters.

    :raises EnvSyncError: what is declared has faults, all of which it names (:class:`Faults`).
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._given = parameters
        self.name: str = parameters["name"]
        if not TITLE.match(self.name):
            raise EnvSyncError(
                "checking name", f"{self.name!r} can't be the name of a command", "Use letters, digits and _."
            )
        self.conf_dir = f"/etc/{self.name}"
        self.log_dir = f"/var/log/{self.name}"
        self.state_dir = f"/var/lib/{self.name}"
        self.lib_dir = f"/usr/local/lib/{self.name}"
        self._absent = parameters["state"] == "absent"
        self._scripts = {str(name): str(text) for name, text in parameters["transformation_sql"].items()}
        self._declared: list[Declared] = []
        if not self._absent:
            self._check()

    def _policy(self) -> Policy:
        """Return the host's policy that is declared.

        :raises ValueError: names what is wrong with it, as a role's variable.
        """
        given = self._given
        text = {
            "environment": given["environment"],
            "protected": _as_text(given["protected"]),
            "require_sanitised": _as_text(given["require_sanitised"]),
            "sources": ",".join(str(name) for name in given["sources"]),
            "max_point_age": _as_text(given["max_point_age"]),
        }
        return Policy.parse({key: value for key, value in text.items() if value}, policy.PATH)

    def _check_policy(self) -> list[str]:
        """Return what is wrong with the host's policy, and which tasks it would refuse."""
        try:
            wanted = self._policy()
        except ValueError as error:
            faults = [f"env_sync_{fault}" for fault in str(error).split("; ")]
            if given_as_mapping(self._given["environment"]):
                faults.append(
                    "env_sync_environment is the environment's name; what it was before is env_sync_variables"
                )
            return faults
        faults = []
        for item in self._declared:
            try:
                wanted.apply(item.task)
            except EnvSyncError as error:
                faults.append(f"{item.title}: {error.why}")
        return faults

    def _check(self) -> None:
        """Read the declared tasks, and look for faults in all that is given."""
        given = self._given
        faults: list[str] = []
        try:
            self._declared = declared(
                given["tasks"], given["s3_sync_tasks"], self.conf_dir, self._scripts, given["protected"]
            )
        except Faults as error:
            faults += error.faults
        for item in self._declared:
            if not self._may_use(item):
                user = item.become_user or given["user"]
                faults.append(f"{item.title}: temppath: {item.task.temppath} is there, and {user} can't write to it")
        faults += [f"monitoring: unknown key {key}" for key in sorted(set(given["monitoring"]) - set(monitoring.KEYS))]
        faults += [f"env_sync_{fault}" for fault in monitoring.faults(given["monitoring"])]
        if given["monitoring"].get("monitor") == "icinga2" and not self._has_variable("ICINGA2_PASSWORD"):
            faults.append("env_sync_secret_environment: ICINGA2_PASSWORD is missing, and monitor icinga2 needs it")
        for role_variable, option in (
            ("env_sync_variables", "environment_variables"),
            ("env_sync_secret_environment", "secret_environment_variables"),
        ):
            wrong = sorted(str(name) for name in given[option] if not _VARIABLE.match(str(name)))
            faults += [f"{role_variable}: {name!r} can't be the name of a variable" for name in wrong]
        wrong = sorted(name for name in self._scripts if not name or "/" in name or name.startswith("."))
        faults += [f"env_sync_transformation_sql_files: {name!r} can't be the name of a file there" for name in wrong]
        if given["python"]:
            faults += _python_faults(given["python"])
        faults += self._check_policy()
        if faults:
            raise Faults("checking what is declared", faults, "Nothing was changed. Correct these.")

    def _has_variable(self, name: str) -> bool:
        """Say whether the tasks' environment has a variable, declared or put there by somebody else."""
        declared_ones = {**self._given["environment_variables"], **self._given["secret_environment_variables"]}
        return name in declared_ones or os.path.exists(os.path.join(self.conf_dir, "env.d", name))

    def _temppaths(self) -> Iterator[Entry]:
        """The tasks' temporary folders, each once: tasks may share one, and it stays while one of them does."""
        users: dict[str, set[str]] = {}
        for item in self._declared:
            if item.task.temppath:
                users.setdefault(os.path.normpath(item.task.temppath), set()).add(self._other_user(item))
        for path, others in sorted(users.items()):
            owner = self._given["user"] if len(others) > 1 or "" in others else min(others)
            # Sticky where another user is in it: nobody but its owner can then replace what a run makes there.
            mode = 0o775 if others == {""} else 0o1775
            yield Entry(path, mode, owner=owner, group=self._given["group"], if_missing=True)

    def _may_use(self, item: Declared) -> bool:
        """Say whether a task can use its temppath, where that is somebody else's; a missing one is made for it."""
        path = os.path.normpath(item.task.temppath)
        if not item.task.temppath or not os.path.isdir(path) or path in recorded(self._record("configure")):
            return True
        try:
            user = pwd.getpwnam(item.become_user or self._given["user"])
            groups = os.getgrouplist(user.pw_name, user.pw_gid)
        except KeyError:
            return True  # who does not exist yet is found out about when the task runs
        found = os.stat(path)
        if user.pw_uid in (0, found.st_uid):
            return user.pw_uid == 0 or bool(found.st_mode & stat.S_IWUSR)
        return bool(found.st_mode & (stat.S_IWGRP if found.st_gid in groups else stat.S_IWOTH))

    def readable(self) -> None:
        """Make sure that a user who is there is in the group that may read what is deployed.

        :raises EnvSyncError: says in which groups the user is.
        """
        user, group = self._given["user"], self._given["group"]
        try:
            found = pwd.getpwnam(user)
        except KeyError:
            return  # the role makes it, with that group
        names = {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}
        groups = [names.get(number, str(number)) for number in os.getgrouplist(user, found.pw_gid)]
        if not self._absent and found.pw_uid != 0 and group not in groups:
            why = f"the user {user} is there, and not in the group {group}, which alone may read the tasks"
            hint = f"Set env_sync_group to a group of {user} ({', '.join(groups)}), or add {user} to {group} yourself."
            raise EnvSyncError(f"deploying {self.name}", why, f"Nothing was changed. {hint}")

    def ready(self) -> None:
        """Make sure that there is what has to be there before.

        :raises EnvSyncError: names all that is missing.
        """
        if self._absent:
            return
        python, user, group = (self._given[key] for key in ("python", "user", "group"))
        missing = []
        if python and not os.path.exists(python):
            missing.append(f"there is no {python}")
        for kind, name, find in (("user", user, pwd.getpwnam), ("group", group, grp.getgrnam)):
            try:
                find(name)
            except KeyError:
                missing.append(f"there is no {kind} {name}")
        if missing:
            raise EnvSyncError(f"deploying {self.name}", "; ".join(missing), "The tag install makes these.")

    def facts(self) -> dict[str, Any]:
        """Return what else the module returns."""
        return {
            "declared": [
                {"title": item.title, "ensure": item.timing.ensure, "freshness": item.timing.freshness}
                for item in self._declared
            ],
            "timers": self.timers,
        }

    @property
    def timers(self) -> list[str]:
        """The timers that have to run when this is deployed."""
        if self._absent or not self._systemd or "schedule" not in self._given["parts"]:
            return []
        return [f"{self._unit(item)}.timer" for item in self._scheduled()]

    def parts(self) -> Iterator[Part]:
        """Yield each part that is asked for; they go in the opposite order."""
        makers = {
            "install": self._install,
            "configure": self._configure,
            "monitor": self._monitor,
            "schedule": self._schedule,
        }
        names = [name for name in makers if name in self._given["parts"]]
        for name in reversed(names) if self._absent else names:
            entries = [] if self._absent else list(makers[name]())
            yield Part(entries, self._record(name), self._others() if name == "configure" else [])

    def _others(self) -> list[str]:
        if self._absent:
            kept = (f"{self.state_dir}/journal", f"{self.state_dir}/status", f"/run/{self.name}")
            return [path for folder in kept for path in _inside(folder)]
        # As the original does: a config file that nothing declares was Puppet's, or a task's that is gone.
        return [path for path in _inside(self.conf_dir) if path.endswith(".cfg") and path != policy.PATH]

    def _record(self, part: str) -> str:
        return os.path.join(self.lib_dir, f"deployed-{part}.json")

    # -- install -----------------------------------------------------------------------------------------------------

    def _install(self) -> Iterator[Entry]:
        sources = engine_sources()
        digest = hashlib.sha256()
        for path, content in sources:
            digest.update(path.encode() + b"\0" + hashlib.sha256(content).digest())
        release = f"{VERSION}-{digest.hexdigest()[:12]}"
        base = os.path.join(self.lib_dir, release)
        yield Entry(self.lib_dir, 0o755)
        yield Entry(base, 0o755, bulk=True)
        folders = sorted({os.path.dirname(path) for path, _content in sources})
        for folder in folders:
            yield Entry(os.path.join(base, folder), 0o755, bulk=True)
        for path, content in sources:
            yield Entry(os.path.join(base, path), 0o644, content, bulk=True)
        # The link last: a task that starts meanwhile finds the old release or the new one, whole.
        current = os.path.join(self.lib_dir, "current")
        yield Entry(current, 0o777, target=release)
        command = f"/usr/local/bin/{self.name}"
        yield Entry(command, 0o755, self._launcher("command").encode())
        yield Entry(f"{command}.sh", 0o777, target=self.name)
        yield Entry(f"/usr/local/bin/{_WRAPPER}", 0o755, self._launcher("reboot_lock").encode())
        if self._given["lock"] != "none":
            yield from self._reboot_checks()
        if self._given["lock"] == _WRAPPER and self._given["user"] != "root":
            yield from self._inhibitor_rights()

    def _reboot_checks(self) -> Iterator[Entry]:
        """What asks whether a task runs, before a reboot: where something is there that looks at it."""
        check = f"/usr/local/bin/{_WRAPPER} --check {shlex.quote(self._given['lock_directory'])}"
        folder = os.path.join(os.path.dirname(self._given["lock_directory"]), "check")
        if os.path.isdir(folder):
            yield Entry(os.path.join(folder, f"00_{self.name}"), 0o755, f"#!/bin/sh\n{MANAGED}exec {check}\n".encode())
        if os.path.exists("/usr/bin/unattended-upgrade"):
            # An upgrade restarts servers, and may reboot at its end: it waits for its next turn (systemd.service(5)).
            folder = f"{UNITS}/apt-daily-upgrade.service.d"
            yield Entry(folder, 0o755)
            yield Entry(f"{folder}/{self.name}.conf", 0o644, f"{MANAGED}[Service]\nExecCondition={check}\n".encode())

    def _inhibitor_rights(self) -> Iterator[Entry]:
        """What lets the wrapper inhibit a shutdown: without a session, only polkit's rules give a user that right."""
        user, action = self._given["user"], "org.freedesktop.login1.inhibit-block-shutdown"
        if os.path.isdir("/etc/polkit-1/rules.d"):
            text = (
                f"{MANAGED.replace('#', '//', 1)}polkit.addRule(function (action, subject) {{\n"
                f"    if (action.id == {json.dumps(action)} && subject.user == {json.dumps(user)}) {{\n"
                "        return polkit.Result.YES;\n    }\n});\n"
            )
            yield Entry(f"/etc/polkit-1/rules.d/50-{self.name}.rules", 0o644, text.encode())
        if os.path.isdir("/etc/polkit-1/localauthority/50-local.d"):
            # What polkit 0.105 reads, which Debian 11 and Ubuntu 22.04 have (pklocalauthority(8)).
            text = f"{MANAGED}[{self.name}]\nIdentity=unix-user:{user}\nAction={action}\nResultAny=yes\n"
            yield Entry(f"/etc/polkit-1/localauthority/50-local.d/{self.name}.pkla", 0o644, text.encode())

    def _launcher(self, program: str) -> str:
        python = shlex.quote(self._given["python"] or sys.executable)
        start = os.path.join(self.lib_dir, "current", "_engine", "start.py")
        return (
            f"#!/bin/sh\n{MANAGED}ENV_SYNC_NAME={self.name}\nexport ENV_SYNC_NAME\n"
            f'exec {python} -I -B {start} {program} "$@"\n'
        )

    # -- configure ---------------------------------------------------------------------------------------------------

    def _configure(self) -> Iterator[Entry]:
        user, group = self._given["user"], self._given["group"]
        # First of all: nothing that follows may be run before the host says what is allowed.
        yield Entry(os.path.dirname(policy.PATH), 0o755, if_missing=self.conf_dir != os.path.dirname(policy.PATH))
        yield Entry(policy.PATH, 0o644, (MANAGED + format_config(self._policy().to_config())).encode())
        if self.conf_dir != os.path.dirname(policy.PATH):
            yield Entry(self.conf_dir, 0o755)
        yield Entry(os.path.join(self.conf_dir, "env.d"), 0o750, group=group)
        yield Entry(os.path.join(self.conf_dir, "transformation_sql"), 0o755)
        # Open to the group, which a task that runs as another user has too.
        yield Entry(self.log_dir, 0o775, owner=user, group=group)
        log = os.path.join(self.log_dir, f"{self.name}.log")
        yield Entry(log, 0o660, b"", owner=user, group=group, seed=True, stays=True)
        for folder in (self.state_dir, f"{self.state_dir}/journal", f"{self.state_dir}/status"):
            yield Entry(folder, 0o775, owner=user, group=group)
        # In a folder of root's, where nobody else could put another one; nobody else may enter it, and hold a lock.
        yield Entry(f"/run/{self.name}", 0o2770, owner=user, group=group)
        boot = f"{MANAGED}d /run/{self.name} 2770 {user} {group} -\n"  # tmpfiles.d(5): /run is empty after each boot
        yield Entry(f"/etc/tmpfiles.d/{self.name}.conf", 0o644, boot.encode())
        for item in self._declared:
            values = {key: _as_text(value) for key, value in item.values.items()}
            text = MANAGED + format_config(values)
            yield Entry(os.path.join(self.conf_dir, f"{item.title}.cfg"), 0o644, text.encode())
        yield from self._temppaths()
        programs = self._programs()
        for name, text in sorted(self._scripts.items()):
            path = os.path.join(self.conf_dir, "transformation_sql", name)
            yield Entry(path, 0o755 if path in programs else 0o644, text.encode())
        for secret, key in ((False, "environment_variables"), (True, "secret_environment_variables")):
            for name, value in sorted(self._given[key].items()):
                path = os.path.join(self.conf_dir, "env.d", name)
                # A NUL is a line break there (envdir(8)).
                text = _as_text(value).replace("\n", "\0")
                yield Entry(path, 0o640, f"{text}\n".encode(), group=group, secret=secret)
        yield Entry(f"/etc/logrotate.d/{self.name}", 0o644, self._logrotate().encode())

    def _programs(self) -> set[str]:
        """Return the transformation files that are programs, and not SQL: those of file trees."""
        trees = [item.task for item in self._declared if item.task.dbms == "files"]
        return {path for task in trees for path in (*task.transformation_sql, *task.pre_dump_transformation_sql)}

    def _logrotate(self) -> str:
        user, group = self._given["user"], self._given["group"]
        return (
            f"{MANAGED}{self.log_dir}/*.log {{\n"
            "    weekly\n    maxsize 100M\n    rotate 8\n    compress\n    delaycompress\n"
            "    missingok\n    notifempty\n"
            f"    create 0660 {user} {group}\n    su {user} {group}\n}}\n"
        )

    # -- monitor -----------------------------------------------------------------------------------------------------

    def _monitor(self) -> Iterator[Entry]:
        if self._given["monitoring"]:
            text = MANAGED + format_config({key: _as_text(value) for key, value in self._given["monitoring"].items()})
            yield Entry(os.path.join(self.conf_dir, "monitoring.conf"), 0o644, text.encode())
        if self._given["monitoring"].get("prometheus_dir"):
            yield from self._figures(str(self._given["monitoring"]["prometheus_dir"]))

    def _figures(self, folder: str) -> Iterator[Entry]:
        """The directory of node exporter's text files: open to the tasks, with a file for each, which goes with it."""
        user, group = self._given["user"], self._given["group"]
        yield Entry(folder, 0o775, owner="", group=group, stays=True)
        freshness = {item.title: float(item.timing.freshness) for item in self._scheduled()}
        yield Entry(os.path.join(folder, f"{self.name}.prom"), 0o644, prometheus.declared(freshness).encode())
        for title in freshness:
            path = os.path.join(folder, prometheus.file_name(title))
            yield Entry(path, 0o644, b"", owner=user, group=group, seed=True)

    # -- schedule ----------------------------------------------------------------------------------------------------

    @property
    def _systemd(self) -> bool:
        return bool(self._given["scheduler"] == "systemd")

    def _scheduled(self) -> list[Declared]:
        return [item for item in self._declared if item.timing.scheduled]

    def _schedule(self) -> Iterator[Entry]:
        if self._given["lock"] != "none":
            yield Entry(self._given["lock_directory"], 0o775, group=self._given["group"])
        if any(map(self._other_user, self._scheduled())):
            path = f"/etc/sudoers.d/{_drop_in(self.name)}"
            yield Entry(path, 0o440, self._sudoers().encode(), validate=("/usr/sbin/visudo", "-cf"))
        if self._systemd:
            for item in self._scheduled():
                yield Entry(f"{UNITS}/{self._unit(item)}.service", 0o644, self._service(item).encode())
                timer = f"{UNITS}/{self._unit(item)}.timer"
                yield Entry(timer, 0o644, self._timer(item).encode())
                # What `systemctl enable` would make.
                yield Entry(f"{UNITS}/timers.target.wants/{self._unit(item)}.timer", 0o777, target=timer)
        elif self._scheduled():
            yield Entry(f"/etc/cron.d/{_drop_in(self.name)}", 0o644, self._crontab().encode())

    def _other_user(self, item: Declared) -> str:
        """Return whom a task runs as, where that is not the user that all tasks run as."""
        return "" if item.become_user == self._given["user"] else item.become_user

    def _run(self, item: Declared) -> list[str]:
        """Return the argument vector that runs a task, without what is around it."""
        conf = f"{self.conf_dir}/{item.title}.cfg"
        return [f"/usr/local/bin/{self.name}", "--env-dir", f"{self.conf_dir}/env.d", "-f", conf]

    def command(self, item: Declared) -> list[str]:
        """Return the argument vector that cron or systemd runs for a task."""
        lock_name = self.name if self._given["lock_scope"] == "host" else f"{self.name}_{item.title}"
        lock = os.path.join(self._given["lock_directory"], lock_name)
        argv = ["/usr/bin/ionice", "-c", "2", "-n", "6"]
        if self._given["lock"] == "setlock":
            argv += ["/usr/bin/setlock", lock]
        elif self._given["lock"] == _WRAPPER:
            argv += [f"/usr/local/bin/{_WRAPPER}", lock]
        other = self._other_user(item)
        if other:
            # sudo lets no environment through: the command itself reads it, with the group's right to.
            return [*argv, "/usr/bin/sudo", "-n", "-u", other, "-g", self._given["group"], *self._run(item)]
        if self._given["lock"] == "setlock":
            argv += ["/usr/bin/envdir", f"{self.conf_dir}/env.d"]
            return [*argv, f"/usr/local/bin/{self.name}.sh", "-f", f"{self.conf_dir}/{item.title}.cfg"]
        return [*argv, *self._run(item)]

    def _sudoers(self) -> str:
        lines = [MANAGED]
        for item in filter(self._other_user, self._scheduled()):
            command = " ".join(re.sub(r"([,:=\\*?\[\]!])", r"\\\1", word) for word in self._run(item))
            whom = f"({item.become_user}:{self._given['group']})"
            lines.append(f"{self._given['user']} ALL={whom} NOPASSWD: {command}\n")
        return "".join(lines)

    def _crontab(self) -> str:
        lines = [MANAGED, "SHELL=/bin/sh\n", f"PATH={_PATH}\n"]
        for item in self._scheduled():
            command = shlex.join(self.command(item)).replace("%", "\\%")
            lines.append(f"# {item.title}\n{item.timing.schedule.crontab()} {self._given['user']} {command}\n")
        return "".join(lines)

    def _unit(self, item: Declared) -> str:
        # The one character of a title that a unit's name can't have, as systemd-escape(1) writes it.
        return f"{self.name}-{item.title}".replace("+", "\\x2b")

    def _service(self, item: Declared) -> str:
        command = self.command(item)[5:]  # systemd sets the priority itself
        quoted = " ".join(
            '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'
            for word in command
        )
        return (
            f"{MANAGED}[Unit]\nDescription=Environment sync {item.title}\nAfter=network-online.target\n"
            "Wants=network-online.target\n\n"
            f"[Service]\nType=oneshot\nUser={self._given['user']}\nGroup={self._given['group']}\n"
            f"Environment=PATH={_PATH}\n"
            f"IOSchedulingClass=best-effort\nIOSchedulingPriority=6\nExecStart={quoted}\n"
            # To be stopped is the command's own affair: it ends what it started, and cleans up.
            "KillMode=mixed\n"
        )

    def _timer(self, item: Declared) -> str:
        calendars = "".join(f"OnCalendar={calendar}\n" for calendar in item.timing.schedule.calendars())
        return (
            f"{MANAGED}[Unit]\nDescription=When environment sync {item.title} runs\n\n"
            f"[Timer]\n{calendars}AccuracySec=1s\nPersistent=false\n\n"
            "[Install]\nWantedBy=timers.target\n"
        )


def _inside(folder: str) -> list[str]:
    """Return the paths of what is in a folder, unless the way there is one that root does not go."""
    try:
        return [os.path.join(folder, name) for name in names_in(folder) if not name.startswith(".")]
    except OSError:
        return []


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


def _python_faults(path: str) -> Iterator[str]:
    try:
        done = subprocess.run(
            [path, "-I", "-c", "import sys; print(*sys.version_info[:2])"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=True,
        )
        version = tuple(map(int, done.stdout.split()))
    except (OSError, subprocess.CalledProcessError):
        return  # it comes with the packages, or with the virtual environment
    if version < _PYTHON:
        yield (
            f"env_sync_python: {path}: it is Python {'.'.join(map(str, version))}, and the command needs "
            f"{'.'.join(map(str, _PYTHON))} or later: name another one, or set env_sync_virtualenv"
        )


def engine_sources() -> list[tuple[str, bytes]]:
    """Return the engine's files: path below the release, and content; the very code that this module runs."""
    found = [("_engine/__init__.py", _source(_engine.__name__, "__init__.py"))]
    prefix = f"{_engine.__name__}."
    for item in pkgutil.walk_packages(_engine.__path__, prefix):
        parts = item.name[len(prefix) :].split(".")
        folder = parts if item.ispkg else parts[:-1]
        file = "__init__.py" if item.ispkg else f"{parts[-1]}.py"
        package = ".".join([_engine.__name__, *folder])
        found.append(("/".join(["_engine", *folder, file]), _source(package, file)))
    return sorted(found)


def _source(package: str, file: str) -> bytes:
    data = pkgutil.get_data(package, file)
    if data is None:
        raise EnvSyncError(f"reading {package}/{file}", "the engine's source is not here", "Report this as a bug.")
    return data


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_as_text(item)}" for name, item in value.items())
    return str(value)


def _drop_in(name: str) -> str:
    """Cron and sudo pass over files in their directories whose names have a dot."""
    return name.replace(".", "_")
