# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The systemd that runs on a host: told of changed unit files, and which timers are to run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Callable

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

#: where the unit files are that an administrator makes
UNITS = "/etc/systemd/system"

#: there only while systemd runs the host (sd_booted(3)); without it unit files wait for the next boot
_BOOTED = "/run/systemd/system"


class Systemd:
    """Does nothing on a host that systemd does not run.

    :param run: runs an argument vector; returns exit status, standard output and standard error.
    """

    def __init__(self, run: Callable[[list[str]], tuple[int, str, str]], booted: str = _BOOTED) -> None:
        self._run = run
        self._running = os.path.isdir(booted)

    def idle(self, timers: Sequence[str]) -> list[str]:
        """Return the timers that do not run."""
        if not timers or not self._running:
            return []
        # One line for each, in order; the exit status says only whether any runs.
        states = self._run(["systemctl", "is-active", *timers])[1].split()
        return [timer for timer, state in zip(timers, states) if state != "active"]

    def reload(self) -> None:
        """Have the unit files read again."""
        self._do("daemon-reload")

    def stop(self, timers: Sequence[str]) -> None:
        """Stop timers; runs that they started go on."""
        if timers:
            self._do("stop", *timers)

    def forget(self, services: Sequence[str]) -> None:
        """Have systemd forget services that are gone: one that failed would be shown until the next boot."""
        if services and self._running:
            # systemctl fails for units it no longer knows, which is fine.
            self._run(["systemctl", "reset-failed", *services])

    def restart(self, timers: Sequence[str]) -> None:
        """Start timers, or have them go by their files as they are now."""
        if timers:
            self._do("restart", *timers)

    def _do(self, *words: str) -> None:
        if not self._running:
            return
        status, _out, error = self._run(["systemctl", *words])
        if status != 0:
            raise EnvSyncError(f"running systemctl {words[0]}", error.strip(), "See journalctl -xe on the host.")
