# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the programs that we start have around them: nothing of the directory that we were called in.

Many read what lies there (``send_nsca.cfg``, ``node_modules``, whatever an empty entry of PATH finds), and the command
is called in folders where others may write.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping

from ..errors import EnvSyncError, advice

#: the directory that programs start in
START = "/"

#: where programs are looked for when the environment names no place
_USUAL = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: variables from which programs take options (GNU tar, gzip, zstd), or that keep them from taking all (getopt(3)).
#: rsync's begin with ``RSYNC_``
_OPTIONS = frozenset({"TAR_OPTIONS", "GZIP", "ZSTD_CLEVEL", "ZSTD_NBTHREADS", "POSIXLY_CORRECT"})


def search_path(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the folders where programs are looked for: those of PATH that are absolute.

    :param environ: the environment that has it; this process's own where none is given.
    """
    found = (os.environ if environ is None else environ).get("PATH", "").split(os.pathsep)
    return [folder for folder in found if os.path.isabs(folder)] or _USUAL.split(":")


def find(name: str) -> str | None:
    """Return the path of a program."""
    return shutil.which(name, path=os.pathsep.join(search_path()))


def environment() -> dict[str, str]:
    """Return this process's environment for a program; a file that it names by ``./`` or ``../`` is still that file.

    What would add options to a program's command line, or change how that is read, is not in it.
    """
    found = {
        key: os.path.abspath(value) if value.startswith(("./", "../")) and os.path.lexists(value) else value
        for key, value in os.environ.items()
        if key not in _OPTIONS and not key.startswith("RSYNC_")
    }
    found["PATH"] = os.pathsep.join(search_path())
    return found


#: what to do where a program can't be started, beside what holds for any error of the kernel's
_START_ADVICE = {
    errno.EACCES: "Make it executable for this user.",
    errno.E2BIG: "Name fewer tables; wildcards help.",
    errno.ENOEXEC: "A script needs a first line that names its interpreter.",
}


def not_started(program: str, cwd: str, doing: str, error: OSError) -> EnvSyncError:
    """Return what it means that a process could not be started: the program, its directory, or the host may be why."""
    why, hint = str(error.strerror), _START_ADVICE.get(error.errno or 0) or advice(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and not os.path.isdir(cwd):
        why, hint = f"there is no directory {cwd} to start it in", "Run again; something removed it."
    elif error.errno == errno.ENOENT and "/" in program and os.path.exists(program):
        why, hint = "the interpreter that its first line names is missing", "Install that, or correct the line."
    elif error.errno == errno.ENOENT:
        why, hint = "it is not installed", f"Install {os.path.basename(program)}."
    return EnvSyncError(doing, f"{program} can't be started: {why}", hint)
