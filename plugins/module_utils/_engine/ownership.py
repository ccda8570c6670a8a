# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose the files are that root makes: those of their folder's owner.

A task that cron runs as its own user is also run by hand, as root. What that leaves in the store and in the state
directory must not stand in the way of the user's next run.
"""

from __future__ import annotations

import os


def make_folders(path: str, mode: int = 0o755) -> None:
    """Make a folder, and those above it that are not there; of root's, each belongs to the owner of the one above it.

    :raises OSError: a folder can't be made, or something else has its name.
    """
    if os.path.isdir(path):
        return
    above = os.path.dirname(os.path.abspath(path))
    make_folders(above, mode)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return
    _give(path, above)


def hand_over(descriptor: int, path: str) -> None:
    """Give an open file of root's, whose path is ``path``, to the owner of its folder."""
    _give(descriptor, os.path.dirname(os.path.abspath(path)))


def _give(target: int | str, folder: str) -> None:
    if os.geteuid() != 0:
        return
    owner = os.stat(folder)
    if owner.st_uid == 0:
        return
    if isinstance(target, int):
        os.fchown(target, owner.st_uid, owner.st_gid)
    else:
        os.chown(target, owner.st_uid, owner.st_gid, follow_symlinks=False)
