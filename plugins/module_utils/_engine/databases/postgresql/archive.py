# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A point's archive: its table of contents, its one stream, and a reading of all of it that leads nowhere."""

from __future__ import annotations

import os
import subprocess

from ...errors import EnvSyncError
from ...members import PointSource
from ...streams.pipeline import Group, send_archive
from ...streams.reader import blocks
from ..base import within
from .feed import Feeder
from .programs import find_newest_programs, installed_programs
from .toc import Toc
from .versions import read_by


def read_toc_member(source: PointSource) -> Toc:
    """Return the table of contents of a point in directory format."""
    reader = source.open("/toc.dat")
    try:
        toc = Toc.read(reader)
        for _block in blocks(reader):
            pass  # to the end, where the member is verified
        return toc
    finally:
        reader.close()


def only_member(source: PointSource, doing: str) -> str:
    """Return the name of the one member of a point in custom format; raises where there are others."""
    names = source.names()
    if len(names) != 1:
        raise EnvSyncError(doing, f"a point in one stream has {len(names)} members", "Choose another point (--list).")
    return names[0]


def verify(group: Group, source: PointSource, work_dir: str) -> None:
    """Have ``pg_restore`` read all of a point, to nowhere: ``pg_restore --list`` succeeds on a truncated one as well.

    :raises EnvSyncError: something of it is damaged or missing.
    """
    manifest = source.manifest
    doing = f"verifying {manifest.timestamp}-{manifest.database}"
    programs = find_newest_programs(installed_programs(), doing)
    hint = "Install newer client programs (postgresql-client)."
    argv = [programs.path("pg_restore"), "-f", "/dev/null"]
    if manifest.format == "directory":
        directory = within(work_dir, "verify")
        os.mkdir(directory, 0o700)
        toc = read_by(read_toc_member(source), programs.version[0], doing, hint)
        with open(os.path.join(directory, "toc.dat"), "wb") as stream:
            stream.write(toc.to_bytes())
        numbers = {file: entry.dump_id for file, entry in toc.data_members().items()}
        feeder = Feeder(group, source, directory, numbers, programs.path("pg_restore"))
        feeder.prepare()
        feeder.run(group.run([*argv, directory], doing))
    else:
        reader = source.open(only_member(source, doing))
        toc = read_by(Toc.read(reader), programs.version[0], doing, hint)
        stage = group.run(argv, doing, stdin=subprocess.PIPE)
        group.start(send_archive, group, toc.to_bytes(), reader, stage)
        group.wait()
