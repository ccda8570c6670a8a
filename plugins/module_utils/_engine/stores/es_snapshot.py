# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A snapshot repository of Elasticsearch or OpenSearch: the server itself writes and reads it.

No data passes through here. A snapshot is shown as the objects of a point: a member, and a manifest as soon as the
server says that it is whole. So it is the server that commits: a push that is killed can still become a good point.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import EnvSyncError
from ..points.manifest import Manifest, Member
from ..points.name import iso_utc, manifest_name, parse, point_name
from ..search.client import Client, ServerError
from ..search.points import (
    IN_PROGRESS,
    MEMBER,
    Note,
    fault,
    read_note,
    snapshot_name,
    timestamp_and_database,
    total_bytes,
)
from ..search.repository import Repository, is_readonly
from ..streams.reader import Reader
from ..tasks.task import ElasticOptions
from .base import SelfStoring, Stored, StoredObject
from .inspector import FAILED, OK, UNKNOWN, WARNING, Finding, Inspector


class SnapshotStore(SelfStoring):
    """The snapshots in one repository that is registered at the server.

    :param repository: the repository's name.
    :param registration: has what to register it as where it isn't.
    :param database: the database that is asked for: the case of its letters is lost in a snapshot's name.
    """

    kind = "es_snapshot"
    claims = False  # the server makes a snapshot of each name once only

    def __init__(self, client: Client, repository: str, registration: ElasticOptions, database: str) -> None:
        self._client = client
        self._repository = Repository(client, repository)
        self._type = registration.repository_type
        self._settings = registration.repository_settings
        self._database = database

    def url(self, name: str = "") -> str:
        found = parse(name) or parse(name + MEMBER)
        shown = found.point.lower() if found else name
        return f"{self._client.name}/_snapshot/{self._repository.name}{f'/{shown}' if shown else ''}"

    def inspector(self) -> Inspector:
        return _SnapshotInspector(self.url(), self._client, self._repository)

    def preflight(self, write: bool) -> None:
        doing = f"opening the snapshot repository {self.url()}"
        found = self._repository.registration(doing)
        if found is None and not (self._type and write):
            hint = "The first run registers it." if self._type else "Register it, or set repository_type."
            raise EnvSyncError(doing, "it is not registered at this server", hint)
        if found is not None and write and is_readonly(found):
            raise EnvSyncError(doing, "it is registered as read-only at this server", "Push into another repository.")

    def prepare(self, write: bool) -> None:
        """Register the repository where that is asked for; before a push, have all nodes prove that they can write."""
        doing = f"registering the snapshot repository {self.url()}"
        if self._type:
            found = self._repository.registration(doing)
            if found is None:
                # Two clusters that write to one repository destroy it (Elasticsearch guide, "Register a repository").
                settings = {**self._settings, **({} if write else {"readonly": "true"})}
                body = {"type": self._type, "settings": settings}
                self._client.put(self._repository.path(), doing, body)
            else:
                there = {key: str(found["settings"].get(key)) for key in self._settings}
                if found["type"] != self._type or there != self._settings:
                    raise EnvSyncError(
                        doing,
                        "a repository of that name is registered with another type or other settings",
                        "Correct repository_type and repository_settings, or choose another name.",
                    )
        self.preflight(write)
        if write:
            doing = f"verifying the snapshot repository {self.url()}"
            try:
                self._client.post(self._repository.path("_verify"), doing)
            except ServerError as error:
                # The right to create snapshots, which is all that a push needs, does not have this one in it.
                if error.status != 403:
                    raise

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        found: list[StoredObject] = []
        for snapshot in self._snapshots(f"listing the snapshots in {self.url()}"):
            found += [thing for thing in self._objects(snapshot) if thing.name.startswith(prefix)]
        yield from sorted(found, key=lambda thing: thing.name)

    def stat(self, name: str) -> StoredObject | None:
        snapshot = self._snapshot(name, f"looking at {self.url(name)}")
        return next((thing for thing in self._objects(snapshot or {}) if thing.name == name), None)

    def put(self, name: str, source: Reader, size_hint: int | None = None) -> Stored:
        raise self._no_bytes("writing", name)

    def open(self, name: str, size: int | None = None) -> Reader:
        raise self._no_bytes("reading", name)

    def _no_bytes(self, what: str, name: str) -> EnvSyncError:
        return EnvSyncError(
            f"{what} {self.url(name)}",
            "a snapshot repository holds what its server itself puts there, and hands nothing out",
            "Use it with dbms elasticsearch only; another cluster reads a snapshot by registering the same repository.",
        )

    def made_by(self, point: str, run: str) -> bool:
        """Say whether the note in the point's snapshot is the run's; a server may keep no notes, and then it may be."""
        snapshot = self._snapshot(manifest_name(point), f"looking at {self.url(point)}")
        note = read_note(snapshot) if snapshot else None
        return note is None or not note.run or note.run == run

    def commit(self, point: str) -> None:
        name = manifest_name(point)
        doing = f"reading back {self.url(name)}"
        snapshot = self._snapshot(name, doing)
        why = fault(snapshot) if snapshot else "there is no such snapshot"
        if why:
            raise EnvSyncError(doing, why, "Push again.")

    def get_bytes(self, name: str, limit: int = 0) -> bytes:
        """Return the manifest of a whole snapshot, made of what the server and the note in it say."""
        doing = f"reading {self.url(name)}"
        snapshot = self._snapshot(name, doing)
        if snapshot is None or fault(snapshot) or name not in {thing.name for thing in self._objects(snapshot)}:
            raise EnvSyncError(doing, "there is no such manifest", "Choose another point (--list shows them).")
        return self._manifest(snapshot).to_json()

    def attest(self, name: str) -> None:
        """Have the server read what it keeps of every shard; raises unless each is finished."""
        doing = f"verifying {self.url(name)}"
        snapshot = self._snapshot(name, doing)
        why = fault(snapshot) if snapshot else "there is no such snapshot"
        if not why and snapshot:
            shards = self._repository.status(str(snapshot["snapshot"]), doing)["shards_stats"]
            if shards["failed"] or shards["done"] != shards["total"]:
                why = f"{shards['done']} of {shards['total']} shards are finished, {shards['failed']} failed"
        if why:
            raise EnvSyncError(doing, why, "Choose another point (--list shows them).")

    def delete(self, names: Iterable[str]) -> None:
        points = {found.point for found in map(parse, names) if found is not None}
        for point in sorted(points):
            name = snapshot_name(point)
            self._client.delete(self._repository.path(name), f"removing {self.url(name)}")

    def sweep(self, prefix: str) -> builtins.list[str]:
        """Nothing is left elsewhere: what an interrupted push began is listed, and removed by ``delete``."""
        return []

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _snapshots(self, doing: str) -> builtins.list[dict[str, Any]]:
        # A plan may ask for a repository that the run will register.
        found = self._repository.snapshots(doing, missing_ok=bool(self._type))
        return [snapshot for snapshot in found if timestamp_and_database(snapshot) is not None]

    def _snapshot(self, name: str, doing: str) -> dict[str, Any] | None:
        """Return the snapshot that an object belongs to, or None."""
        found = parse(name)
        return None if found is None else self._repository.snapshot(snapshot_name(found.point), doing)

    def _objects(self, snapshot: Mapping[str, Any]) -> builtins.list[StoredObject]:
        """Return what a point's objects would be; a manifest only where the snapshot is whole."""
        found = timestamp_and_database(snapshot, self._database)
        if found is None:
            return []
        point = point_name(*found)
        note = read_note(snapshot)
        modified = _ended(snapshot)
        objects = [StoredObject(point + MEMBER, note.size if note else 0, modified)]
        if not fault(snapshot):
            objects.append(StoredObject(manifest_name(point), 0, modified))
        return objects

    def _manifest(self, snapshot: Mapping[str, Any]) -> Manifest:
        timestamp, database = timestamp_and_database(snapshot, self._database) or ("", "")
        name = str(snapshot["snapshot"])
        note = read_note(snapshot) or Note("", database, "", str(snapshot.get("version", "")), "", "", 0)
        try:
            stored = total_bytes(self._repository.status(name, f"looking at {self.url(name)}"))
        except ServerError:
            if not note.cluster:
                raise
            stored = note.size  # a server that is older than the snapshot can't tell; so that it is this that is said
        indices = sorted(str(index) for index in snapshot["indices"])
        tables = [{"name": index, **({"rows": note.rows[index]} if index in note.rows else {})} for index in indices]
        return Manifest(
            tool_version=note.tool,
            dbms="elasticsearch",
            database=database,
            timestamp=timestamp,
            environment=note.environment,
            host=note.host,
            server={"system": note.cluster, "version": note.version, "host": ""},
            client_version="",
            format="snapshot",
            compression="none",
            jobs=1,
            started=iso_utc(int(snapshot["start_time_in_millis"]) / 1000),
            finished=iso_utc(_ended(snapshot)),
            raw_bytes=stored,
            stored_bytes=stored,
            members=(Member(point_name(timestamp, database) + MEMBER, stored, "", stored),),
            tables=tuple(tables),
            sanitised=tuple(note.sanitised),
            details={"snapshot": name, "excluded_tables": list(note.excluded), "aliases": dict(note.aliases)},
        )


class _SnapshotInspector(Inspector):
    """How the repository is registered, and whether all nodes of the server reach it.

    :param url: what messages call it.
    """

    def __init__(self, url: str, client: Client, repository: Repository) -> None:
        self._url = url
        self._client = client
        self._repository = repository

    def settings(self, account: str, dry_run: bool) -> Iterator[Finding]:
        found = self._repository.registration(f"opening the snapshot repository {self._url}")
        if found is not None:
            yield _registration(account, str(found.get("type")), is_readonly(found))
        if dry_run:
            yield Finding("verify", UNKNOWN, "not tried in check mode: the nodes write to the repository for that")
        else:
            yield self._verified()

    def server_time(self) -> float | None:
        health = self._client.get("/_cat/health", "asking for the time", format="json", h="epoch")
        return float(health[0]["epoch"])

    def _verified(self) -> Finding:
        """Have every node write a file into the repository, and read those of the others; they remove them again."""
        doing = f"verifying the snapshot repository {self._url}"
        try:
            answer = self._client.post(self._repository.path("_verify"), doing)
        except ServerError as error:
            if error.status == 403:
                return Finding("verify", UNKNOWN, f"this account may not: {error.why}", "Ask who administers it.")
            return Finding("verify", FAILED, error.why, error.hint)
        return Finding("verify", OK, f"{len(answer.get('nodes', {}))} nodes reach it")


def _registration(account: str, kind: str, readonly: bool) -> Finding:
    """Return what it means that a repository is registered for writing, or for reading only."""
    how = f"type {kind}, registered {'as read-only' if readonly else 'for writing'}"
    if readonly and account == "push":
        return Finding("repository", FAILED, how, "Register it for writing at the cluster that is pushed from.")
    if not readonly and account == "pull":
        why = f"{how}: two clusters that write to one repository destroy it"
        return Finding("repository", WARNING, why, "Register it with readonly: true at the cluster that only pulls.")
    return Finding("repository", OK, how)


def _ended(snapshot: Mapping[str, Any]) -> float:
    """Return when a snapshot ended, or began where it has not, in seconds since the epoch."""
    running = snapshot.get("state") == IN_PROGRESS
    return int(snapshot.get("start_time_in_millis" if running else "end_time_in_millis") or 0) / 1000
