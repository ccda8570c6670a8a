# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps a client waiting: a server that says nothing, one that falls silent, an address that nobody answers at."""

from __future__ import annotations

import contextlib
import select
import socket
import threading


class Silent:
    """Takes connections and whatever comes, and never says a word; a context manager. ``port`` is on loopback."""

    def __init__(self) -> None:
        self.connected = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._taken: list[socket.socket] = []

    def __enter__(self) -> Silent:
        threading.Thread(target=self._take, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        for line in (self._listening, *self._taken):
            line.close()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _address = self._listening.accept()
                self._taken.append(line)
                self.connected.set()


class BlackHole:
    """An address where connections are neither taken nor refused: its queue is full; a context manager."""

    def __init__(self) -> None:
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(0)
        self.port = int(self._listening.getsockname()[1])
        self._waiting: list[socket.socket] = []

    def __enter__(self) -> BlackHole:
        for _unused in range(4):
            line = socket.socket()
            line.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                line.connect(("127.0.0.1", self.port))
            self._waiting.append(line)
        return self

    def __exit__(self, *exc: object) -> None:
        for line in (self._listening, *self._waiting):
            line.close()


class Faltering:
    """Passes connections on to a server, and falls silent when so many bytes have been sent there; a context manager.

    ``silent`` is set from then on.
    """

    def __init__(self, port: int, limit: int) -> None:
        self._target = port
        self._left = limit
        self._lock = threading.Lock()
        self.silent = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._lines: list[socket.socket] = []

    def __enter__(self) -> Faltering:
        threading.Thread(target=self._take, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.silent.set()
        for line in (self._listening, *self._lines):
            line.close()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _address = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._lines += [near, far]
                threading.Thread(target=self._pass_on, args=(near, far), daemon=True).start()

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                for line in select.select([near, far], [], [])[0]:
                    data = line.recv(65536)
                    with self._lock:
                        self._left -= len(data) if line is near else 0
                        if self._left < 0:
                            self.silent.set()
                    if self.silent.is_set():
                        return
                    if not data:
                        near.close()
                        far.close()
                        return
                    (far if line is near else near).sendall(data)
