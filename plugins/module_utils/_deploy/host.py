# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files on a host, all in one pass: what is wanted is compared with what is there, and only differences are changed.

What was deployed is recorded, so that what is not wanted any more goes, and nothing that somebody else made.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import grp
import json
import os
import pwd
import stat
import subprocess
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.ownership import (
    folder,
    follows_links,
    open_file,
    remove_tree,
    replacing,
)


@dataclass(frozen=True)
class Entry:
    """Something that is wanted on the host: a file (``content``), a link (``target``) or a directory (neither).

    ``secret`` keeps the content out of differences that are shown; ``bulk`` has it only counted there, as one of many
    that nobody reads. ``seed``: once the file is there, it is its owner's.
    ``stays``: it is not ours alone, and not removed with the rest; an empty ``owner`` is left as it is.
    Folders above it that are not there are made, and are gone with it when nothing else is in them.
    ``if_missing``: a directory that somebody else made is left as it is, and stays. ``validate`` is an argument vector
    that gets the path of the new content, and exits with 0 if that may take the old one's place.
    """

    path: str
    mode: int
    content: bytes | None = None
    target: str | None = None
    owner: str = "root"
    group: str = "root"
    secret: bool = False
    bulk: bool = False
    seed: bool = False
    stays: bool = False
    if_missing: bool = False
    validate: tuple[str, ...] = ()


class Change:
    """What differs between the entries wanted and the host.

    :param wanted: entries, directories before what is in them.
    :param record: the file that lists what was deployed before.
    :param others: files that go unless they are wanted, whoever made them.
    """

    def __init__(self, wanted: Iterable[Entry], record: str, others: Iterable[str] = ()) -> None:
        self._record = record
        self._before = recorded(record)
        before = set(self._before)
        self._wanted = [
            entry for entry in wanted if not (entry.if_missing and entry.path not in before and _is_folder(entry.path))
        ]
        self._paths = [*_above(self._wanted, before), *(entry.path for entry in self._wanted if not entry.stays)]
        self.differing = [entry for entry in self._wanted if _differs(entry)]
        paths = set(self._paths)
        self.stale = [path for path in self._before if path not in paths and look(path) is not None]
        self.stale += [path for path in sorted(others) if path not in paths | before and _is_file(path)]

    @property
    def changed(self) -> bool:
        """Whether anything differs."""
        return bool(self.differing or self.stale)

    def diff(self) -> list[dict[str, str]]:
        """Return the differences, as Ansible shows them; of secrets, only that there is one."""
        bulk = [entry.path for entry in self.differing if entry.bulk]
        shown = [_shown(os.path.commonpath(bulk), "", f"{_count(bulk)} made or changed\n")] if bulk else []
        shown += [_diff(entry) for entry in self.differing if not entry.bulk]
        gone = set(self.stale)
        for path in self.stale:
            if os.path.dirname(path) not in gone:
                inside = [other for other in self.stale if other.startswith(f"{path}/")]
                shown.append(_shown(path, f"present{', with ' + _count(inside) if inside else ''}\n", "absent\n"))
        return shown

    def apply(self) -> None:
        """Make the host as it is wanted. Files appear whole; what is stale goes last.

        :raises OSError: something could not be written; what was written before that stays.
        :raises EnvSyncError: something is not valid; what was there before stays.
        """
        # Written first, and with what was there before: an interrupted run must not forget what it made.
        _write_record(self._record, [*self._before, *(path for path in self._paths if path not in set(self._before))])
        for entry in self.differing:
            _make(entry)
        for path in sorted(self.stale, key=len, reverse=True):
            remove(path)
        if self._paths:
            _write_record(self._record, self._paths)
        else:
            remove(self._record)
            # The record's own directory could not go before it.
            remove(os.path.dirname(self._record))


def _above(wanted: Sequence[Entry], before: Collection[str]) -> list[str]:
    """Return the folders above the entries that are made for them, or were: they go again when nothing is in them."""
    known = {entry.path for entry in wanted}
    found: list[str] = []
    for entry in wanted:
        path = os.path.dirname(entry.path)
        while not entry.stays and path not in known and (path in before or not _is_folder(path)):
            known.add(path)
            found.append(path)
            path = os.path.dirname(path)
    return sorted(found)


def recorded(path: str) -> list[str]:
    """Return the paths that were deployed before, as the record says."""
    try:
        return [str(item) for item in json.loads(_read(path) or b"[]")]
    except ValueError:
        return []


def _write_record(path: str, paths: list[str]) -> None:
    content = json.dumps(paths, indent=1).encode() + b"\n"
    if _read(path) != content:
        with folder(os.path.dirname(path), make=True) as parent:
            _write(parent, path, content, 0o644, (-1, -1))


def look(path: str) -> os.stat_result | None:
    """Return what is at a path, a link for what it is; None where nothing is, or nothing that root would look at."""
    try:
        with folder(os.path.dirname(path)) as parent:
            return _look_in(parent, os.path.basename(path))
    except OSError:
        return None


def _look_in(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return None


def _leads_to(path: str) -> str:
    try:
        with folder(os.path.dirname(path)) as parent:
            return os.readlink(os.path.basename(path), dir_fd=parent)
    except OSError:
        return ""


def _read(path: str) -> bytes | None:
    """Return what is in a file; None where it can't be read."""
    try:
        with folder(os.path.dirname(path)) as parent:
            descriptor = open_file(os.path.basename(path), os.O_RDONLY, parent)
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read()
    except OSError:
        return None


def _is_file(path: str) -> bool:
    found = look(path)
    return found is not None and not stat.S_ISDIR(found.st_mode)


def _is_folder(path: str) -> bool:
    """Say whether there is a folder, maybe by way of links that root follows."""
    try:
        with folder(path):
            return True
    except OSError:
        return False


def _differs(entry: Entry) -> bool:
    found = look(entry.path)
    if found is None:
        return True
    if entry.target is not None:
        return not stat.S_ISLNK(found.st_mode) or _leads_to(entry.path) != entry.target
    kind = stat.S_ISDIR if entry.content is None else stat.S_ISREG
    if entry.seed:
        return not kind(found.st_mode)
    if not kind(found.st_mode) or stat.S_IMODE(found.st_mode) != entry.mode:
        return True
    user, group = ids(entry)
    if found.st_gid != group or (entry.owner and found.st_uid != user):
        return True
    return entry.content is not None and _read(entry.path) != entry.content


def ids(entry: Entry) -> tuple[int, int]:
    """Return the entry's user and group id; -1 for one that does not exist (yet: in check mode)."""
    try:
        user = pwd.getpwnam(entry.owner).pw_uid
    except KeyError:
        user = -1
    try:
        group = grp.getgrnam(entry.group).gr_gid
    except KeyError:
        group = -1
    return user, group


def _diff(entry: Entry) -> dict[str, str]:
    before, after = _describe(entry), _wanted(entry)
    if entry.content is not None and not entry.secret:
        content = _read(entry.path)
        old = None if content is None else content.decode("utf-8", "replace")
        new = entry.content.decode("utf-8", "replace")
        if old is not None and max(len(old), len(new)) > 100_000:
            old, new = "", "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), n=1))
        before, after = before + (old or ""), after + new
    return _shown(entry.path, before, after)


def _shown(path: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}


def _count(paths: list[str]) -> str:
    return f"{len(paths)} file{'' if len(paths) == 1 else 's'}"


def _describe(entry: Entry) -> str:
    found = look(entry.path)
    if found is None:
        return "absent\n"
    if stat.S_ISLNK(found.st_mode):
        return f"link to {_leads_to(entry.path)}\n"
    return f"{_user_name(found.st_uid)}:{_group_name(found.st_gid)} {stat.S_IMODE(found.st_mode):04o}\n"


def _wanted(entry: Entry) -> str:
    if entry.target is not None:
        return f"link to {entry.target}\n"
    owner = entry.owner
    if not owner:
        found = look(entry.path)
        owner = _user_name(found.st_uid) if found is not None else ""
    return f"{owner or 'root'}:{entry.group} {entry.mode:04o}\n"


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _make(entry: Entry) -> None:
    above, name = os.path.split(entry.path)
    with folder(above, make=True) as parent:
        found = _look_in(parent, name)
        wanted_directory = entry.content is None and entry.target is None
        if found is not None and stat.S_ISDIR(found.st_mode) != wanted_directory:
            _remove_in(parent, name)
        if entry.target is not None:
            _link(parent, name, entry.target)
        elif entry.content is not None:
            _write(parent, entry.path, entry.content, entry.mode, ids(entry), entry.validate)
        else:
            _make_folder(parent, entry)


def _link(parent: int, name: str, target: str) -> None:
    temporary = f"{name}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=parent)
    os.symlink(target, temporary, dir_fd=parent)
    os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)


def _make_folder(parent: int, entry: Entry) -> None:
    """Make a folder, or have one that is there be as it is wanted: this very one, whatever takes its name meanwhile."""
    name = os.path.basename(entry.path)
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, entry.mode, dir_fd=parent)
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, entry.path) from None
    try:
        user, group = ids(entry)
        if user != 0 and os.fstat(descriptor).st_uid == 0 and not follows_links(parent) and os.listdir(descriptor):
            raise OSError(errno.EPERM, "it is root's, in a folder of another user's, and not empty", entry.path)
        os.fchown(descriptor, user, group)
        os.fchmod(descriptor, entry.mode)
    finally:
        os.close(descriptor)


def _write(
    parent: int, path: str, content: bytes, mode: int, owner: tuple[int, int], validate: tuple[str, ...] = ()
) -> None:
    with replacing(os.path.basename(path), parent, mode) as (descriptor, temporary):
        os.fchown(descriptor, *owner)
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(content)
        os.fsync(descriptor)
        if validate:
            _validate(path, [*validate, os.path.join(os.path.dirname(path), temporary)])


def _validate(path: str, command: list[str]) -> None:
    doing = f"validating the new {path}"
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except FileNotFoundError as error:
        raise EnvSyncError(doing, f"there is no {command[0]}", "Install the package that has it.") from error
    if done.returncode != 0:
        raise EnvSyncError(doing, done.stdout.decode(errors="replace").strip(), "The old one stays.")


def remove(path: str) -> None:
    """Remove a file, a link, or a directory that is empty; what others put into a directory stays.

    What can be reached only by a link that another user may have put there was not made by us, and stays.
    """
    if look(path) is not None:
        with folder(os.path.dirname(path)) as parent:
            _remove_in(parent, os.path.basename(path))


def _remove_in(parent: int, name: str) -> None:
    found = _look_in(parent, name)
    if found is None:
        return
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=parent)
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            with contextlib.suppress(FileNotFoundError):
                remove_tree("__pycache__", descriptor)
        finally:
            os.close(descriptor)
        os.rmdir(name, dir_fd=parent)


def summary(change: Change) -> dict[str, Any]:
    """Return the paths that are made or changed (``deployed``) and removed (``removed``), for a module's result."""
    return {"deployed": [entry.path for entry in change.differing], "removed": change.stale}
