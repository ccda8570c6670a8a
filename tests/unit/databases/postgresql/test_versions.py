# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.toc import CUSTOM, Entry, Toc
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.versions import read_by
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

TABLE = Entry(
    1, 1, "1259", "16384", "people", "TABLE", 2, "CREATE TABLE people ();\n", "DROP TABLE people;\n", None, "public",
    "", "heap", 112, "app", "false", (), bytes(9),
)  # fmt: skip
NEW = Toc((1, 16, 0), 4, 8, CUSTOM, 0, (0,) * 7, "app", "17.2", "17.2", (TABLE,))


@pytest.mark.parametrize(("major", "version"), [(13, (1, 14, 0)), (15, (1, 14, 0)), (16, (1, 15, 0)), (18, (1, 16, 0))])
def test_an_older_pg_restore_gets_what_it_reads(major: int, version: tuple[int, int, int]) -> None:
    older = read_by(NEW, major, "restoring", "")
    assert older.version == version
    [entry] = Toc.read(io.BytesIO(older.to_bytes())).entries
    assert entry == replace(TABLE, relkind=TABLE.relkind if major >= 17 else 0)


def test_what_it_reads_anyway_stays_as_it_is() -> None:
    old = replace(NEW, version=(1, 13, 0))
    assert read_by(old, 15, "restoring", "") is old


def test_what_it_has_no_form_for_is_refused() -> None:
    large_objects = replace(NEW, entries=(TABLE, replace(TABLE, desc="BLOB METADATA", tag="1..20")))
    with pytest.raises(EnvSyncError, match=r"restoring: .*large objects.*pg_restore 16 does not know\. Do this"):
        read_by(large_objects, 16, "restoring", "Do this.")
    lz4 = replace(NEW, compression=2)
    assert read_by(lz4, 16, "restoring", "").compression == 2
    with pytest.raises(EnvSyncError, match=r"compressed in a way that pg_restore 15 does not know\. Do this"):
        read_by(lz4, 15, "restoring", "Do this.")
