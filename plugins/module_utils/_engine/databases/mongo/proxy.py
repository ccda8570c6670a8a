# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server of our own that a shell speaks to, in whose place a script sees the scratch collections and nothing else.

The shell is given neither the address nor the password of the real server. What its script asks for goes to that on a
connection of ours, by the names that the collections have there; so the answers that are counted are the server's own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import urllib.parse
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from ...errors import EnvSyncError
from .commands import Commands
from .scope import Refused, verb_of, writes
from .wire import Malformed, Request, answer, receive

try:
    from bson import Int64

    HAS_BSON = True
except ImportError:
    HAS_BSON = False  # it comes with pymongo, whose lack client.py reports

#: what a hello says of a server that a driver goes by; all else (sets, sessions, logins) is between us and the server
_ABILITIES = ("maxBsonObjectSize", "maxMessageSizeBytes", "maxWriteBatchSize", "minWireVersion", "maxWireVersion")

#: the questions of a shell that has just started; it does without an answer
_CURIOUS = frozenset(
    {
        "atlasVersion",
        "connectionStatus",
        "getCmdLineOpts",
        "getFreeMonitoringStatus",
        "getLog",
        "getParameter",
        "hostInfo",
        "serverStatus",
    }
)

_HELLO = frozenset({"hello", "ismaster", "isMaster"})

#: asks how many commands have come, and how many of them are still running
PENDING = "env_sync_pending"

_ILLEGAL_OPERATION = 20
_HOST_UNREACHABLE = 6
_COMMAND_NOT_FOUND = 59


class Proxy:
    """Listens on a socket in ``folder``, which has to be this user's alone; a context manager.

    :param commands: what runs the script's commands, and on whose server and database.
    :param mark: the collection whose first document ends the script: what is asked for after it is a failure.
    """

    def __init__(self, commands: Commands, folder: str, mark: str) -> None:
        self._server = commands.server
        self._database = commands.database
        self._doing = commands.doing
        self._commands = commands
        self._mark = mark
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._begun = self._ended = 0
        self._marked = self._closed = False
        #: why commands were not run
        self.refusals: list[str] = []
        #: what came in the way of the connection to the server
        self.error: EnvSyncError | None = None

    @property
    def uri(self) -> str:
        """The connection string; a socket's path has 107 bytes at most, so it goes by our descriptor of the folder."""
        path = f"/proc/{os.getpid()}/fd/{self._folder}/mongodb.sock"
        host, database = urllib.parse.quote(path, safe=""), urllib.parse.quote(self._database, safe="")
        return f"mongodb://{host}/{database}?directConnection=true&serverSelectionTimeoutMS=30000"

    def __enter__(self) -> Proxy:
        try:
            self._listener.bind(f"/proc/self/fd/{self._folder}/mongodb.sock")
            self._listener.listen(16)
        except OSError as error:
            self.close()
            raise EnvSyncError(self._doing, f"no socket can be made in temppath: {error.strerror}") from error
        threading.Thread(target=self._listen, daemon=True, name="mongodb proxy").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more; what is running in the server is waited for by nobody."""
        with self._lock:
            self._closed = True
            connections = list(self._connections)
        for connection in (self._listener, *connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with contextlib.suppress(OSError):
            os.unlink("mongodb.sock", dir_fd=self._folder)
        with contextlib.suppress(OSError):
            os.close(self._folder)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                connection, _address = self._listener.accept()
                with self._lock:
                    if self._closed:
                        connection.close()
                        return
                    self._connections.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True, name="mongodb proxy").start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError, Malformed), connection:
                while True:
                    request = receive(connection)
                    if request is None:
                        return
                    document = self._answer(request)
                    if request.answered:
                        answer(connection, request, document)
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _answer(self, request: Request) -> Any:
        verb = verb_of(request.command)
        try:
            if verb in _HELLO:
                return self._hello()
            if verb in ("ping", "endSessions"):
                return {"ok": 1.0}
            if verb == PENDING:
                with self._lock:
                    return {"begun": self._begun, "running": self._begun - self._ended, "ok": 1.0}
            if verb in ("buildInfo", "buildinfo"):
                return self._server.raw("admin", {"buildInfo": 1}, self._doing)
            if verb in _CURIOUS or (verb == "aggregate" and request.database == "admin"):
                return _refusal(_COMMAND_NOT_FOUND, f"{verb} is not answered here")
            return self._run(request.database, request.command)
        except Refused as error:
            self.refusals.append(str(error))
            return _refusal(_ILLEGAL_OPERATION, f"env_sync refuses {error}")
        except EnvSyncError as error:
            self.error = self.error or error
            return _refusal(_HOST_UNREACHABLE, "the server cannot be reached")

    def _hello(self) -> dict[str, Any]:
        about = self._server.hello(self._doing)
        return {
            "ismaster": True,
            "isWritablePrimary": True,
            "helloOk": True,
            **{name: about[name] for name in _ABILITIES if name in about},
            "localTime": about["localTime"],
            "readOnly": False,
            "ok": 1.0,
        }

    def _run(self, database: str, command: Mapping[str, Any]) -> Any:
        verb = verb_of(command)
        if verb == "listCollections" and database == self._database:
            return self._collections(command)
        if verb == "dbStats" and database == self._database:
            return self._server.raw(database, command, self._doing)
        ending = verb == "insert" and command[verb] == self._mark
        with self._lock:
            self._begun += 1
            if self._marked and writes(command):
                raise Refused(f"{verb} after the script's end, which nothing waits for")
            self._marked = self._marked or ending
        try:
            return self._commands.run(database, command)
        finally:
            with self._lock:
                self._ended += 1

    def _collections(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Answer as if there were the scratch collections alone, by the names that they will have."""
        wanted = dict((command.get("filter") or {}).items())
        if not set(wanted) <= {"name", "type"} or not all(isinstance(value, str) for value in wanted.values()):
            raise Refused("listCollections by more than a name or a type")
        scope, found = self._commands.scope, []
        for name, about in self._server.collections(self._database, self._doing).items():
            known = scope.known(name)
            if name.startswith("system.") or scope.real(known) != name:
                continue
            shown = {**about, "name": known}
            if all(shown.get(key) == value for key, value in wanted.items()):
                found.append({"name": known, "type": about["type"]} if command.get("nameOnly") else shown)
        namespace = f"{self._database}.$cmd.listCollections"
        return {"cursor": {"id": Int64(0), "ns": namespace, "firstBatch": found}, "ok": 1.0}


def _refusal(code: int, why: str) -> dict[str, Any]:
    return {"ok": 0.0, "errmsg": why, "code": code}
