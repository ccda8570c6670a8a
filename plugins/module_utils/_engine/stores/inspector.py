# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a check of a store finds, and what each kind of store adds to it: how it is set up, who else can reach it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass

OK = "ok"
NOTE = "note"
UNKNOWN = "unknown"
WARNING = "warning"
FAILED = "failed"

#: from harmless to grave
SEVERITIES = (OK, NOTE, UNKNOWN, WARNING, FAILED)

#: a file system with less room than this is worth a warning, as a share of all
_LITTLE_ROOM = 0.05


@dataclass(frozen=True)
class Finding:
    """One line of the table: what was looked at, how grave what was found is (:data:`SEVERITIES`), what to do."""

    check: str
    severity: str
    result: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


class Inspector:
    """What a store tells of itself. This one is for stores that tell nothing."""

    def settings(self, account: str, dry_run: bool) -> Iterator[Finding]:
        """Yield what there is to say about how the store is set up.

        :param account: what the account is for: ``push``, ``pull``, or empty where nobody said.
        :param dry_run: nothing may be written, not even by the store's own server.
        """
        return iter(())

    def server_time(self) -> float | None:
        """Return the time of the store's server, in seconds since the epoch; None where an object's has to tell."""
        return None

    def may_read(self, name: str) -> bool | None:
        """Say whether an object of this name, which is not there, could be read; None where that does not show."""
        return None

    def trial(self, name: str, data: bytes) -> Iterator[Finding] | None:
        """Write ``data`` in a way that leaves no object, and yield what came of it; None where there is no such way.

        :raises EnvSyncError: writing was refused.
        """
        return None

    def exposure(self, name: str) -> Iterator[Finding]:
        """Yield whether those without an account reach the store, and its object ``name`` (empty: there is none)."""
        return iter(())

    def staying(self, name: str) -> list[str]:
        """Remove what a removal has left of objects whose names begin so; return what stays all the same, and why."""
        return []


class DirectoryInspector(Inspector):
    """A directory's file system, and who else on this host can read it.

    :param base: a directory that exists.
    :param root: the store's own folder, perhaps below it, which need not exist.
    """

    def __init__(self, base: str, root: str) -> None:
        self._base = base
        self._root = root

    def settings(self, account: str, dry_run: bool) -> Iterator[Finding]:
        found = os.statvfs(self._base)
        free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        little = account != "pull" and free < total * _LITTLE_ROOM
        yield Finding(
            "room",
            WARNING if little else OK,
            f"{free >> 20} MiB of {total >> 20} MiB are free",
            "Make room there, or prune old points." if little else "",
        )
        yield modes(self._root, _mode(self._base, self._root))


def _mode(base: str, root: str) -> int:
    """Return what others may do in ``root``: nothing where they cannot even enter the folder above it."""
    place = root if os.path.isdir(root) else base
    mode = stat.S_IMODE(os.stat(place).st_mode)
    while place != "/":
        place = os.path.dirname(place)
        if not os.stat(place).st_mode & stat.S_IXOTH:
            return mode & ~stat.S_IRWXO
    return mode


def modes(place: str, mode: int) -> Finding:
    """Return what the mode of a store's folder means for other users of its host."""
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return Finding("other users", FAILED, f"every user can write to {place}", f"Run chmod o-rwx {place}.")
    if mode & stat.S_IROTH:
        # The members are 0640: what shows is which points there are.
        return Finding("other users", NOTE, f"every user can list {place}", f"Run chmod o-rwx {place}.")
    return Finding("other users", OK, "cannot list it")
