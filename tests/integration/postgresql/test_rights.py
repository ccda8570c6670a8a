# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls by a role that is not a superuser, as on every managed server, and first pulls."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import psycopg2
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import (
    owners as postgresql_owners,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.fit import OWNED
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.toc import Entry, Toc
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

Values = Callable[..., dict[str, Any]]
SQL = Path(__file__).parents[1] / "sql"

ROLES = """
SELECT format('CREATE ROLE %I %s', name, CASE WHEN name = 'deploy' THEN 'LOGIN CREATEDB' END)
  FROM unnest(ARRAY['deploy', 'shop_owner', 'shop_admin', 'shop_reader', 'shop_other']) name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \\gexec
GRANT shop_owner, shop_admin, shop_reader TO deploy;
"""


@pytest.fixture(scope="module", autouse=True)
def _roles(production: PostgresServer, staging: PostgresServer) -> None:
    for server in (production, staging):
        server.psql("postgres", ROLES)


@pytest.fixture(scope="module", params=[0, 17, 18], ids=["installed", "17", "18"])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server of one version, that databases are pushed from and pulled into; with a small lock table."""
    room = {"max_locks_per_transaction": "10", "max_connections": "12", "max_prepared_transactions": "0"}
    with PostgresServer(f"small-{request.param}", major=request.param, **room) as started:
        started.psql("postgres", ROLES)
        yield started


def run(task_values: Values, server: PostgresServer, action: str, database: str, **how: Any) -> dict[str, Any]:
    where = {"database_hostname": server.host, "database_port": server.port}
    task = Task.from_mapping(task_values(action, database, **where, **how))
    return push.push(task, Host()) if action == "push" else pull.pull(task, Host())


@pytest.fixture
def small_database(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("PATH", os.path.dirname(server.program("pg_dump")), prepend=os.pathsep)
    yield "shop"
    for name in server.databases():
        server.drop_database(name)


LARGE_OBJECTS = """
SELECT lo_from_bytea(100 + g, 'x') FROM generate_series(1, 40) g \\g /dev/null
SET ROLE shop_owner;
SELECT lo_from_bytea(200 + g, 'y') FROM generate_series(1, 40) g \\g /dev/null
GRANT SELECT ON LARGE OBJECT 201 TO shop_reader;
GRANT SELECT ON LARGE OBJECT 202 TO shop_reader;
GRANT SELECT ON LARGE OBJECT 203 TO shop_reader WITH GRANT OPTION;
REVOKE ALL ON LARGE OBJECT 204 FROM shop_owner;
GRANT SELECT ON LARGE OBJECT 204 TO shop_owner;
SET ROLE shop_reader;
GRANT SELECT ON LARGE OBJECT 203 TO shop_other;
SET ROLE shop_admin;
SELECT lo_from_bytea(300 + g, 'z') FROM generate_series(1, 12) g \\g /dev/null
GRANT ALL ON LARGE OBJECT 301 TO shop_owner;
RESET ROLE;
COMMENT ON LARGE OBJECT 101 IS 'one';
COMMENT ON LARGE OBJECT 201 IS 'another';
"""


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_large_objects_keep_their_owners_and_grants(
    server: PostgresServer, small_database: str, task_values: Values, form: str
) -> None:
    server.create_database(small_database, LARGE_OBJECTS)
    before = server.contents(small_database)
    run(task_values, server, "push", small_database, format=form)
    server.drop_database(small_database)

    result = run(task_values, server, "pull", small_database, login_user="deploy", allow_restore_to_source=True)

    assert server.contents(small_database) == {
        name: text.replace("postgres", "deploy") for name, text in before.items()
    }
    [owners] = [text for text in result["warnings"] if "will belong to deploy, who can own them here" in text]
    assert owners.startswith("40 objects of role postgres will belong to deploy, who can own them here: LARGE OBJECT")


MANY = """
SET ROLE shop_owner;
SELECT lo_create(g) FROM generate_series(1, 600) g \\g /dev/null
RESET ROLE;
CREATE SCHEMA many AUTHORIZATION shop_admin;
SELECT format('CREATE TABLE many.t%s (id int PRIMARY KEY, n text UNIQUE)', g) FROM generate_series(1, 150) g \\gexec
SELECT format('ALTER TABLE many.t%s OWNER TO shop_%s', g, CASE WHEN g % 2 = 0 THEN 'owner' ELSE 'admin' END)
  FROM generate_series(1, 150) g \\gexec
SELECT format('GRANT SELECT ON many.t%s TO shop_reader', g) FROM generate_series(1, 150) g \\gexec
"""


def test_owners_are_given_in_as_small_transactions_as_the_lock_table_has_room_for(
    server: PostgresServer, small_database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing holds more locks than a batch: the table here has room for 120 and a little."""
    server.create_database(small_database, MANY, "OWNER deploy")
    schema = server.schema(small_database)
    before = server.contents(small_database)
    run(task_values, server, "push", small_database, format="custom")
    server.drop_database(small_database)
    sizes: list[int] = []
    batches = postgresql_owners._batches

    def counted(ask: Callable[[str], Any], units: Any) -> Any:
        def told(statements: str) -> Any:
            sizes.append(statements.count(";\n") + 1)
            return ask(statements)

        return batches(told, units)

    monkeypatch.setattr(postgresql_owners, "_batches", counted)
    monkeypatch.setattr(postgresql_owners, "BATCH", 4096)
    how = {"login_user": "deploy", "allow_restore_to_source": True}

    assert run(task_values, server, "pull", small_database, **how)["warnings"] == []

    assert max(sizes) >= 300 and sizes.count(max(sizes)) < len(sizes) / 2, "it was too much, and was halved"
    assert server.schema(small_database) == schema
    assert server.contents(small_database) == before


# -- extensions that take a superuser ----------------------------------------------------------------------------------

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


@pytest.fixture
def template(staging: PostgresServer) -> Iterator[str]:
    """A database that a superuser has prepared for pulls."""
    staging.create_database("shop_template", "", "IS_TEMPLATE true")
    yield "shop_template"
    staging.psql("postgres", "ALTER DATABASE shop_template IS_TEMPLATE false ALLOW_CONNECTIONS true")
    staging.drop_database("shop_template")


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


# -- first pulls -------------------------------------------------------------------------------------------------------

PROPERTIES = """
SELECT pg_get_userbyid(datdba), datconnlimit, shobj_description(d.oid, 'pg_database'),
       (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a),
       (SELECT array_agg((setrole::regrole, setconfig)::text ORDER BY setrole::regrole::text) FROM pg_db_role_setting
         WHERE setdatabase = d.oid)
  FROM pg_database d WHERE datname = '{0}'"""

OF_ITS_OWN = """
ALTER DATABASE {0} OWNER TO shop_owner;
REVOKE ALL ON DATABASE {0} FROM PUBLIC, shop_owner;
GRANT CONNECT ON DATABASE {0} TO shop_owner;
GRANT CONNECT, TEMPORARY ON DATABASE {0} TO shop_reader WITH GRANT OPTION;
ALTER DATABASE {0} CONNECTION LIMIT 7;
ALTER DATABASE {0} SET search_path = "$user", "odd, ""x"" schema", public;
ALTER DATABASE {0} SET default_transaction_read_only = on;
ALTER DATABASE {0} SET app.secret = E'it''s a \\ value';
ALTER ROLE shop_reader IN DATABASE {0} SET work_mem = '9MB';
ALTER ROLE shop_reader IN DATABASE {0} SET "app.of" = 'planted "secret"';
COMMENT ON DATABASE {0} IS 'the shop''s; DROP DATABASE postgres'
"""
STRANGERS = """
GRANT CONNECT ON DATABASE {0} TO only_there;
ALTER ROLE only_there IN DATABASE {0} SET work_mem = '5MB'
"""


@pytest.fixture
def stranger(production: PostgresServer) -> Iterator[None]:
    """A role that the target does not have."""
    production.psql("postgres", "DO $$ BEGIN CREATE ROLE only_there; EXCEPTION WHEN duplicate_object THEN END $$")
    yield
    production.psql("postgres", "ALTER ROLE only_there RESET ALL")


@pytest.mark.parametrize("form", ["directory", "custom"])
@pytest.mark.parametrize("user", ["postgres", "deploy"])
def test_a_first_pull_makes_the_database_as_the_sources_was(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    stranger: None,
    user: str,
    form: str,
) -> None:
    production.create_database(database, "CREATE TABLE t ()")
    production.psql("postgres", OF_ITS_OWN.format(database))
    wanted = production.psql("postgres", PROPERTIES.format(database))
    production.psql("postgres", STRANGERS.format(database))
    pushed = push.push(Task.from_mapping(task_values("push", database, format=form)), Host())
    assert not {"it's a", "planted"} & set(re.findall("it's a|planted", str(pushed["manifest"]))), "no secret in it"
    task = Task.from_mapping(task_values("pull", database, login_user=user))

    plan = pull.plan(task, Host())
    warnings = pull.pull(task, Host())["warnings"]

    [step] = [text for text in plan["steps"] if text.startswith("give the new database what the source's has: ")]
    for what in ("owner shop_owner", "grants", "setting search_path", "setting work_mem of shop_reader", "limit 7"):
        assert what in step
    absent = [
        "grants on the database left out: these roles do not exist here: only_there",
        "settings in the database left out: these roles do not exist here: only_there",
    ]
    found = staging.psql("postgres", PROPERTIES.format(database))
    assert plan["warnings"] == absent
    if user == "postgres":
        assert (found, warnings) == (wanted, absent)
    else:
        # Since version 15 a setting that no library knows takes a superuser.
        refused = {text.partition(" (")[0] for text in warnings if text.startswith("not carried over: ")}
        of_role = f'not carried over: ALTER ROLE "shop_reader" IN DATABASE "{database}" SET'
        of_all = f'not carried over: ALTER DATABASE "{database}" SET'
        assert refused == {f'{of_role} "work_mem"', f'{of_role} "app"."of"', f'{of_all} "app"."secret"'}
        assert "planted" not in str(warnings)
        assert re.sub(r',""app.secret.*value""|,"\(shop_reader.*\)"', "", wanted.replace("\\", "")) == found.replace(
            "\\", ""
        )

    # What the target has from then on is the target's.
    staging.psql(
        "postgres",
        f"ALTER DATABASE {database} CONNECTION LIMIT 3 RESET search_path".replace(
            " RESET", f"; ALTER DATABASE {database} RESET"
        ),
    )
    before = staging.psql("postgres", PROPERTIES.format(database))
    pull.pull(task, Host())
    assert staging.psql("postgres", PROPERTIES.format(database)) == before


def test_an_owner_that_can_not_be_is_said(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, stranger: None
) -> None:
    production.create_database(database, "CREATE TABLE t ()")
    for owner, user, why in (
        ("only_there", "postgres", "to postgres: its owner in the source, only_there, does not exist here"),
        ("shop_other", "deploy", "to deploy, who may not give it to shop_other, its owner in the source"),
    ):
        production.psql("postgres", f"ALTER DATABASE {database} OWNER TO {owner}")
        push.push(Task.from_mapping(task_values("push", database)), Host())
        staging.drop_database(database)
        task = Task.from_mapping(task_values("pull", database, login_user=user))
        for result in (pull.plan(task, Host()), pull.pull(task, Host())):
            assert f"the database will belong {why}" in result["warnings"]
        query = f"SELECT datdba::regrole, datacl FROM pg_database WHERE datname = '{database}'"
        assert staging.psql("postgres", query) == f"{user}|{{{user}=CTc/{user},=Tc/{user}}}"


# -- every kind of object ----------------------------------------------------------------------------------------------

MEMBERSHIPS = """
GRANT app_owner, app_reader, "Röle ""quoted"" name" TO deploy;
ALTER ROLE deploy SET client_min_messages = warning;
"""


def entries(server: PostgresServer, database: str) -> dict[str, Entry]:
    """Return what ``pg_dump`` has of a database, by schema and what messages call it."""
    argv = [server.program("pg_dump"), "-Fc", "-d", database]
    data = subprocess.run(argv, stdout=subprocess.PIPE, env=dict(os.environ, **server.env), check=True).stdout
    toc = Toc.read(io.BytesIO(data)).entries
    found = [e for e in toc if not e.desc.startswith("DATABASE") and not e.tag.startswith("DATABASE ")]
    assert len({(e.namespace, e.desc, e.tag) for e in found}) == len(found)
    return {f"{e.namespace} {e.desc} {e.tag}": e for e in found}


def take(warnings: list[str], labels: set[str]) -> set[str]:
    """Return those of the labels that the lines about what is left out name; there is nothing else in these."""
    named: set[str] = set()
    for text in warnings:
        names = text.partition(": ")[2]
        for label in sorted(labels, key=len, reverse=True):
            if label in names:
                names = names.replace(label, "", 1)
                named.add(label)
        assert names.replace(",", "").strip() == "", text
    return named


@pytest.mark.parametrize(("form", "jobs"), [("directory", 3), ("custom", 1)])
def test_what_differs_from_a_superusers_pull_stands_in_the_warnings_and_nowhere_else(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    template: str,
    form: str,
    jobs: int,
) -> None:
    for server in (production, staging):
        server.psql("postgres", (SQL / "roles.sql").read_text(encoding="utf-8"))
    create = "DO $$ BEGIN CREATE ROLE only_there; EXCEPTION WHEN duplicate_object THEN END $$"
    production.psql("postgres", create)
    staging.psql("postgres", MEMBERSHIPS)
    prepare = "CREATE EXTENSION postgres_fdw; GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO deploy"
    staging.psql(template, prepare)
    sql = "".join((SQL / file).read_text(encoding="utf-8") for file in ("every_kind_of_object.sql", "rights.sql"))
    production.create_database(database, sql, "OWNER deploy")
    how = {"keep_foreign_servers": True, "format": form, "jobs": jobs}
    push.push(Task.from_mapping(task_values("push", database, **how)), Host())
    of_superuser = pull.pull(Task.from_mapping(task_values("pull", database, **how)), Host())["warnings"]
    wanted, rows = entries(staging, database), staging.contents(database)
    staging.drop_database(database)

    how.update(login_user="deploy", template_database=template)
    warnings = pull.pull(Task.from_mapping(task_values("pull", database, **how)), Host())["warnings"]

    found = entries(staging, database)
    assert {name: text.replace("postgres", "deploy") for name, text in rows.items()} == staging.contents(database)
    lines = [text for text in warnings if text not in of_superuser]
    differ = {
        name
        for name in wanted.keys() | found.keys()
        if name not in found or name not in wanted or found[name].defn != wanted[name].defn
    }
    closed = 'FUNCTION app."Weird ""name"""(VARIADIC arr text[])'
    [line] = [text for text in lines if "SECURITY DEFINER of role postgres will run with the rights of deploy" in text]
    assert line.endswith(f": nobody else may execute them here: {closed}")
    differ -= {f"app ACL {closed.replace('app.', '')}", "None ACL FOREIGN DATA WRAPPER postgres_fdw"}
    labels = {name.partition(" ")[2] for name in differ if name.startswith(("None", "app", "public", "pg_catalog"))}
    labels |= {"PUBLICATION TABLES IN SCHEMA of_schema Mixed Case"} & {name[len("Mixed Case ") :] for name in differ}
    assert len(labels) == len(differ)
    assert take([text for text in lines if text.startswith("left out, ")], labels) == labels

    owners = {name for name in wanted.keys() & found.keys() if wanted[name].owner != found[name].owner}
    assert {(wanted[name].owner, found[name].owner) for name in owners} == {("postgres", "deploy")}
    counted = [
        re.match(r"(\d+) objects? of role (\S+) will belong to deploy, who can own them here: ", text) for text in lines
    ]
    counts = {match[2]: int(match[1]) for match in counted if match}
    owned = {name for name in owners if found[name].desc in OWNED and found[name].object_names}
    assert counts == {"postgres": len(owned)}
    explained = (
        "left out, ",
        line,
        *(match[0] for match in counted if match),
        "2 functions with SECURITY DEFINER of role only",
    )
    assert [text for text in lines if not text.startswith(explained)] == []


def test_a_policy_that_would_hide_rows_from_a_transformation_fails_it(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    """It holds for the table's owner too, and so for its members: the rows would go live as they are."""
    production.create_database(
        database,
        """CREATE TABLE people (id int PRIMARY KEY, email text); ALTER TABLE people OWNER TO shop_owner;
           INSERT INTO people SELECT g, 'planted' || g FROM generate_series(1, 20) g;
           ALTER TABLE people ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
           CREATE POLICY few ON people USING (id < 10)""",
        "OWNER deploy",
    )
    script = tmp_path / "transform.sql"
    script.write_text("UPDATE people SET email = 'masked';\n", encoding="utf-8")
    push.push(Task.from_mapping(task_values("push", database)), Host())
    task = Task.from_mapping(
        task_values("pull", database, login_user="deploy", transformation_sql_filename=str(script))
    )
    with pytest.raises(EnvSyncError, match='would be affected by row-level security policy for table "people"'):
        pull.pull(task, Host())
    assert database not in staging.databases()
    staging.psql("postgres", "ALTER ROLE deploy BYPASSRLS")
    try:
        pull.pull(task, Host())
    finally:
        staging.psql("postgres", "ALTER ROLE deploy NOBYPASSRLS")
    assert staging.psql(database, "SELECT email, count(*) FROM people GROUP BY 1") == "masked|20"


# -- the rights in the documentation -----------------------------------------------------------------------------------

DOCS = Path(__file__).resolve().parents[3] / "docs" / "databases" / "postgresql.md"


@pytest.fixture
def documented(production: PostgresServer, staging: PostgresServer) -> Iterator[None]:
    """A database shop on both servers, and roles with the rights that the documentation has, and no others."""
    text = DOCS.read_text(encoding="utf-8").partition("\n## Rights\n")[2].partition("\n## ")[0]
    to_push, to_pull = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    for server in (production, staging):
        server.create_database("shop", "", "OWNER shop_owner")
    production.psql("postgres", to_push)
    staging.psql("postgres", to_pull)
    yield
    for server, role in ((production, "env_sync_push"), (staging, "env_sync_pull")):
        server.drop_database("shop")
        server.psql("postgres", f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_the_documented_rights_are_enough(
    production: PostgresServer, staging: PostgresServer, documented: None, task_values: Values
) -> None:
    production.psql(
        "shop",
        """SET ROLE shop_owner; CREATE SCHEMA app; CREATE TABLE app.people (id serial PRIMARY KEY, name text);
           INSERT INTO app.people (name) SELECT g::text FROM generate_series(1, 100) g;
           ALTER TABLE app.people ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
           CREATE POLICY few ON app.people USING (id < 10);
           SELECT lo_from_bytea(7, 'large') \\g /dev/null""",
    )
    push.push(Task.from_mapping(task_values("push", "shop", login_user="env_sync_push")), Host())
    staging.psql("postgres", "DO $$ BEGIN CREATE ROLE shop_web LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    session = psycopg2.connect(host=staging.host, port=staging.port, user="shop_web", dbname="shop")
    with contextlib.closing(session):
        task = Task.from_mapping(task_values("pull", "shop", login_user="env_sync_pull"))
        assert pull.pull(task, Host())["warnings"] == []
    assert staging.contents("shop") == production.contents("shop")
    assert staging.schema("shop") == production.schema("shop")
