# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A directory tree that takes another's place, and what can be seen of that when it was killed half-way.

Everything happens in the directory that holds the live tree: the new tree is made under one hidden name and the
replaced one goes to another. While they change places, a third one, a symbolic link to nothing, says as its text
which inode the live tree had: whatever then stands under which name, one can tell which tree it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import stat
import time

#: what the names of trees begin with that are not live
HIDDEN = ".env_sync_"

#: longer names than this are cut, so that with what is put before and after it a name still is one (bytes)
_LONGEST_STEM = 200

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Places:
    """The names around one live tree.

    :param path: the tree; a symbolic link to it is followed, and stays.
    """

    def __init__(self, path: str) -> None:
        self.live = os.path.realpath(path)
        self.parent, name = os.path.split(self.live)
        stem = os.fsencode(name)
        if len(stem) > _LONGEST_STEM:
            stem = stem[:_LONGEST_STEM] + b"-" + hashlib.sha256(stem).hexdigest()[:8].encode()
        self.scratch = os.path.join(self.parent, f"{HIDDEN}scratch-{os.fsdecode(stem)}")
        self.old = os.path.join(self.parent, f"{HIDDEN}old-{os.fsdecode(stem)}")
        self.lock = os.path.join(self.parent, f"{HIDDEN}lock-{os.fsdecode(stem)}")
        self._marker = os.path.join(self.parent, f"{HIDDEN}swap-{os.fsdecode(stem)}")

    # 1. Remove the old tree that an earlier pull kept, to have its name free.
    # 2. Write the marker: it names the inode of the live tree, which is to be replaced. From here until finish() takes
    #    the marker away, recover() tells by that inode alone which tree stands under which name.
    # 3. Exchange the live and the scratch name in one step (renameat2), and rename what is now scratch to old. Where
    #    kernel or file system cannot, rename live to old and scratch to live: the name is away in between.
    # 4. Flush the folder, so that the names outlive a crash of the host.
    # 5. The caller removes the old tree or keeps it, then calls finish().
    #
    # Where a run is killed before step 3, the live name has its old inode still, and the scratch tree goes. Between two
    # renames there is no live name, and the old tree gets it back. After that the swap is completed, not undone:
    # readers have the new tree already.
    def swap(self) -> float:
        """Give the scratch tree the live name; the replaced one is at ``old``. Return for how long the name was away.

        :returns: seconds: 0.0 where the kernel and the file system can exchange two names.
        :raises OSError: :meth:`recover` tidies up.
        """
        away = 0.0
        if _inode(self.live):
            remove_tree(self.old)
            os.symlink(str(_inode(self.live)), self._marker)
            if exchange(self.live, self.scratch):
                os.rename(self.scratch, self.old)
            else:
                began = time.monotonic()
                os.rename(self.live, self.old)
                os.rename(self.scratch, self.live)
                away = time.monotonic() - began
        else:
            os.rename(self.scratch, self.live)
        _sync_folder(self.parent)
        return away

    def finish(self) -> None:
        """The swap is over, and what was to become of the replaced tree has been done."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._marker)

    def recover(self, keep_old: bool) -> list[str]:
        """Undo what a killed run left, or complete it where the live name was given away already.

        :param keep_old: a replaced tree is kept.
        :returns: what was done, one line for each thing.
        """
        done = []
        replaced = self._replaced()
        if replaced and not _inode(self.live) and _inode(self.old) == replaced:
            os.rename(self.old, self.live)
            done.append(f"a half-done swap of {self.live}, which is what it was before")
        elif replaced and _inode(self.live) != replaced:
            if _inode(self.scratch) == replaced:
                os.rename(self.scratch, self.old)
            if not keep_old and _inode(self.old):
                remove_tree(self.old)
                done.append(f"the replaced tree {self.old}")
        if _inode(self.scratch):
            remove_tree(self.scratch)
            done.append(f"the scratch tree {self.scratch}")
        self.finish()
        return done

    def _replaced(self) -> int:
        """Return the inode of the tree that a swap was to replace; 0 where none was begun."""
        try:
            return int(os.readlink(self._marker))
        except (OSError, ValueError):
            return 0


def exchange(one: str, other: str) -> bool:
    """Let two names change places in one step; False, and nothing done, where that is not possible."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    arguments = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return bool(renameat2(*arguments) == 0)


def remove_tree(path: str) -> None:
    """Remove a tree, if there is one; also directories whose own mode would forbid it to their owner."""
    if not _inode(path):
        return
    if os.geteuid() != 0:
        for folder, _folders, _names in os.walk(path):
            with contextlib.suppress(OSError):
                os.chmod(folder, stat.S_IRWXU)
    shutil.rmtree(path)


def _inode(path: str) -> int:
    """Return a path's inode, 0 where there is nothing."""
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return 0


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
