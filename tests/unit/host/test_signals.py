# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program that is told to stop: what it does by itself, and what ends it where it hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import signals, stopping

ROOT = Path(__file__).resolve().parents[3]

# Short times, so that the tests are: the real ones are in a test of their own.
PROGRAM = """
import ctypes, os, sys, threading, time
sys.path.insert(0, sys.argv[1])
from _engine.host import signals, stopping
stopping.CLEAN_UP, signals.LAST, signals.HARD, signals.TELLING, signals.TELLING_AT_ONCE = 0.5, 0.8, 2.0, 0.5, 0.3
def tell(why, seconds):
    print(f"told: {why}", flush=True)
with signals.Signals() as caught:
    caught.tell = tell
    stop = caught.stop
    print("ready", flush=True)
"""


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 5


def run(body: str, *numbers: int, wait: float = 0.5) -> tuple[int, str, float]:
    """Start the program, send it the signals; return its exit status, what it said, and how long it took after them."""
    source = PROGRAM + textwrap.indent(textwrap.dedent(body), "    ")
    argv = [sys.executable, "-S", "-B", "-c", source, str(ROOT / "plugins" / "module_utils")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        for place, number in enumerate(numbers):
            time.sleep(wait if place else 0.05)
            process.send_signal(number)
        said = process.stdout.read()
        return process.wait(), said, time.monotonic() - began


WAIT = """
while not stop():
    time.sleep(0.02)
"""


def test_the_real_times_keep_the_promise() -> None:
    assert stopping.CLEAN_UP < signals.LAST
    assert signals.LAST + signals.TELLING < signals.HARD < 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_listens_ends_by_itself(number: int) -> None:
    status, said, seconds = run(f"{WAIT}\nprint(caught.name)\nsys.exit(128 + caught.number)", number)
    assert (status, said) == (128 + number, f"{signal.Signals(number).name}\n")
    assert seconds < 0.6


@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(60)",
        "os.read(os.pipe()[0], 1)",
        "threading.Lock().acquire() and threading.Event().wait()",
        # A library that waits in C, and goes on waiting through signals.
        "[ctypes.CDLL(None).pause() for _ in range(9)]",
        f"{WAIT}\nwith stop.cleaning('x'): time.sleep(60)",
    ],
)
def test_a_run_that_hangs_is_ended_and_told_of(body: str) -> None:
    status, said, seconds = run(body, signal.SIGTERM)
    assert status == 143
    assert said.startswith("told: stopped by SIGTERM; it hung, and was ended after 1 s")
    assert 0.7 < seconds < 1.9


def test_what_it_was_cleaning_up_is_said() -> None:
    body = f"""
    {WAIT.replace(chr(10), chr(10) + "    ")}
    with stop.cleaning("what is left of s3://bucket/x"):
        time.sleep(60)
    """
    _status, said, _seconds = run(body, signal.SIGTERM)
    assert said.endswith(". Left for the next run to clean up: what is left of s3://bucket/x\n")


def test_a_second_signal_ends_it_at_once() -> None:
    status, said, seconds = run("time.sleep(60)", signal.SIGTERM, signal.SIGINT, wait=0.35)
    assert (status, said) == (143, "told: stopped by SIGTERM\n")
    assert seconds < 0.75


def test_two_signals_of_one_request_are_one() -> None:
    body = f"{WAIT}\ntime.sleep(0.3)\nprint('cleaned up')\nsys.exit(129)"
    assert run(body, signal.SIGHUP, signal.SIGTERM, wait=0.01)[:2] == (129, "cleaned up\n")


def test_telling_takes_no_longer_than_it_may() -> None:
    status, said, seconds = run("caught.tell = lambda why, seconds: time.sleep(60)\ntime.sleep(60)", signal.SIGTERM)
    assert (status, said) == (143, "")
    assert seconds < 1.9


def test_the_kernel_ends_what_keeps_python_from_running() -> None:
    # Called with the interpreter's lock held, as a library in C may do: no thread of Python runs any more.
    status, said, seconds = run(f"{WAIT}\ntime.sleep(0.1)\nctypes.PyDLL(None).sleep(60)", signal.SIGTERM)
    assert (status, said) == (-signal.SIGALRM, "")
    assert seconds < 3


def test_a_run_that_was_not_stopped_keeps_nothing() -> None:
    before = [signal.getsignal(number) for number in signals.STOPPING]
    with signals.Signals() as caught:
        assert not caught.came() and caught.left() == float("inf")
    assert [signal.getsignal(number) for number in signals.STOPPING] == before
    assert signal.set_wakeup_fd(-1) == -1
