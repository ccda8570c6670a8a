# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A request to stop, and the one deadline that all clean-up looks at.

A run that is told to stop has :data:`CLEAN_UP` seconds to put in order what it leaves. What it has not done by then
stays for the next run, which is told so. The front end ends the process soon after, whatever still hangs (``signals``).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Callable, TypeVar

from ..errors import Cancelled

#: how long a run that is told to stop may clean up, in seconds
CLEAN_UP = 15.0

#: how often a call that waits for a server looks whether it is to stop, in seconds
_LOOK = 0.2

#: how long a clean-up waits for what was given up, in seconds
_SETTLE = 3.0

_Answer = TypeVar("_Answer")


class Stop:
    """Says whether a run is to stop, as a callable; all that works for the run shares it.

    While a thread is in :meth:`cleaning`, the answer in that thread is whether the time for that is over. So the same
    calls that end at once when a run is to stop may clean up afterwards, as long as there is time.

    :param asked: says whether the run is to stop.
    """

    def __init__(self, asked: Callable[[], bool] = lambda: False) -> None:
        self._asked = asked
        self._lock = threading.Lock()
        self._since: float | None = None
        self._here = threading.local()
        self._unfinished: list[str] = []
        self._abandoned = 0
        self._ends: list[Callable[[str], None]] = []

    @classmethod
    def of(cls, asked: Callable[[], bool]) -> Stop:
        """Return ``asked`` itself where it is a Stop, otherwise one that asks it."""
        return asked if isinstance(asked, Stop) else cls(asked)

    def __call__(self) -> bool:
        return self.over() if getattr(self._here, "cleaning", 0) else self.came()

    def came(self) -> bool:
        """Say whether the run is to stop. The time for the clean-up begins when this is first so."""
        if self._since is None and self._asked():
            with self._lock:
                self._since = self._since if self._since is not None else time.monotonic()
        return self._since is not None

    def check(self, doing: str) -> None:
        """Raise :class:`Cancelled` where the run is to stop."""
        if self():
            raise Cancelled(doing, "it was told to stop")

    def left(self) -> float:
        """How many seconds the clean-up has left; infinity while nobody has asked for a stop."""
        if not self.came() or self._since is None:
            return float("inf")
        return max(0.0, self._since + CLEAN_UP - time.monotonic())

    def over(self) -> bool:
        """Say whether the run is to stop and the time for its clean-up is over."""
        return self.left() <= 0

    @contextlib.contextmanager
    def cleaning(self, what: str = "") -> Iterator[None]:
        """Clean up: as long as there is time, nothing that this thread calls meanwhile is cancelled.

        :param what: what is left where this does not come to its end, or something that was given up may still go on;
            said at the run's end. Empty where nothing would be left.
        """
        self._here.cleaning = getattr(self._here, "cleaning", 0) + 1
        if what:
            self.leave(what)
        try:
            yield
            if what and not self.stragglers:
                self.forget(what)
        finally:
            self._here.cleaning -= 1

    def leave(self, what: str) -> None:
        """Note something that is left for the next run."""
        with self._lock:
            if what not in self._unfinished:
                self._unfinished.append(what)

    def forget(self, what: str) -> None:
        """It is not left any more."""
        with self._lock:
            if what in self._unfinished:
                self._unfinished.remove(what)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """What a run that stopped has left for the next one."""
        with self._lock:
            return tuple(self._unfinished)

    def left_behind(self) -> str:
        """Return what a message adds of that, where the run was told to stop; empty where nothing is left."""
        left = self.unfinished if self.came() else ()
        return f". Left for the next run to clean up: {'; '.join(left)}" if left else ""

    @property
    def stragglers(self) -> int:
        """How many calls and threads were given up and have not ended: what they are at may still come to pass."""
        with self._lock:
            return self._abandoned

    def settle(self) -> None:
        """Wait a moment for what was given up: most of it ends by itself."""
        until = time.monotonic() + min(_SETTLE, self.left())
        while self.stragglers and time.monotonic() < until:
            time.sleep(_LOOK / 4)

    def abandon(self, ended: threading.Event | threading.Thread) -> None:
        """Count something that is not waited for any longer, until it has ended."""
        with self._lock:
            self._abandoned += 1

        def follow() -> None:
            ended.wait() if isinstance(ended, threading.Event) else ended.join()
            with self._lock:
                self._abandoned -= 1

        threading.Thread(target=follow, daemon=True, name="straggler").start()

    @contextlib.contextmanager
    def at_the_end(self, tell: Callable[[str], None]) -> Iterator[None]:
        """While entered, have ``tell`` called with why, should the process be ended because something hangs."""
        with self._lock:
            self._ends.append(tell)
        try:
            yield
        finally:
            with self._lock:
                self._ends.remove(tell)

    def tell_the_end(self, why: str) -> None:
        """The process ends now: tell all who want to know. What they raise is of no use to anybody any more."""
        with self._lock:
            ends = list(reversed(self._ends))
        for tell in ends:
            with contextlib.suppress(Exception):
                tell(why)


def interruptible(
    ask: Callable[[], _Answer],
    cancelled: Callable[[], bool],
    doing: str,
    cancel: Callable[[threading.Event], None] = lambda over: None,
) -> _Answer:
    """Return what ``ask`` returns; while that waits for a server, the caller is free to notice that it is to stop.

    Most libraries go on waiting through signals, and take no timeout for all that they do: so another thread waits,
    which is left behind when it has to be.

    :param cancel: makes ``ask`` end; given the event that says it has.
    :raises Cancelled: ``cancelled`` said True, and ``ask`` did not come to its end all the same.
    """
    over = threading.Event()
    answers: list[_Answer] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            answers.append(ask())
        except BaseException as error:  # it belongs to the thread that asked
            errors.append(error)
        finally:
            over.set()

    threading.Thread(target=body, daemon=True, name="call").start()
    try:
        while not over.wait(_LOOK):
            if cancelled():
                raise Cancelled(doing, "it was told to stop")
    except BaseException as stop:
        cancel(over)
        if not over.is_set() and isinstance(cancelled, Stop):
            cancelled.abandon(over)
        # A cancellation comes too late for a call that has just ended: what it did, it did.
        if not (isinstance(stop, Cancelled) and answers):
            raise
    if errors:
        raise errors[0]
    return answers[0]


def pause(seconds: float, cancelled: Callable[[], bool], doing: str) -> None:
    """Wait before another attempt; raise :class:`Cancelled` as soon as the run is to stop."""
    until = time.monotonic() + seconds
    while True:
        if cancelled():
            raise Cancelled(doing, "it was told to stop")
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _LOOK))


def attempts(pauses: Iterable[float], cancelled: Callable[[], bool], doing: str) -> Iterator[bool]:
    """Yield once for each attempt that there may be, with a pause before each but the first: is it the last one?

    The loop over this breaks, returns or raises when an attempt is not to be repeated.

    :param pauses: how long each pause is, in seconds: there is one attempt more than there are pauses.
    :raises Cancelled: the run is to stop.
    """
    waits = list(pauses)
    yield not waits
    for number, seconds in enumerate(waits, 1):
        pause(seconds, cancelled, doing)
        yield number == len(waits)
