# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the command writes while it runs (the progress, on a terminal) and when it is through (the answer)."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TextIO

from ..errors import EnvSyncError, visible
from ..host.progress import Snapshot
from .text import progress


class Terminal:
    """Standard error: where ``shown``, its last line is the progress, rewritten in place."""

    def __init__(self, stream: TextIO, shown: bool) -> None:
        self.shown = shown
        self._stream = stream
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._drawn = 0
        self._stopped = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True, name="progress line")

    def __enter__(self) -> Terminal:
        if self.shown:
            self._ticker.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.clear()

    def progress(self, snapshot: Snapshot) -> None:
        """Show how far a run is; nothing where the run is over."""
        if not self.shown:
            return
        with self._lock:
            self._snapshot = snapshot if snapshot.state == "running" else None
            self._draw()

    def say(self, line: str) -> None:
        """Write a line that stays, above the progress."""
        with self._lock:
            self._write(f"{self._blank()}{visible(line)}\n")
            self._draw()

    def clear(self) -> None:
        """Take the progress away for good."""
        self._stopped.set()
        with self._lock:
            self._snapshot = None
            self._write(self._blank())

    def _tick(self) -> None:
        while not self._stopped.wait(1.0):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        if self._snapshot is None or not self._snapshot.phase:
            return
        with contextlib.suppress(OSError, ValueError):
            width = os.get_terminal_size(self._stream.fileno()).columns or 80
            text = visible(f"{self._snapshot.title}: {progress(self._snapshot)}")[: width - 1]
            self._write("\r" + text.ljust(self._drawn))
            self._drawn = len(text)

    def _blank(self) -> str:
        """Return what takes the progress line away."""
        drawn, self._drawn = self._drawn, 0
        return "\r" + " " * drawn + "\r" if drawn else ""

    def _write(self, text: str) -> None:
        # A terminal that went away must not fail a run.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def print_answer(text: str) -> None:
    """Write the answer to standard output; a reader that closes the pipe early is not an error."""
    if sys.stdout is None:
        raise EnvSyncError("writing to standard output", "it is closed", "Let it be a file, a pipe or /dev/null.")
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        # What is still in the buffer would fail a second time at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise EnvSyncError("writing to standard output", str(error.strerror)) from error
