# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host is to have: the role's variables and the declared tasks, checked before anything is changed."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.host import recorded
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import monitoring
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import policy
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import (
    TITLE,
    Declared,
    Faults,
    declared,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.policy import Policy

#: the first line of every file that is deployed
MANAGED = "# Managed by govuk.env_sync: changes made here will be lost.\n"

#: the program that holds the reboot lock, one for the host, and the value of ``lock`` that asks for it
WRAPPER = "with_reboot_lock"

#: the name of an environment variable, and of a file in an envdir
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)

#: the oldest Python that the engine runs on
_PYTHON = (3, 9)


@dataclass(frozen=True)
class Declaration:
    """What is declared for one host. Build it with :func:`declare`.

    ``given`` are the parameters of the module env_sync_deploy; ``tasks`` are those that are declared, by title, without
    absent ones; ``policy`` is the host's. Where all of it is to go from the host, there are no tasks and no policy.
    """

    given: Mapping[str, Any]
    tasks: Sequence[Declared] = ()
    policy: Policy = field(default_factory=Policy)

    @property
    def absent(self) -> bool:
        """Whether all that was deployed is to go."""
        return bool(self.given["state"] == "absent")

    @property
    def name(self) -> str:
        return str(self.given["name"])

    @property
    def user(self) -> str:
        """The user that all tasks run as that name no other."""
        return str(self.given["user"])

    @property
    def group(self) -> str:
        return str(self.given["group"])

    @property
    def conf_dir(self) -> str:
        return f"/etc/{self.name}"

    @property
    def log_dir(self) -> str:
        return f"/var/log/{self.name}"

    @property
    def state_dir(self) -> str:
        return f"/var/lib/{self.name}"

    @property
    def lib_dir(self) -> str:
        return f"/usr/local/lib/{self.name}"

    @property
    def run_dir(self) -> str:
        return f"/run/{self.name}"

    @property
    def command(self) -> str:
        """The path of the host's command."""
        return f"/usr/local/bin/{self.name}"

    @property
    def scripts(self) -> dict[str, str]:
        """The transformation files that are deployed: text by name."""
        return {str(name): str(text) for name, text in self.given["transformation_sql"].items()}

    @property
    def scheduled(self) -> list[Declared]:
        """The tasks that run by themselves."""
        return [item for item in self.tasks if item.timing.scheduled]

    @property
    def drop_in(self) -> str:
        """What a file in a directory of cron's or sudo's is called: both pass over names that have a dot."""
        return self.name.replace(".", "_")

    def record(self, part: str) -> str:
        """Return the path of the file that lists what was deployed of a part."""
        return os.path.join(self.lib_dir, f"deployed-{part}.json")

    def config_file(self, item: Declared) -> str:
        """Return the path of a task's config file."""
        return os.path.join(self.conf_dir, f"{item.title}.cfg")

    def other_user(self, item: Declared) -> str:
        """Return the user that a task runs as; empty where that is the user that all tasks run as."""
        return "" if item.become_user == self.user else item.become_user


def as_text(value: Any) -> str:
    """Return a variable's value as config files and environments have it: lists and mappings with commas in them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={as_text(item)}" for name, item in value.items())
    return str(value)


def declare(parameters: Mapping[str, Any]) -> Declaration:
    """Return what a module's parameters declare for this host.

    :raises EnvSyncError: the name can't be a command's.
    :raises Faults: what is declared has faults, all of which it names.
    """
    wanted = Declaration(parameters)
    if not TITLE.match(wanted.name):
        raise EnvSyncError(
            "checking name", f"{wanted.name!r} can't be the name of a command", "Use letters, digits and _."
        )
    if wanted.absent:
        return wanted
    faults: list[str] = []
    tasks: list[Declared] = []
    try:
        tasks = declared(
            parameters["tasks"],
            parameters["s3_sync_tasks"],
            wanted.conf_dir,
            wanted.scripts,
            parameters["protected"],
        )
    except Faults as error:
        faults += error.faults
    faults += _temppath_faults(wanted, tasks)
    faults += _monitoring_faults(wanted)
    faults += _name_faults(wanted)
    faults += _python_faults(parameters["python"] or "")
    rules = Policy()
    try:
        rules = _policy(parameters)
    except ValueError as error:
        faults += _policy_faults(parameters, error)
    else:
        faults += _refused(rules, tasks)
    if faults:
        raise Faults("checking what is declared", faults, "Nothing was changed. Correct these.")
    return Declaration(parameters, tasks, rules)


def _temppath_faults(wanted: Declaration, tasks: Sequence[Declared]) -> Iterator[str]:
    for item in tasks:
        if not _may_use_temppath(wanted, item):
            user = item.become_user or wanted.user
            yield f"{item.title}: temppath: {item.task.temppath} is there, and {user} can't write to it"


def _may_use_temppath(wanted: Declaration, item: Declared) -> bool:
    """Say whether a task can use its temppath, where that is somebody else's; a missing one is made for it."""
    path = os.path.normpath(item.task.temppath)
    if not item.task.temppath or not os.path.isdir(path) or path in recorded(wanted.record("configure")):
        return True
    try:
        user = pwd.getpwnam(item.become_user or wanted.user)
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        return True  # a user who does not exist yet is found out about when the task runs
    found = os.stat(path)
    if user.pw_uid in (0, found.st_uid):
        return user.pw_uid == 0 or bool(found.st_mode & stat.S_IWUSR)
    return bool(found.st_mode & (stat.S_IWGRP if found.st_gid in groups else stat.S_IWOTH))


def _monitoring_faults(wanted: Declaration) -> Iterator[str]:
    settings = wanted.given["monitoring"]
    for key in sorted(set(settings) - set(monitoring.KEYS)):
        yield f"monitoring: unknown key {key}"
    for fault in monitoring.faults(settings):
        yield f"env_sync_{fault}"
    if settings.get("monitor") == "icinga2" and not _has_variable(wanted, "ICINGA2_PASSWORD"):
        yield "env_sync_secret_environment: ICINGA2_PASSWORD is missing, and monitor icinga2 needs it"


def _has_variable(wanted: Declaration, name: str) -> bool:
    """Say whether the tasks' environment has a variable, declared or put there by somebody else."""
    declared_ones = {**wanted.given["environment_variables"], **wanted.given["secret_environment_variables"]}
    return name in declared_ones or os.path.exists(os.path.join(wanted.conf_dir, "env.d", name))


def _name_faults(wanted: Declaration) -> Iterator[str]:
    """Yield the names of variables and transformation files that can't be names of files."""
    for role_variable, option in (
        ("env_sync_variables", "environment_variables"),
        ("env_sync_secret_environment", "secret_environment_variables"),
    ):
        for name in sorted(str(name) for name in wanted.given[option] if not _VARIABLE.match(str(name))):
            yield f"{role_variable}: {name!r} can't be the name of a variable"
    for name in sorted(wanted.scripts):
        if not name or "/" in name or name.startswith("."):
            yield f"env_sync_transformation_sql_files: {name!r} can't be the name of a file there"


def _python_faults(path: str) -> Iterator[str]:
    """Yield what is wrong with the Python that the command is to run with; nothing where none is named."""
    if not path:
        return
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


def _policy(given: Mapping[str, Any]) -> Policy:
    """Return the host's policy that is declared.

    :raises ValueError: names every fault of it, each with its key.
    """
    text = {
        "environment": given["environment"],
        "protected": as_text(given["protected"]),
        "require_sanitised": as_text(given["require_sanitised"]),
        "sources": ",".join(str(name) for name in given["sources"]),
        "max_point_age": as_text(given["max_point_age"]),
    }
    return Policy.parse({key: value for key, value in text.items() if value}, policy.PATH)


def _policy_faults(given: Mapping[str, Any], error: ValueError) -> Iterator[str]:
    """Yield the faults of the host's policy as faults of the role's variables."""
    for fault in str(error).split("; "):
        yield f"env_sync_{fault}"
    if given["environment"].lstrip().startswith("{"):  # it was a mapping before version 0.4.0
        yield "env_sync_environment is the environment's name; what it was before is env_sync_variables"


def _refused(rules: Policy, tasks: Sequence[Declared]) -> Iterator[str]:
    """Yield the declared tasks that the host's policy would refuse, each with why."""
    for item in tasks:
        try:
            rules.apply(item.task)
        except EnvSyncError as error:
            yield f"{item.title}: {error.why}"


def check_group(wanted: Declaration) -> None:
    """Make sure that a user who exists is in the group that may read what is deployed.

    :raises EnvSyncError: the user is not; it names the groups the user is in.
    """
    user, group = wanted.user, wanted.group
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return  # the role makes it, with that group
    names = {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}
    groups = [names.get(number, str(number)) for number in os.getgrouplist(user, found.pw_gid)]
    if not wanted.absent and found.pw_uid != 0 and group not in groups:
        why = f"the user {user} is there, and not in the group {group}, which alone may read the tasks"
        hint = f"Set env_sync_group to a group of {user} ({', '.join(groups)}), or add {user} to {group} yourself."
        raise EnvSyncError(f"deploying {wanted.name}", why, f"Nothing was changed. {hint}")


def check_present(wanted: Declaration) -> None:
    """Make sure that user, group and Python exist: they have to, before anything is deployed.

    :raises EnvSyncError: names all that is missing.
    """
    if wanted.absent:
        return
    python = wanted.given["python"]
    missing = []
    if python and not os.path.exists(python):
        missing.append(f"there is no {python}")
    for kind, name, find in (("user", wanted.user, pwd.getpwnam), ("group", wanted.group, grp.getgrnam)):
        try:
            find(name)
        except KeyError:
            missing.append(f"there is no {kind} {name}")
    if missing:
        raise EnvSyncError(f"deploying {wanted.name}", "; ".join(missing), "The tag install makes these.")
