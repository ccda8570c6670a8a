# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import (
    first_pull as postgresql_first_pull,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.properties import (
    Attempt,
    Properties,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.roles import Here
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.toc import CUSTOM, Entry, Toc

HERE = Here("deploy", frozenset({"deploy", "shop", "reader", "other"}), frozenset({"deploy", "shop"}))


def properties(**values: Any) -> Properties:
    usual: dict[str, Any] = {
        "oid": 16384,
        "owner": "shop",
        "encoding": "UTF8",
        "collate": "C",
        "ctype": "C",
        "provider": "c",
        "locale": "",
        "tablespace": "pg_default",
        "connection_limit": -1,
        "allow_connections": True,
        "is_template": False,
        "acl": None,
        "settings": (),
        "comment": "",
        "size": 1,
    }
    return Properties(**{**usual, **values})


def details(**values: Any) -> dict[str, Any]:
    found = properties(**values)
    return {"owner": found.owner, "database": postgresql_first_pull.facts(found)}


def archive(text: str) -> Toc:
    entry = Entry(1, 0, None, None, "x", "DATABASE PROPERTIES", 2, text, "", None, None, None, None, 0, "", "", (), b"")
    return Toc((1, 14, 0), 4, 8, CUSTOM, 0, (0,) * 7, "x", "15", "15", (entry,))


def statements(
    noted: dict[str, Any], here: Here = HERE, values: postgresql_first_pull.Values | None = None
) -> list[str]:
    return [attempt.statement for attempt in postgresql_first_pull.attempts(noted, 'a"b', here, values or {})]


def test_a_plain_database_gets_its_owner_last_and_the_defaults() -> None:
    assert statements(details()) == [
        'GRANT CONNECT, TEMPORARY ON DATABASE "a""b" TO PUBLIC',
        'ALTER DATABASE "a""b" OWNER TO "shop"',
    ]
    assert statements({}) == ['GRANT CONNECT, TEMPORARY ON DATABASE "a""b" TO PUBLIC'], "as points before had nothing"
    assert postgresql_first_pull.warnings({}, HERE) == postgresql_first_pull.warnings(details(), HERE) == []


def test_grants_are_those_that_were_there_of_roles_that_are_here() -> None:
    acl = (("", "CONNECT", False), ("shop", "CREATE", False), ("reader", "CONNECT", True), ("gone", "CONNECT", False))
    noted = details(acl=acl, connection_limit=5, comment="it's")
    assert statements(noted) == [
        'ALTER DATABASE "a""b" CONNECTION LIMIT 5',
        """COMMENT ON DATABASE "a""b" IS 'it''s'""",
        'REVOKE ALL ON DATABASE "a""b" FROM PUBLIC, "deploy"',
        'GRANT CONNECT ON DATABASE "a""b" TO PUBLIC',
        'GRANT CREATE ON DATABASE "a""b" TO "deploy"',
        'GRANT CONNECT ON DATABASE "a""b" TO "reader" WITH GRANT OPTION',
        'ALTER DATABASE "a""b" OWNER TO "shop"',
    ]
    assert postgresql_first_pull.warnings(noted, HERE) == [
        "grants on the database left out: these roles do not exist here: gone"
    ]


@pytest.mark.parametrize(
    ("owner", "warning"),
    [
        ("other", "the database will belong to deploy, who may not give it to other, its owner in the source"),
        ("gone", "the database will belong to deploy: its owner in the source, gone, does not exist here"),
    ],
)
def test_an_owner_that_can_not_be_is_said(owner: str, warning: str) -> None:
    noted = details(owner=owner)
    assert (postgresql_first_pull.owner_of(noted, HERE), postgresql_first_pull.warnings(noted, HERE)) == (
        "deploy",
        [warning],
    )
    assert not [statement for statement in statements(noted) if "OWNER TO" in statement]


SETTINGS = (
    ("", ('search_path="$user", public', "app.secret=pl'anted\\")),
    ("reader", ("app.secret=of reader", "work_mem=5MB")),
    ("gone", ("work_mem=5MB",)),
)
IN_ARCHIVE = """ALTER DATABASE x CONNECTION LIMIT = 5;
ALTER DATABASE x SET search_path TO '$user', 'public';
ALTER DATABASE x SET "app.secret" TO {};
ALTER ROLE reader IN DATABASE x SET "app.secret" TO 'of reader';
"""


@pytest.mark.parametrize("literal", [r"'pl''anted\'", r"E'pl''anted\\'"])
def test_what_may_be_a_secret_is_read_from_the_archive_and_shown_nowhere(literal: str) -> None:
    noted = details(settings=SETTINGS)
    assert "anted" not in str(noted) and "of reader" not in str(noted)
    values = postgresql_first_pull.values_in(archive(IN_ARCHIVE.format(literal)))
    attempts = postgresql_first_pull.attempts(noted, "x", HERE, values)
    assert attempts[1:-1] == [
        Attempt(
            """ALTER DATABASE "x" SET "search_path" TO '$user', 'public'""", 'ALTER DATABASE "x" SET "search_path"'
        ),
        Attempt(
            """ALTER DATABASE "x" SET "app"."secret" TO E'pl''anted\\\\'""", 'ALTER DATABASE "x" SET "app"."secret"'
        ),
        Attempt(
            """ALTER ROLE "reader" IN DATABASE "x" SET "app"."secret" TO 'of reader'""",
            'ALTER ROLE "reader" IN DATABASE "x" SET "app"."secret"',
        ),
        Attempt(
            """ALTER ROLE "reader" IN DATABASE "x" SET "work_mem" TO '5MB'""",
            'ALTER ROLE "reader" IN DATABASE "x" SET "work_mem"',
        ),
    ]
    assert postgresql_first_pull.lacking(noted, values) == []
    assert postgresql_first_pull.lacking(noted, {}) == [
        "settings of the database left out: the archive has no value of app.secret, app.secret"
    ]
    assert "settings in the database left out: these roles do not exist here: gone" in postgresql_first_pull.warnings(
        noted, HERE
    )


@pytest.mark.parametrize(
    "text",
    [
        "ALTER DATABASE x SET a.b TO 'x', 'y';",
        "ALTER DATABASE x SET a.b TO (SELECT 1);",
        "ALTER DATABASE x SET",
        "ALTER ROLE r IN DATABASE x",
        "ALTER DATABASE x RESET ALL; SELECT 1",
        "E",
        "",
    ],
)
def test_an_archive_that_says_something_else_has_no_value(text: str) -> None:
    assert postgresql_first_pull.values_in(archive(text)) == {}
