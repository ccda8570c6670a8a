# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Dump a database into one archive of ``mongodump``'s, read to its end on its way into the store."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Any

from ...errors import EnvSyncError
from ...members import StoreSink
from ...streams.pipeline import Group, StageReader
from ..base import DumpFacts
from .archive import VIEW, Archive
from .checks import described
from .names import END, MARK, OLD_PREFIX, SCRATCH_PREFIX, Collections
from .options import Options
from .programs import complaint, program, program_version, write_config


def preflight(collections: Collections, options: Options, doing: str) -> Mapping[str, Any]:
    """Check that there is something to dump, and what dumps it.

    :returns: ``size_bytes``, ``tables`` (how many collections) and ``jobs``.
    :raises EnvSyncError: there is no such database or program, or ``excluded_tables`` names no collection.
    """
    live = collections.live(doing)
    if not live:
        names = collections.server.client(doing).list_database_names()
        raise EnvSyncError(
            doing, f"there is no database {options.database}", f"The server has {', '.join(names[:10])}."
        )
    for name in options.excluded:
        if name not in live:
            # To go on would store what somebody asked to leave out.
            raise EnvSyncError(doing, f"excluded_tables names {name}, and there is no such collection", "Correct it.")
    program("mongodump", doing)
    tables = sum(about.get("type") != VIEW for about in live.values()) - len(options.excluded)
    return {"size_bytes": collections.size(doing), "tables": tables, "jobs": options.jobs}


def dump(collections: Collections, options: Options, group: Group, sink: StoreSink) -> DumpFacts:
    """Dump all collections, each as it is when its turn comes: MongoDB has no snapshot of one database.

    A database that is written to meanwhile may hold, in one collection, what another does not know yet.

    :raises EnvSyncError: mongodump failed, or left out a collection that was there before and after.
    """
    doing = f"dumping {options.database} from {collections.server.name}"
    path = program("mongodump", doing)
    config = write_config(options.work_dir, collections.server.uri)
    argv = [path, "--config", config, f"--db={options.database}", "--archive"]
    argv += [f"--numParallelCollections={options.jobs}"]
    argv += [f"--excludeCollection={name}" for name in (*options.excluded, "system.profile", MARK, END)]
    argv += [f"--excludeCollectionsWithPrefix={prefix}" for prefix in (SCRATCH_PREFIX, OLD_PREFIX)]
    before = set(collections.live(doing))
    stage = group.run(argv, doing, stdout=subprocess.PIPE, dumps=True, repeatable=complaint)
    archive = Archive(StageReader(stage), options.database, doing)
    size = collections.size(doing)
    group.start(sink.member, options.member, archive, size or None, threads=options.jobs)
    group.wait()
    # That a collection was dropped or made meanwhile is not a fault.
    lacking = (before & set(collections.live(doing))) - set(archive.collections) - set(options.excluded)
    if lacking or not archive.collections:
        what = f"lacks {', '.join(sorted(lacking)[:5])}" if lacking else "holds no collection"
        raise EnvSyncError(doing, f"the dump {what}", "Check names and rights, or leave it out (excluded_tables).")
    facts = DumpFacts(format="archive", jobs=options.jobs, client_version=program_version(path))
    facts.tables = [described(collection) for _name, collection in sorted(archive.collections.items())]
    facts.details = {"size_bytes": size, "excluded_tables": list(options.excluded)}
    return facts
