# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.properties import (
    Properties,
    carry_over,
    describe,
    settings_of,
)

PLAIN = Properties(
    oid=16384,
    owner="admin",
    encoding="UTF8",
    collate="C.UTF-8",
    ctype="C.UTF-8",
    provider="c",
    locale="",
    tablespace="pg_default",
    connection_limit=-1,
    allow_connections=True,
    is_template=False,
    acl=None,
    settings=(),
    comment="",
    size=8_000_000,
)


def test_a_plain_database_gets_its_owner_and_the_defaults() -> None:
    assert carry_over(PLAIN, 'a"b') == [
        'ALTER DATABASE "a""b" OWNER TO "admin"',
        'ALTER DATABASE "a""b" CONNECTION LIMIT -1',
        'ALTER DATABASE "a""b" IS_TEMPLATE false',
        'COMMENT ON DATABASE "a""b" IS NULL',
        'GRANT CONNECT, TEMPORARY ON DATABASE "a""b" TO PUBLIC',
    ]


def test_comment_limit_and_closed_doors_are_carried_over() -> None:
    statements = carry_over(
        replace(PLAIN, comment="it's", connection_limit=5, allow_connections=False, is_template=True), "app"
    )
    assert """COMMENT ON DATABASE "app" IS 'it''s'""" in statements
    assert 'ALTER DATABASE "app" CONNECTION LIMIT 5' in statements
    assert 'ALTER DATABASE "app" IS_TEMPLATE true' in statements
    assert 'ALTER DATABASE "app" ALLOW_CONNECTIONS false' in statements


def test_grants_are_those_that_were_there_and_no_others() -> None:
    acl = (("", "CONNECT", False), ("admin", "CREATE", False), ('re"ader', "CONNECT", True))
    statements = carry_over(replace(PLAIN, acl=acl), "app")
    assert statements[4:] == [
        'REVOKE ALL ON DATABASE "app" FROM PUBLIC, "admin"',
        'GRANT CONNECT ON DATABASE "app" TO PUBLIC',
        'GRANT CREATE ON DATABASE "app" TO "admin"',
        'GRANT CONNECT ON DATABASE "app" TO "re""ader" WITH GRANT OPTION',
    ]
    nobody = carry_over(replace(PLAIN, acl=()), "app")
    assert nobody[4:] == ['REVOKE ALL ON DATABASE "app" FROM PUBLIC, "admin"']


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("work_mem=64MB", "\"work_mem\" TO '64MB'"),
        ("app.secret=a=b'c", "\"app\".\"secret\" TO 'a=b''c'"),
        ("app.path=C:\\x", '"app"."path" TO E\'C:\\\\x\''),
        ('search_path="$user", public', "\"search_path\" TO '$user', 'public'"),
        ('search_path="a, b", "c""d"', "\"search_path\" TO 'a, b', 'c\"d'"),
        ('search_path=""', "\"search_path\" TO ''"),
        ("DateStyle=ISO, DMY", "\"DateStyle\" TO 'ISO', 'DMY'"),
    ],
)
def test_a_setting_keeps_its_value_whatever_it_holds(assignment: str, said: str) -> None:
    found = settings_of(replace(PLAIN, settings=(("", (assignment,)), ("re ader", (assignment,)))), "app")
    assert all(attempt.statement.startswith(f"{attempt.shown} TO ") for attempt in found), "no value in a message"
    statements = [attempt.statement for attempt in found]
    assert statements == [f'ALTER DATABASE "app" SET {said}', f'ALTER ROLE "re ader" IN DATABASE "app" SET {said}']


def test_a_plan_says_what_is_replaced() -> None:
    assert describe(PLAIN) == {
        "owner": "admin", "size_bytes": 8_000_000, "encoding": "UTF8", "connection_limit": -1,
    }  # fmt: skip
