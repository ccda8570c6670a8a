# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""rsync over ssh: one connection for all that is done, taken up again when it breaks, and what its errors mean.

A point has hundreds of members, and each is a run of rsync: ssh's own multiplexing spares all but the first of them the
handshake, and sshd's limit on connections that are not authenticated yet.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

from ...errors import EnvSyncError
from ...host import programs
from ...host.linux import Guard, end
from ...host.ownership import temporary_folder
from ...host.stopping import Stop, attempts
from ...tasks.task import SshOptions

#: how long the connection outlives its last use, and a run that was killed, in seconds
_LINGER = 10

#: rsync's home: from ~/.popt it would take options for each run (popt(3), "alias"). ssh does not go by this variable
_NO_HOME = "/nonexistent"

_CONNECT_TIMEOUT = 15

#: how often what waits for a process looks whether the run is to stop, in seconds
_LOOK = 0.2

#: how long the end of the connection may take, in seconds
_GOODBYE = 3.0

#: what rsync waits for the other side, which may be reading a large file to compare it, in seconds
_IO_TIMEOUT = 1800

_LONGEST_PAUSE = 30.0

#: a name, an address, or an address of IPv6 in brackets; nothing that could be taken for an option
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?(?:[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(?:%\w+)?\])\Z")

#: ssh's own exit status, which rsync passes on
_SSH_FAILED = 255

#: exit statuses of rsync that a connection can be to blame for (rsync(1), EXIT VALUES; 255 is ssh's own)
_LOST = frozenset((10, 12, 30, 35, _SSH_FAILED))

#: what no further attempt would change, with what to do about it; all texts are ssh's and the kernel's own
_ADVICE = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "The host has another key than before: find out why, before known_hosts is corrected.",
    ),
    (
        "Host key verification failed",
        "Compare the host's key (ssh-keyscan HOST) with what its administrator says, then add it to known_hosts.",
    ),
    ("Permission denied (publickey", "Put this user's public key into authorized_keys there, or set ssh_key_file."),
    ("Permission denied, please try again", "Set ssh_key_file: nobody is here to type a password."),
    ("Too many authentication failures", "Set ssh_key_file."),
    ("Could not resolve hostname", "Correct url."),
    (
        "Load key",
        "Correct ssh_key_file: it has to be a private key without a passphrase, that only its owner may read.",
    ),
    ("command not found", "Install rsync on that host."),
    ("rsync: not found", "Install rsync on that host."),
    ("No space left on device", "Make room on that host, or prune old points."),
    ("Disk quota exceeded", "Make room on that host, or prune old points."),
    ("Read-only file system", "Mount it for writing on that host."),
    ("Permission denied (13)", "Correct the owner or the mode of the directory on that host."),
    ("Operation not permitted (1)", "Correct the owner or the mode of the directory on that host."),
    ("Not a directory (20)", "Correct path."),
    ("No such file or directory (2)", "Make the directory on that host, or correct path."),
)

#: what ssh says where a connection that came about was cut, if anything (sshconnect.c, packet.c, kex.c)
_CUT = re.compile(
    r"Connection (closed|reset) by|Connection to \S+ port \d+ timed out|banner exchange|kex_exchange_id|"
    r"[Bb]roken pipe|ssh_dispatch_run_fatal|Timeout, server"
)

_UNREACHABLE = "Check url, ssh_port and the network, then run again."


@dataclass(frozen=True)
class Done:
    """How a run of rsync ended."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def lost(self) -> bool:
        """Whether another attempt may do better."""
        return self.status in _LOST and not any(text in self.stderr for text, _hint in _ADVICE)

    @property
    def cut(self) -> bool:
        """Whether ssh had reached the other side, and lost it before it was logged in."""
        return self.lost and (not self.stderr.strip() or _CUT.search(self.stderr) is not None)

    @property
    def overtaken(self) -> bool:
        """Whether rsync was to make its folder, and another had made it meanwhile (get_local_name in its main.c)."""
        return self.status == 11 and re.search(r'mkdir ".*" failed: File exists \(17\)', self.stderr) is not None

    @property
    def missing(self) -> bool:
        """Whether nothing went wrong but that something is not there."""
        # 23: something of what was asked for; 12, as the other side gave up at once: the directory itself.
        complaints = [line for line in self.stderr.splitlines() if line.startswith("rsync: ")]
        harmless = ("(2)", "(20)", "Broken pipe (32)", "bytes received so far) [Receiver]")
        return self.status in (12, 23) and "failed: " in self.stderr and all(c.endswith(harmless) for c in complaints)


class Remote:
    """One host, reached by ssh.

    :param host: ``host`` or ``user@host``.
    :param most: how often something is tried in all where the connection breaks.
    :param stop: says whether the run is to stop; what is under way is then ended.
    """

    def __init__(self, host: str, options: SshOptions, most: int, stop: Callable[[], bool] = lambda: False) -> None:
        if not _HOST.match(host):
            raise EnvSyncError(
                f"opening the rsync store {host!r}",
                "that is not a host",
                "Set url to HOST or USER@HOST, path to the directory there, and ssh_port where it is not 22.",
            )
        self.host = host
        #: how long to wait before each attempt but the first, in seconds
        self.pauses = [min(0.25 * 2**failed, _LONGEST_PAUSE) for failed in range(1, most)]
        self.stop = Stop.of(stop)
        self._guard = Guard()
        self._lock = threading.Lock()
        self._connected = False
        # A short name: the path of a socket has 107 bytes at most.
        self._socket = f"/tmp/env_sync-ssh-{secrets.token_hex(8)}"
        self._ssh = ["ssh", "-T", "-a", "-x", "-S", self._socket, *_options(options)]
        hang_up = [*self._ssh, "-O", "exit", self._ssh_host]
        weakref.finalize(self, _hang_up, hang_up, self._socket, self._guard)

    @property
    def _ssh_host(self) -> str:
        return self.host.replace("[", "").replace("]", "")

    def run(self, arguments: Sequence[str], doing: str, names: Sequence[str] = (), accept: Sequence[int] = ()) -> Done:
        """Run rsync until it ended for another reason than a lost connection.

        :param arguments: what follows the options that are always the same.
        :param names: what ``--files-from=-`` reads.
        :param accept: exit statuses other than 0 that are no error.
        """
        for _last in attempts(self.pauses, self.stop, doing):
            done = self._run_once(arguments, doing, names)
            if done.overtaken:
                done = self._run_once(arguments, doing, names)
            if not done.lost:
                break
        if done.status != 0 and done.status not in accept:
            raise self.error(doing, done)
        return done

    def _run_once(self, arguments: Sequence[str], doing: str, names: Sequence[str]) -> Done:
        failed = self.connect(doing)
        if failed:
            return failed
        process = self.start(arguments, doing)
        try:
            stdout, stderr = self._communicate(process, names_from(names), doing)
        finally:
            end(process)
        return Done(process.returncode, stdout, stderr.decode("utf-8", "replace"))

    def _communicate(self, process: subprocess.Popen[bytes], data: bytes, doing: str) -> tuple[bytes, bytes]:
        given: bytes | None = data
        while True:
            try:
                return process.communicate(given, timeout=_LOOK)
            except subprocess.TimeoutExpired:
                given = None  # it is taken once, and goes on to be sent
                self.stop.check(doing)

    def start(self, arguments: Sequence[str], doing: str) -> subprocess.Popen[bytes]:
        """Start rsync once; :meth:`connect` comes before."""
        # -s: names are sent by rsync's own protocol, and no shell over there gets to see them.
        argv = ["rsync", "-s", f"--rsh={_rsh(self._ssh)}", f"--timeout={_IO_TIMEOUT}", *arguments]
        try:
            return subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**_environment(), "HOME": _NO_HOME, **self._guard.environment},
                cwd=programs.START,
                start_new_session=True,
            )
        except OSError as error:
            raise EnvSyncError(doing, f"rsync cannot be started: {error.strerror}", "Install rsync.") from error

    def connect(self, doing: str) -> Done | None:
        """See to it that there is a connection; return how that failed, or None.

        :raises EnvSyncError: there was none yet, and the host does not answer, or declines: there is no reason to
            expect one soon.
        """
        with self._lock, tempfile.TemporaryFile(dir=temporary_folder()) as said:
            if os.path.exists(self._socket):
                return None
            # It goes into the background when it is connected, and ends by itself.
            argv = [*self._ssh, "-M", "-N", "-f", "-o", f"ControlPersist={_LINGER}", self._ssh_host]
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    env={**_environment(), **self._guard.environment},
                    cwd=programs.START,
                    start_new_session=True,
                )
            except OSError as error:
                raise EnvSyncError(doing, f"ssh cannot be started: {error.strerror}", "Install ssh.") from error
            try:
                self._communicate(process, b"", doing)
            except BaseException:
                end(process)
                raise
            status = process.returncode
            if status == 0:
                self._connected = True
                return None
            said.seek(0)
            failed = Done(status, b"", said.read().decode("utf-8", "replace"))
            if not (self._connected or failed.cut):
                raise self.error(doing, failed)
            return failed

    def error(self, doing: str, done: Done) -> EnvSyncError:
        """Return the error that ``done`` amounts to."""
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        text = "\n".join(lines)
        for wanted, hint in _ADVICE:
            if wanted in text:
                found = next(line for line in lines if wanted in line)
                return EnvSyncError(doing, found, hint)
        why = [line for line in lines if not line.startswith(("rsync error:", "rsync warning:", "@"))]
        summary = " ".join((why or lines)[:3]) or f"rsync: exit status {done.status}"
        if not lines and done.status == _SSH_FAILED:
            summary = "ssh: the connection broke"
        return EnvSyncError(doing, summary, _UNREACHABLE if done.status in _LOST else "")


def names_from(names: Sequence[str]) -> bytes:
    """Return names as ``--from0 --files-from=-`` reads them; one that begins with # is a comment even there."""
    return b"".join(b"./" + os.fsencode(name) + b"\0" for name in names)


def _options(options: SshOptions) -> list[str]:
    argv = [
        *("-o", "BatchMode=yes"),
        *("-o", "StrictHostKeyChecking=yes"),
        *("-o", "ControlMaster=no"),
        *("-o", "ClearAllForwardings=yes"),
        *("-o", "LogLevel=ERROR"),
        *("-o", f"ConnectTimeout={_CONNECT_TIMEOUT}"),
        *("-o", "ServerAliveInterval=15"),
        *("-o", "ServerAliveCountMax=4"),
    ]
    if options.ssh_port:
        argv += ["-p", str(options.ssh_port)]
    if options.ssh_key_file:
        argv += ["-o", "IdentitiesOnly=yes", "-o", f"IdentityFile={_file(options.ssh_key_file)}"]
    if options.ssh_known_hosts_file:
        argv += ["-o", f"UserKnownHostsFile={_file(options.ssh_known_hosts_file)}"]
    return argv


def _file(path: str) -> str:
    """Return a file's name as ssh's configuration has it (ssh_config(5): quotes, and tokens that begin with %)."""
    if '"' in path:
        raise EnvSyncError(
            f"opening the rsync store with {path}", "ssh takes no file with a quote in its name", "Rename it."
        )
    return '"' + path.replace("%", "%%") + '"'


def _rsh(argv: Sequence[str]) -> str:
    """Return an argument vector as ``--rsh`` takes it: rsync itself splits it, and a doubled quote stands for one."""
    return " ".join("'" + argument.replace("'", "''") + "'" for argument in argv)


def _environment() -> dict[str, str]:
    # Times are shown in this zone, messages in this language.
    return dict(programs.environment(), LC_ALL="C.UTF-8", TZ="UTC")


def _hang_up(argv: Sequence[str], socket: str, guard: Guard) -> None:
    if os.path.exists(socket):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.call(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                cwd=programs.START,
                timeout=_GOODBYE,
            )
    guard.close()
