# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that a host gets, part by part: what is in each part is in the other files here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Callable

from ansible_collections.govuk.env_sync.plugins.module_utils._deploy import engine, files, rights, schedule
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.declare import Declaration
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.host import Entry
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.ownership import names_in
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import policy

#: what each part is made of, in the order in which it is made; the parts go in the opposite order
PARTS: Mapping[str, tuple[Callable[[Declaration], Iterator[Entry]], ...]] = MappingProxyType(
    {
        "install": (
            engine.release,
            engine.launchers,
            schedule.reboot_checks,
            rights.polkit_rules,
        ),
        "configure": (
            # First of all: nothing that follows may be run before the host says what is allowed.
            rights.policy_file,
            files.folders,
            files.config_files,
            files.temporary_folders,
            files.scripts,
            files.environment,
            files.log_rotation,
        ),
        "monitor": (
            files.monitoring,
            files.figures,
        ),
        "schedule": (
            schedule.lock_directory,
            rights.sudo_rules,
            schedule.jobs,
        ),
    }
)


@dataclass(frozen=True)
class Part:
    """What can be deployed by itself: entries, the path of their record, files that go though they are in no record."""

    entries: list[Entry]
    record: str
    others: list[str]


def parts(wanted: Declaration) -> Iterator[Part]:
    """Yield each part that is asked for, in the order in which they are made or go."""
    names = [name for name in PARTS if name in wanted.given["parts"]]
    for name in reversed(names) if wanted.absent else names:
        entries = [] if wanted.absent else [entry for entries_of in PARTS[name] for entry in entries_of(wanted)]
        yield Part(entries, wanted.record(name), _others(wanted) if name == "configure" else [])


def facts(wanted: Declaration) -> dict[str, Any]:
    """Return what else the module returns: the declared tasks (title, ensure, freshness in seconds) and the timers."""
    return {
        "declared": [
            {"title": item.title, "ensure": item.timing.ensure, "freshness": item.timing.freshness}
            for item in wanted.tasks
        ],
        "timers": schedule.timers(wanted),
    }


def _others(wanted: Declaration) -> list[str]:
    """Return the files that go with a part though nobody recorded them: what runs have left, and old config files."""
    if wanted.absent:
        kept = (f"{wanted.state_dir}/journal", f"{wanted.state_dir}/status", wanted.run_dir)
        return [path for folder in kept for path in _inside(folder)]
    # As the original does: a config file that nothing declares was Puppet's, or a task's that is gone.
    return [path for path in _inside(wanted.conf_dir) if path.endswith(".cfg") and path != policy.PATH]


def _inside(folder: str) -> list[str]:
    """Return the paths of what is in a folder, unless the way there is one that root does not go."""
    try:
        return [os.path.join(folder, name) for name in names_in(folder) if not name.startswith(".")]
    except OSError:
        return []
