# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore a point into scratch collections with ``mongorestore``, and prove that all of it is there."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import EnvSyncError
from ...members import PointSource
from ...points.manifest import Manifest
from ...streams.pipeline import Group, send_archive
from ...streams.reader import BLOCK
from ..base import within
from . import legacy
from .archive import TIMESERIES, VIEW, Archive, Collection
from .checks import compare_counts, compare_scratch
from .client import NAMESPACE_NOT_FOUND, ServerError
from .names import Collections, is_system
from .options import Options
from .programs import complaint, program, write_config

#: how long ``<database>.<collection>`` may be, in bytes, from MongoDB 4.4 on and before
_LONGEST_NAME = 255
_LONGEST_NAME_BEFORE_4_4 = 120


@dataclass(frozen=True)
class Restored:
    """What a swap has to know of the point, besides the scratch collections.

    ``views`` are the point's views, by name; ``spared`` names the collections that were left out of the dump.
    """

    views: Mapping[str, Collection]
    spared: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def preflight(collections: Collections, manifest: Manifest | None, version: str, doing: str) -> list[str]:
    """Check that the point can be restored and swapped in; return warnings.

    :param manifest: the point's; None where it has none.
    :param version: the server's own.
    :raises EnvSyncError: mongorestore is not installed, or a collection could not be renamed.
    """
    program("mongorestore", doing)
    _check_renaming(collections, doing)
    if manifest is None:
        return []
    _check_collections(collections, {str(t["name"]): str(t.get("type")) for t in manifest.tables}, doing)
    theirs = str(manifest.server.get("version", ""))
    if _release(version) < _release(theirs):
        return [f"the point is from version {theirs}, and {collections.server.name} has the older {version}"]
    return []


def _check_renaming(collections: Collections, doing: str) -> None:
    """Raise unless server and rights let a collection be renamed: tried on one that is not there."""
    try:
        collections.rename(f"{collections.scratch}none", f"{collections.scratch}nothing", doing)
    except ServerError as error:
        if error.code != NAMESPACE_NOT_FOUND:
            raise EnvSyncError(
                doing,
                f"no collection can be renamed there, so nothing could be swapped in: {error.why}",
                "Give this user readWrite; where the server has no renameCollection, restore by hand.",
            ) from error


def _check_collections(collections: Collections, kinds: Mapping[str, str], doing: str) -> None:
    """Raise when a collection cannot go by a scratch name, or not be renamed."""
    version = collections.server.command("admin", {"buildInfo": 1}, doing)["versionArray"]
    longest = _LONGEST_NAME if list(version[:2]) >= [4, 4] else _LONGEST_NAME_BEFORE_4_4
    for name, kind in kinds.items():
        if kind == TIMESERIES:
            raise EnvSyncError(
                doing,
                f"{name} is a time series, which MongoDB cannot rename, so it cannot be swapped in",
                "Leave it out of the push (excluded_tables), or restore the point by hand.",
            )
        if kind != VIEW and len(f"{collections.database}.{collections.scratch}{name}".encode()) > longest:
            raise EnvSyncError(
                doing,
                f"with {collections.scratch} before it, the name {name} is longer than this server allows",
                "Leave it out of the push (excluded_tables), or restore the point by hand.",
            )


def restore(collections: Collections, options: Options, group: Group, source: PointSource) -> Restored:
    """Restore the point's only member into the scratch collections.

    :raises EnvSyncError: mongorestore failed, or what is there now is not what the dump holds.
    """
    manifest = source.manifest
    server = collections.server
    doing = f"restoring {manifest.timestamp}-{manifest.database} into {options.database} on {server.name}"
    argv = [program("mongorestore", doing), "--config", write_config(options.work_dir, server.uri)]
    argv += ["--stopOnError", f"--numParallelCollections={options.jobs}"]
    argv += [f"--nsInclude={manifest.database}.*", f"--nsFrom={manifest.database}.*"]
    argv += [f"--nsTo={options.database}.{collections.scratch}*"]
    reader = source.open(next(iter(source.names())))
    if manifest.format == legacy.FORMAT:
        directory = within(options.work_dir, "legacy")
        try:
            dumped = legacy.scan(reader, manifest.database, doing, directory)
        finally:
            reader.close()
        argv += fitting(collections, manifest.database, dumped, doing)
        group.run([*argv, f"--dir={directory}"], doing, repeatable=complaint).wait()
    else:
        archive = Archive(reader, manifest.database, doing)
        head = archive.head(BLOCK)
        dumped = archive.collections
        argv += fitting(collections, manifest.database, dumped, doing)
        stage = group.run([*argv, "--archive"], doing, stdin=subprocess.PIPE, repeatable=complaint)
        group.start(send_archive, group, head, archive, stage)
        group.wait()
        compare_counts(manifest, dumped, doing)
    views = {name: collection for name, collection in dumped.items() if collection.kind == VIEW}
    kept_out = [name for name in dumped if is_system(name)]
    restored = {name: dumped[name] for name in dumped if name not in views and name not in kept_out}
    shrunk = compare_scratch(restored, collections, doing)
    warnings = (*(f"not restored: {name}, which is the server's own" for name in kept_out), *shrunk)
    return Restored(views, tuple(manifest.details.get("excluded_tables", ())), warnings)


def fitting(collections: Collections, origin: str, dumped: Mapping[str, Collection], doing: str) -> list[str]:
    """Return mongorestore's options that depend on what the dump of database ``origin`` holds.

    Views, which are made after the swap, and the server's own collections are left out. Documents older than their
    collection's validator, or let through by it, come back as they were; that takes a right that ``readWrite`` has
    not (``bypassDocumentValidation``, in ``dbAdmin`` and ``restore``), so it is asked for only where it matters.

    :raises EnvSyncError: a collection cannot go by a scratch name, or not be renamed.
    """
    _check_collections(collections, {name: collection.kind for name, collection in dumped.items()}, doing)
    names = [name for name, collection in dumped.items() if collection.kind == VIEW or is_system(name)]
    escaped = [name.replace("\\", "\\\\").replace("*", "\\*") for name in names]
    options = [f"--nsExclude={origin}.{name}" for name in escaped]
    if any("validator" in collection.options for collection in dumped.values()):
        options.append("--bypassDocumentValidation")
    return options


def _release(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version: servers that differ in the others store the same."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
