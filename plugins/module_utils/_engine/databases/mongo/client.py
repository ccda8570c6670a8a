# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection to a MongoDB server: its address, control commands, and MongoDB's own programs."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ...errors import EnvSyncError, MissingLibrary, one_line
from ...host import programs
from ...host.linux import said
from ...host.stopping import Stop, interruptible
from ...tasks.task import LOOPBACK, Connection
from ..base import within

try:
    import pymongo
    import pymongo.errors
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument

    HAS_PYMONGO = True
except ImportError:
    HAS_PYMONGO = False

#: how long to look for the server, where nobody said, in seconds
_PATIENCE = 10

#: how long a program may take to say its version, in seconds
_VERSION_PATIENCE = 30.0

#: how long the end of a connection may take, in seconds
_GOODBYE = 2.0

#: codes with which servers say that they lack a feature: CommandNotSupported, NotImplemented (FerretDB),
#: "Feature not supported" (Amazon DocumentDB, functional differences)
LACKING = frozenset({115, 238, 303})

#: options that MongoDB's programs take for seconds, where all else takes milliseconds (mongo-tools, common/options):
#: 10 s would be 10,000 s. Without them they wait 3 s for a connection and 30 s for a server.
_MISREAD = frozenset({"connecttimeoutms", "serverselectiontimeoutms", "sockettimeoutms"})

#: how much an error repeats of what a server or a program says, in characters; they can repeat themselves a lot
_LONGEST = 500

#: what begins each line of those programs
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\S+\t")
_ADDRESS = re.compile(r"mongodb(?:\+srv)?://\S*?(?=:?(?:\s|$))")


class ServerError(EnvSyncError):
    """The server refused a command; ``code`` is its own."""

    def __init__(self, doing: str, why: str, code: int) -> None:
        super().__init__(doing, why)
        self.code = code


def uri_of(connection: Connection, base: str, options: Mapping[str, str]) -> str:
    """Return a connection string with no database in it.

    :param base: a connection string (``MONGODB_URI``) that gives what ``connection`` leaves open; may be empty.
    :param options: added; they win over those of ``base``.
    :raises EnvSyncError: ``base`` has a user and a password, and ``connection`` another host and no user.
    """
    given = urllib.parse.urlsplit(base or "mongodb://")
    userinfo, _at, hosts = given.netloc.rpartition("@")
    scheme = given.scheme
    if userinfo and not connection.user and _is_elsewhere(connection.host, hosts):
        raise EnvSyncError(
            f"connecting to {connection.host}",
            f"the user and the password of MONGODB_URI are for its own hosts ({hosts})",
            "Set login_user and login_password, or leave database_hostname out of the task.",
        )
    if connection.host or not hosts:
        scheme = "mongodb"
        hosts = ",".join(_address(one, connection.port) for one in (connection.host or "localhost").split(","))
    elif connection.port and "," not in hosts and scheme == "mongodb":
        hosts = f"{_without_port(hosts)}:{connection.port}"
    if connection.user:
        userinfo = urllib.parse.quote(connection.user, safe="")
        if connection.password:
            userinfo += ":" + urllib.parse.quote(connection.password, safe="")
    ours = {name.lower() for name in options} | ({"ssl"} if "tls" in options else set())
    query = [(name, value) for name, value in _options(given.query) if name.lower() not in ours]
    query += [(name, urllib.parse.quote(value, safe="")) for name, value in options.items()]
    names = {name.lower() for name, _value in query}
    if given.path.strip("/") and userinfo and "authsource" not in names:
        query.append(("authSource", given.path.strip("/")))
    if "serverselectiontimeoutms" not in names:
        query.append(("serverSelectionTimeoutMS", str(_PATIENCE * 1000)))
    if scheme == "mongodb" and "," not in hosts and not names & {"replicaset", "directconnection", "loadbalanced"}:
        # One host means that host: otherwise a driver goes on to the primary, and nobody learns that this is none.
        query.append(("directConnection", "true"))
    return urllib.parse.urlunsplit((scheme, f"{userinfo}@{hosts}" if userinfo else hosts, "/", _query(query), ""))


def _options(query: str) -> list[tuple[str, str]]:
    """Return a connection string's options as they stand there: some may be repeated, and their order and an empty one
    count (``readPreferenceTags``)."""
    pairs = [part.partition("=") for part in re.split("[&;]", query) if part]
    return [(name, value) for name, _equals, value in pairs]


def _query(options: Sequence[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in options)


def _is_elsewhere(host: str, hosts: str) -> bool:
    """Say whether a host is none of a connection string's; where that names none, its user is for any."""
    own = {_machine(one) for one in hosts.split(",") if one}
    return bool(own) and not own.issuperset(_machine(one) for one in host.split(",") if one)


def _machine(host: str) -> str:
    """Return what is equal for all that leads to one machine: the port counts for nothing, and a socket is this one's.

    A name is not looked up: what it leads to may change.
    """
    name = _split(host)[0].lower()
    if name.startswith("/") or name in LOOPBACK:
        return "localhost"
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    return "localhost" if address.is_loopback else str(address)


def _split(host: str) -> tuple[str, str]:
    """Return a host's name, address without brackets, or path of a socket; and the port that stands with it, if any."""
    text = urllib.parse.unquote(host)
    if text.startswith("["):
        address, _bracket, port = text[1:].partition("]")
        return address, port.lstrip(":")
    name, _colon, port = text.partition(":")
    return (text, "") if text.startswith("/") or ":" in port else (name, port)


def _address(host: str, port: int) -> str:
    """Return a host as a connection string has it; ``port`` wins over the one that stands with the host."""
    name, own = _split(host)
    if name.startswith("/"):
        return urllib.parse.quote(name, safe="")
    return f"{f'[{name}]' if ':' in name else name}:{port or own or 27017}"


def _without_port(host: str) -> str:
    return host[: host.rindex(":")] if ":" in host and not host.endswith("]") else host


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
            named = _without_port(self.name).strip("[]")
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


def program(name: str, doing: str) -> str:
    """Return the path of one of MongoDB's programs."""
    found = programs.find(name)
    if found is None:
        package = "mongosh" if name == "mongosh" else "the MongoDB Database Tools"
        raise EnvSyncError(doing, f"{name} is not installed on this host", f"Install {package}.")
    return found


def program_version(path: str) -> str:
    """Return the first line of ``--version``; empty when the program has nothing to say."""
    return one_line(said([path, "--version"], _VERSION_PATIENCE).partition("\n")[0])


def complaint(stderr: str) -> str:
    """Return what of the standard error of mongodump or mongorestore an error may repeat: what it died of.

    They report there all that they do. When they cannot connect they name the address with its password, and an error
    of the server's may quote a document (``dup key: {...}``, ``Can't extract geo keys: {...}``).
    """
    lines = [_TIME.sub("", line) for line in stderr.splitlines()]
    fatal = [line for line in lines if line.startswith(("Failed: ", "error "))]
    text = _ADDRESS.sub("the server", " ".join(fatal or lines[-3:]))
    said, brace, _rest = text.partition("{")
    if not brace or said.endswith("current topology: "):  # servers and their states
        return text[:_LONGEST]
    return f"{said.rstrip()[:_LONGEST]} (the rest is withheld, as it may quote data)"


def write_config(work_dir: str | None, uri: str) -> str:
    """Write the file that gives MongoDB's programs the address, secrets and all; return its path."""
    parts = urllib.parse.urlsplit(uri)
    options = [(name, value) for name, value in _options(parts.query) if name.lower() not in _MISREAD]
    uri = urllib.parse.urlunsplit(parts._replace(query=_query(options)))
    path = within(work_dir, "mongo.yaml")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        quoted = uri.replace("'", "''")
        stream.write(f"uri: '{quoted}'\n")
    return path
