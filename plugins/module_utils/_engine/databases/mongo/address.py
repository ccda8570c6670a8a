# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The address of a MongoDB server: a connection string made of a task's keys and of the environment's."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Mapping, Sequence

from ...errors import EnvSyncError
from ...tasks.task import LOOPBACK, Connection

#: how long to look for the server, where nobody said, in seconds
_PATIENCE = 10


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
        hosts = f"{without_port(hosts)}:{connection.port}"
    if connection.user:
        userinfo = urllib.parse.quote(connection.user, safe="")
        if connection.password:
            userinfo += ":" + urllib.parse.quote(connection.password, safe="")
    ours = {name.lower() for name in options} | ({"ssl"} if "tls" in options else set())
    query = [(name, value) for name, value in options_of(given.query) if name.lower() not in ours]
    query += [(name, urllib.parse.quote(value, safe="")) for name, value in options.items()]
    names = {name.lower() for name, _value in query}
    if given.path.strip("/") and userinfo and "authsource" not in names:
        query.append(("authSource", given.path.strip("/")))
    if "serverselectiontimeoutms" not in names:
        query.append(("serverSelectionTimeoutMS", str(_PATIENCE * 1000)))
    if scheme == "mongodb" and "," not in hosts and not names & {"replicaset", "directconnection", "loadbalanced"}:
        # One host means that host: otherwise a driver goes on to the primary, and nobody learns that it did.
        query.append(("directConnection", "true"))
    return urllib.parse.urlunsplit((scheme, f"{userinfo}@{hosts}" if userinfo else hosts, "/", query_of(query), ""))


def options_of(query: str) -> list[tuple[str, str]]:
    """Return a connection string's options as they stand there.

    Some may be repeated, and their order and an empty one count (``readPreferenceTags``).
    """
    pairs = [part.partition("=") for part in re.split("[&;]", query) if part]
    return [(name, value) for name, _equals, value in pairs]


def query_of(options: Sequence[tuple[str, str]]) -> str:
    """Return options as a connection string has them; the reverse of :func:`options_of`."""
    return "&".join(f"{name}={value}" for name, value in options)


def _is_elsewhere(host: str, hosts: str) -> bool:
    """Say whether a host is not one of a connection string's; the user of one that names no host is for any host."""
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


def without_port(host: str) -> str:
    """Return a host or a bracketed address without the port that stands with it."""
    return host[: host.rindex(":")] if ":" in host and not host.endswith("]") else host
