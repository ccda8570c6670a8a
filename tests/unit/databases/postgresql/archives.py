# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables of contents and targets for the tests; those of a real ``pg_dump`` are read in the integration tests."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.fit import Adapted, adapt
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.sql import split_statements
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.target import Target
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.toc import (
    DIRECTORY,
    Entry,
    Toc,
)

IDS = itertools.count(100)


def entry(desc: str, tag: str, **values: Any) -> Entry:
    usual: dict[str, Any] = {
        "dump_id": next(IDS),
        "had_data": 0,
        "table_oid": "1259",
        "oid": "16384",
        "section": 2,
        "defn": f"CREATE {desc} {tag};\n",
        "drop_stmt": f"DROP {desc} {tag};\n",
        "copy_stmt": None,
        "namespace": "public",
        "tablespace": "",
        "table_am": "",
        "relkind": 0,
        "owner": "app_owner",
        "with_oids": "false",
        "dependencies": (),
        "extra": b"",
    }
    return Entry(desc=desc, tag=tag, **{**usual, **values})


def grants(tag: str, *statements: str, **values: Any) -> Entry:
    text = "".join(f"{statement};\n" for statement in statements)
    return entry(values.pop("desc", "ACL"), tag, **{"section": 1, "defn": text, "drop_stmt": "", **values})


def encoding(name: str) -> Entry:
    return entry("ENCODING", "ENCODING", defn=f"SET client_encoding = '{name}';\n", drop_stmt="", owner="", section=2)


def toc(*entries: Entry, **values: Any) -> Toc:
    usual: dict[str, Any] = {
        "version": (1, 14, 0),
        "int_size": 4,
        "off_size": 8,
        "format": DIRECTORY,
        "compression": 0,
        "created": (5, 4, 3, 2, 0, 126, 0),
        "dbname": "app",
        "server_version": "15.4",
        "dump_version": "15.4",
    }
    return Toc(entries=entries, **{**usual, **values})


ROLES = frozenset({"admin", "app_owner", "reader", 'Odd "role'})

SUPER = Target(
    user="postgres",
    superuser=True,
    roles=ROLES | {"postgres"},
    assumable=ROLES | {"postgres"},
    database_owner="admin",
    extensions_available=frozenset({"plpgsql", "hstore"}),
    tablespaces=frozenset({"pg_default", "fast"}),
    public_owner="pg_database_owner",
)

ORDINARY = replace(
    SUPER, user="deploy", superuser=False, roles=ROLES | {"deploy"}, assumable=frozenset({"deploy", "reader"})
)


def fitted(target: Target, *entries: Entry) -> Adapted:
    return adapt(toc(*entries), target)


def kept(target: Target, *entries: Entry) -> list[str]:
    """Return the tags of the entries that are restored by ``pg_restore``."""
    found = fitted(target, *entries)
    return [one.tag for one in found.toc.entries if one.dump_id in found.dump_ids]


def tried(target: Target, *entries: Entry) -> list[str]:
    """Return the labels of what is done after ``pg_restore``."""
    return [item.label for item in fitted(target, *entries).later]


def granted(target: Target, *statements: str, desc: str = "ACL") -> list[str]:
    """Return which of the statements are restored."""
    found = fitted(target, grants("TABLE t", *statements, desc=desc))
    if not target.superuser:
        return [statement for item in found.later for statement in item.statements]
    return split_statements(found.toc.entries[0].defn or "") if found.dump_ids else []
