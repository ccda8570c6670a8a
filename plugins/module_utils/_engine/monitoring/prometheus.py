# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Figures of the last run for Prometheus, through node exporter's textfile collector."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile

from ..errors import EnvSyncError
from .outcome import Outcome

_PREFIX = "env_sync"
_HELP = {
    "last_run_timestamp_seconds": "When the last run of the task ended, by any end.",
    "last_success_timestamp_seconds": "When the last run of the task that succeeded ended.",
    "last_run_success": "1 if the last run succeeded, 0 otherwise.",
    "last_run_duration_seconds": "How long the last run took.",
    "point_bytes": "Size of the last point in its store.",
    "point_age_seconds": "How old the last point was when the run ended.",
}


def write(outcome: Outcome, folder: str) -> None:
    """Write the task's file, atomically. What only a success tells is kept from the last one after a failure."""
    path = os.path.join(folder, file_name(outcome.title))
    figures = _read(path)
    figures.update(
        last_run_timestamp_seconds=outcome.finished,
        last_run_success=1.0 if outcome.ok else 0.0,
        last_run_duration_seconds=outcome.finished - outcome.started,
    )
    if outcome.ok:
        figures.update(
            last_success_timestamp_seconds=outcome.finished,
            point_bytes=float(outcome.stored_bytes),
            point_age_seconds=outcome.point_age,
        )
    label = outcome.title.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    lines = []
    for name, text in _HELP.items():
        if name in figures:
            metric = f"{_PREFIX}_{name}"
            lines += [
                f"# HELP {metric} {text}",
                f"# TYPE {metric} gauge",
                f'{metric}{{task="{label}"}} {figures[name]}',
            ]
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{_PREFIX}-")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise EnvSyncError(f"writing the figures {path}", str(error.strerror), "Correct prometheus_dir.") from error


def file_name(title: str) -> str:
    """Return the name of a task's file: its title, made unique where that can't be a file name."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", title)
    if safe != title:
        safe += "-" + hashlib.sha256(title.encode()).hexdigest()[:8]
    return f"{_PREFIX}_{safe}.prom"


def _read(path: str) -> dict[str, float]:
    figures = {}
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as stream:
        for line in stream:
            match = re.match(rf"{_PREFIX}_(\w+){{.*}} (\S+)$", line)
            if match and match.group(1) in _HELP:
                figures[match.group(1)] = float(match.group(2))
    return figures
