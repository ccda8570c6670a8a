# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.names import Names, rows_members


@pytest.mark.parametrize("database", ["shop", "Ünder %s `quoted`", "x" * 64])
def test_schemas_have_plain_names_of_an_allowed_length(database: str) -> None:
    names = Names.of(database)
    assert names == Names.of(database)
    for name, kind in ((names.scratch, "scratch"), (names.old, "old")):
        assert name.startswith(f"env_sync_{kind}_")
        assert name.isascii()
        assert name == name.lower()
        assert len(name) <= 64


def test_schemas_of_databases_that_look_alike_differ() -> None:
    assert len({Names.of(database).scratch for database in ("shop", "Shop", "sh-op", "sh.op", "sh_op")}) == 5


def test_members_of_tables_whose_names_look_alike_differ() -> None:
    assert rows_members(["b", "a/b", "a.b", "A"]) == {
        "A": "/2-rows-00001-A.sql",
        "a.b": "/2-rows-00002-a_b.sql",
        "a/b": "/2-rows-00003-a_b.sql",
        "b": "/2-rows-00004-b.sql",
    }
