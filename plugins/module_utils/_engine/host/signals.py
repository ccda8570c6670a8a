# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The signals that ask a program to stop: the run is told at once, and the process ends in time, whatever hangs.

From the first signal on: until ``stopping.CLEAN_UP`` the run cleans up; at :data:`LAST` the process is ended where that
has not come to its end, or at once with a second signal; until :data:`HARD` it is told to those who want to know. Then
the kernel ends the process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from types import FrameType
from typing import Any, Callable

from .stopping import Stop

#: when a run that hangs is ended, in seconds after the first signal
LAST = 19.0

#: when the process ends at the very latest, in seconds after the first signal
HARD = 28.0

#: how long it may take to tell the end of a run that hangs, and of one that got a second signal, in seconds
TELLING = 7.0
TELLING_AT_ONCE = 3.0

#: a signal that comes sooner after the first one is the same request: a terminal and a shell may send one each
SAME = 0.3

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """Takes the signals that ask to stop, while entered; what was ignored before stays ignored.

    Enter it in the main thread. ``number`` is the first signal that came, 0 where none did.

    ``tell`` is called, in a thread of its own, when the process is ended because the run hangs or a second signal came:
    given why, and how many seconds there are to tell it.
    """

    def __init__(self) -> None:
        self.number = 0
        self.stop = Stop(self.came)
        self.tell: Callable[[str, float], None] = lambda why, seconds: None
        self._before: dict[int, Any] = {}
        self._reading = self._writing = self._wakeup = -1
        self._watching: threading.Thread | None = None
        self._began = 0.0

    @property
    def name(self) -> str:
        """The signal's name (``SIGTERM``)."""
        return signal.Signals(self.number).name

    def came(self) -> bool:
        return self.number != 0

    def left(self) -> float:
        """How many seconds there are until a run that hangs is ended; infinity before the first signal."""
        return max(0.0, self._began + LAST - time.monotonic()) if self.number and self._began else float("inf")

    def __enter__(self) -> Signals:
        # The interpreter runs handlers in the main thread, between two instructions: not while that waits for a
        # server. What it writes to this pipe, it writes at once, and another thread reads it.
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        for number in STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._watching = threading.Thread(target=self._watch, daemon=True, name="signals")
        self._watching.start()
        return self

    def __exit__(self, *exc: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._writing)
        if self._watching is not None:
            self._watching.join()
        os.close(self._reading)
        if self.number:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if not self.number:
            self._began = time.monotonic()
            self.number = number

    def _next(self) -> int:
        """Return the next of the signals that ask to stop; 0 when there will be none."""
        while True:
            got = os.read(self._reading, 1)
            if not got or got[0] in self._before:
                return got[0] if got else 0

    def _watch(self) -> None:
        first = self._next()
        if not first:
            return
        self._note(first, None)
        self.stop.came()
        # What keeps every thread of Python from running, from now on, does not keep the kernel: SIGALRM ends a process.
        signal.setitimer(signal.ITIMER_REAL, HARD)
        second = threading.Event()
        ended = threading.Event()

        def listen() -> None:
            while number := self._next():
                if number and time.monotonic() - self._began > SAME:
                    second.set()
            ended.set()
            second.set()

        threading.Thread(target=listen, daemon=True, name="second signal").start()
        second.wait(self.left())
        if not ended.is_set():
            self._end(second.is_set())

    def _end(self, at_once: bool) -> None:
        """Tell why, as far as that is possible, and end the process."""
        why = f"stopped by {self.name}"
        if not at_once:
            why += f"; it hung, and was ended after {LAST:.0f} s"
        why += self.stop.left_behind()
        seconds = TELLING_AT_ONCE if at_once else TELLING
        telling = threading.Thread(target=self._tell_all, args=(why, seconds), daemon=True, name="last words")
        telling.start()
        telling.join(seconds)
        os._exit(128 + self.number)

    def _tell_all(self, why: str, seconds: float) -> None:
        with contextlib.suppress(Exception):
            self.stop.tell_the_end(why)
        with contextlib.suppress(Exception):
            self.tell(why, seconds)
