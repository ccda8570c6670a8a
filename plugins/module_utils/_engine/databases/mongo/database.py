# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MongoDB: ``mongodump`` and ``mongorestore`` for the data, pymongo for everything else.

A pull restores into collections ``env_sync_scratch_<run>_<name>`` of the live database itself, because a rename is
atomic only within one database. Who may read all of that database can read them until the swap, by these names.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...errors import EnvSyncError
from ...host.stopping import Stop
from ...members import PointSource, StoreSink
from ...points import counts
from ...points.manifest import Manifest
from ...points.name import SINGLE_SUFFIX
from ...points.scripts import Effect, Script
from ...streams.pipeline import Group, StageReader, send_archive
from ...streams.reader import BLOCK
from ...tasks.task import Task
from ..base import Database, DumpFacts, Identity, Plan, within
from ..lease import DocumentStorage, Lease, LockLost
from . import legacy as mongo_legacy
from .archive import TIMESERIES, VIEW, Archive, Collection
from .client import Server, ServerError, complaint, program, program_version, uri_of, write_config
from .scripts import check_script, run_script
from .swap import END, MARK, OLD_PREFIX, SCRATCH_PREFIX, LockDocument, Swap, is_ours, is_system, put_back, rename

#: how long ``<database>.<collection>`` may be, in bytes, from MongoDB 4.4 on and before
_LONGEST_NAME = 255
_LONGEST_NAME_BEFORE_4_4 = 120

_NAMESPACE_NOT_FOUND = 26

#: after so long without a scratch collection coming back, what a killed run began is over, in seconds
_SETTLED = 1.0

#: what is counted, and of what
_COLLECTIONS = ("collection", "documents")

_CAUSE = "Something on this server took documents away or added some while it restored: look into the server's log."

#: more collections at once make mongorestore keep more of an archive in memory
_MOST_AT_ONCE = 4

#: what of an index's definition a restore has to give back, with the value that a missing key stands for
#: (of a filter only that there is one: it may quote data)
_INDEX_FACTS = {"unique": False, "sparse": False, "expireAfterSeconds": None, "partialFilterExpression": False}


class Mongo(Database):
    """One database of one MongoDB server or replica set.

    :param uri: a connection string with no database in it.
    :param work_dir: an empty directory of this run's own.
    :param jobs: how many collections to dump or restore at once.
    :param scripts: the transformation scripts, to be checked before a restore begins.
    """

    kind = "mongo"
    family = "mongo"
    legacy = ("tar", "gzip")

    def __init__(
        self,
        uri: str,
        database: str,
        work_dir: str | None,
        jobs: int,
        compression: str,
        excluded: Sequence[str],
    ) -> None:
        self._server = Server(uri)
        self._database = database
        self._work_dir = work_dir
        self._jobs = jobs
        # <point>.gz, and not <point>.dump.gz, is how a single gzipped member is called.
        self._member = "" if compression == "gzip" else SINGLE_SUFFIX
        self._excluded = tuple(excluded)
        self._lock = DocumentStorage(LockDocument(self._server, database))
        self._lease = Lease(self._lock, f"locking {database} on {self._server.name}", lambda: self.cancelled)
        # Of this run alone: what one that has lost the lock goes on to write, or drops, is never its successor's.
        self._scratch = f"{SCRATCH_PREFIX}{self._lock.token[:8]}_"
        self._views: dict[str, Collection] = {}
        self._spared: tuple[str, ...] = ()
        self._swapping = False
        self._new: list[str] = []

    @classmethod
    def from_task(cls, task: Task, work_dir: str | None) -> Mongo:
        return cls(
            uri=cls.uri(task),
            database=task.database,
            work_dir=work_dir,
            jobs=min(task.worker_count, _MOST_AT_ONCE),
            compression=task.compression,
            excluded=task.excluded_tables,
        )

    @classmethod
    def uri(cls, task: Task) -> str:
        """Return the connection string: the task's keys, and ``MONGODB_URI`` for what they leave open."""
        return uri_of(task.connection, os.environ.get("MONGODB_URI", ""), {})

    # -- both ways ---------------------------------------------------------------------------------------------------

    def identity(self) -> Identity:
        doing = f"asking {self._server.name} who it is"
        version = str(self._server.command("admin", {"buildInfo": 1}, doing)["version"])
        return Identity(self.kind, self._server.system(doing), version, self._server.name)

    def obey(self, stop: Stop) -> None:
        super().obey(stop)
        self._server.stop = stop

    def close(self) -> None:
        self._server.close()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        if self._skip(f"locking {self._database}"):
            yield  # a secondary member takes no writes, and there will be nothing to keep others from
            return
        with self._lease.held():
            try:
                yield
            finally:
                with contextlib.suppress(EnvSyncError), self.cancelled.cleaning():
                    looking = "looking for what stays"
                    # The mark stays with what is ours: old collections that are kept, and what could not be dropped.
                    self._lock.keep = bool(self._named(OLD_PREFIX, looking) + self._named(SCRATCH_PREFIX, looking))

    @property
    def database_name(self) -> str:
        return self._database

    def _note(self, **values: Any) -> None:
        """Write down what the next run has to know if this one dies now; raises when the lock was lost."""
        lost = self._lock.note(**values)
        if lost:
            raise LockLost(f"locking {self._database} on {self._server.name}", lost)

    @classmethod
    def verify(cls, group: Group, source: PointSource, work_dir: str) -> None:
        """Read the whole dump here: ``mongorestore --dryRun`` stops after the prelude."""
        manifest = source.manifest
        doing = f"verifying {manifest.timestamp}-{manifest.database}"
        reader = source.open(next(iter(source.names())))
        try:
            if manifest.format == cls.legacy[0]:
                mongo_legacy.scan(reader, manifest.database, doing)
                return
            archive = Archive(reader, manifest.database, doing)
            while archive.read(BLOCK):
                group.check()
            _compare_counts(manifest, archive.collections, doing)
        finally:
            reader.close()

    # -- push --------------------------------------------------------------------------------------------------------

    def preflight_dump(self) -> Mapping[str, Any]:
        doing = f"preparing to dump {self._database} on {self._server.name}"
        _check_database_name(self._database, doing)
        skip = self._skip(doing)
        if skip:
            return {"skip": skip}
        live = self._live(doing)
        if not live:
            names = self._server.client(doing).list_database_names()
            raise EnvSyncError(
                doing, f"there is no database {self._database}", f"The server has {', '.join(names[:10])}."
            )
        for name in self._excluded:
            if name not in live:
                # To go on would store what somebody asked to leave out.
                raise EnvSyncError(
                    doing, f"excluded_tables names {name}, and there is no such collection", "Correct it."
                )
        program("mongodump", doing)
        tables = sum(about.get("type") != VIEW for about in live.values()) - len(self._excluded)
        return {"size_bytes": self._size(doing), "tables": tables, "jobs": self._jobs}

    def check_scripts(self, scripts: Sequence[Script]) -> None:
        for script in scripts:
            check_script(script, f"preparing to restore {self._database} on {self._server.name}")

    def prepare(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        return [run_script(script, self._server, self._database, "", group, self._work_dir) for script in scripts]

    def dump(self, group: Group, sink: StoreSink) -> DumpFacts:
        """Dump all collections, each as it is when its turn comes: MongoDB has no snapshot of one database.

        A database that is written to meanwhile may hold, in one collection, what another does not know yet.
        """
        doing = f"dumping {self._database} from {self._server.name}"
        path = program("mongodump", doing)
        argv = [path, "--config", write_config(self._work_dir, self._server.uri), f"--db={self._database}", "--archive"]
        argv += [f"--numParallelCollections={self._jobs}"]
        argv += [f"--excludeCollection={name}" for name in (*self._excluded, "system.profile", MARK, END)]
        argv += [f"--excludeCollectionsWithPrefix={prefix}" for prefix in (SCRATCH_PREFIX, OLD_PREFIX)]
        before = set(self._live(doing))
        stage = group.run(argv, doing, stdout=subprocess.PIPE, dumps=True, repeatable=complaint)
        archive = Archive(StageReader(stage), self._database, doing)
        size = self._size(doing)
        group.start(sink.member, self._member, archive, size or None, threads=self._jobs)
        group.wait()
        # One that was dropped or made meanwhile is no fault.
        lacking = (before & set(self._live(doing))) - set(archive.collections) - set(self._excluded)
        if lacking or not archive.collections:
            what = f"lacks {', '.join(sorted(lacking)[:5])}" if lacking else "holds no collection"
            raise EnvSyncError(doing, f"the dump {what}", "Check names and rights, or leave it out (excluded_tables).")
        facts = DumpFacts(format="archive", jobs=self._jobs, client_version=program_version(path))
        facts.tables = [_table(collection) for _name, collection in sorted(archive.collections.items())]
        facts.details = {"size_bytes": size, "excluded_tables": list(self._excluded)}
        return facts

    # -- pull --------------------------------------------------------------------------------------------------------

    def preflight_restore(self, manifest: Manifest | None) -> Plan:
        doing = f"preparing to restore {self._database} on {self._server.name}"
        _check_database_name(self._database, doing)
        skip = self._skip(doing)
        if skip:
            return Plan("", None, (), skip=skip)
        program("mongorestore", doing)
        self._check_renaming(doing)
        warnings = []
        if manifest is not None:
            self._check_collections({str(t["name"]): str(t.get("type")) for t in manifest.tables}, doing)
            theirs, ours = str(manifest.server.get("version", "")), self.identity().version
            if _release(ours) < _release(theirs):
                warnings.append(f"the point is from version {theirs}, and {self._server.name} has the older {ours}")
        live = self._live(doing)
        replaces = {"tables": len(live), "size_bytes": self._size(doing)} if live else None
        scratch = f"{self._database}.{SCRATCH_PREFIX}*"
        steps = (f"restore it into the collections {scratch} on {self._server.name}",)
        return Plan(scratch, replaces, steps, tuple(warnings))

    def _check_renaming(self, doing: str) -> None:
        """Raise unless server and rights let a collection be renamed: tried on one that is not there."""
        try:
            rename(self._server, self._database, f"{self._scratch}none", f"{self._scratch}nothing", doing)
        except ServerError as error:
            if error.code != _NAMESPACE_NOT_FOUND:
                raise EnvSyncError(
                    doing,
                    f"no collection can be renamed there, so nothing could be swapped in: {error.why}",
                    "Give this user readWrite; where the server has no renameCollection, restore by hand.",
                ) from error

    def _check_collections(self, kinds: Mapping[str, str], doing: str) -> None:
        """Raise when a collection cannot go by a scratch name, or not be renamed."""
        version = self._server.command("admin", {"buildInfo": 1}, doing)["versionArray"]
        longest = _LONGEST_NAME if list(version[:2]) >= [4, 4] else _LONGEST_NAME_BEFORE_4_4
        for name, kind in kinds.items():
            if kind == TIMESERIES:
                raise EnvSyncError(
                    doing,
                    f"{name} is a time series, which MongoDB cannot rename, so it cannot be swapped in",
                    "Leave it out of the push (excluded_tables), or restore the point by hand.",
                )
            if kind != VIEW and len(f"{self._database}.{self._scratch}{name}".encode()) > longest:
                raise EnvSyncError(
                    doing,
                    f"with {self._scratch} before it, the name {name} is longer than this server allows",
                    "Leave it out of the push (excluded_tables), or restore the point by hand.",
                )

    def sweep(self) -> list[str]:
        doing = f"looking for what is left of a pull into {self._database}"
        if self._skip(doing):
            return []
        found = self._lock.found
        left = self._named(SCRATCH_PREFIX, doing) + self._named(OLD_PREFIX, doing)
        if left and not found:
            raise EnvSyncError(
                doing,
                f"there are collections that carry our names ({left[0]}), and no mark {MARK} that they are ours",
                "Drop or rename them.",
            )
        removed = []
        if found.get("swapping"):
            new = found.get("new", ())
            restored = put_back(self._server, self._database, self._scratch, new, self._lease.prove, doing)
            removed += [f"the swap of {name}, which has its old contents again" for name in restored]
        doomed = self._named(SCRATCH_PREFIX, doing)
        if not found.get("kept"):
            doomed += self._named(OLD_PREFIX, doing)
        self._drop(doomed, doing)
        removed += [f"collection {name}" for name in doomed]
        while doomed and not self.cancelled():
            # What the killed run's mongorestore still had under way in the server makes its collection anew.
            time.sleep(_SETTLED)
            doomed = self._named(SCRATCH_PREFIX, doing)
            self._drop(doomed, doing)
        self._note(swapping=False, kept=bool(found.get("kept")))
        return removed

    def restore(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        manifest = source.manifest
        doing = f"restoring {manifest.timestamp}-{manifest.database} into {self._database} on {self._server.name}"
        argv = [program("mongorestore", doing), "--config", write_config(self._work_dir, self._server.uri)]
        argv += ["--stopOnError", f"--numParallelCollections={self._jobs}"]
        argv += [f"--nsInclude={manifest.database}.*", f"--nsFrom={manifest.database}.*"]
        argv += [f"--nsTo={self._database}.{self._scratch}*"]
        reader = source.open(next(iter(source.names())))
        if manifest.format == self.legacy[0]:
            directory = within(self._work_dir, "legacy")
            try:
                collections = mongo_legacy.scan(reader, manifest.database, doing, directory)
            finally:
                reader.close()
            argv += self._fitting(manifest, collections, doing)
            group.run([*argv, f"--dir={directory}"], doing, repeatable=complaint).wait()
        else:
            archive = Archive(reader, manifest.database, doing)
            head = archive.head(BLOCK)
            collections = archive.collections
            argv += self._fitting(manifest, collections, doing)
            argv += ["--archive"]
            stage = group.run(argv, doing, stdin=subprocess.PIPE, repeatable=complaint)
            group.start(send_archive, group, head, archive, stage)
            group.wait()
            _compare_counts(manifest, collections, doing)
        self._views = {name: collection for name, collection in collections.items() if collection.kind == VIEW}
        self._spared = tuple(manifest.details.get("excluded_tables", ()))
        kept_out = [name for name in collections if is_system(name)]
        shrunk = self._prove(
            {n: c for n, c in collections.items() if n not in self._views and n not in kept_out}, doing
        )
        return {"warnings": [*(f"not restored: {name}, which is the server's own" for name in kept_out), *shrunk]}

    def _fitting(self, manifest: Manifest, collections: Mapping[str, Collection], doing: str) -> list[str]:
        """Return mongorestore's options that depend on what the dump holds.

        Views, which are made after the swap, and the server's own collections are left out. Documents older than their
        collection's validator, or let through by it, come back as they were; that takes a right that ``readWrite`` has
        not (``bypassDocumentValidation``, in ``dbAdmin`` and ``restore``), so it is asked for only where it matters.
        """
        self._check_collections({name: collection.kind for name, collection in collections.items()}, doing)
        names = [n for n, collection in collections.items() if collection.kind == VIEW or is_system(n)]
        escaped = [name.replace("\\", "\\\\").replace("*", "\\*") for name in names]
        options = [f"--nsExclude={manifest.database}.{name}" for name in escaped]
        if any("validator" in collection.options for collection in collections.values()):
            options.append("--bypassDocumentValidation")
        return options

    def _prove(self, collections: Mapping[str, Collection], doing: str) -> list[str]:
        """Raise unless every collection is there with all its documents and indexes, and no other; return warnings.

        The exit status is not enough: without ``--stopOnError`` mongorestore exits 0 when documents failed.
        """
        shrunk = []
        there = self._server.collections(self._database, doing)
        for name, collection in collections.items():
            scratch = self._scratch + name
            if scratch not in there:
                raise EnvSyncError(doing, f"collection {name} was not restored", "Look into the server's log.")
            count = self._server.count(self._database, scratch, doing)
            # The server itself takes out of a collection with such an index what has expired since the dump, and of a
            # capped one what is more than fits: it can have grown while it was read.
            shrinks = bool(collection.options.get("capped"))
            shrinks = shrinks or any("expireAfterSeconds" in index for index in collection.indexes)
            if count > collection.documents or (count < collection.documents and not shrinks):
                counts.require_equal({name: collection.documents}, {name: count}, doing, _CAUSE, _COLLECTIONS)
            if count < collection.documents:
                shrunk.append(
                    f"collection {name} has {count} of the dump's {collection.documents} documents: it is capped, or "
                    "has an index with expireAfterSeconds, by which the server removes what is too old"
                )
            wanted = {str(index["name"]): _index(index) for index in collection.indexes}
            found = {str(i["name"]): _index(i) for i in self._server.indexes(self._database, scratch, doing)}
            for index, definition in wanted.items():
                if found.get(index) != definition:
                    raise EnvSyncError(doing, f"index {index} of collection {name} is missing or another")
        made = [name[len(self._scratch) :] for name in there if name.startswith(self._scratch)]
        counts.require_no_more(collections, made, doing, _CAUSE, _COLLECTIONS[0])
        return shrunk

    def sanitise(self, scripts: Sequence[Script], group: Group) -> Sequence[Effect]:
        """Run the scripts; one that fails half-way leaves scratch collections that the pull then throws away."""
        return [
            run_script(script, self._server, self._database, self._scratch, group, self._work_dir) for script in scripts
        ]

    def check(self, group: Group) -> Mapping[str, Any]:
        doing = f"checking the scratch collections of {self._database}"
        names = self._named(self._scratch, doing)
        if not names:
            raise EnvSyncError(doing, "there are none", "Check the point, and what the transformation drops.")
        return {"tables": len(names), "size_bytes": self._size(doing)}

    def swap(self, keep_old: bool) -> Mapping[str, Any]:
        self.cancelled.check(f"swapping {self._database}")
        with self.cancelled.cleaning():  # from here on it is sooner completed than undone
            return self._swap(keep_old)

    def _swap(self, keep_old: bool) -> Mapping[str, Any]:
        """Swap collection by collection: each at once, but all of them not in one moment."""
        doing = f"swapping {self._database} in on {self._server.name}"
        exchange = Swap(self._server, self._database, self._scratch, keep_old, self._lease.prove)
        exchange.drop_old()  # what an earlier pull kept
        live = set(self._live(doing))
        self._new = sorted({name[len(self._scratch) :] for name in self._named(self._scratch, doing)} - live)
        self._note(swapping=True, new=self._new, kept=False)
        self._swapping = True
        exchange.run(self._views, self._spared)
        self._note(swapping=False, kept=keep_old)
        self._swapping = False
        # Only now: before, what is left of the old ones would be put back beside what had been dropped.
        if not keep_old:
            exchange.drop_old()
        kept = f"{self._database}.{OLD_PREFIX}*" if keep_old and live else ""
        return {"name_away_seconds": round(exchange.away, 3), "kept": kept}

    def discard(self) -> None:
        doing = f"dropping the scratch collections of {self._database}"
        try:
            if self._swapping:
                # Where the lock is lost, its next holder puts the live collections right by what was noted.
                put_back(self._server, self._database, self._scratch, self._new, self._lease.prove, doing)
                self._swapping = False
                self._note(swapping=False)
            self._lease.regain()
        finally:
            # What is this run's own by its name is no other's, whoever has the lock by now.
            for name in self._named(self._scratch, doing):
                try:
                    self._server.command(self._database, {"drop": name}, doing)
                except ServerError as error:
                    if error.code != _NAMESPACE_NOT_FOUND:
                        raise

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _skip(self, doing: str) -> str:
        """Say why there is nothing to do on this server; empty where there is."""
        if self._server.hello(doing).get("isWritablePrimary"):
            return ""
        return f"{self._server.name} is not the primary member of its replica set"

    def _live(self, doing: str) -> dict[str, dict[str, Any]]:
        """Return the database's collections and views, but for the server's own and ours."""
        found = self._server.collections(self._database, doing)
        return {name: about for name, about in found.items() if not is_ours(name) and not is_system(name)}

    def _named(self, prefix: str, doing: str) -> list[str]:
        return sorted(name for name in self._server.collections(self._database, doing) if name.startswith(prefix))

    def _drop(self, names: Sequence[str], doing: str) -> None:
        for name in names:
            self._lease.prove()
            self._server.command(self._database, {"drop": name}, doing)

    def _size(self, doing: str) -> int:
        """Return the size of all documents in bytes; 0 where this user may not know it."""
        try:
            return int(self._server.command(self._database, {"dbStats": 1}, doing).get("dataSize", 0))
        except ServerError:
            return 0


def _release(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version: servers that differ in the others store the same."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def _check_database_name(name: str, doing: str) -> None:
    """Raise unless MongoDB allows the name: the programs would read other characters as a pattern."""
    if not name or len(name.encode()) > 63 or any(character in '/\\. "$*<>:|?\0' for character in name):
        raise EnvSyncError(doing, f"{name!r} is no name for a MongoDB database", "Correct database.")


def _compare_counts(manifest: Manifest, collections: Mapping[str, Collection], doing: str) -> None:
    """Raise unless the archive holds what the manifest says."""
    said = {str(table["name"]): int(table.get("rows", 0)) for table in manifest.tables}
    held = {name: collection.documents for name, collection in collections.items()}
    hint = "Choose another point (--list shows them)."
    counts.require_no_more(said, held, doing, hint, _COLLECTIONS[0])
    counts.require_equal(said, held, doing, hint, _COLLECTIONS)


def _table(collection: Collection) -> dict[str, Any]:
    """Return what the manifest says of a collection."""
    indexes = [{"name": str(index["name"]), **_index(index)} for index in collection.indexes]
    return {
        "name": collection.name,
        "type": collection.kind,
        "rows": collection.documents,
        "indexes": json.loads(json.dumps(indexes)),
    }


def _index(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return what counts of an index's definition, in plain JSON types; directions come as any kind of number."""
    key = [
        [field, int(kind) if isinstance(kind, (int, float)) else str(kind)]
        for field, kind in dict(index.get("key", {})).items()
    ]
    facts = {name: index[name] for name, usual in _INDEX_FACTS.items() if index.get(name, usual) != usual}
    return {"key": key, **{name: int(v) if name == "expireAfterSeconds" else bool(v) for name, v in facts.items()}}
