# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Figures of the last run for Prometheus, through node exporter's textfile collector."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping

from ..errors import EnvSyncError, one_line
from ..host.ownership import read_small, write_small
from .outcome import Outcome

_PREFIX = "env_sync"
_HELP = {
    "last_run_timestamp_seconds": "When the last run of the task ended, by any end.",
    "last_success_timestamp_seconds": "When the last run of the task that succeeded ended.",
    "last_run_success": "1 if the last run succeeded, 0 otherwise.",
    "last_run_duration_seconds": "How long the last run took.",
    "point_bytes": "Size of the last point in its store.",
    "point_timestamp_seconds": "When the last point that the task pushed or pulled was made.",
    "task_freshness_seconds": "How old the last success of the task may be.",
}


def write(outcome: Outcome, folder: str) -> None:
    """Write the task's file, atomically. What only a success tells is kept from the last one after a failure.

    :raises EnvSyncError: it could not be written.
    """
    path = os.path.join(folder, file_name(outcome.title))
    figures = _read(path)
    figures.update(
        last_run_timestamp_seconds=outcome.finished,
        last_run_success=1.0 if outcome.ok else 0.0,
        last_run_duration_seconds=outcome.seconds,
    )
    if outcome.ok:
        figures["last_success_timestamp_seconds"] = outcome.finished
        # A run that had nothing to do has no point; the figures of an earlier run's point do not describe it.
        figures["point_bytes"] = float(outcome.stored_bytes)
        figures["point_timestamp_seconds"] = outcome.point_timestamp
        figures = {name: value for name, value in figures.items() if value or not name.startswith("point_")}
    text = "".join(_metric(name, {outcome.title: figures[name]}) for name in _HELP if name in figures)
    try:
        write_small(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise EnvSyncError(f"writing the figures {path}", str(error.strerror), "Correct prometheus_dir.") from error


def declared(freshness: Mapping[str, float]) -> str:
    """Return the text of the file that says which tasks a host has, and how old their last success may be (seconds)."""
    return _metric("task_freshness_seconds", freshness)


def _metric(name: str, values: Mapping[str, float]) -> str:
    """Return a gauge in the text format, with a value for each task."""
    metric = f"{_PREFIX}_{name}"
    lines = [f"# HELP {metric} {_HELP[name]}", f"# TYPE {metric} gauge"]
    for title, value in values.items():
        label = one_line(title).replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'{metric}{{task="{label}"}} {value}')
    return "\n".join(lines) + "\n"


def file_name(title: str) -> str:
    """Return the name of a task's file: its title, made unique where that can't be a file name."""
    safe = re.sub(r"[^A-Za-z0-9_.+-]", "_", title)
    if safe != title:
        safe += "-" + hashlib.sha256(title.encode()).hexdigest()[:8]
    return f"{_PREFIX}_{safe}.prom"


def _read(path: str) -> dict[str, float]:
    figures = {}
    with contextlib.suppress(OSError, ValueError):
        for line in read_small(path).decode().splitlines():
            match = re.match(rf"{_PREFIX}_(\w+){{.*}} (\S+)$", line)
            if match and match.group(1) in _HELP:
                figures[match.group(1)] = float(match.group(2))
    return figures
