# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls by a role that is not a superuser, as on every managed server: what differs, and which rights it takes."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.fit import OWNED
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.toc import Entry, Toc
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.postgresql.runs import SQL, Values
from tests.servers.postgresql import PostgresServer

pytestmark = pytest.mark.usefixtures("shop_roles")

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
