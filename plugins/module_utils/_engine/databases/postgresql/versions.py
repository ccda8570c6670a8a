# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Points that go from a newer PostgreSQL into an older one.

``pg_restore`` 17 and newer begin with ``SET transaction_timeout = 0``, which no older server knows, and older ones do
not read what ``pg_dump`` 17 writes. The tables of contents differ in a few fields only (``pg_backup_archiver.c``), the
data of tables not at all: so an archive is restored by the server's own version's ``pg_restore``, which gets its table
of contents in the form that it reads.
"""

from __future__ import annotations

from dataclasses import replace

from ...errors import EnvSyncError
from .toc import BATCH, Toc

#: what to do about a point that no older pg_restore reads
PULL_INTO_NEWER = "Pull it into a server of version 17 or newer."

#: what the header of an archive says of its compression, from version 1.15 on; before, it was the level of gzip
_NONE, _GZIP = 0, 1


def archive_version(major: int) -> tuple[int, int]:
    """Return the version of the archives that ``pg_dump`` of this major version writes, the newest that it reads."""
    if major >= 17:
        return (1, 16)
    if major == 16:
        return (1, 15)
    return (1, 14) if major >= 12 else (1, 13)


def read_by(toc: Toc, major: int, doing: str, hint: str) -> Toc:
    """Return the table of contents in a form that ``pg_restore`` of this major version reads.

    :param hint: what to do where there is no such form.
    :raises EnvSyncError: there are large objects or a compression in the archive that this version does not know.
    """
    newest = archive_version(major)
    if toc.version[:2] <= newest:
        return toc
    if any(entry.desc == BATCH for entry in toc.entries):
        raise no_large_objects(major, doing, hint)
    if newest < (1, 15) and toc.compression not in (_NONE, _GZIP):
        raise EnvSyncError(doing, f"it is compressed in a way that pg_restore {major} does not know", hint)
    return replace(toc, version=(*newest, 0))


def no_large_objects(major: int, doing: str, hint: str) -> EnvSyncError:
    """Return the error that large objects amount to where an older ``pg_restore`` has to be used."""
    return EnvSyncError(
        doing, f"it has large objects in the form of pg_dump 17 and newer, which pg_restore {major} does not know", hint
    )
