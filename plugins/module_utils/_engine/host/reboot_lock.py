# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``with_reboot_lock FILE COMMAND...``: a file that keeps the host from rebooting, exactly as long as a command runs.

The lock is the kernel's (flock) on the file, and the command inherits it: it holds as long as either of the two lives,
whatever kills the other. The file itself goes when the command ends; one that a killed holder left is held by nobody,
which ``--check`` (for the reboot's own checks) and the next holder see.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from ..errors import visible
from . import programs
from .ownership import folder, open_file, remove_file

#: how long another holder is waited for unless -w says otherwise, in seconds
WAIT = 6 * 3600

#: exit status when the lock could not be had, as setlock's
BUSY = 111

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: the command's own, or 111 when the lock can't be had."""
    parser = argparse.ArgumentParser(
        prog="with_reboot_lock",
        usage="%(prog)s [-w SECONDS] FILE COMMAND [ARGUMENT...]\n       %(prog)s --check DIRECTORY",
        description="Hold a reboot lock while a command runs.",
    )
    parser.add_argument("-w", "--wait", type=float, default=WAIT, metavar="SECONDS", help="wait so long for a holder")
    parser.add_argument("--check", metavar="DIRECTORY", help="exit 1 while any file in DIRECTORY is held, else 0")
    parser.add_argument("file", nargs="?", help="the lock: a file in a folder that the reboot's checks look at")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run")
    options = parser.parse_args(argv)
    if options.check:
        return check(options.check)
    if not options.file or not options.command:
        parser.error("FILE and COMMAND are needed")
    try:
        with hold(options.file, options.wait) as descriptor, inhibited(options.command[0]):
            return run(options.command, descriptor)
    except OSError as error:
        busy = error.errno == errno.EAGAIN
        why = "another holder did not let go of it in time" if busy else error.strerror
        sys.stderr.write(f"with_reboot_lock: locking {options.file}: {why}\n")
        return BUSY


@contextlib.contextmanager
def hold(path: str, wait: float = 0.0) -> Iterator[int]:
    """Hold the lock file; give its descriptor. It is removed in the end.

    :raises OSError: EAGAIN when another holder keeps it for longer than ``wait`` seconds.
    """
    deadline = time.monotonic() + wait
    while True:
        with folder(os.path.dirname(os.path.abspath(path))) as parent:
            descriptor = open_file(os.path.basename(path), os.O_RDWR | os.O_CREAT, parent, 0o644)
        try:
            _lock(descriptor, deadline)
            # The holder before may have removed the file after it was opened here: then this is a lock on nothing.
            if _is_at(descriptor, path):
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield descriptor
    finally:
        with contextlib.suppress(FileNotFoundError):
            remove_file(path)
        os.close(descriptor)


def _lock(descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.2)


def _is_at(descriptor: int, path: str) -> bool:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def run(command: Sequence[str], descriptor: int) -> int:
    """Run the command with the lock's descriptor; pass signals on to it; return its exit status as a shell would."""
    early: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def forward(number: int, _frame: object) -> None:
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    # Before the command is there: a signal in between would end this process and leave the command alone.
    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        process = subprocess.Popen(list(command), pass_fds=(descriptor,))
        for number in early:
            process.send_signal(number)
        status = process.wait()
    except OSError as error:
        sys.stderr.write(f"with_reboot_lock: {command[0]}: {error.strerror}\n")
        return 127 if error.errno == errno.ENOENT else 126
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


@contextlib.contextmanager
def inhibited(why: str) -> Iterator[None]:
    """Hold systemd's inhibitor lock against a shutdown, where there is systemd and it lets this user."""
    program = programs.find("systemd-inhibit")
    if program is None or not os.path.isdir("/run/systemd/system"):
        yield
        return
    # It holds the lock until its command ends, which is when the standard input of `cat` does: with this process.
    holder = subprocess.Popen(
        [program, "--what=shutdown", "--mode=block", "--who=env_sync", f"--why={os.path.basename(why)} runs", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=programs.environment(),
        cwd=programs.START,
        start_new_session=True,
    )
    try:
        yield
    finally:
        if holder.stdin is not None:
            holder.stdin.close()
        try:
            holder.wait(5)
        except subprocess.TimeoutExpired:
            holder.kill()


def check(directory: str) -> int:
    """Return 1 while somebody holds a file in the directory, else 0; say which on standard output."""
    held = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(directory)):
            if is_held(os.path.join(directory, name)):
                held.append(name)
    for name in held:
        sys.stdout.write(f"{visible(name)} is running\n")
    return 1 if held else 0


def is_held(path: str) -> bool:
    """Say whether somebody holds the lock on this file. A file that nobody holds is a killed holder's."""
    try:
        with folder(os.path.dirname(os.path.abspath(path))) as parent:
            descriptor = open_file(os.path.basename(path), os.O_RDONLY, parent)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
