# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A directory tree of this host: a stream of GNU tar's, restored beside the live tree."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import socket
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import EnvSyncError
from ...host import programs
from ...host.linux import said
from ...host.locks import FileLock
from ...members import PointSource, StoreSink
from ...points import counts
from ...points.manifest import Manifest
from ...points.scripts import Effect, Script
from ...streams.pipeline import Group, Stage
from ...streams.reader import Reader
from ...tasks.task import Task
from ..base import Database, DumpFacts, Identity, Plan
from ..batching import Gathering
from ..lease import FileStorage, Lease
from . import swap
from .archive import Contents, Watched, pass_on, shown
from .scripts import check_script, run_scripts

BUSY = "another push or pull of it is running"

#: the point's only member, before the compression's suffix
MEMBER = "/tree.tar"

#: what tar says of a file that was not the same from its beginning to its end; its exit status is 1 then
_CHANGED = re.compile(
    r"^[^:]*: (?P<name>.*): (?:file changed as we read it|File removed before we read it|File shrank by .*)$", re.M
)

#: how long a program may take to say its version, in seconds
_VERSION_PATIENCE = 10.0

#: how many names a warning shows
_SHOWN = 3

#: what is counted, and of what
_ENTRIES = ("tree", "files and folders")


class Files(Database):
    """One directory tree.

    :param tree: its absolute path; its last part may be a symbolic link.
    :param database: what points call it.
    :param excluded: patterns of names to leave out of a dump.
    :param keep_old: what a pull replaces is kept.
    :param threads: how many threads may compress.
    :param allow_special: device nodes and programs with rights of their own are meant to be in the tree.
    :param work_dir: an empty directory of this run's own.
    """

    kind = "files"
    legacy = ("tar", "gzip")

    def __init__(
        self,
        tree: str,
        database: str,
        excluded: Sequence[str],
        keep_old: bool,
        threads: int,
        work_dir: str | None,
        allow_special: bool = False,
    ) -> None:
        self._tree = tree
        self._work_dir = work_dir
        self._database = database
        self._excluded = tuple(excluded)
        self._keep_old = keep_old
        self._threads = threads
        self._allow_special = allow_special
        self._places = swap.Places(tree)
        self._measured = Measured()
        self._restored = 0
        self._mode = 0o700
        self._lease: Lease | None = None

    @classmethod
    def from_task(cls, task: Task, work_dir: str | None) -> Files:
        if task.connection.host:
            raise EnvSyncError(
                f"opening the files of {task.database}",
                f"database_hostname is {task.connection.host}, and files are always this host's",
                "Leave it out, and run the task on the host that has the files.",
            )
        return cls(
            tree=task.tree,
            database=task.database,
            excluded=task.excluded_tables,
            keep_old=task.old_database == "keep",
            threads=task.worker_count,
            allow_special=task.allow_special_files,
            work_dir=work_dir,
        )

    # -- both ways ---------------------------------------------------------------------------------------------------

    def identity(self) -> Identity:
        """Return the tree's own identity, not only the host's: another tree of the same host may be pulled into."""
        system = os.uname()
        return Identity(
            "files", f"{_machine()}:{self._places.live}", f"{system.sysname} {system.release}", socket.gethostname()
        )

    @property
    def database_name(self) -> str:
        return self._database

    @property
    def place(self) -> str:
        return f"{self.identity().host}:{self._places.live}"

    def lock_key(self) -> str:
        """Return what is the same by whichever mount the tree is reached, and whatever takes its name in a swap."""
        parent, name = os.path.split(self._places.live)
        with contextlib.suppress(OSError):
            found = os.stat(parent)
            return f"files {found.st_dev}:{found.st_ino} {name}"
        return f"files {self._places.live}"

    @classmethod
    def verify(cls, group: Group, source: PointSource, work_dir: str) -> None:
        manifest = source.manifest
        doing = f"verifying {manifest.timestamp}-{manifest.database}"
        # Whether special files may be restored is a matter of the task that restores them.
        contents = _feed(group, source, [_tar(doing)[0], "--list", "--file=-"], doing, allow_special=True)[1]
        _compare(manifest, contents.inner, doing)

    @contextlib.contextmanager
    def alone(self, wait: float) -> Iterator[None]:
        """Hold a lock beside the live tree, where this user may write there: a pull has to, a push need not."""
        if not os.access(self._places.parent, os.W_OK | os.X_OK):
            yield
            return
        what = shown(self._places.live)
        folder, name = os.path.split(self._places.lock)
        lock = FileStorage(FileLock(folder, name, what), BUSY)
        self._lease = Lease(lock, f"locking {what}", lambda: self.cancelled, wait)
        with self._lease.held():
            yield

    def _prove(self) -> None:
        if self._lease is not None:
            self._lease.prove()

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """It is held already, by :meth:`alone`: the tree may be another host's too, by way of a network.

        Where it is not, as this user may not write there, the pull is refused.
        """
        return contextlib.nullcontext()

    def close(self) -> None:
        """There is nothing to close."""

    # -- push --------------------------------------------------------------------------------------------------------

    def preflight_dump(self) -> Mapping[str, Any]:
        doing = f"preparing to dump {self._tree}"
        _tar(doing)
        self._measured = measure(self._places.live, doing)
        return {"size_bytes": self._measured.size, "files": self._measured.files}

    def check_scripts(self, scripts: Sequence[Script]) -> None:
        for script in scripts:
            check_script(script, f"preparing the scripts of {self._tree}")

    def prepare(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the pre-dump scripts in the tree itself."""
        return run_scripts(scripts, self._places.live, self._tree, self._work_dir, group)

    def dump(self, group: Group, sink: StoreSink) -> DumpFacts:
        doing = f"dumping {self._tree}"
        tar, version = _tar(doing)
        argv = [tar, "--create", "--file=-", f"--directory={self._places.live}", "--format=posix"]
        # Two dumps of one tree are the same bytes: no order by chance, no times of access, no process numbers.
        argv += ["--sort=name", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"]
        argv += ["--sparse", "--xattrs", "--acls", *_selinux(), *_exclusions(self._excluded), "--", "."]
        stage = group.run(argv, doing, stdout=subprocess.PIPE, dumps=True, checked=False)
        expected = self._measured
        # Every file has a header or two, and its last block is filled up.
        hint = expected.size + 4096 * (expected.files + expected.folders) + 10240
        watched = Watched(_TarReader(stage), doing)
        group.start(sink.member, MEMBER, Gathering(stage, watched), hint, False, self._threads)
        group.wait()
        special = watched.found
        changed = [match["name"] for match in _CHANGED.finditer(stage.stderr_text)]
        return DumpFacts(
            format="tar",
            jobs=1,
            roles=expected.owners(),
            client_version=version,
            warnings=_changed_warning(changed) + ([] if self._allow_special else _special_warning(special)),
            details={
                "directory": shown(self._places.live),
                "files": expected.files,
                "folders": expected.folders,
                "size_bytes": expected.size,
                "excluded": [shown(pattern) for pattern in self._excluded],
                "changed_while_read": len(changed),
                "special_files": special.special,
                "entries": special.inner,
            },
        )

    # -- pull --------------------------------------------------------------------------------------------------------

    def preflight_restore(self, manifest: Manifest | None) -> Plan:
        places = self._places
        doing = f"preparing to restore {self._tree}"
        _tar(doing)
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
        if special and not self._allow_special:
            raise EnvSyncError(
                doing,
                f"the point has {_special_files(special)}: device nodes, or programs with rights of their own",
                "Set allow_special_files where the tree is meant to have them, or leave them out of the push "
                "(excluded_tables).",
            )
        _need_room(doing, places.parent, manifest.raw_bytes if manifest else 0)
        replaces = None
        if os.path.lexists(places.live):
            found = measure(places.live, doing)
            replaces = {"path": shown(places.live), "size_bytes": found.size, "files": found.files}
        steps = (f"unpack the point into {places.scratch}",)
        return Plan(places.scratch, replaces, steps, tuple(_owner_warnings(manifest)))

    def sweep(self) -> list[str]:
        self._prove()
        return self._places.recover(self._keep_old)

    def restore(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        doing = f"restoring {self._tree}"
        scratch = self._places.scratch
        os.mkdir(scratch, 0o700)
        argv = [_tar(doing)[0], "--extract", "--file=-", f"--directory={scratch}", "--preserve-permissions"]
        argv += ["--xattrs", "--acls", *_selinux()]
        if os.geteuid() == 0:
            # Others than user.* (a program's capabilities) are root's to give.
            argv += ["--same-owner", "--xattrs-include=*"]
        root: list[str] = []
        if not source.manifest.dbms:
            # The original's archives have the tree's own path before every name.
            root = [part for part in self._database.split("/") if part not in ("", ".")]
            argv += [f"--strip-components={len(root)}"]
        stage, contents = _feed(group, source, argv, doing, root, self._allow_special)
        self._restored = contents.inner
        self._mode = stat.S_IMODE(os.stat(scratch).st_mode) if contents.rooted else self._usual_mode()
        os.chmod(scratch, 0o700)  # nobody's to look at before it has been sanitised
        counting = f"counting what was restored of {self._tree}"
        _compare(source.manifest, contents.inner, counting)
        if "entries" in source.manifest.details:
            made = measure(scratch, counting)
            _compare(source.manifest, made.files + made.folders, counting)
        said = stage.stderr_text.splitlines()
        return {"warnings": [f"unpacking {self._tree}: {len(said)} remarks, the first is: {said[0]}"] if said else []}

    def _usual_mode(self) -> int:
        """Return the mode of the live tree, or what a new directory usually has."""
        with contextlib.suppress(FileNotFoundError):
            return stat.S_IMODE(os.stat(self._places.live).st_mode)
        return 0o755

    def sanitise(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        where = f"the scratch tree of {self._tree}"
        return run_scripts(scripts, self._places.scratch, where, self._work_dir, group)

    def check(self, group: Group) -> Mapping[str, Any]:
        doing = f"checking the restored {self._tree}"
        found = measure(self._places.scratch, doing)
        if self._restored and not found.files + found.folders:
            raise EnvSyncError(doing, "nothing is left in it", "Check the transformation scripts.")
        # What takes the live name has to be on the disk by then.
        group.run(["sync", "--file-system", self._places.scratch], doing).wait()
        return {"files": found.files, "size_bytes": found.size}

    def swap(self, keep_old: bool) -> Mapping[str, Any]:
        places = self._places
        doing = f"giving the restored tree the name {shown(places.live)}"
        replaces = os.path.lexists(places.live)
        self._prove()
        try:
            os.chmod(places.scratch, self._mode)
            away = places.swap()
        except OSError as error:
            raise EnvSyncError(
                doing, f"{error.strerror}: {shown(str(error.filename))}", "Nothing was replaced."
            ) from error
        kept, warnings = places.old if replaces else "", []
        if kept and not keep_old:
            try:
                swap.remove_tree(kept)
                kept = ""
            except OSError as error:
                # The pull has succeeded: what could not be removed is in nobody's way.
                warnings.append(f"the replaced tree is still there as {shown(kept)}: {error.strerror}")
        places.finish()
        return {"name_away_seconds": round(away, 3), "kept": kept, "warnings": warnings}

    def discard(self) -> None:
        with contextlib.suppress(OSError, EnvSyncError):
            self._prove()
            self._places.recover(self._keep_old)


def _compare(manifest: Manifest, entries: int, doing: str) -> None:
    """Raise unless there are as many files and folders as the push counted; one of before has not."""
    noted = int(manifest.details.get("entries", entries))
    hint = (
        "Two names may be one to this file system (case, Unicode), something may have removed or added files "
        "meanwhile, or the point was changed: look there, or choose another one (--list shows them)."
    )
    counts.require_equal({manifest.database: noted}, {manifest.database: entries}, doing, hint, _ENTRIES)


# -- what is in a tree -----------------------------------------------------------------------------------------------


@dataclass
class Measured:
    """What is in a tree: ``size`` is the bytes that its files take on the disk (holes are none), or have if fewer."""

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
    """Look at every file of a tree; raise where there is none, or a folder of it may not be read."""
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


def _machine() -> str:
    """Return what tells this host from others: its machine-id, or its name where it has none."""
    with contextlib.suppress(OSError):
        with open("/etc/machine-id", encoding="ascii", errors="replace") as stream:
            found = stream.read().strip()
        if re.fullmatch("[0-9a-f]{32}", found):
            return found
    return socket.gethostname()


def _mounts(tree: str) -> Iterator[str]:
    """Yield the mount points that are at ``tree`` or below it (proc(5), mountinfo: the fifth field, octal escapes)."""
    with contextlib.suppress(FileNotFoundError), open("/proc/self/mountinfo", "rb") as stream:
        for line in stream:
            escaped = line.split()[4]
            point = os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), escaped))
            if point == tree or point.startswith(tree.rstrip("/") + "/"):
                yield point


def _need_room(doing: str, folder: str, needed: int) -> None:
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if needed > free:
        raise EnvSyncError(
            doing, f"the tree needs {needed} bytes, and {folder} has room for {free}", "Make room on that file system."
        )


def _owner_warnings(manifest: Manifest | None) -> Iterator[str]:
    owners = list(manifest.roles) if manifest else []
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


# -- tar -------------------------------------------------------------------------------------------------------------


def _tar(doing: str) -> tuple[str, str]:
    """Return the path of GNU tar and what it calls itself (``tar (GNU tar) 1.34``)."""
    for name in ("tar", "gtar"):
        program = programs.find(name)
        if program:
            first = said([program, "--version"], _VERSION_PATIENCE).partition("\n")[0]
            if "GNU tar" in first:
                return program, first
    raise EnvSyncError(doing, "there is no GNU tar on the PATH", "Install tar.")


def _selinux() -> list[str]:
    """Return tar's option for SELinux's labels, which only a host that uses them can read and give."""
    return ["--selinux"] if os.path.exists("/sys/fs/selinux/enforce") else []


def _exclusions(patterns: Sequence[str]) -> list[str]:
    """Return tar's options for what is left out: at any depth by name, from the tree's top where there is a slash.

    A folder takes with it all that is in it. What a pull keeps beside a tree belongs to no tree.
    """
    argv = ["--no-wildcards-match-slash", "--no-anchored"]
    argv += [f"--exclude={swap.HIDDEN}{kind}-*" for kind in ("scratch", "old", "swap", "lock")]
    argv += [f"--exclude={pattern}" for pattern in patterns if "/" not in pattern.rstrip("/")]
    argv.append("--anchored")
    argv += [f"--exclude=./{pattern.strip('/')}" for pattern in patterns if "/" in pattern.rstrip("/")]
    return argv


class _TarReader:
    """What ``tar --create`` writes, to an end that counts: exit status 1 says that files changed, and is no failure."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def read(self, size: int) -> bytes:
        block = self._stage.read(size)
        if not block:
            self._stage.join()
            if self._stage.popen.returncode not in (0, 1):
                raise self._stage.error()
        return block

    def close(self) -> None:
        self._stage.stdout.close()


def _changed_warning(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    shown_names = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return [f"{len(names)} files changed while they were read, and may be half old and half new: {shown_names}"]


def _special_files(count: int) -> str:
    return "1 special file" if count == 1 else f"{count} special files"


def _special_warning(found: Contents) -> list[str]:
    if not found.special:
        return []
    more = ", ..." if found.special > len(found.examples) else ""
    return [
        f"the tree has {_special_files(found.special)} ({'; '.join(found.examples)}{more}): a pull refuses them unless "
        "its task sets allow_special_files"
    ]


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
