# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files that tasks read and write: config files, environment, scripts, logs, state, monitoring."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.declare import MANAGED, Declaration, as_text
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.host import Entry
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.monitoring import prometheus
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import policy
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.config import format_config


def folders(wanted: Declaration) -> Iterator[Entry]:
    """The folders of config files, logs and state, and the log."""
    user, group = wanted.user, wanted.group
    if wanted.conf_dir != os.path.dirname(policy.PATH):  # which the policy's file has had made
        yield Entry(wanted.conf_dir, 0o755)
    yield Entry(os.path.join(wanted.conf_dir, "env.d"), 0o750, group=group)
    yield Entry(os.path.join(wanted.conf_dir, "transformation_sql"), 0o755)
    # Open to the group, which a task that runs as another user has too.
    yield Entry(wanted.log_dir, 0o775, owner=user, group=group)
    log = os.path.join(wanted.log_dir, f"{wanted.name}.log")
    yield Entry(log, 0o660, b"", owner=user, group=group, seed=True, stays=True)
    for folder in (wanted.state_dir, f"{wanted.state_dir}/journal", f"{wanted.state_dir}/status"):
        yield Entry(folder, 0o775, owner=user, group=group)
    # In a folder of root's, where nobody else could put another one; nobody else may enter it, and hold a lock.
    yield Entry(wanted.run_dir, 0o2770, owner=user, group=group)
    boot = f"{MANAGED}d {wanted.run_dir} 2770 {user} {group} -\n"  # tmpfiles.d(5): /run is empty after each boot
    yield Entry(f"/etc/tmpfiles.d/{wanted.name}.conf", 0o644, boot.encode())


def config_files(wanted: Declaration) -> Iterator[Entry]:
    """A config file for each task."""
    for item in wanted.tasks:
        text = MANAGED + format_config({key: as_text(value) for key, value in item.values.items()})
        yield Entry(wanted.config_file(item), 0o644, text.encode())


def temporary_folders(wanted: Declaration) -> Iterator[Entry]:
    """The tasks' temporary folders, each once: tasks may share one, and it stays while one of them does."""
    users: dict[str, set[str]] = {}
    for item in wanted.tasks:
        if item.task.temppath:
            users.setdefault(os.path.normpath(item.task.temppath), set()).add(wanted.other_user(item))
    for path, others in sorted(users.items()):
        owner = wanted.user if len(others) > 1 or "" in others else min(others)
        # Sticky where another user is in it: nobody but its owner can then replace what a run makes there.
        mode = 0o775 if others == {""} else 0o1775
        yield Entry(path, mode, owner=owner, group=wanted.group, if_missing=True)


def scripts(wanted: Declaration) -> Iterator[Entry]:
    """The transformation files: those of file trees are programs, and not SQL."""
    trees = [item.task for item in wanted.tasks if item.task.dbms == "files"]
    programs = {path for task in trees for path in (*task.transformation_sql, *task.pre_dump_transformation_sql)}
    for name, text in sorted(wanted.scripts.items()):
        path = os.path.join(wanted.conf_dir, "transformation_sql", name)
        yield Entry(path, 0o755 if path in programs else 0o644, text.encode())


def environment(wanted: Declaration) -> Iterator[Entry]:
    """A file for each environment variable, as envdir reads it."""
    for secret, option in ((False, "environment_variables"), (True, "secret_environment_variables")):
        for name, value in sorted(wanted.given[option].items()):
            path = os.path.join(wanted.conf_dir, "env.d", name)
            # A NUL is a line break there (envdir(8)).
            text = as_text(value).replace("\n", "\0")
            yield Entry(path, 0o640, f"{text}\n".encode(), group=wanted.group, secret=secret)


def log_rotation(wanted: Declaration) -> Iterator[Entry]:
    """What has logrotate rotate the logs, as the user that writes them."""
    text = (
        f"{MANAGED}{wanted.log_dir}/*.log {{\n"
        "    weekly\n    maxsize 100M\n    rotate 8\n    compress\n    delaycompress\n"
        "    missingok\n    notifempty\n"
        f"    create 0660 {wanted.user} {wanted.group}\n    su {wanted.user} {wanted.group}\n}}\n"
    )
    yield Entry(f"/etc/logrotate.d/{wanted.name}", 0o644, text.encode())


def monitoring(wanted: Declaration) -> Iterator[Entry]:
    """The file that says how a run tells the monitoring how it ended."""
    if wanted.given["monitoring"]:
        text = MANAGED + format_config({key: as_text(value) for key, value in wanted.given["monitoring"].items()})
        yield Entry(os.path.join(wanted.conf_dir, "monitoring.conf"), 0o644, text.encode())


def figures(wanted: Declaration) -> Iterator[Entry]:
    """The directory of node exporter's text files: open to the tasks, with a file for each, which goes with it."""
    folder = str(wanted.given["monitoring"].get("prometheus_dir") or "")
    if not folder:
        return
    yield Entry(folder, 0o775, owner="", group=wanted.group, stays=True)
    freshness = {item.title: float(item.timing.freshness) for item in wanted.scheduled}
    yield Entry(os.path.join(folder, f"{wanted.name}.prom"), 0o644, prometheus.declared(freshness).encode())
    for title in freshness:
        path = os.path.join(folder, prometheus.file_name(title))
        yield Entry(path, 0o644, b"", owner=wanted.user, group=wanted.group, seed=True)
