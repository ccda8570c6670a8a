# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls by a role that may create databases, and is a member of the owners: no superuser."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import swap as postgresql_swap
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.postgresql.runs import NEW, OLD, Values, pulled, pushed
from tests.servers.postgresql import PostgresServer

pytestmark = pytest.mark.usefixtures("app_roles")

PLAIN = """
CREATE EXTENSION hstore;
COMMENT ON EXTENSION hstore IS 'ours';
CREATE SCHEMA app AUTHORIZATION app_owner;
CREATE SCHEMA strange AUTHORIZATION only_there;
SET ROLE app_owner;
CREATE TABLE app.people (id serial PRIMARY KEY, email text, big oid);
CREATE FUNCTION app.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE VIEW app.seen AS SELECT id FROM app.people;
CREATE TYPE app.mood AS ENUM ('a');
INSERT INTO app.people (email) VALUES ('ann@new');
CREATE MATERIALIZED VIEW app.summary AS SELECT count(*) FROM app.people;
GRANT SELECT ON app.people TO app_reader;
GRANT UPDATE ON app.people TO only_there;
ALTER TABLE app.people ENABLE ROW LEVEL SECURITY;
CREATE POLICY there ON app.people TO only_there USING (true);
CREATE POLICY here ON app.people TO app_reader USING (true);
RESET ROLE;
CREATE TABLE public.free (n int);
CREATE TABLE strange.things (n int GENERATED ALWAYS AS IDENTITY);
INSERT INTO strange.things DEFAULT VALUES;
ALTER TABLE strange.things OWNER TO only_there;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA app GRANT SELECT ON TABLES TO app_reader, only_there;
ALTER DEFAULT PRIVILEGES FOR ROLE only_there GRANT SELECT ON TABLES TO app_reader;
CREATE FUNCTION public.ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER ddl ON ddl_command_end EXECUTE FUNCTION public.ddl();
COMMENT ON EVENT TRIGGER ddl IS 'needs a superuser';
CREATE PUBLICATION everything FOR ALL TABLES;
COMMENT ON SCHEMA public IS 'ours too';
GRANT ALL ON SCHEMA public TO app_reader;
SELECT lo_from_bytea(7, 'large') \\g /dev/null
ALTER LARGE OBJECT 7 OWNER TO app_owner;
GRANT SELECT ON LARGE OBJECT 7 TO app_reader, only_there;
"""

OWNERS = """
SELECT string_agg(what || ' ' || owner, ', ' ORDER BY what) FROM (
  SELECT c.oid::regclass::text, relowner::regrole::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
   WHERE relkind IN ('r', 'S', 'v', 'm') AND nspname IN ('app', 'strange', 'public')
   UNION ALL SELECT 'schema ' || nspname, nspowner::regrole::text FROM pg_namespace WHERE nspname IN ('app', 'strange')
   UNION ALL SELECT 'type ' || typname, typowner::regrole::text FROM pg_type WHERE typname = 'mood'
   UNION ALL SELECT 'lo ' || oid, lomowner::regrole::text FROM pg_largeobject_metadata
   UNION ALL SELECT proname, proowner::regrole::text FROM pg_proc WHERE proname IN ('f', 'ddl')) o (what, owner)"""


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_a_role_that_may_only_create_databases_restores_what_a_superuser_dumped(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    restorer: dict[str, str],
    form: str,
) -> None:
    production.create_database(database, PLAIN)
    staging.create_database(database, OLD)
    staging.psql("postgres", f"ALTER DATABASE {database} OWNER TO app")
    pushed(task_values, database, format=form)

    plan = pull.plan(Task.from_mapping(task_values("pull", database, **restorer)), Host())
    result = pulled(task_values, database, **restorer)

    assert any("give what roles own that do not exist on" in step and "only_there" in step for step in plan["steps"])
    owners = staging.psql(database, OWNERS)
    expected = production.psql(database, OWNERS).replace("only_there", "app").replace("postgres", "app")
    assert owners.split(", ") == expected.split(", ")
    assert staging.contents(database) == {
        name: text.replace("postgres", "app").replace(",only_there=r/app_owner", "")
        for name, text in production.contents(database).items()
    }
    assert staging.psql("postgres", f"SELECT datdba::regrole FROM pg_database WHERE datname = '{database}'") == "app"
    assert staging.psql(database, "SELECT relacl FROM pg_class WHERE oid = 'app.people'::regclass") == (
        "{app_owner=arwdDxt/app_owner,app_reader=r/app_owner}"
    )
    assert staging.psql(database, "SELECT polname FROM pg_policy") == "here"
    assert staging.psql(database, "SELECT pg_get_userbyid(defaclrole), defaclacl FROM pg_default_acl") == (
        "app_owner|{app_reader=r/app_owner}"
    )
    assert staging.psql(database, "SELECT has_schema_privilege('app_owner', 'public', 'CREATE')") == "f"
    warnings = "\n".join(result["warnings"])
    for said in (
        "event triggers need a superuser: EVENT TRIGGER ddl, COMMENT EVENT TRIGGER ddl",
        "publications of all tables need a superuser: PUBLICATION everything",
        "grants left out: role only_there does not exist here",
        "objects of role only_there will belong to app",
        "policies of roles that do not exist here (row security then denies): POLICY people there",
    ):
        assert said in warnings
    assert len(set(result["warnings"])) == len(result["warnings"])
    assert staging.psql(
        database, "SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = 'hstore'"
    )


def test_settings_that_the_role_may_not_set_are_said(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, restorer: dict[str, str]
) -> None:
    production.create_database(database, NEW)
    staging.create_database(database, OLD)
    staging.psql(
        "postgres",
        f"""ALTER DATABASE {database} OWNER TO app; ALTER DATABASE {database} SET work_mem = '5MB';
            ALTER ROLE outsider IN DATABASE {database} SET work_mem = '7MB'""",
    )
    pushed(task_values, database)
    result = pulled(task_values, database, **restorer)
    assert [text for text in result["warnings"] if 'not carried over: ALTER ROLE "outsider"' in text]
    assert staging.psql(
        "postgres",
        f"""SELECT setconfig FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
             WHERE datname = '{database}'""",
    ) == ("{work_mem=5MB}")


def test_rights_that_are_missing_are_said_before_anything_happens(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, restorer: dict[str, str]
) -> None:
    production.create_database(database, NEW)
    staging.create_database(database, OLD)
    pushed(task_values, database)
    with pytest.raises(EnvSyncError, match=r"belongs to postgres, whose rights this role does not have\. GRANT"):
        pulled(task_values, database, **restorer)
    with pytest.raises(EnvSyncError, match="the role app may not create databases"):
        pulled(task_values, database, login_user="app")
    staging.psql("postgres", f"ALTER DATABASE {database} OWNER TO app; ALTER ROLE restorer NOINHERIT")
    try:
        with pytest.raises(EnvSyncError, match=r"belongs to app, whose rights .* \(one that inherits\)"):
            pulled(task_values, database, **restorer)
    finally:
        staging.psql("postgres", "ALTER ROLE restorer INHERIT")


def test_sessions_that_the_role_may_not_end_stop_the_swap(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    restorer: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgresql_swap, "SWAP_TRIES", 1)
    production.create_database(database, NEW)
    staging.create_database(database, OLD)
    staging.psql("postgres", f"ALTER DATABASE {database} OWNER TO app")
    pushed(task_values, database)
    session = psycopg2.connect(host=staging.host, port=staging.port, user="outsider", dbname=database)
    with contextlib.closing(session):
        with pytest.raises(EnvSyncError, match=r"could not be ended \(1 of outsider\).*GRANT pg_signal_backend"):
            pulled(task_values, database, **restorer)
        assert staging.psql(database, "SELECT n FROM old_table") == "1"
        staging.psql("postgres", "GRANT pg_signal_backend TO restorer")
        try:
            pulled(task_values, database, **restorer)
        finally:
            staging.psql("postgres", "REVOKE pg_signal_backend FROM restorer")
    assert staging.psql(database, "SELECT email FROM people") == "ann@new"
