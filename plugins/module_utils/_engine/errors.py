# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the engine raises.

Only the two front ends (the modules' ``main()`` and ``cli``) turn an error into a failure of theirs.
"""

from __future__ import annotations

import errno

#: what to do about what the kernel refuses, where nothing more is known than that it did
_ADVICE = {
    errno.ENOSPC: "Make room there.",
    errno.EDQUOT: "Make room there, or raise the quota of this user.",
    errno.EACCES: "Correct the owner or the mode of it, or of a folder above it.",
    errno.EPERM: "Correct the owner or the mode of it, or of a folder above it.",
    errno.EROFS: "Mount it for writing.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n), or lower jobs.",
    errno.ENFILE: "The host has too many open files: raise fs.file-max, or end what holds them.",
    errno.EAGAIN: "The host or this user has too many processes: raise the limit (ulimit -u), or lower jobs.",
    errno.ENOMEM: "The host is out of memory: lower jobs, or end what uses it.",
    errno.EIO: "The disk or the mount has failed: look into the kernel's log.",
    errno.ESTALE: "The mount has gone stale: mount it again.",
    errno.ELOOP: "Remove the link, or give the path that it leads to.",
    errno.ENAMETOOLONG: "Choose a shorter path.",
}


def advice(error: OSError, room: str = "") -> str:
    """Return what to do about an error of the kernel's; empty where the error alone does not tell.

    :param room: what to do where a file system is full, if more is known of it.
    """
    if room and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return room
    return _ADVICE.get(error.errno or 0, "")


class EnvSyncError(Exception):
    """Something that an operator has to know about.

    A message has three parts, so that one line is enough to act on:

    :param doing: what was being done to what ("dumping database x on host y").
    :param why: what went wrong, in the tool's own words.
    :param hint: what to do next; may be empty where nothing can be advised.
    """

    def __init__(self, doing: str, why: str, hint: str = "") -> None:
        self.doing = one_line(doing)
        self.why = one_line(why)
        self.hint = one_line(hint)
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.doing}: {self.why}"
        if not self.hint:
            return text
        stop = "" if text.endswith((".", "?", "!")) else "."
        return f"{text}{stop} {self.hint}"


class Cancelled(EnvSyncError):
    """The run was told to stop (a signal, or the host's cancel check)."""


class NothingToDo(EnvSyncError):
    """After a run had begun, it turned out that there is nothing to do. It is not a failure, and leaves nothing."""


class NoPoint(EnvSyncError):
    """The store has no complete point of the database, of any time: nothing has been pushed yet."""


class MissingLibrary(EnvSyncError):
    """A Python library that this task needs is not installed.

    :param library: the name to import.
    :param package: what to install.
    :param needed_for: the kind of task that needs it.
    """

    def __init__(self, library: str, package: str, needed_for: str) -> None:
        super().__init__(
            f"loading the Python library {library}",
            f"it is not installed for this Python, and {needed_for} needs it",
            f"Install {package} (for example: python3 -m pip install {package}).",
        )
        self.library = library


def one_line(text: str) -> str:
    """Fold ``text`` into one line that can be printed: white space of any kind becomes one blank."""
    return visible(" ".join(str(text).split()))


def visible(text: str) -> str:
    """Return ``text`` with all that a terminal or a log would not show made visible, as Python escapes it.

    Names of objects, tables and files, and what servers and programs say, come from outside. A control character
    (ESC, a line break, a carriage return, C1) in one of them could repaint a terminal or forge a line of a log, and one
    that turns the direction of writing shows a name as another.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
