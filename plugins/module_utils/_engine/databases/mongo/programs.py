# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MongoDB's own programs: where they are, how they are told the address, and what of their complaints may be said."""

from __future__ import annotations

import os
import re
import urllib.parse

from ...errors import EnvSyncError, one_line
from ...host import programs
from ...host.linux import said
from ..base import within
from .address import options_of, query_of

#: how long a program may take to say its version, in seconds
_VERSION_PATIENCE = 30.0

#: options that MongoDB's programs take for seconds, where all else takes milliseconds (mongo-tools, common/options):
#: 10 s would be 10,000 s. Without them they wait 3 s for a connection and 30 s for a server.
_MISREAD = frozenset({"connecttimeoutms", "serverselectiontimeoutms", "sockettimeoutms"})

#: how much an error repeats of what a program says, in characters; it can repeat itself a lot
_LONGEST = 500

#: what begins each line of those programs
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\S+\t")
_ADDRESS = re.compile(r"mongodb(?:\+srv)?://\S*?(?=:?(?:\s|$))")


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
    options = [(name, value) for name, value in options_of(parts.query) if name.lower() not in _MISREAD]
    uri = urllib.parse.urlunsplit(parts._replace(query=query_of(options)))
    path = within(work_dir, "mongo.yaml")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        quoted = uri.replace("'", "''")
        stream.write(f"uri: '{quoted}'\n")
    return path
