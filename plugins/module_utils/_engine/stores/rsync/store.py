# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A directory on another host, by rsync over ssh. That host needs sshd and rsync, and no env_sync.

rsync does what a store has to: it writes to a temporary name, compares what arrived with what was sent, and renames;
what a broken connection left is the start of the next attempt. It copies files, not streams: a member is a file in
the temporary folder first, and what is read comes through one.
"""

from __future__ import annotations

import builtins
import calendar
import contextlib
import itertools
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Callable

from ...errors import EnvSyncError
from ...points.name import belongs, parse
from ...streams.reader import Reader
from ...tasks.task import SshOptions
from ..base import Store, Stored, StoredObject
from ..inspector import Finding, Inspector, modes
from .client import Remote
from .download import Download
from .spool import Spool

#: where rsync keeps what a broken connection left of a file, in that file's own folder
PARTIAL = ".env_sync-partial"

#: what rsync calls a file that it is writing: a dot, the file's name, a dot and six characters
_TEMPORARY = re.compile(r"\.(.+)\.[A-Za-z0-9]{6}\Z", re.DOTALL)

#: a line of a listing; a file's first character is a minus
_LINE = re.compile(rb"-\S{9}\S* +(\d+) (\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) (.+)\Z", re.DOTALL)

#: the line of the folder that is listed itself
_FOLDER = re.compile(rb"^d(\S{9})\S* .* \.$", re.MULTILINE)

#: how a listing shows bytes that cannot be printed, and a backslash that would look like that
_ESCAPED = re.compile(rb"\\#(\d{3})")

#: points hold personal data: nobody but the owner and the group may read them
_MODES = "--chmod=D750,F640"

#: how often a transfer is tried in all
_ATTEMPTS = 8


class RsyncStore(Store):
    """The files below ``path`` on a host.

    :param url: ``host`` or ``user@host``.
    :param path: a directory; one that is not absolute is below the home of that user. Its last part is made when it is
        first needed.
    :param temp_dir: where there is room for the members that are under way.
    :param attempts: how often something is tried in all where the connection breaks.
    :param stop: says whether the run is to stop.
    """

    kind = "rsync"

    def __init__(
        self,
        url: str,
        path: str,
        options: SshOptions,
        temp_dir: str = "",
        attempts: int = _ATTEMPTS,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._remote = Remote(url, options, attempts, stop)
        self._path = path
        self._root = path if path.startswith("/") else f"./{path}".rstrip("/")
        self._spool = Spool(temp_dir)
        self._lock = threading.Lock()
        self._folders: set[str] = set()
        self._bases: dict[tuple[str, str], str] | None = None

    @property
    def peak_temporary_bytes(self) -> int:
        return self._spool.peak

    def url(self, name: str = "") -> str:
        return f"{self._remote.host}:" + "/".join(part for part in (self._path, name) if part)

    def inspector(self) -> Inspector:
        return _RsyncInspector(self)

    def preflight(self, write: bool) -> None:
        doing = f"opening {self.url()}"
        self._spool.folder()
        if self._entries("", doing, recurse=False) is None:
            parent = os.path.dirname(self._root)
            if self._listing(f"{parent}/", [""], doing, recurse=False) is None:
                raise EnvSyncError(
                    doing, f"there is no directory {parent} on that host", "Make it, or mount it, or correct path."
                )

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        found = self._entries(os.path.dirname(prefix), f"listing {self.url()}") or []
        for entry in sorted(found, key=lambda entry: entry.name):
            if entry.name.startswith(prefix) and _unfinished(entry.name) is None:
                yield entry

    def stat(self, name: str) -> StoredObject | None:
        _check(name, self.url())
        found = self._listing(f"{self._root}/", [name], f"looking at {self.url(name)}", recurse=False) or []
        return next((entry for entry in found if entry.name == name), None)

    def put(self, name: str, source: Reader, size_hint: int | None = None) -> Stored:
        _check(name, self.url())
        folder, base = os.path.split(name)
        doing = f"storing {self.url(name)}"
        with self._spool.place(base) as path:
            size, sha256 = self._spool.write(path, source, doing)
            self._make(folder, doing)
            try:
                self._send(path, folder, name, doing)
            except BaseException:
                with contextlib.suppress(EnvSyncError):
                    self._remove([name, os.path.join(folder, PARTIAL, base)])
                raise
        return Stored(name, size, sha256)

    def open(self, name: str, size: int | None = None) -> Reader:
        _check(name, self.url())
        doing = f"reading {self.url(name)}"
        if size is None and self.stat(name) is None:
            raise EnvSyncError(doing, "there is no such file", "Choose another point (--list shows them).")
        # Appending goes on where the attempt before was cut off, and never looks at what is there already.
        argv = ["--append", "--no-relative", "--from0", "--files-from=-", f"{self._remote.host}:{self._root}/"]
        return Download(self._remote, argv, name, self._spool, doing)

    def delete(self, names: Iterable[str]) -> None:
        doomed = builtins.list(names)
        for name in doomed:
            _check(name, self.url())
        if doomed:
            self._remove(doomed)

    def sweep(self, prefix: str) -> builtins.list[str]:
        left = []
        for entry in self._entries(os.path.dirname(prefix), f"listing {self.url()}") or []:
            finished = _unfinished(entry.name)
            if finished is not None and (not prefix or belongs(finished, prefix)):
                left.append(entry.name)
        if left:
            self._remove(left)
        return [self.url(name) for name in left]

    def begun(self) -> Iterator[StoredObject]:
        for entry in self._entries("", f"listing {self.url()}") or []:
            finished = _unfinished(entry.name)
            if finished is not None:
                yield StoredObject(finished, entry.size, entry.modified)

    # -- what rsync is asked for -------------------------------------------------------------------------------------

    def _entries(self, folder: str, doing: str, recurse: bool = True) -> builtins.list[StoredObject] | None:
        """Return all files in a folder of the store's; None where there is no such folder."""
        return self._listing(f"{self._root}/", [folder], doing, recurse)

    def mode(self) -> int | None:
        """Return what the mode of the store's folder is over there; None where there is no such folder yet."""
        argv = ["--list-only", "--dirs", "--from0", "--files-from=-"]
        argv += [f"{self._remote.host}:{self._root}/", self._spool.folder()]
        done = self._remote.run(argv, f"opening {self.url()}", ["."], accept=(12, 23, 24))
        match = _FOLDER.search(done.stdout)
        if match is None:
            return None
        bits = match[1].decode().lower()
        return sum(1 << (8 - place) for place, letter in enumerate(bits) if letter != "-" and letter != "T")

    def _listing(
        self, root: str, names: Sequence[str], doing: str, recurse: bool
    ) -> builtins.list[StoredObject] | None:
        how = ["--recursive"] if recurse else ["--dirs"]
        argv = ["--list-only", "--no-human-readable", "--8-bit-output", *how, "--from0", "--files-from=-"]
        argv += [f"{self._remote.host}:{root}", self._spool.folder()]
        done = self._remote.run(argv, doing, names, accept=(12, 23, 24))
        if done.missing:
            return None
        if done.status not in (0, 24):
            raise self._remote.error(doing, done)
        return [entry for entry in map(_parse, done.stdout.split(b"\n")) if entry is not None]

    def _send(self, path: str, folder: str, name: str, doing: str) -> None:
        destination = f"{self._remote.host}:{self._root}/" + (f"{folder}/" if folder else "")
        argv = ["--perms", _MODES, f"--partial-dir={PARTIAL}", *self._basis(name), "--", path, destination]
        self._remote.run(argv, doing)

    def _basis(self, name: str) -> builtins.list[str]:
        """Return the options that spare sending what the far side has already, in the last point of the same database.

        What was compressed has nothing in common with another version of it, but may be the same altogether.
        """
        found = parse(name)
        if found is None or found.role == "manifest":
            return ["--ignore-times"]
        if not name.startswith(found.point + "/"):
            return ["--ignore-times"] + ([] if name.endswith((".zst", ".gz")) else ["--fuzzy"])
        base = self._last_points().get((found.database, name[len(found.point) :]))
        if base is None or base == found.point:
            return ["--ignore-times"]
        folder = os.path.dirname(name)
        other = os.path.dirname(base + name[len(found.point) :])
        return ["--checksum", f"--link-dest={os.path.relpath(other, folder)}"]

    def _last_points(self) -> dict[tuple[str, str], str]:
        """Return the newest point that has a member, by its database and by what follows the point in its name."""
        with self._lock:
            if self._bases is None:
                self._bases = {}
                for entry in self.list():
                    found = parse(entry.name)
                    if found is not None and found.role == "member":
                        self._bases[found.database, entry.name[len(found.point) :]] = found.point
            return self._bases

    def _make(self, folder: str, doing: str) -> None:
        """Make a folder of the store's, with those above it; older rsyncs make the last one only by themselves."""
        with self._lock:
            if not folder or folder in self._folders:
                return
            with self._spool.place(folder) as path:
                os.makedirs(path)
                skeleton = path[: -len(folder)].rstrip("/")
                argv = ["--dirs", "--relative", "--perms", _MODES, "--", f"{skeleton}/./{folder}"]
                self._remote.run([*argv, f"{self._remote.host}:{self._root}/"], doing)
            self._folders.add(folder)

    def _remove(self, names: Sequence[str]) -> None:
        """Remove files, then the folders that are empty without them."""
        doing = f"removing {len(names)} files from {self.url()}"
        folders = sorted({above for name in names for above in _above(name)}, key=lambda folder: -folder.count("/"))
        with self._lock:
            self._folders.difference_update(folders)
        with self._spool.place("empty") as path:
            os.mkdir(path)
            for folder in folders:
                os.makedirs(os.path.join(path, folder), exist_ok=True)
            self._remove_missing(path, names, doing)
            for _depth, level in itertools.groupby(folders, key=lambda folder: folder.count("/")):
                gone = builtins.list(level)
                for folder in gone:
                    os.rmdir(os.path.join(path, folder))
                self._remove_missing(path, gone, doing)

    def _remove_missing(self, path: str, names: Sequence[str], doing: str) -> None:
        """Have what is missing at ``path`` removed over there; folders that are not empty stay."""
        argv = ["--dirs", "--existing", "--delete-missing-args", "--from0", "--files-from=-", f"{path}/"]
        self._remote.run([*argv, f"{self._remote.host}:{self._root}/"], doing, names, accept=(24,))


class _RsyncInspector(Inspector):
    def __init__(self, store: RsyncStore) -> None:
        self._store = store

    def settings(self, account: str, dry_run: bool) -> Iterator[Finding]:
        mode = self._store.mode()
        if mode is not None:
            yield modes(self._store.url(), mode)


def _check(name: str, url: str) -> None:
    """Refuse a name that would lead out of the store, or could not be a file there."""
    if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name or _unfinished(name) is not None:
        raise EnvSyncError(f"opening {name!r} in {url}", "not a valid object name")


def _parse(line: bytes) -> StoredObject | None:
    """Return the file that a line of a listing shows; None for folders, links and other kinds."""
    match = _LINE.match(line)
    if match is None:
        return None
    size, modified, name = match.groups()
    name = _ESCAPED.sub(lambda escape: bytes([int(escape[1], 8)]), name)
    moment = time.strptime(modified.decode(), "%Y/%m/%d %H:%M:%S")
    return StoredObject(os.fsdecode(name), int(size), float(calendar.timegm(moment)))


def _unfinished(name: str) -> str | None:
    """Return the name of the object that a file is the beginning of; None where it is an object itself."""
    folder, base = os.path.split(name)
    above, last = os.path.split(folder)
    if last == PARTIAL:
        return os.path.join(above, base)
    match = _TEMPORARY.match(base)
    return os.path.join(folder, match[1]) if match else None


def _above(name: str) -> Iterator[str]:
    """Yield the folders that a name is in, the nearest first."""
    folder = os.path.dirname(name)
    while folder:
        yield folder
        folder = os.path.dirname(folder)
