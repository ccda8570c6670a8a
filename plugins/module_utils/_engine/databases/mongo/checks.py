# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a dump holds what its manifest says, and scratch collections what their dump holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...errors import EnvSyncError
from ...members import PointSource
from ...points import counts
from ...points.manifest import Manifest
from ...streams.pipeline import Group
from ...streams.reader import BLOCK
from . import legacy
from .archive import Archive, Collection
from .names import Collections

#: what is counted, and of what
_COLLECTIONS = ("collection", "documents")

_CAUSE = "Something on this server took documents away or added some while it restored: look into the server's log."

#: what of an index's definition a restore has to give back, with the value that a missing key stands for
#: (of a filter only that there is one: it may quote data)
_INDEX_FACTS = {"unique": False, "sparse": False, "expireAfterSeconds": None, "partialFilterExpression": False}


def verify(group: Group, source: PointSource) -> None:
    """Read the whole dump here: ``mongorestore --dryRun`` stops after the prelude.

    :raises EnvSyncError: it is damaged, or holds something other than its manifest says.
    """
    manifest = source.manifest
    doing = f"verifying {manifest.timestamp}-{manifest.database}"
    reader = source.open(next(iter(source.names())))
    try:
        if manifest.format == legacy.FORMAT:
            legacy.scan(reader, manifest.database, doing)
            return
        archive = Archive(reader, manifest.database, doing)
        while archive.read(BLOCK):
            group.check()
        compare_counts(manifest, archive.collections, doing)
    finally:
        reader.close()


def compare_counts(manifest: Manifest, collections: Mapping[str, Collection], doing: str) -> None:
    """Raise unless the archive holds what the manifest says."""
    said = {str(table["name"]): int(table.get("rows", 0)) for table in manifest.tables}
    held = {name: collection.documents for name, collection in collections.items()}
    hint = "Choose another point (--list shows them)."
    counts.require_no_more(said, held, doing, hint, _COLLECTIONS[0])
    counts.require_equal(said, held, doing, hint, _COLLECTIONS)


def compare_scratch(restored: Mapping[str, Collection], collections: Collections, doing: str) -> list[str]:
    """Raise unless every collection is there with all its documents and indexes, and no other; return warnings.

    The exit status is not enough: without ``--stopOnError`` mongorestore exits 0 when documents failed.

    :param restored: what the dump holds and mongorestore was to restore, by its name at the source.
    """
    warnings = []
    server = collections.server
    there = collections.all(doing)
    for name, collection in restored.items():
        scratch = collections.scratch + name
        if scratch not in there:
            raise EnvSyncError(doing, f"collection {name} was not restored", "Look into the server's log.")
        warnings += _compare_documents(collection, server.count(collections.database, scratch, doing), doing)
        _compare_indexes(collection, server.indexes(collections.database, scratch, doing), doing)
    made = [name[len(collections.scratch) :] for name in there if name.startswith(collections.scratch)]
    counts.require_no_more(restored, made, doing, _CAUSE, _COLLECTIONS[0])
    return warnings


def _compare_documents(collection: Collection, count: int, doing: str) -> list[str]:
    # The server itself takes out of a collection with such an index what has expired since the dump, and of a capped
    # one what is more than fits: it can have grown while it was read.
    shrinks = bool(collection.options.get("capped"))
    shrinks = shrinks or any("expireAfterSeconds" in index for index in collection.indexes)
    name = collection.name
    if count > collection.documents or (count < collection.documents and not shrinks):
        counts.require_equal({name: collection.documents}, {name: count}, doing, _CAUSE, _COLLECTIONS)
    if count == collection.documents:
        return []
    return [
        f"collection {name} has {count} of the dump's {collection.documents} documents: it is capped, or has an index "
        "with expireAfterSeconds, by which the server removes what is too old"
    ]


def _compare_indexes(collection: Collection, indexes: list[dict[str, Any]], doing: str) -> None:
    found = {str(index["name"]): _definition(index) for index in indexes}
    for index in collection.indexes:
        if found.get(str(index["name"])) != _definition(index):
            raise EnvSyncError(doing, f"index {index['name']} of collection {collection.name} is missing or another")


def described(collection: Collection) -> dict[str, Any]:
    """Return what the manifest says of a collection: ``name``, ``type``, ``rows`` and ``indexes``, in JSON's types."""
    indexes = [{"name": str(index["name"]), **_definition(index)} for index in collection.indexes]
    return {
        "name": collection.name,
        "type": collection.kind,
        "rows": collection.documents,
        "indexes": json.loads(json.dumps(indexes)),
    }


def _definition(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return what counts of an index's definition, in plain JSON types; directions come as any kind of number."""
    key = [
        [field, int(kind) if isinstance(kind, (int, float)) else str(kind)]
        for field, kind in dict(index.get("key", {})).items()
    ]
    facts = {name: index[name] for name, usual in _INDEX_FACTS.items() if index.get(name, usual) != usual}
    return {"key": key, **{name: int(v) if name == "expireAfterSeconds" else bool(v) for name, v in facts.items()}}
