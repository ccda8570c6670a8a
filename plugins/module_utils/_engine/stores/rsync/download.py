# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file on the far side, read while rsync still brings it here."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Sequence

from ...host.linux import end, punch_hole
from ...host.stopping import attempts
from ...streams.reader import BLOCK
from .client import Done, Remote, names_from
from .spool import Spool

#: how much a reader reads before it gives that space back, in bytes
_PUNCH_STEP = 16 * BLOCK

#: how long a reader waits for a file to grow, at first and at last, in seconds
_SHORTEST_WAIT = 0.002
_LONGEST_WAIT = 0.05


class Download:
    """A :class:`~.streams.reader.Reader` behind a file that rsync appends to; what was read gives its space back."""

    def __init__(self, remote: Remote, argv: Sequence[str], name: str, spool: Spool, doing: str) -> None:
        self._remote = remote
        self._argv = argv
        self._name = name
        self._doing = doing
        self._attempts = attempts(remote.pauses, remote.stop, doing)
        self._last = next(self._attempts)
        self._resources = contextlib.ExitStack()
        self._path = self._resources.enter_context(spool.place(os.path.basename(name)))
        self._counted = self._resources.enter_context(spool.count())
        self._descriptor = -1
        self._position = 0
        self._punched = 0
        self._whole = False
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, size: int) -> bytes:
        wait = _SHORTEST_WAIT
        while True:
            ended = self._ended()
            block = self._read(size)
            if block or self._whole:
                return block
            # It is looked often while there is something to read, and ever less often while rsync has nothing.
            wait = min(wait * 1.5, _LONGEST_WAIT)
            if not ended:
                self._remote.stop.check(self._doing)
                time.sleep(wait)

    def close(self) -> None:
        self._stop()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._resources.close()

    def _read(self, size: int) -> bytes:
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
        block = os.pread(self._descriptor, size, self._position)
        self._position += len(block)
        if self._position - self._punched >= _PUNCH_STEP:
            self._counted(os.fstat(self._descriptor).st_blocks * 512)
            self._punched = punch_hole(self._descriptor, self._punched, self._position)
        return block

    def _ended(self) -> bool:
        """Say whether rsync is done, and start it where it was not yet, or its connection broke."""
        if self._whole:
            return True
        if self._process is None:
            failed = self._remote.connect(self._doing)
            if failed:
                self._failed(failed)
                return True
            self._process = self._remote.start([*self._argv, self._path], self._doing)
            if self._process.stdin is not None:
                with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
                    stdin.write(names_from([self._name]))
            return False
        if self._process.poll() is None:
            return False
        said = self._process.stderr.read() if self._process.stderr is not None else b""
        done = Done(self._process.returncode, b"", said.decode("utf-8", "replace"))
        self._stop()
        if done.status == 0:
            self._whole = True
        else:
            self._failed(done)
        return True

    def _failed(self, done: Done) -> None:
        if not done.lost or self._last:
            raise self._remote.error(self._doing, done)
        self._last = next(self._attempts)

    def _stop(self) -> None:
        if self._process is None:
            return
        end(self._process)
        self._process = None
