# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a push and a pull have around them: a lock, a working directory, progress, durations."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from typing import Any

from .errors import EnvSyncError, one_line
from .host.ownership import folder, remove_tree, temporary_folder, workplace
from .host.progress import Host, Progress, Snapshot, default_state_dir
from .tasks.task import Task


class Run:
    """One run of a task, while it runs.

    ``durations`` has the seconds that each phase took, ``warnings`` what the operator should know afterwards.
    """

    def __init__(self, task: Task, host: Host, dry_run: bool = False) -> None:
        self.host = host
        self.stop = host.stop
        self.state_dir = task.state_dir or default_state_dir()
        first = Snapshot(title=task.title, action=task.action, database=task.database)
        self.progress = Progress(host, first, "" if dry_run else self.state_dir)
        self.durations: dict[str, float] = {}
        self.warnings: list[str] = []
        self.started = time.time()
        self._began = time.monotonic()

    @contextlib.contextmanager
    def phase(self, name: str, bytes_total: int = 0, members_total: int = 0) -> Iterator[None]:
        """Enter a phase: announced, shown as progress, timed."""
        self.host.log("info", name)
        self.progress.phase(name, bytes_total, members_total)
        began = time.monotonic()
        try:
            yield
        finally:
            self.durations[name] = round(time.monotonic() - began, 3)

    def warn(self, text: str) -> None:
        """Log a warning, and have it among those that the run returns."""
        text = one_line(text)
        self.warnings.append(text)
        self.host.log("warning", text)

    def waiting(self, what: str) -> None:
        """Say what others keep the run waiting for; nothing: that is over."""
        self.host.log("info", f"waiting for {what}" if what else "the wait is over")
        self.progress.waiting(one_line(what))

    @property
    def seconds(self) -> float:
        """How long it has been running, whatever the host's clock was set to meanwhile; more than 0."""
        return max(time.monotonic() - self._began, 0.001)


@contextlib.contextmanager
def running(task: Task, host: Host, dry_run: bool = False) -> Iterator[Run]:
    """Give the run of a task; its status file says how it ended, but for that of a dry run, which has none."""
    run = Run(task, host, dry_run)
    try:
        with run.stop.at_the_end(lambda why: run.progress.finish("failed", why)):
            yield run
    except BaseException as error:
        run.progress.finish("failed", (str(error) or type(error).__name__) + run.stop.left_behind())
        raise


@contextlib.contextmanager
def work_dir(temppath: str, key: str) -> Iterator[str]:
    """Give an empty directory of this run's own, gone afterwards.

    Its name comes from ``key``, whose lock the caller holds: what is found there was left by a killed run, and goes.
    """
    name = f"env_sync-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    with contextlib.ExitStack() as opened:
        try:
            place = workplace(temppath or temporary_folder())
            parent = opened.enter_context(folder(place))
            _remove(name, parent)
            os.mkdir(name, 0o700, dir_fd=parent)
        except OSError as error:
            raise EnvSyncError(
                f"making the working directory {name}{' in ' if temppath else ''}{temppath}",
                str(error.strerror),
                "Set temppath to a folder that this user can write to.",
            ) from error
        try:
            yield os.path.join(place, name)
        finally:
            with contextlib.suppress(OSError):
                remove_tree(name, parent)


def _remove(name: str, parent: int) -> None:
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise OSError(0, "there is something of another user's, or no directory")
    remove_tree(name, parent)


def result(run: Run, **values: Any) -> dict[str, Any]:
    """Return what a verb returns: ``values``, with what every run has to say."""
    return {
        **values,
        "warnings": run.warnings,
        "durations": dict(run.durations, total=round(run.seconds, 3)),
    }


def nothing_to_do(run: Run, reason: str, **values: Any) -> dict[str, Any]:
    """End a run that has nothing to do; return what its verb returns."""
    run.host.log("info", f"nothing to do: {reason}")
    run.progress.finish("done", f"nothing to do: {reason}")
    return result(run, changed=False, skipped=reason, **values)
