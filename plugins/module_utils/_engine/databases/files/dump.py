# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Dump a tree into one archive of tar's, looked at on its way into the store."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

from ...members import StoreSink
from ...streams.pipeline import Group, Stage
from ..base import DumpFacts
from ..batching import BatchingReader
from .archive import Contents, Watched, shown, special_files
from .measure import Measured
from .options import Options
from .tar import creating, find_tar

#: the point's only member, before the compression's suffix
MEMBER = "/tree.tar"

#: what tar says of a file that was not the same from its beginning to its end; its exit status is 1 then
_CHANGED = re.compile(
    r"^[^:]*: (?P<name>.*): (?:file changed as we read it|File removed before we read it|File shrank by .*)$", re.M
)

#: how many names a warning shows
_SHOWN = 3


def dump(options: Options, live: str, expected: Measured, group: Group, sink: StoreSink) -> DumpFacts:
    """Dump the tree into ``sink``.

    :param live: the tree's path, with no symbolic link in it.
    :param expected: what is in the tree, as measured before.
    :raises EnvSyncError: tar failed, or its archive has a form that no pull would take.
    """
    doing = f"dumping {options.tree}"
    tar, version = find_tar(doing)
    argv = creating(tar, live, options.excluded)
    stage = group.run(argv, doing, stdout=subprocess.PIPE, dumps=True, checked=False)
    # Every file has a header or two, and its last block is filled up.
    hint = expected.size + 4096 * (expected.files + expected.folders) + 10240
    watched = Watched(_TarReader(stage), doing)
    group.start(sink.member, MEMBER, BatchingReader(stage, watched), hint, False, options.threads)
    group.wait()
    special = watched.found
    changed = [match["name"] for match in _CHANGED.finditer(stage.stderr_text)]
    return DumpFacts(
        format="tar",
        jobs=1,
        roles=expected.owners(),
        client_version=version,
        warnings=_changed_warning(changed) + ([] if options.allow_special else _special_warning(special)),
        details={
            "directory": shown(live),
            "files": expected.files,
            "folders": expected.folders,
            "size_bytes": expected.size,
            "excluded": [shown(pattern) for pattern in options.excluded],
            "changed_while_read": len(changed),
            "special_files": special.special,
            "entries": special.inner,
        },
    )


class _TarReader:
    """Reads what ``tar --create`` writes to its end; exit status 1, which says that files changed, is not a failure."""

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


def _special_warning(found: Contents) -> list[str]:
    if not found.special:
        return []
    more = ", ..." if found.special > len(found.examples) else ""
    return [
        f"the tree has {special_files(found.special)} ({'; '.join(found.examples)}{more}): a pull refuses them unless "
        "its task sets allow_special_files"
    ]
