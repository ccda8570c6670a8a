# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One deadline for all clean-up, and calls that end when a run is to stop."""

from __future__ import annotations

import threading
import time

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import Cancelled
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import stopping
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.stopping import (
    Stop,
    attempts,
    interruptible,
    pause,
)


def test_a_host_has_one_stop_for_all_that_works_for_it() -> None:
    asked = threading.Event()
    host = Host(cancelled=asked.is_set)
    assert host.stop is Stop.of(host.cancelled) is host.cancelled
    assert not host.cancelled()
    asked.set()
    assert host.cancelled()


def test_the_time_for_the_clean_up_begins_with_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "CLEAN_UP", 0.2)
    asked = threading.Event()
    stop = Stop(asked.is_set)
    assert stop.left() == float("inf") and not stop.over()
    asked.set()
    assert 0 < stop.left() <= 0.2
    asked.clear()
    assert stop.came(), "who was told to stop once, stops"
    time.sleep(0.25)
    assert stop.left() == 0 and stop.over()


def test_a_clean_up_is_not_cancelled_before_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "CLEAN_UP", 0.4)
    stop = Stop(lambda: True)
    elsewhere: list[bool] = []
    with stop.cleaning("the scratch database"):
        assert not stop()
        assert interruptible(lambda: time.sleep(0.3) or "dropped", stop, "dropping") == "dropped"
        other = threading.Thread(target=lambda: elsewhere.append(stop()))
        other.start()
        other.join()
    assert elsewhere == [True], "another thread cleans nothing up"
    assert stop() and stop.unfinished == () and stop.left_behind() == ""


def test_what_is_not_cleaned_up_in_time_is_left_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "CLEAN_UP", 0.3)
    stop = Stop(lambda: True)
    never = threading.Event()
    with pytest.raises(Cancelled, match="dropping x: it was told to stop"), stop.cleaning("the scratch database of x"):
        interruptible(never.wait, stop, "dropping x")
    assert stop.left_behind() == ". Left for the next run to clean up: the scratch database of x"
    never.set()


def test_nothing_is_said_of_a_run_that_nobody_stopped() -> None:
    stop = Stop()
    with pytest.raises(ZeroDivisionError), stop.cleaning("x"):
        raise ZeroDivisionError
    assert stop.unfinished == ("x",) and stop.left_behind() == ""


def test_what_was_given_up_may_still_come_to_pass() -> None:
    stop = Stop(lambda: True)
    let = threading.Event()
    with pytest.raises(Cancelled):
        interruptible(let.wait, stop, "storing x")
    assert stop.stragglers == 1
    with stop.cleaning("x"):
        pass
    assert stop.unfinished == ("x",)
    threading.Timer(0.1, let.set).start()
    stop.settle()
    assert stop.stragglers == 0
    with stop.cleaning("x"):
        pass
    assert stop.unfinished == ()


def test_a_call_that_ended_before_it_could_be_cancelled_has_done_what_it_did() -> None:
    asked = threading.Event()

    def ask() -> str:
        asked.wait(10)
        return "done"

    def too_late(over: threading.Event) -> None:
        asked.set()
        over.wait(10)

    assert interruptible(ask, lambda: True, "swapping", too_late) == "done"


def test_what_a_call_raises_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0, lambda: False, "dividing")


def test_a_pause_ends_with_a_stop() -> None:
    began = time.monotonic()
    with pytest.raises(Cancelled):
        pause(60, lambda: time.monotonic() - began > 0.1, "waiting for S3")
    assert time.monotonic() - began < 1
    pause(0.01, lambda: False, "waiting")


def test_the_end_is_told_to_the_innermost_first_and_nobody_stops_it() -> None:
    stop = Stop()
    told: list[str] = []
    with stop.at_the_end(lambda why: told.append(f"status: {why}")), stop.at_the_end(lambda why: 1 // 0):
        with stop.at_the_end(lambda why: told.append("processes")):
            stop.tell_the_end("it hung")
        stop.tell_the_end("it hung again")
    stop.tell_the_end("nobody is left")
    assert told == ["processes", "status: it hung", "status: it hung again"]


def test_there_is_one_attempt_more_than_there_are_pauses() -> None:
    began = time.monotonic()
    assert list(attempts((0.02, 0.03), lambda: False, "asking")) == [False, False, True]
    assert time.monotonic() - began >= 0.05
    assert list(attempts((), lambda: False, "asking")) == [True]


def test_nothing_is_waited_for_after_the_attempt_that_did_it() -> None:
    began = time.monotonic()
    for _last in attempts((60.0,), lambda: False, "asking"):
        break
    assert time.monotonic() - began < 1


def test_a_stop_ends_the_attempts() -> None:
    stop = threading.Event()
    made = []
    with pytest.raises(Cancelled, match="asking"):
        for last in attempts((60.0, 60.0), stop.is_set, "asking"):
            made.append(last)
            stop.set()
    assert made == [False]
