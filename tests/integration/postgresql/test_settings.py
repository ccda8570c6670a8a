# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL: what a role's and a server's own settings, and the environment, do to a push and a pull."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

Values = Callable[..., dict[str, Any]]

#: what a role may set for itself, and would change what is read or stored
HOSTILE = {
    "search_path": "nowhere",
    "row_security": "on",
    "array_nulls": "off",
    "bytea_output": "escape",
    "datestyle": "'SQL, DMY'",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-10",
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "statement_timeout": "'30s'",
    "timezone": "'Asia/Kathmandu'",
    "xmloption": "document",
    "check_function_bodies": "on",
}

SAMPLE = r"""
CREATE TABLE kinds (id int PRIMARY KEY, texts text[], raw bytea, day timestamptz, took interval, ratio float8,
                    said text, markup xml);
INSERT INTO kinds VALUES (1, ARRAY['a', NULL, 'NULL'], '\x00ff5c27', '2021-02-03 04:05:06.789+01', '-1 day +02:03',
                          0.1::float8 + 0.2::float8, E'it''s \\ \n', 'no <b>document</b>');
CREATE VIEW missing AS SELECT id FROM kinds WHERE said = NULL;
"""

EVERYTHING = """SET search_path = public; SELECT id, texts::text, texts[2] IS NULL, encode(raw, 'hex'),
    extract(epoch FROM day), extract(epoch FROM took), ratio = 0.1::float8 + 0.2::float8, said, markup::text,
    (SELECT count(*) FROM missing) FROM kinds"""


@pytest.fixture
def hostile(production: PostgresServer, staging: PostgresServer) -> Iterator[None]:
    """The role that pushes and pulls begins each session with settings of its own."""
    role = f'"{production.superuser}"'
    for server in (production, staging):
        server.psql("postgres", "; ".join(f"ALTER ROLE {role} SET {name} = {value}" for name, value in HOSTILE.items()))
    yield
    for server in (production, staging):
        server.psql("postgres", f"ALTER ROLE {role} RESET ALL")


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_what_a_role_sets_for_itself_changes_nothing(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    request: pytest.FixtureRequest,
    form: str,
) -> None:
    production.create_database(database, SAMPLE)
    before = production.psql(database, EVERYTHING)
    request.getfixturevalue("hostile")
    push.push(Task.from_mapping(task_values("push", database, format=form)), Host())
    pull.pull(Task.from_mapping(task_values("pull", database)), Host())
    staging.psql("postgres", f'ALTER ROLE "{staging.superuser}" RESET ALL')
    assert staging.psql(database, EVERYTHING) == before
