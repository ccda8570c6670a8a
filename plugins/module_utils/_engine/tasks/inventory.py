# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tasks that an inventory declares, checked all at once before anything is deployed.

The mapping is the original's (``govuk_env_sync::tasks``, ``govuk_env_sync::s3_sync_tasks``), unchanged.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import EnvSyncError, one_line
from .keys import FILES, KEYS, PATHS, SECRETS, is_here
from .schedule import FIELDS, Schedule
from .task import Task

#: keys of a task's timing
TIMING = frozenset({"ensure", "freshness", *FIELDS})

#: keys that say whether, when and as whom a task runs; they are the inventory's, and not in a config file
DEPLOYMENT = TIMING | {"become_user"}

#: a title is the name of a file, of a service and of a lock
TITLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}\Z", re.ASCII)

#: what Puppet's hiera replaces in a value when it reads it, and nothing else does
_INTERPOLATION = re.compile(r"%\{[^}]*\}")


class Faults(EnvSyncError):
    """What was declared can't be deployed. ``faults`` has all of what is wrong, one line for each."""

    def __init__(self, doing: str, faults: Sequence[str], hint: str) -> None:
        super().__init__(doing, "; ".join(faults), hint)
        self.faults = [one_line(fault) for fault in faults]


@dataclass(frozen=True)
class Timing:
    """When a task runs by itself, if it does.

    ``ensure`` is ``present``, ``disabled`` or ``absent``; ``freshness`` is how old the last result may be, in seconds.
    """

    ensure: str
    schedule: Schedule
    freshness: int

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Timing:
        """Return the timing that a task's keys declare.

        :raises ValueError: names every fault, with its key.
        """
        given = _given(values)
        faults = []
        converted: dict[str, Any] = {}
        for key in ("ensure", "freshness"):
            try:
                converted[key] = KEYS[key](given[key]) if key in given else None
            except ValueError as error:
                faults.append(f"{key} {error}, not {given[key]!r}")
        ensure = converted.get("ensure") or "present"
        schedule = Schedule("0", "0")
        missing = [key for key in ("hour", "minute") if key not in given]
        if missing and ensure == "present":
            faults += [f"missing key {key}" for key in missing]
        else:
            try:
                when = {key: given[key] for key in FIELDS if key in given}
                schedule = Schedule.parse(**{"hour": 0, "minute": 0, **when})
            except ValueError as error:
                faults += str(error).split("; ")
        if faults:
            raise ValueError("; ".join(faults))
        return cls(ensure, schedule, converted["freshness"] or schedule.freshness())

    @property
    def scheduled(self) -> bool:
        """Whether the task runs by itself: ``disabled`` keeps the config file, and takes schedule and check away."""
        return self.ensure == "present"


@dataclass(frozen=True)
class Declared:
    """One declared task.

    ``values`` are its keys as given, without those of ``DEPLOYMENT`` and without empty ones; ``become_user`` is the
    user that it runs as, empty for the one that all tasks run as.
    """

    title: str
    timing: Timing
    become_user: str
    values: Mapping[str, Any]
    task: Task


def declared(
    tasks: Mapping[str, Mapping[str, Any]],
    s3_sync_tasks: Mapping[str, Mapping[str, Any]],
    conf_dir: str,
    scripts: Collection[str] = (),
    protected: bool = False,
    here: bool = True,
) -> list[Declared]:
    """Return the declared tasks, sorted by title; those with ``ensure: absent`` are left out.

    :param tasks: a task's keys by its title; ``s3_sync_tasks`` the same for bucket syncs, which need no ``action``.
    :param conf_dir: where the host's config files will be.
    :param scripts: names of the transformation files that are deployed with them.
    :param protected: no pull may be declared here.
    :param here: this is the host; elsewhere its users and files can't be looked for.
    :raises Faults: names every fault of every task at once.
    """
    found: list[Declared] = []
    faults: list[str] = []
    both = sorted(set(tasks) & set(s3_sync_tasks))
    faults += [f"{title}: is declared as a task and as an s3_sync task" for title in both]
    everything: list[tuple[str, Any]] = [(str(title), values) for title, values in tasks.items()]
    for title, values in s3_sync_tasks.items():
        everything.append((str(title), {**values, "action": "s3_sync"} if isinstance(values, Mapping) else values))
    for title, values in everything:
        item, wrong = _declared(title, values, conf_dir, scripts if here else None, protected)
        faults += [f"{title}: {fault}" for fault in wrong]
        if item is not None and item.timing.ensure != "absent":
            found.append(item)
    faults += _clashes(found)
    if faults:
        raise Faults("checking the declared tasks", faults, "Nothing was changed. Correct these.")
    return sorted(found, key=lambda item: item.title)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in values.items() if value is not None and value != ""}


def _declared(
    title: str, values: Any, conf_dir: str, scripts: Collection[str] | None, protected: bool
) -> tuple[Declared | None, list[str]]:
    """:param scripts: None where the host's users and files can't be looked for."""
    faults: list[str] = []
    if not TITLE.match(title):
        faults.append("its title can't be the name of a file and a service (letters, digits, _ . + -; at most 100)")
    if title == "policy":
        faults.append("its config file would be the host's policy (policy.cfg): call it otherwise")
    if not isinstance(values, Mapping):
        return None, [*faults, "is not a mapping of keys"]
    given = _given(values)
    if given.get("ensure") == "absent":
        return None, faults
    try:
        timing = Timing.parse(given)
    except ValueError as error:
        faults += str(error).split("; ")
        timing = Timing("present", Schedule("0", "0"), 0)  # so that the rest of it is checked too
    secrets = sorted(set(given) & SECRETS)
    faults += [f"{key} is a secret: put it into env_sync_secret_environment" for key in secrets]
    for key, value in given.items():
        if key not in SECRETS:
            faults += [f"{key} has {fault}" for fault in _unwritable(value)]
        if key in PATHS | FILES | {"url"} and any(map(is_here, _names(value))):
            faults.append(f"{key} must be a name or an absolute path: a run has no directory of its own to begin in")
    try:
        task = Task.from_mapping({key: value for key, value in given.items() if key not in TIMING}, title, conf_dir)
    except EnvSyncError as error:
        return None, [*faults, *error.why.split("; ")]
    become_user = str(given.get("become_user", ""))
    if scripts is not None and become_user and not _is_user(become_user):
        faults.append(f"become_user: there is no user {become_user} on this host")
    faults += [] if scripts is None else _missing_scripts(task, conf_dir, scripts)
    if protected and task.action == "pull":
        faults.append("action: no pull may be declared in this environment (env_sync_protected)")
    kept = {key: value for key, value in given.items() if key not in DEPLOYMENT and key != "name"}
    return Declared(title, timing, become_user, kept, task), faults


def _unwritable(value: Any) -> Iterator[str]:
    """Yield what a value has in it that a config file can't have."""
    for text in _texts(value):
        interpolation = _INTERPOLATION.search(text)
        if interpolation:
            yield f"{interpolation[0]} in it, which only Puppet replaces: write the value itself"
        if "\n" in text or "\0" in text:
            yield "a line break or a NUL in it"


def _names(value: Any) -> Iterator[str]:
    for text in _texts(value):
        yield from (name.strip() for name in text.split(","))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = [part for item in value.items() for part in item]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    else:
        yield str(value)


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _missing_scripts(task: Task, conf_dir: str, scripts: Collection[str]) -> list[str]:
    folder = os.path.join(conf_dir, "transformation_sql")
    faults = []
    for key, paths in (
        ("transformation_sql_filename", task.transformation_sql),
        ("pre_dump_transformation_sql_filename", task.pre_dump_transformation_sql),
    ):
        for script in paths:
            name = os.path.basename(script)
            deployed = os.path.dirname(script) == folder and name in scripts
            if not deployed and not os.path.isfile(script):
                faults.append(f"{key}: there is no {name} on this host, nor in env_sync_transformation_sql_files")
    return faults


def _clashes(found: list[Declared]) -> list[str]:
    """Return the faults of two tasks that would do the same; one that is disabled may be what the other replaces.

    Tasks may share a temppath, as in the original's inventory: a run works in a folder of its own there.
    """
    faults = []
    places: dict[tuple[object, ...], str] = {}
    for item in found:
        task = item.task
        if task.action == "s3_sync" or not item.timing.scheduled:
            continue
        place: tuple[object, ...] = (task.action, task.dbms, task.connection.host, task.connection.port, task.database)
        place += (task.storagebackend, task.url, task.path)
        other = places.setdefault(place, item.title)
        if other != item.title:
            faults.append(f"{item.title}: is the same {task.action} of {task.database} as {other}")
    return faults
