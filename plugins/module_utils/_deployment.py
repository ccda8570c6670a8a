# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the declared tasks mean for a host: which files it gets, and what is in them."""

from __future__ import annotations

import hashlib
import os
import pkgutil
import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.govuk.env_sync.plugins.module_utils import _engine
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import (
    __main__ as engine_command,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import (
    reboot_lock as engine_reboot_lock,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.config import format_config
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.inventory import Declared, declared
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.monitoring import KEYS as MONITORING_KEYS
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.version import VERSION
from ansible_collections.govuk.env_sync.plugins.module_utils._host import Entry

#: imported so that they are here: what is deployed is what Ansible brought along, and it brings what is imported
DEPLOYED = (engine_command, engine_reboot_lock)

MANAGED = "# Managed by govuk.env_sync: changes made here will be lost.\n"

_WRAPPER = "with_reboot_lock"


class Deployment:
    """The entries wanted for a module's parameters.

    :raises EnvSyncError: the declared tasks have faults, all of which it names.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._given = parameters
        self.name: str = parameters["name"]
        self.conf_dir = f"/etc/{self.name}"
        self.log_dir = f"/var/log/{self.name}"
        self.state_dir = f"/var/lib/{self.name}"
        self.lib_dir = f"/usr/local/lib/{self.name}"
        self._absent = parameters["state"] == "absent"
        self._scripts = {str(name): str(text) for name, text in parameters["transformation_sql"].items()}
        self._declared: list[Declared] = []
        if not self._absent:
            self._declared = declared(
                parameters["tasks"],
                parameters["s3_sync_tasks"],
                self.conf_dir,
                self._scripts,
                parameters["protected"],
            )
        unknown = sorted(set(parameters["monitoring"]) - set(MONITORING_KEYS))
        if unknown:
            raise EnvSyncError("checking monitoring", f"unknown key {', '.join(unknown)}", "Correct it.")

    def facts(self) -> dict[str, Any]:
        """Return what else the module returns."""
        return {
            "declared": [
                {"title": item.title, "ensure": item.ensure, "freshness": item.freshness} for item in self._declared
            ],
            "timers": [f"{self._unit(item)}.timer" for item in self._scheduled() if self._systemd],
        }

    def parts(self) -> Iterator[tuple[list[Entry], str]]:
        """Yield the entries of each part, with the path of its record; parts go in the opposite order."""
        makers = {"install": self._install, "configure": self._configure, "schedule": self._schedule}
        names = [name for name in makers if name in self._given["parts"]]
        for name in reversed(names) if self._absent else names:
            yield [] if self._absent else list(makers[name]()), os.path.join(self.lib_dir, f"deployed-{name}.json")

    # -- install -----------------------------------------------------------------------------------------------------

    def _install(self) -> Iterator[Entry]:
        sources = engine_sources()
        digest = hashlib.sha256()
        for path, content in sources:
            digest.update(path.encode() + b"\0" + hashlib.sha256(content).digest())
        release = f"{VERSION}-{digest.hexdigest()[:12]}"
        base = os.path.join(self.lib_dir, release)
        yield Entry(self.lib_dir, 0o755)
        yield Entry(base, 0o755)
        folders = sorted({os.path.dirname(path) for path, _content in sources})
        for folder in folders:
            yield Entry(os.path.join(base, folder), 0o755)
        for path, content in sources:
            yield Entry(os.path.join(base, path), 0o644, content)
        # The link last: a task that starts meanwhile finds the old release or the new one, whole.
        current = os.path.join(self.lib_dir, "current")
        yield Entry(current, 0o777, target=release)
        command = f"/usr/local/bin/{self.name}"
        yield Entry(command, 0o755, self._launcher("_engine").encode())
        yield Entry(f"{command}.sh", 0o777, target=self.name)
        yield Entry(f"/usr/local/bin/{_WRAPPER}", 0o755, self._launcher("_engine.reboot_lock").encode())
        check_directory = os.path.join(os.path.dirname(self._given["lock_directory"]), "check")
        if self._given["lock"] != "none" and os.path.isdir(check_directory):
            folder = shlex.quote(self._given["lock_directory"])
            text = f"#!/bin/sh\n{MANAGED}exec /usr/local/bin/{_WRAPPER} --check {folder}\n"
            yield Entry(os.path.join(check_directory, f"00_{self.name}"), 0o755, text.encode())

    def _launcher(self, module: str) -> str:
        python = shlex.quote(self._given["python"] or sys.executable)
        current = os.path.join(self.lib_dir, "current")
        return (
            f"#!/bin/sh\n{MANAGED}ENV_SYNC_NAME={self.name} PYTHONPATH={current} PYTHONDONTWRITEBYTECODE=1\n"
            f"export ENV_SYNC_NAME PYTHONPATH PYTHONDONTWRITEBYTECODE\n"
            f'exec {python} -m {module} "$@"\n'
        )

    # -- configure ---------------------------------------------------------------------------------------------------

    def _configure(self) -> Iterator[Entry]:
        user, group = self._given["user"], self._given["group"]
        yield Entry(self.conf_dir, 0o755)
        yield Entry(os.path.join(self.conf_dir, "env.d"), 0o750, group=group)
        yield Entry(os.path.join(self.conf_dir, "transformation_sql"), 0o755)
        yield Entry(self.log_dir, 0o755, owner=user, group=group)
        yield Entry(self.state_dir, 0o755, owner=user, group=group)
        for item in self._declared:
            values = {key: _as_text(value) for key, value in item.values.items()}
            text = MANAGED + format_config(values)
            yield Entry(os.path.join(self.conf_dir, f"{item.title}.cfg"), 0o644, text.encode())
            if item.task.temppath:
                yield Entry(item.task.temppath, 0o775, owner=user, group=group)
        for name, text in sorted(self._scripts.items()):
            yield Entry(os.path.join(self.conf_dir, "transformation_sql", _file_name(name)), 0o644, text.encode())
        for secret, key in ((False, "environment_variables"), (True, "secret_environment_variables")):
            for name, value in sorted(self._given[key].items()):
                path = os.path.join(self.conf_dir, "env.d", _file_name(name))
                yield Entry(path, 0o640, f"{value}\n".encode(), group=group, secret=secret)
        if self._given["monitoring"]:
            text = MANAGED + format_config({key: _as_text(value) for key, value in self._given["monitoring"].items()})
            yield Entry(os.path.join(self.conf_dir, "monitoring.conf"), 0o644, text.encode())
        yield Entry(f"/etc/logrotate.d/{self.name}", 0o644, self._logrotate().encode())

    def _logrotate(self) -> str:
        user, group = self._given["user"], self._given["group"]
        return (
            f"{MANAGED}{self.log_dir}/*.log {{\n"
            "    weekly\n    rotate 8\n    compress\n    delaycompress\n    missingok\n    notifempty\n"
            f"    create 0640 {user} {group}\n    su {user} {group}\n}}\n"
        )

    # -- schedule ----------------------------------------------------------------------------------------------------

    @property
    def _systemd(self) -> bool:
        return bool(self._given["scheduler"] == "systemd")

    def _scheduled(self) -> list[Declared]:
        return [item for item in self._declared if item.scheduled]

    def _schedule(self) -> Iterator[Entry]:
        if self._given["lock"] != "none":
            yield Entry(self._given["lock_directory"], 0o775, group=self._given["group"])
        if self._systemd:
            for item in self._scheduled():
                yield Entry(f"/etc/systemd/system/{self._unit(item)}.service", 0o644, self._service(item).encode())
                yield Entry(f"/etc/systemd/system/{self._unit(item)}.timer", 0o644, self._timer(item).encode())
        elif self._scheduled():
            yield Entry(f"/etc/cron.d/{_cron_file(self.name)}", 0o644, self._crontab().encode())

    def command(self, item: Declared) -> list[str]:
        """Return the argument vector that cron or systemd runs for a task."""
        conf = f"{self.conf_dir}/{item.title}.cfg"
        lock_name = self.name if self._given["lock_scope"] == "host" else f"{self.name}_{item.title}"
        lock = os.path.join(self._given["lock_directory"], lock_name)
        argv = ["/usr/bin/ionice", "-c", "2", "-n", "6"]
        if self._given["lock"] == "setlock":
            argv += ["/usr/bin/setlock", lock, "/usr/bin/envdir", f"{self.conf_dir}/env.d"]
            return [*argv, f"/usr/local/bin/{self.name}.sh", "-f", conf]
        if self._given["lock"] == _WRAPPER:
            argv += [f"/usr/local/bin/{_WRAPPER}", lock]
        return [*argv, f"/usr/local/bin/{self.name}", "--env-dir", f"{self.conf_dir}/env.d", "-f", conf]

    def _crontab(self) -> str:
        lines = [MANAGED, "SHELL=/bin/sh\n", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"]
        for item in self._scheduled():
            command = shlex.join(self.command(item)).replace("%", "\\%")
            when = f"{item.schedule.minute} {item.schedule.hour} * * *"
            lines.append(f"# {item.title}\n{when} {self._given['user']} {command}\n")
        return "".join(lines)

    def _unit(self, item: Declared) -> str:
        return f"{self.name}-{item.title}"

    def _service(self, item: Declared) -> str:
        command = self.command(item)[5:]  # systemd sets the priority itself
        quoted = " ".join(
            '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"' for word in command
        )
        return (
            f"{MANAGED}[Unit]\nDescription=Environment sync {item.title}\nAfter=network-online.target\n"
            "Wants=network-online.target\n\n"
            f"[Service]\nType=oneshot\nUser={self._given['user']}\nGroup={self._given['group']}\n"
            f"IOSchedulingClass=best-effort\nIOSchedulingPriority=6\nExecStart={quoted}\n"
        )

    def _timer(self, item: Declared) -> str:
        return (
            f"{MANAGED}[Unit]\nDescription=When environment sync {item.title} runs\n\n"
            f"[Timer]\nOnCalendar={item.schedule.calendar()}\nAccuracySec=1s\n\n[Install]\nWantedBy=timers.target\n"
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
    return str(value)


def _file_name(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise EnvSyncError("checking the names of files", f"{name!r} can't be one", "Give a plain name.")
    return name


def _cron_file(name: str) -> str:
    """Cron passes over files in cron.d whose names have a dot."""
    return name.replace(".", "_")
