# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection to a MongoDB server, for everything but the data itself."""

from __future__ import annotations

import socket
import threading
import urllib.parse
from collections.abc import Mapping
from typing import Any, Callable

from ...errors import EnvSyncError, MissingLibrary, one_line
from ...host.stopping import Stop, interruptible
from ...tasks.task import LOOPBACK
from .address import without_port

try:
    import pymongo
    import pymongo.errors
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument

    HAS_PYMONGO = True
except ImportError:
    HAS_PYMONGO = False

#: how long the end of a connection may take, in seconds
_GOODBYE = 2.0

#: codes with which servers say that they lack a feature: CommandNotSupported, NotImplemented (FerretDB),
#: "Feature not supported" (Amazon DocumentDB, functional differences)
LACKING = frozenset({115, 238, 303})

#: how much an error repeats of what a server says, in characters; it can repeat itself a lot
_LONGEST = 500

#: the server's code for a collection that is not there
NAMESPACE_NOT_FOUND = 26


class ServerError(EnvSyncError):
    """The server refused a command; ``code`` is its own."""

    def __init__(self, doing: str, why: str, code: int) -> None:
        super().__init__(doing, why)
        self.code = code


class Server:
    """A server, or replica set, that a connection string leads to; connected when first asked."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.name = urllib.parse.urlsplit(uri).netloc.rpartition("@")[2]
        self.stop = Stop()
        self._client: Any = None

    def client(self, doing: str) -> Any:
        """Return the ``MongoClient``."""
        if not HAS_PYMONGO:
            raise MissingLibrary("pymongo", "pymongo", "a MongoDB task")
        if self._client is None:
            try:
                self._client = pymongo.MongoClient(self.uri, appname="env_sync")
            except (pymongo.errors.PyMongoError, ValueError, OSError) as error:
                raise EnvSyncError(doing, describe(error), "Check database_hostname, or MONGODB_URI.") from error
        return self._client

    def command(self, database: str, command: Mapping[str, Any], doing: str) -> dict[str, Any]:
        """Run one command; its first key is its name.

        :raises ServerError: the server refused it.
        """
        return dict(self._ask(lambda client: client[database].command(command), doing))

    def raw(self, database: str, command: Mapping[str, Any], doing: str, session: Any = None) -> Any:
        """Run one command; return the answer in BSON, which may be a refusal (``ok`` is 0 then)."""
        options = {"codec_options": CodecOptions(document_class=RawBSONDocument), "check": False, "session": session}
        return self._ask(lambda client: client[database].command(dict(command), **options), doing)

    def session(self, doing: str) -> Any:
        """Return a session, in which cursors live; None where the server has none (Amazon DocumentDB before 4.0)."""
        if self.hello(doing).get("logicalSessionTimeoutMinutes") is None:
            return None
        return self._ask(lambda client: client.start_session(causal_consistency=False), doing)

    def collections(self, database: str, doing: str) -> dict[str, dict[str, Any]]:
        """Return what ``listCollections`` says of each collection and view, by name."""
        found = self._all(lambda client: client[database].list_collections(), doing)
        return {str(item["name"]): item for item in found}

    def indexes(self, database: str, collection: str, doing: str) -> list[dict[str, Any]]:
        """Return what ``listIndexes`` says of each index."""
        return self._all(lambda client: client[database][collection].list_indexes(), doing)

    def count(self, database: str, collection: str, doing: str) -> int:
        """Return how many documents there are, counted, not estimated."""
        return int(self._ask(lambda client: client[database][collection].count_documents({}), doing))

    def _all(self, call: Callable[[Any], Any], doing: str) -> list[dict[str, Any]]:
        return list(self._ask(lambda client: [dict(item) for item in call(client)], doing))

    def _ask(self, call: Callable[[Any], Any], doing: str) -> Any:
        client = self.client(doing)
        try:
            return interruptible(lambda: call(client), self.stop, doing)
        except pymongo.errors.OperationFailure as error:
            raise ServerError(doing, describe(error), error.code or 0) from error
        except pymongo.errors.PyMongoError as error:
            raise EnvSyncError(doing, describe(error), "Check that the server runs, and its address.") from error

    def hello(self, doing: str) -> dict[str, Any]:
        """Return what the server says of its part in a replica set; servers before 4.4.2 know ``isMaster`` only."""
        try:
            return self.command("admin", {"hello": 1}, doing)
        except ServerError as error:
            if error.code != 59:
                raise
            answer = self.command("admin", {"isMaster": 1}, doing)
            answer["isWritablePrimary"] = answer.get("ismaster", False)
            return answer

    def system(self, doing: str) -> str:
        """Return what tells this server from others.

        The replica set's own id where it may be read; otherwise the host and port as the server itself names them;
        otherwise, where this user may not ask, as the task names them (with this host's name for a loopback address).
        """
        try:
            config = self.command("admin", {"replSetGetConfig": 1}, doing)["config"]
            return f"replica set {config['settings']['replicaSetId']}"
        except (ServerError, KeyError):
            pass
        port = self.name.rpartition(":")[2]
        try:
            host = str(self.command("admin", {"serverStatus": 1}, doing)["host"])
        except (ServerError, KeyError):
            host = ""
        if not host:
            named = without_port(self.name).strip("[]")
            host = socket.gethostname() if named in LOOPBACK else named
        return host if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        if self._client is not None:
            # It says goodbye to the server, which may not listen.
            closing = threading.Thread(target=self._client.close, daemon=True, name="close")
            closing.start()
            closing.join(_GOODBYE)
            self._client = None


def describe(error: Exception) -> str:
    """Return the server's or driver's words, without the driver's account of its own state."""
    details = getattr(error, "details", None)
    if isinstance(details, Mapping) and details.get("errmsg"):
        return one_line(str(details["errmsg"]))[:_LONGEST]
    text = one_line(str(error)).partition(" (configured timeouts:")[0]
    return text.partition(", Topology Description")[0][:_LONGEST]
