# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's policy: what may run here, whoever asks. A task may be stricter than it, never laxer.

The file is root's, and one for the host, whatever the deployed command is called. The role writes it.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Callable

from ..errors import EnvSyncError
from ..points.manifest import Manifest
from ..points.name import how_long
from .config import parse_config
from .keys import KEYS, environment_name
from .task import Task

#: where it is, on every host
PATH = "/etc/govuk_env_sync/policy.cfg"

#: whose it has to be
OWNER = 0

#: longer than any policy, in bytes
_LONGEST = 64 * 1024

_CONVERT: Mapping[str, Callable[[Any], Any]] = {
    "environment": environment_name,
    "protected": KEYS["delete"],
    "require_sanitised": KEYS["require_sanitised"],
    "sources": KEYS["sources"],
    "max_point_age": KEYS["max_point_age"],
}


@dataclass(frozen=True)
class Policy:
    """What a host allows.

    ``environment`` is the host's; ``protected``: no pull lands here; ``require_sanitised``: no pull goes live whose
    data nobody sanitised; ``sources`` are the environments whose points may be pulled, any where it is empty;
    ``max_point_age`` is how old a point that is pulled may be, in seconds, 0 for any age. ``path`` is the file that
    says so, empty where there is none.
    """

    path: str = ""
    environment: str = ""
    protected: bool = False
    require_sanitised: bool = False
    sources: tuple[str, ...] = ()
    max_point_age: int = 0

    @classmethod
    def parse(cls, given: Mapping[str, str], path: str) -> Policy:
        """Return the policy that these keys describe.

        :raises ValueError: names every fault, each with its key.
        """
        faults = [
            f"{key} is not a key of a policy (known are {', '.join(_CONVERT)})" for key in given if key not in _CONVERT
        ]
        values: dict[str, Any] = {}
        for key, value in given.items():
            if key in _CONVERT and value:
                try:
                    values[key] = _CONVERT[key](value)
                except ValueError as error:
                    faults.append(f"{key} {error}, not {value!r}")
        if faults:
            raise ValueError("; ".join(faults))
        return cls(path=path, **values)

    def to_config(self) -> dict[str, str]:
        """Return the assignments of the policy's file."""
        return {
            "environment": self.environment,
            "protected": str(self.protected).lower(),
            "require_sanitised": str(self.require_sanitised).lower(),
            "sources": ",".join(self.sources),
            "max_point_age": str(self.max_point_age),
        }

    def lines(self) -> list[str]:
        """Return what a plan says of it: one line."""
        if not self.path:
            return [f"This host has no policy ({PATH}): nothing is restricted."]
        said = [f"environment {self.environment or 'not named'}"]
        said += ["protected: no pull lands here"] if self.protected else []
        said += ["sanitised data is required"] if self.require_sanitised else []
        said += [f"points of {', '.join(self.sources)} only"] if self.sources else []
        said += [f"points at most {how_long(self.max_point_age)} old"] if self.max_point_age else []
        return [f"The host's policy ({self.path}): {'; '.join(said)}."]

    def apply(self, task: Task) -> Task:
        """Return the task as this host lets it run: the stricter of both.

        :raises EnvSyncError: the host allows no such task.
        """
        doing = f"running {task.title}"
        if self.protected and task.action == "pull":
            raise EnvSyncError(
                doing,
                f"no pull lands on this host: its policy ({self.path}) says protected",
                "Run it on a host of another environment.",
            )
        if self.environment and task.environment and task.environment != self.environment:
            raise EnvSyncError(
                doing,
                f"the task says environment {task.environment}, and this host is of {self.environment} ({self.path})",
                "Leave environment out of the task: the host's is taken.",
            )
        excluded = [name for name in task.sources if self.sources and name not in self.sources]
        if excluded:
            raise EnvSyncError(
                doing,
                f"sources names {', '.join(excluded)}, and this host takes points of {', '.join(self.sources)} only "
                f"({self.path})",
                "Correct sources.",
            )
        ages = [limit for limit in (task.max_point_age, self.max_point_age) if limit]
        return dataclasses.replace(
            task,
            environment=task.environment or self.environment,
            require_sanitised=task.require_sanitised or self.require_sanitised,
            sources=task.sources or self.sources,
            max_point_age=min(ages, default=0),
        )


def read_policy() -> Policy:
    """Return the host's policy; one that restricts nothing where the host has none.

    :raises EnvSyncError: there is one, and it can't be relied on. Nothing may run then.
    """
    doing = f"reading this host's policy {PATH}"
    try:
        text = _read(doing)
    except FileNotFoundError:
        return Policy()
    except OSError as error:
        raise EnvSyncError(doing, str(error.strerror), "It has to be a file of root's that all can read.") from error
    try:
        return Policy.parse(parse_config(text, doing), PATH)
    except ValueError as error:
        raise EnvSyncError(doing, str(error), "Correct it, as root, or deploy the role again.") from error


def _read(doing: str) -> str:
    # Not blocking: a FIFO there would wait for a writer; anything but a file is refused below.
    descriptor = os.open(PATH, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise EnvSyncError(doing, "it is not a regular file", "Remove it, or deploy the role again.")
        if found.st_uid != OWNER or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise EnvSyncError(
                doing, "others than root could have written it", f"chown root {PATH}; chmod 0644 {PATH}; and read it."
            )
        data = os.read(descriptor, _LONGEST + 1)
    finally:
        os.close(descriptor)
    if len(data) > _LONGEST:
        raise EnvSyncError(doing, f"it is longer than {_LONGEST} bytes", "Deploy the role again.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EnvSyncError(doing, "it is not UTF-8 text", "Deploy the role again.") from error


def check_point(task: Task, manifest: Manifest, age_seconds: float, doing: str) -> None:
    """Raise unless the host and the task allow this point.

    :param manifest: of a point without one, what its name says.
    :param age_seconds: how long ago it was made.
    """
    if task.sources and manifest.environment not in task.sources:
        where = manifest.environment or "an environment that it does not name"
        raise EnvSyncError(
            doing,
            f"it comes from {where}, and only points of {_any_of(task.sources)} may be pulled here",
            "Choose another point (--list), or have its push name its environment.",
        )
    if task.max_point_age and age_seconds > task.max_point_age:
        raise EnvSyncError(
            doing,
            f"it is {how_long(age_seconds)} old, and at most {how_long(task.max_point_age)} is allowed (max_point_age)",
            "Find out why there is no newer one: the last pushes of this database may have failed.",
        )


def _any_of(names: Collection[str]) -> str:
    return " or ".join(names)
