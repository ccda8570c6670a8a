# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A throwaway sshd on loopback, with keys of its own: what an rsync store needs on the far side."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.servers import Unavailable, free_port


class SshServer:
    """One sshd, which lets this user in with ``key_file``; a context manager.

    ``known_hosts`` has its host key; ``no_hosts`` is an empty file, and ``other_key`` one that it does not know.
    """

    def __init__(self) -> None:
        self.port = 0
        self.host = f"{pwd.getpwuid(os.geteuid()).pw_name}@127.0.0.1"
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> SshServer:
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        for program in ("rsync", "ssh", "ssh-keygen"):
            if not sshd or not shutil.which(program):
                raise Unavailable(f"there is no {program if sshd else 'sshd'} on the PATH")
        assert sshd is not None
        self._folder = Path(tempfile.mkdtemp(prefix="sshd-"))
        atexit.register(self.stop)
        try:
            self._make_keys()
            self._start(sshd)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def key_file(self) -> Path:
        return self._folder / "user key"

    @property
    def other_key(self) -> Path:
        return self._folder / "other"

    @property
    def known_hosts(self) -> Path:
        return self._folder / "known hosts"

    @property
    def no_hosts(self) -> Path:
        return self._folder / "no_hosts"

    def values(self) -> dict[str, Any]:
        """Return the keys of a task that uses it, but for ``path``."""
        return {
            "storagebackend": "rsync",
            "url": self.host,
            "ssh_port": self.port,
            "ssh_key_file": str(self.key_file),
            "ssh_known_hosts_file": str(self.known_hosts),
        }

    def cut(self) -> int:
        """Break all connections, as a network does; return how many there were."""
        assert self._process is not None
        sessions = _children(self._process.pid)
        for pid in sessions:
            for child in [*_children(pid), pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        return len(sessions)

    def stop(self) -> None:
        """Stop it and remove its files; safe to call twice."""
        if self._process is not None:
            self.cut()
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.stop)

    def _make_keys(self) -> None:
        for path in (self._folder / "host", self.key_file, self.other_key):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
        shutil.copy(f"{self.key_file}.pub", self._folder / "authorized")
        self.no_hosts.touch()

    def _start(self, sshd: str) -> None:
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)  # where it separates its privileges
        self.port = free_port()
        options = {
            "ListenAddress": "127.0.0.1",
            "AuthorizedKeysFile": self._folder / "authorized",
            "StrictModes": "no",
            "UsePAM": "no",
            "PermitRootLogin": "yes",
            "PidFile": "none",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "SetEnv": "SHLVL=2",  # or bash takes its time with this user's own .bashrc, in every session
        }
        argv = [sshd, "-D", "-e", "-f", "/dev/null", "-p", str(self.port), "-h", str(self._folder / "host")]
        argv += [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        setpriv = shutil.which("setpriv")
        if setpriv:
            # Whoever started it may be killed: it goes with it.
            argv = [setpriv, "--pdeathsig", "KILL", *argv]
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        key = (self._folder / "host.pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {key[0]} {key[1]}\n")
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = (self._folder / "log").read_text(errors="replace")[-500:]
                    raise Unavailable(f"sshd does not start: {error}: {said}") from error
                time.sleep(0.02)


def _children(pid: int) -> list[int]:
    """Return the processes that ``pid`` and its threads have started and that are still there."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in path.read_text().split()]
    return found
