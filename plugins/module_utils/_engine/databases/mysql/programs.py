# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client programs of MySQL and MariaDB: which are installed, and which fits a server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import EnvSyncError
from ...host import programs
from ...host.linux import said
from .client import Server
from .options import switch

#: how long a program may take to say its version, in seconds
_VERSION_PATIENCE = 10.0


@dataclass(frozen=True)
class Program:
    """A client program.

    ``version`` is major and minor version of the distribution that it is from; ``text`` what it says of itself.
    """

    path: str
    mariadb: bool
    version: tuple[int, int]
    text: str


def dump_program(server: Server, doing: str) -> Program:
    """Return the program that dumps the databases of a server.

    :raises EnvSyncError: there is none, it is too old for the server, or it would not connect.
    """
    program = find_program(("mariadb-dump", "mysqldump"), server.mariadb, server.version_number, doing)
    _require_tls(server, program, doing)
    return program


def find_program(names: Sequence[str], mariadb: bool, server_version: tuple[int, int], doing: str) -> Program:
    """Return the program of the server's own flavour, else of the other one.

    :param names: what the program is called, MariaDB's own name first.
    :param mariadb: whether the server is MariaDB's.
    :param server_version: major and minor version.
    :raises EnvSyncError: there is none, or only an older one of the same flavour.
    """
    found = [program for program in map(_program, names if mariadb else reversed(names)) if program]
    flavour = "MariaDB" if mariadb else "MySQL"
    if not found:
        raise EnvSyncError(
            doing, f"{' or '.join(names)} is not installed", f"Install the client programs of {flavour}."
        )
    best = next((program for program in found if program.mariadb == mariadb), found[0])
    if best.mariadb == mariadb and best.version[0] < server_version[0]:
        raise EnvSyncError(
            doing,
            f"{best.path} is of version {best.version[0]}.{best.version[1]}, older than the server's "
            f"{server_version[0]}.{server_version[1]}",
            f"Install the client programs of {flavour} {server_version[0]}.{server_version[1]}.",
        )
    return best


def mistakes_charset(program: Program, mariadb: bool, server_version: tuple[int, int]) -> bool:
    """Say whether the server takes a program to speak its own default character set, whatever the program asks for.

    Programs of MySQL 8 and newer ask for utf8mb4 by the number of a collation that only MySQL 8 and newer know.
    """
    return not program.mariadb and program.version >= (8, 0) and (mariadb or server_version < (8, 0))


def _require_tls(server: Server, program: Program, doing: str) -> None:
    """Raise when the program would not connect: since 11.4 MariaDB's want TLS, unless an option says otherwise."""
    options = server.settings.tls
    wanted = program.mariadb and program.version >= (11, 4) and not server.settings.socket
    if not wanted or False in (switch(options, "ssl"), switch(options, "ssl-verify-server-cert")):
        return
    if not server.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'", doing=doing)[0][1]:
        raise EnvSyncError(
            doing,
            f"{server.name} has no TLS, and {program.path} wants it",
            "Give it a certificate, or put disable-ssl-verify-server-cert below [client-mariadb] in ~/.my.cnf.",
        )


def _program(name: str) -> Program | None:
    path = programs.find(name)
    if path is None:
        return None
    # First, as the programs want it: an option in the user's files that they don't know would end them.
    text = said([path, "--no-defaults", "--version"], _VERSION_PATIENCE)
    # "Ver 10.19 Distrib 10.11.6-MariaDB": where there are two numbers, the first is the program's own.
    match = re.search(r"(?:Distrib|from) (\d+)\.(\d+)", text) or re.search(r"Ver (\d+)\.(\d+)", text)
    if match is None:
        return None
    return Program(path, "mariadb" in text.lower(), (int(match[1]), int(match[2])), " ".join(text.split()))
