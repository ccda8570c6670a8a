# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Extensions that take a superuser, and template databases that have them."""

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.postgresql.runs import Values
from tests.servers.postgresql import PostgresServer

pytestmark = pytest.mark.usefixtures("shop_roles")

EXTENSIONS = """
CREATE SCHEMA geo;
CREATE EXTENSION cube;
CREATE EXTENSION earthdistance;
CREATE EXTENSION hstore SCHEMA geo;
CREATE EXTENSION pg_stat_statements;
CREATE EXTENSION postgres_fdw;
COMMENT ON SCHEMA geo IS 'of the map';
COMMENT ON EXTENSION hstore IS 'ours';
COMMENT ON EXTENSION cube IS 'ours too';
GRANT USAGE ON SCHEMA geo TO shop_reader;
CREATE TABLE places (at earth, facts geo.hstore);
INSERT INTO places VALUES (ll_to_earth(51, 0), 'a=>1');
CREATE INDEX ON places USING gist (at);
"""


def test_extensions_that_take_a_superuser_are_refused_before_anything_happens(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, EXTENSIONS, "OWNER deploy")
    push.push(Task.from_mapping(task_values("push", database)), Host())
    refused = "earthdistance, pg_stat_statements, postgres_fdw"
    phases: list[str] = []
    for verb in (pull.plan, pull.pull):
        with pytest.raises(
            EnvSyncError,
            match=rf'only a superuser may create .*: {refused}\. .* template_database, .* excluded_extensions: \["ea',
        ):
            verb(
                Task.from_mapping(task_values("pull", database, login_user="deploy")),
                Host(log=lambda level, text: phases.append(text)),
            )
    assert "restoring" not in phases
    pull.plan(Task.from_mapping(task_values("pull", database)), Host())


@pytest.mark.parametrize("closed", [False, True])
def test_extensions_that_a_superuser_put_into_a_template_database_are_used(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    template: str,
    closed: bool,
) -> None:
    production.create_database(database, EXTENSIONS, "OWNER deploy")
    push.push(Task.from_mapping(task_values("push", database)), Host())
    task = Task.from_mapping(task_values("pull", database, login_user="deploy", template_database=template))
    with pytest.raises(EnvSyncError, match="only a superuser may create"):
        pull.plan(task, Host())
    # It may have large objects of its own, too.
    staging.psql(template, EXTENSIONS.partition("COMMENT")[0] + "GRANT USAGE ON SCHEMA geo TO deploy")
    large_object = staging.psql(template, "SELECT lo_create(0)")
    if closed:  # nobody may look into it then; it can be copied
        staging.psql("postgres", f"ALTER DATABASE {template} ALLOW_CONNECTIONS false")

    assert pull.plan(task, Host())["warnings"] == []
    result = pull.pull(task, Host())

    found = staging.contents(database)
    assert found.pop(f"large object {large_object}")
    assert found == production.contents(database)
    assert result["warnings"] == [
        "1 object of role postgres will belong to deploy, who can own them here: TABLE public.places",
        "left out, as the template database has it: SCHEMA geo",
        "left out, as the server refused it (must be owner of extension cube): COMMENT EXTENSION cube",
        "left out, as the server refused it (must be owner of extension hstore): COMMENT EXTENSION hstore",
        "left out, as the server refused it (must be owner of schema geo): COMMENT SCHEMA geo",
        'left out, as the server refused it (no privileges were granted for "geo"): ACL SCHEMA geo',
    ]


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("DROP DATABASE {0}", r"there is no database {0} \(template_database\)"),
        (
            "SELECT 1",
            r"may not copy the database {0} .*, which belongs to postgres\. ALTER DATABASE .* IS_TEMPLATE true",
        ),
        (
            "DROP DATABASE {0}; CREATE DATABASE {0} IS_TEMPLATE true TEMPLATE template0 LOCALE 'C'",
            r"has another encoding or locale than the point: UTF8, C, C, c\. .* of the point: UTF8, C\.UTF-8, C\.UTF-8",
        ),
    ],
    ids=["missing", "not a template", "another locale"],
)
def test_a_template_database_that_can_not_be_used_is_refused_in_the_plan(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, sql: str, why: str
) -> None:
    production.create_database(database, "CREATE TABLE t ()")
    push.push(Task.from_mapping(task_values("push", database)), Host())
    name = f"{database}_template"
    staging.create_database(name)
    for statement in sql.format(name).split("; "):
        staging.psql("postgres", statement)
    task = Task.from_mapping(task_values("pull", database, login_user="deploy", template_database=name))
    try:
        with pytest.raises(EnvSyncError, match=why.format(name)):
            pull.plan(task, Host())
    finally:
        if name in staging.databases():
            staging.psql("postgres", f"ALTER DATABASE {name} IS_TEMPLATE false")
