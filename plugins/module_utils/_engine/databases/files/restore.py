# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unpack a point into the scratch tree, every member only after it was looked at, and count what is there then."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import EnvSyncError
from ...members import PointSource
from ...points import counts
from ...points.manifest import Manifest
from ...streams.pipeline import Group, Stage
from ...streams.reader import Reader
from .archive import Contents, pass_on, shown, special_files
from .measure import measure
from .options import Options
from .swap import Places
from .tar import extracting, find_tar, listing

#: what is counted, and of what
_ENTRIES = ("tree", "files and folders")


@dataclass(frozen=True)
class Restored:
    """What is in the scratch tree.

    ``entries`` is how many files and folders the archive had, without the tree's own directory; ``mode`` is what mode
    that directory is to have when it is live.
    """

    entries: int
    mode: int
    warnings: tuple[str, ...] = ()


def preflight(places: Places, options: Options, manifest: Manifest | None, doing: str) -> list[str]:
    """Check that the point can be restored beside the live tree, and swapped in; return warnings.

    :param manifest: the point's; None where it has none.
    :raises EnvSyncError: no tar, no right to write there, no room, a mount that is in the way, or special files that
        the task does not allow.
    """
    find_tar(doing)
    if not os.access(places.parent, os.W_OK | os.X_OK):
        raise EnvSyncError(
            doing,
            f"{places.parent} is not there, or this user may not write to it",
            "The new tree is made beside the old one: correct directory, or the folder's owner or mode.",
        )
    for mounted in _mounts(places.live):
        raise EnvSyncError(
            doing,
            f"something is mounted on {shown(mounted)}, and what is mounted cannot be swapped by renaming",
            "Choose a folder that has no mount in it, nor is one (one below the mount point, say).",
        )
    special = manifest.details.get("special_files", 0) if manifest else 0
    if special and not options.allow_special:
        raise EnvSyncError(
            doing,
            f"the point has {special_files(special)}: device nodes, or programs with rights of their own",
            "Set allow_special_files where the tree is meant to have them, or leave them out of the push "
            "(excluded_tables).",
        )
    _require_room(places.parent, manifest.raw_bytes if manifest else 0, doing)
    return list(_owner_warnings(manifest.roles)) if manifest else []


def verify(group: Group, source: PointSource) -> None:
    """Have tar read all of a point, to nowhere.

    :raises EnvSyncError: it is damaged, would leave the tree, or holds something other than its manifest says.
    """
    manifest = source.manifest
    doing = f"verifying {manifest.timestamp}-{manifest.database}"
    # Whether special files may be restored is a matter of the task that restores them.
    contents = _feed(group, source, listing(find_tar(doing)[0]), doing, allow_special=True)[1]
    _compare(manifest, contents.inner, doing)


def restore(places: Places, options: Options, group: Group, source: PointSource) -> Restored:
    """Unpack the point's only member into the scratch tree, which nobody else may look into.

    :raises EnvSyncError: tar failed, a member would leave the tree, or what is there now is not what the push counted.
    """
    doing = f"restoring {options.tree}"
    manifest = source.manifest
    os.mkdir(places.scratch, 0o700)
    # In a legacy archive, the tree's own path stands before every name.
    root = [] if manifest.dbms else [part for part in options.database.split("/") if part not in ("", ".")]
    argv = extracting(find_tar(doing)[0], places.scratch, None if manifest.dbms else len(root))
    stage, contents = _feed(group, source, argv, doing, root, options.allow_special)
    mode = stat.S_IMODE(os.stat(places.scratch).st_mode) if contents.rooted else _usual_mode(places.live)
    os.chmod(places.scratch, 0o700)  # nobody else may look at it before it has been sanitised
    counting = f"counting what was restored of {options.tree}"
    _compare(manifest, contents.inner, counting)
    if "entries" in manifest.details:
        made = measure(places.scratch, counting)
        _compare(manifest, made.files + made.folders, counting)
    said = stage.stderr_text.splitlines()
    warnings = (f"unpacking {options.tree}: {len(said)} remarks, the first is: {said[0]}",) if said else ()
    return Restored(contents.inner, mode, warnings)


def _feed(
    group: Group,
    source: PointSource,
    argv: list[str],
    doing: str,
    root: Sequence[str] = (),
    allow_special: bool = False,
) -> tuple[Stage, Contents]:
    """Have a tar read the point's archive, looked at on its way; return when it has, and was found good."""
    stage = group.run(argv, doing, stdin=subprocess.PIPE)
    worker = group.start(_pass_on, group, source.open(next(iter(source.names()))), stage, doing, root, allow_special)
    group.wait()
    return stage, worker.result


def _pass_on(
    group: Group, source: Reader, stage: Stage, doing: str, root: Sequence[str], allow_special: bool
) -> Contents:
    def write(block: memoryview) -> None:
        while block:
            block = block[os.write(stage.stdin.fileno(), block) :]

    try:
        return pass_on(source, write, doing, root, allow_special)
    except BaseException as error:
        group.fail_unless_consequence(error)  # before tar can see an end of its input
        raise
    finally:
        source.close()
        stage.stdin.close()


def _compare(manifest: Manifest, entries: int, doing: str) -> None:
    """Raise unless there are as many files and folders as the push counted; one of before has not."""
    noted = int(manifest.details.get("entries", entries))
    hint = (
        "Two names may be one to this file system (case, Unicode), something may have removed or added files "
        "meanwhile, or the point was changed: look there, or choose another one (--list shows them)."
    )
    counts.require_equal({manifest.database: noted}, {manifest.database: entries}, doing, hint, _ENTRIES)


def _usual_mode(live: str) -> int:
    """Return the mode of the live tree, or what a new directory usually has."""
    with contextlib.suppress(FileNotFoundError):
        return stat.S_IMODE(os.stat(live).st_mode)
    return 0o755


def _mounts(tree: str) -> Iterator[str]:
    """Yield the mount points that are at ``tree`` or below it (proc(5), mountinfo: the fifth field, octal escapes)."""
    with contextlib.suppress(FileNotFoundError), open("/proc/self/mountinfo", "rb") as stream:
        for line in stream:
            escaped = line.split()[4]
            point = os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), escaped))
            if point == tree or point.startswith(tree.rstrip("/") + "/"):
                yield point


def _require_room(folder: str, needed: int, doing: str) -> None:
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if needed > free:
        raise EnvSyncError(
            doing, f"the tree needs {needed} bytes, and {folder} has room for {free}", "Make room on that file system."
        )


def _owner_warnings(owners: Sequence[str]) -> Iterator[str]:
    """Yield what becomes of files whose owner this user cannot give them to, or this host does not know."""
    if os.geteuid() != 0:
        me = pwd.getpwuid(os.geteuid()).pw_name
        others = [name for name in owners if name != me]
        if others:
            yield f"all files will be {me}'s, as only root can give them to their owners ({', '.join(others)})"
        return
    unknown = []
    for name in owners:
        try:
            pwd.getpwnam(name)
        except KeyError:
            unknown.append(name)
    if unknown:
        yield f"this host has no user {', '.join(unknown)}: what is theirs keeps the user's number"
