# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Option files of MySQL's and MariaDB's clients: read as the clients read them, and written for the dump programs."""

from __future__ import annotations

import getpass
import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...host import programs
from ...tasks.task import Connection

#: where the clients look for options, the later ones win (MySQL manual, "Using Option Files")
OPTION_FILES = ("/etc/my.cnf", "/etc/mysql/my.cnf", "~/.my.cnf")

#: the groups of option files that all clients of both flavours read
_GROUPS = ("client", "client-server", "client-mariadb")

#: and those that the dump programs read beside them
_PROGRAM_GROUPS = (*_GROUPS, "mysqldump", "mariadb-dump")

#: options that say how a program connects. Others say what it does, and are no matter of the user's files.
_CONNECTS = re.compile(
    r"(?:loose-)?(?:(?:skip-|disable-|enable-)?(?:ssl|tls)(?:-.+)?|(?:skip-)?(?:compress|secure-auth)|default-auth"
    r"|compression-algorithms|zstd-compression-level|plugin-dir|plugin-authentication-.+|enable-cleartext-plugin"
    r"|get-server-public-key|server-public-key-path|bind-address|password[123])"
)

#: where distributions put the server's socket
_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")

#: what the server escapes in an option file's values, but for the backslash itself
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "s": " ", '"': '"', "'": "'", "\\": "\\"}


def read_options(paths: Sequence[str], groups: Sequence[str] = _GROUPS) -> dict[str, str]:
    """Return the options that these groups have in the option files, as the clients read them; the last one wins.

    Names have hyphens (``ssl-ca``); the value of one that has none (``skip-ssl``) is empty.

    Files that are missing or may not be read are passed over, as the clients do.
    """
    return {name: value or "" for group, name, value in _option_lines(paths) if group in groups}


def _option_lines(paths: Sequence[str]) -> Iterator[tuple[str, str, str | None]]:
    """Yield each option of the files: its group, its name, and its value (None where it has none: ``skip-ssl``)."""
    for path in paths:
        group = ""
        try:
            # What an option file includes by a relative path is looked for where the programs start.
            place = os.path.join(programs.START, os.path.expanduser(path))
            with open(place, encoding="utf-8", errors="surrogateescape") as stream:
                lines = stream.read().splitlines()
        except OSError:
            continue
        for line in lines:
            text = line.strip()
            if text.startswith("!includedir"):
                yield from _option_lines(sorted(glob.glob(os.path.join(programs.START, text[11:].strip(), "*.cnf"))))
            elif text.startswith("!include"):
                yield from _option_lines([text[8:].strip()])
            elif text.startswith("["):
                group = text[1:].partition("]")[0].strip()
            elif text and text[0] not in "#;":
                key, equals, value = text.partition("=")
                yield group, key.strip().replace("_", "-"), _value(value) if equals else None


def _value(text: str) -> str:
    """Return an option's value: without a comment, quotes, and escapes."""
    quoted, escaped, end = "", False, len(text)
    for position, character in enumerate(text):
        if character in "'\"" and not escaped:
            quoted = character if not quoted else "" if quoted == character else quoted
        if character == "#" and not quoted:
            end = position
            break
        escaped = bool(quoted) and character == "\\" and not escaped
    value = text[:end].strip()
    if len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]:
        value = value[1:-1]
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match.group(1), match.group(0)), value, flags=re.DOTALL)


@dataclass(frozen=True)
class Settings:
    """How to reach the server, as resolved from the task and the option files.

    ``socket`` is a path, empty over TCP. ``tls`` has the options with ``ssl`` in their names, as :func:`read_options`.
    """

    host: str
    port: int
    socket: str
    user: str
    password: str = field(repr=False)
    tls: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call the server."""
        return self.socket or f"{self.host}:{self.port}"


def settings(connection: Connection, files: Sequence[str] = OPTION_FILES) -> Settings:
    """Return how to reach the server: what the task says, else what the option files say, else the clients' defaults.

    A host that begins with a slash is a socket. ``localhost`` is the local socket, as for all clients, unless the task
    gives a port.
    """
    options = read_options(files)
    host = connection.host or options.get("host", "") or "localhost"
    port = connection.port or (int(options["port"]) if options.get("port", "").isdigit() else 3306)
    socket = ""
    if host.startswith("/"):
        host, socket = "localhost", host
    elif host == "localhost" and not connection.port and options.get("protocol", "").lower() != "tcp":
        known = options.get("socket", "") or next((path for path in _SOCKETS if os.path.exists(path)), "")
        socket = known or _SOCKETS[0]
    # A password belongs to its user: one from a file is not for another user of the task's.
    same_user = connection.user in ("", options.get("user", ""))
    return Settings(
        host=host,
        port=port,
        socket=socket,
        user=connection.user or options.get("user", "") or getpass.getuser(),
        password=connection.password or (options.get("password", "") if same_user else ""),
        tls={key: value for key, value in options.items() if "ssl" in key},
    )


def switch(options: Mapping[str, str], name: str) -> bool | None:
    """Return whether an option is switched on (``ssl``, ``ssl=1``) or off (``skip-ssl``, ``ssl=0``); None: neither."""
    if f"skip-{name}" in options or f"disable-{name}" in options:
        return False
    return options[name].lower() not in ("0", "off", "false") if name in options else None


def write_defaults(path: str, chosen: Settings, files: Sequence[str] = OPTION_FILES) -> None:
    """Write an option file (mode 0600) with which the programs reach the same server as the control connection.

    It is the only one that they read. Of the users' own files it has what a connection needs (TLS, authentication,
    compression) in the groups where that stands, and nothing that changes what a program does: ``where``,
    ``ignore-table``, ``no-create-info`` or ``replace`` of ``[mysqldump]`` would make points that lack rows.
    """
    values = {"user": chosen.user, "password": chosen.password, "host": chosen.host, "port": str(chosen.port)}
    values["protocol"] = "socket" if chosen.socket else "tcp"
    if chosen.socket:
        values["socket"] = chosen.socket
    lines = [
        f"[{group}]\n{name}{'' if value is None else '=' + _quoted(value)}"
        for group, name, value in _option_lines(files)
        if group in _PROGRAM_GROUPS and _CONNECTS.fullmatch(name)
    ]
    lines += ["[client]", *(f"{key}={_quoted(value)}" for key, value in values.items())]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write("\n".join(lines) + "\n")


def write_left_out(path: str, defaults: str, names: Sequence[str]) -> None:
    """Write an option file (mode 0600) that has a dump program leave out tables, more than a command line has room for.

    :param defaults: the option file whose options hold too.
    :param names: as ``--ignore-table`` takes them: ``database.table``.
    """
    lines = [f"!include {defaults}", "[mysqldump]", *(f"ignore-table={_quoted(name)}" for name in names)]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write("\n".join(lines) + "\n")


def _quoted(value: str) -> str:
    """Return a value as option files have it, whatever is in it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
