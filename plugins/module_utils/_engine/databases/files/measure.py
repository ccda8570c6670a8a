# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much is in a tree, and whose it is."""

from __future__ import annotations

import contextlib
import os
import pwd
from dataclasses import dataclass, field

from ...errors import EnvSyncError
from .archive import shown


@dataclass
class Measured:
    """What is in a tree.

    ``size`` is in bytes: of each file its length, or what it takes on the disk where that is less (holes). ``uids`` are
    its owners.
    """

    size: int = 0
    files: int = 0
    folders: int = 0
    uids: set[int] = field(default_factory=set)

    def owners(self) -> list[str]:
        """Return the names of the users that something in it belongs to; those without a name are left out."""
        names = []
        for uid in self.uids:
            with contextlib.suppress(KeyError):
                names.append(pwd.getpwuid(uid).pw_name)
        return sorted(names)


def measure(tree: str, doing: str) -> Measured:
    """Look at every file of a tree.

    :raises EnvSyncError: there is none, or a folder of it may not be read.
    """
    found = Measured()
    left = [tree]
    try:
        found.uids.add(os.stat(tree).st_uid)
        while left:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):  # it is gone, or became something else
                        status = entry.stat(follow_symlinks=False)
                        found.uids.add(status.st_uid)
                        if entry.is_dir(follow_symlinks=False):
                            found.folders += 1
                            left.append(entry.path)
                        else:
                            found.files += 1
                            found.size += min(status.st_size, status.st_blocks * 512)
    except OSError as error:
        hint = "Run it as a user that may read all of the tree."
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            hint = "Correct directory (or database, where that is the path)."
        raise EnvSyncError(doing, f"{error.strerror}: {shown(str(error.filename))}", hint) from error
    return found
