# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""GNU tar: where it is, and the command lines that it gets."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...errors import EnvSyncError
from ...host import programs
from ...host.linux import said
from . import swap

#: how long a program may take to say its version, in seconds
_VERSION_PATIENCE = 10.0


def find_tar(doing: str) -> tuple[str, str]:
    """Return the path of GNU tar and what it calls itself (``tar (GNU tar) 1.34``).

    :raises EnvSyncError: there is none on the PATH.
    """
    for name in ("tar", "gtar"):
        program = programs.find(name)
        if program:
            first = said([program, "--version"], _VERSION_PATIENCE).partition("\n")[0]
            if "GNU tar" in first:
                return program, first
    raise EnvSyncError(doing, "there is no GNU tar on the PATH", "Install tar.")


def creating(tar: str, tree: str, excluded: Sequence[str]) -> list[str]:
    """Return the command line that writes an archive of ``tree`` to standard output.

    :param excluded: patterns of names to leave out: at any depth, from the tree's top where there is a slash.
    """
    argv = [tar, "--create", "--file=-", f"--directory={tree}", "--format=posix"]
    # Two dumps of one tree are the same bytes: no order by chance, no times of access, no process numbers.
    argv += ["--sort=name", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"]
    return [*argv, "--sparse", "--xattrs", "--acls", *_selinux(), *_exclusions(excluded), "--", "."]


def extracting(tar: str, folder: str, strip: int | None) -> list[str]:
    """Return the command line that unpacks an archive from standard input into ``folder``.

    :param strip: how many leading parts of each name to leave off; None for an archive that a push made.
    """
    argv = [tar, "--extract", "--file=-", f"--directory={folder}", "--preserve-permissions"]
    argv += ["--xattrs", "--acls", *_selinux()]
    if os.geteuid() == 0:
        # Others than user.* (a program's capabilities) are root's to give.
        argv += ["--same-owner", "--xattrs-include=*"]
    return argv if strip is None else [*argv, f"--strip-components={strip}"]


def listing(tar: str) -> list[str]:
    """Return the command line that reads an archive from standard input, to nowhere."""
    return [tar, "--list", "--file=-"]


def _selinux() -> list[str]:
    """Return tar's option for SELinux's labels, which only a host that uses them can read and give."""
    return ["--selinux"] if os.path.exists("/sys/fs/selinux/enforce") else []


def _exclusions(patterns: Sequence[str]) -> list[str]:
    """Return tar's options that leave names out: at any depth, or from the tree's top where there is a slash.

    A slash at a name's end is not one: tar's patterns never match it. A folder is left out with all that is in it. What
    a pull keeps beside a tree belongs to no tree.
    """
    argv = ["--no-wildcards-match-slash", "--no-anchored"]
    argv += [f"--exclude={swap.HIDDEN}{kind}-*" for kind in ("scratch", "old", "swap", "lock")]
    argv += [f"--exclude={pattern.rstrip('/')}" for pattern in patterns if "/" not in pattern.rstrip("/")]
    argv.append("--anchored")
    from_the_top = (os.path.normpath(pattern).strip("/") for pattern in patterns if "/" in pattern.rstrip("/"))
    argv += [f"--exclude=./{pattern}" for pattern in from_the_top]
    return argv
