# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL's own programs: which are installed, and which of them suit a server."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence

from ...errors import EnvSyncError
from ...host import programs
from ...host.linux import said

#: where distributions put the programs of each major version, beside the PATH
_BINARY_DIRS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")

#: the first major version that has transaction_timeout, and whose pg_restore sets it
_TRANSACTION_TIMEOUT = 17

#: how long a program may take to say its version, in seconds
_VERSION_PATIENCE = 10.0


class Programs:
    """The PostgreSQL client programs of one version.

    ``version`` is ``(major, minor)``, as the programs say.
    """

    def __init__(self, folder: str, version: tuple[int, int]) -> None:
        self._folder = folder
        self.version = version

    def path(self, program: str) -> str:
        """Return the path of one of them, by its name."""
        return os.path.join(self._folder, program)

    @property
    def version_text(self) -> str:
        """The version as they say it: ``15.4``."""
        return ".".join(str(part) for part in self.version)


def find_programs(found: Sequence[Programs], server_version: int, doing: str) -> Programs:
    """Return the best client programs for a server: of its own major version, else the next newer ones.

    pg_dump refuses a server newer than itself, and what a newer one writes, an older pg_restore does not read.

    :param found: those that are installed.
    :param server_version: the server's ``server_version_num``.
    :raises EnvSyncError: there are none, or only older ones; the message says which.
    """
    return _nearest(found, _major(server_version), doing)


def find_restore_programs(found: Sequence[Programs], server_version: int, doing: str) -> Programs:
    """Return the client programs to restore into a server with, as :func:`find_programs` does.

    :raises EnvSyncError: too new ones are of no use either: pg_restore 17 begins with a setting that older servers
        refuse.
    """
    major = _major(server_version)
    if major >= _TRANSACTION_TIMEOUT:
        return _nearest(found, major, doing)
    usable = [programs for programs in found if programs.version[0] < _TRANSACTION_TIMEOUT]
    if found and not usable:
        raise EnvSyncError(
            doing,
            f"the client programs are of version {found[0].version[0]}, whose pg_restore sends a setting that a server "
            f"of version {major} refuses (transaction_timeout)",
            f"Install postgresql-client-{major}.",
        )
    return _nearest(usable, major, doing)


def find_newest_programs(found: Sequence[Programs], doing: str) -> Programs:
    """Return the newest client programs: these read every archive that older ones wrote."""
    if not found:
        raise EnvSyncError(doing, "pg_dump and pg_restore are not installed", "Install postgresql-client.")
    return max(found, key=lambda programs: programs.version[0])


def _nearest(found: Sequence[Programs], needed: int, doing: str) -> Programs:
    suitable = [programs for programs in found if programs.version[0] >= needed]
    if suitable:
        return min(suitable, key=lambda programs: programs.version[0])
    if not found:
        raise EnvSyncError(doing, "pg_dump and pg_restore are not installed", f"Install postgresql-client-{needed}.")
    newest = max(programs.version for programs in found)[0]
    raise EnvSyncError(
        doing,
        f"the client programs are of version {newest}, older than the server's {needed}",
        f"Install postgresql-client-{needed}.",
    )


def _major(server_version: int) -> int:
    return server_version // 10000


def installed_programs() -> list[Programs]:
    """Return the client programs that are on this host, one of each version; each is asked for its version."""
    folders: list[str] = []
    for pattern in _BINARY_DIRS:
        folders += sorted(glob.glob(pattern))
    # The PATH comes first: an operator who puts a client there means it.
    on_path = [folder for folder in programs.search_path() if folder not in ("/usr/bin", "/bin")]
    # Debian's wrappers in /usr/bin choose a version by rules of their own (and take their time).
    return _among([*on_path, *folders]) or _among(["/usr/bin"])


def _among(folders: Sequence[str]) -> list[Programs]:
    found: list[Programs] = []
    for folder in folders:
        if all(os.access(os.path.join(folder, program), os.X_OK) for program in ("pg_dump", "pg_restore")):
            version = _version(os.path.join(folder, "pg_restore"))
            if version is not None and all(version != programs.version for programs in found):
                found.append(Programs(folder, version))
    return found


def _version(program: str) -> tuple[int, int] | None:
    match = re.search(r"(\d+)(?:\.(\d+))?", said([program, "--version"], _VERSION_PATIENCE))
    return (int(match.group(1)), int(match.group(2) or 0)) if match else None
