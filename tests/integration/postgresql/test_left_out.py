# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an operator has a push or a pull of PostgreSQL leave out, and what says so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

Values = Callable[..., dict[str, Any]]

AUDITED = """
CREATE TABLE people (id int PRIMARY KEY, name text);
CREATE TABLE audit (id serial PRIMARY KEY, person int REFERENCES people, at timestamptz DEFAULT now());
CREATE TABLE notes (id int PRIMARY KEY, audit int CONSTRAINT to_audit REFERENCES audit, person int REFERENCES people);
CREATE TABLE log (at int, what text) PARTITION BY RANGE (at);
CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (1) TO (10);
CREATE INDEX by_person ON audit (person);
CREATE VIEW audited AS SELECT name, at FROM people JOIN audit ON person = people.id;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM audit;
INSERT INTO people SELECT g, 'p' || g FROM generate_series(1, 50) g;
INSERT INTO audit (person) SELECT g FROM generate_series(1, 50) g;
INSERT INTO notes SELECT g, g, g FROM generate_series(1, 50) g;
INSERT INTO log SELECT g, 'x' FROM generate_series(1, 9) g;
REFRESH MATERIALIZED VIEW counted;
"""


def do_push(task_values: Values, database: str, **how: Any) -> dict[str, Any]:
    return push.push(Task.from_mapping(task_values("push", database, **how)), Host())


def do_pull(task_values: Values, database: str, **how: Any) -> dict[str, Any]:
    return pull.pull(Task.from_mapping(task_values("pull", database, **how)), Host())


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_tables_arrive_without_their_rows(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, form: str
) -> None:
    production.create_database(database, AUDITED)
    log: list[str] = []
    task = Task.from_mapping(task_values("push", database, excluded_table_data="public.aud*,log", format=form))

    planned = push.plan(task, Host())
    pushed = push.push(task, Host(log=lambda level, text: log.append(text)))

    asked = "leave out the rows of public.audit, public.log, public.log_1 (excluded_table_data)"
    assert asked in planned["steps"] and f"the push is to {asked}" in log
    details = pushed["manifest"]["details"]
    assert details["excluded_table_data"] == ["public.audit", "public.log", "public.log_1"]
    rows = {table["name"]: table.get("rows") for table in pushed["manifest"]["tables"]}
    assert (rows["people"], rows["audit"], rows["log_1"]) == (50, 0, 0)
    key = "public.notes to_audit"
    assert pushed["warnings"] == [f"a pull will leave out foreign keys to tables without their rows: {key}"]

    pulled = do_pull(task_values, database)

    counts = "SELECT (SELECT count(*) FROM audit), (SELECT count(*) FROM log), (SELECT count(*) FROM notes)"
    assert staging.psql(database, counts) == "0|0|50"
    assert staging.psql(database, "SELECT * FROM counted") == "0"
    assert staging.psql(database, "SELECT nextval('audit_id_seq')") == "51", "the sequence is where it was"
    assert staging.psql(database, "SELECT count(*) FROM pg_indexes WHERE indexname = 'by_person'") == "1"
    assert pulled["warnings"] == [
        "left out, foreign keys to tables without their rows (excluded_table_data): FK CONSTRAINT notes to_audit"
    ]


def test_rows_to_leave_out_of_a_table_that_is_not_there_are_an_error(
    production: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, AUDITED)
    with pytest.raises(EnvSyncError, match=r"excluded_table_data names audits, and there is no such table"):
        do_push(task_values, database, excluded_table_data="audits")
    assert list((tmp_path / "store").rglob("*")) == []


NEEDED = """
CREATE TABLE audit (id int PRIMARY KEY, what text);
CREATE TABLE other (id int);
"""


@pytest.mark.parametrize(
    ("sql", "named", "todo"),
    [
        ("CREATE VIEW v AS SELECT * FROM audit", "view public.v", "Add to excluded_tables: public.v"),
        (
            "CREATE VIEW a AS SELECT id FROM audit; CREATE MATERIALIZED VIEW b AS SELECT * FROM a",
            "materialized view public.b, view public.a",
            "Add to excluded_tables: public.a, public.b",
        ),
        ("CREATE TABLE child () INHERITS (audit)", "table public.child", "Add to excluded_tables: public.child"),
        (
            "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM audit; END",
            "function public.f()",
            "excluded_table_data instead",
        ),
        (
            "CREATE FUNCTION f() RETURNS SETOF audit LANGUAGE sql AS 'SELECT * FROM audit'",
            "function public.f()",
            "excluded_table_data instead",
        ),
        (
            "CREATE RULE r AS ON INSERT TO other DO ALSO INSERT INTO audit VALUES (new.id)",
            "rule r on public.other",
            "excluded_table_data instead",
        ),
        (
            "CREATE POLICY p ON other USING (id IN (SELECT id FROM audit))",
            "policy p on public.other",
            "excluded_table_data instead",
        ),
        ("ALTER TABLE other ADD COLUMN a audit", "table public.other", "Add to excluded_tables: public.other"),
    ],
    ids=lambda value: value if value.startswith("CREATE") else "",
)
def test_what_needs_an_excluded_table_is_found_by_the_push(
    production: PostgresServer, database: str, task_values: Values, tmp_path: Path, sql: str, named: str, todo: str
) -> None:
    production.create_database(database, f"{NEEDED}; {sql}")
    task = Task.from_mapping(task_values("push", database, excluded_tables="audit"))
    for verb in (push.plan, push.push):
        with pytest.raises(EnvSyncError) as caught:
            verb(task, Host())
        assert f"{named} cannot be restored without public.audit" in caught.value.why
        assert todo in caught.value.hint
    assert list((tmp_path / "store").rglob("*")) == []


EXTENDED = """
CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pg_trgm;
CREATE TABLE words (word text); INSERT INTO words VALUES ('one');
CREATE INDEX similar_words ON words USING gin (word gin_trgm_ops);
CREATE VIEW slow AS SELECT query FROM pg_stat_statements;
COMMENT ON VIEW slow IS 'slow queries';
CREATE FUNCTION near(text) RETURNS real LANGUAGE sql BEGIN ATOMIC SELECT similarity($1, 'one'); END;
"""


@pytest.mark.parametrize("at", ["push", "pull"])
@pytest.mark.parametrize("form", ["directory", "custom"])
def test_extensions_are_left_out_with_what_depends_on_them(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, form: str, at: str
) -> None:
    production.create_database(database, EXTENDED)
    how = {"excluded_extensions": ["pg_stat_*", "pg_trgm"]}

    pushed = do_push(task_values, database, format=form, **(how if at == "push" else {}))
    planned = pull.plan(Task.from_mapping(task_values("pull", database, **(how if at == "pull" else {}))), Host())
    pulled = do_pull(task_values, database, **(how if at == "pull" else {}))

    if at == "push":
        assert pushed["manifest"]["details"]["excluded_extensions"] == ["pg_stat_statements", "pg_trgm"]
        assert [item["name"] for item in pushed["manifest"]["extensions"]] == ["plpgsql"]
        assert pushed["warnings"] == [
            "a pull will leave out what depends on the extensions pg_stat_statements, pg_trgm: function "
            "public.near(pg_catalog.text), index public.similar_words, view public.slow"
        ]
    assert "leave out the extensions pg_stat_statements, pg_trgm, and what depends on them" in planned["steps"]
    assert staging.psql(database, "SELECT string_agg(extname, ',') FROM pg_extension") == "plpgsql"
    assert staging.psql(database, "SELECT * FROM words") == "one"
    said = "\n".join(pulled["warnings"])
    assert "left out, as excluded_extensions says: EXTENSION pg_stat_statements, EXTENSION pg_trgm" in said
    for name in ("VIEW slow", "INDEX similar_words", "FUNCTION near(text)"):
        assert re.search(rf"as it depends on an extension that is left out: .*{re.escape(name)}", said)


def test_a_table_is_not_left_out_with_an_extension(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, "CREATE EXTENSION hstore; CREATE TABLE facts (f hstore); CREATE TABLE t ()")
    with pytest.raises(EnvSyncError, match=r"hstore cannot be left out: public\.facts depends on them"):
        do_push(task_values, database, excluded_extensions="hstore")
    with pytest.raises(EnvSyncError, match=r"excluded_extensions names hstor, and .* has hstore, plpgsql"):
        do_push(task_values, database, excluded_extensions="hstor")
    do_push(task_values, database)
    with pytest.raises(EnvSyncError, match=r'EXTENSION hstore cannot .*"TABLE public\.facts"\]') as caught:
        do_pull(task_values, database, excluded_extensions="hstore")
    objects = json.loads(caught.value.hint.partition("excluded_objects: ")[2].rstrip("."))
    do_pull(task_values, database, excluded_extensions="hstore", excluded_objects=objects)
    assert (
        staging.psql(database, "SELECT string_agg(relname, ',') FROM pg_class WHERE relkind = 'r' AND oid > 16383")
        == "t"
    )


OBJECTS = """
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int, CONSTRAINT child_fk FOREIGN KEY (id) REFERENCES parent);
CREATE VIEW base AS SELECT * FROM parent; CREATE VIEW "On base" AS SELECT * FROM base;
COMMENT ON VIEW base IS 'x'; COMMENT ON TABLE parent IS 'stays'; COMMENT ON TABLE child IS 'goes';
CREATE FUNCTION f(integer, text) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION f(integer) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER tr BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION tf();
INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1);
"""


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_objects_are_left_out_with_what_depends_on_them(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, form: str
) -> None:
    production.create_database(database, OBJECTS)
    do_push(task_values, database, format=form)
    objects = "VIEW public.base,FK CONSTRAINT public.child child_fk,FUNCTION public.f(integer, text),TRIGGER child tr"
    objects += ",COMMENT TABLE public.chi*,TABLE DATA child,view gone"

    pulled = do_pull(task_values, database, excluded_objects=objects)

    query = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind IN ('r', 'v') AND oid > 16383"
    assert staging.psql(database, query) == "child,parent"
    assert staging.psql(database, "SELECT (SELECT count(*) FROM parent), (SELECT count(*) FROM child)") == "1|0"
    assert staging.psql(database, "SELECT count(*) FROM pg_proc WHERE proname = 'f'") == "1"
    assert staging.psql(database, "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == "0"
    query = "SELECT obj_description('parent'::regclass), obj_description('child'::regclass)"
    assert staging.psql(database, query) == "stays|"
    assert pulled["warnings"][0] == (
        "excluded_objects names view gone, which the point does not have: correct or remove it"
    )
    assert pulled["warnings"][1] == (
        "left out, as excluded_objects says: FUNCTION f(integer, text), VIEW base, COMMENT TABLE child, "
        "TABLE DATA child, TRIGGER child tr, FK CONSTRAINT child child_fk"
    )
    assert pulled["warnings"][2] == (
        "left out, as it depends on what excluded_objects leaves out: COMMENT VIEW base, VIEW On base"
    )


@pytest.mark.parametrize(
    ("objects", "why"),
    [
        ("TABLE public.childs", r"excluded_objects names TABLE public\.childs, which the point does not have"),
        ("TABLE DATA childs", r"excluded_objects names TABLE DATA childs, which the point does not have"),
        ("public.child", r"excluded_objects has 'public\.child', which is not a kind of object and a name"),
        ("SCHEMA s", r'SCHEMA s cannot be left out: TABLE s\.t depends on it.*excluded_objects: \["TABLE s\.t"\]'),
    ],
)
def test_what_would_be_restored_or_lost_unawares_is_an_error(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, objects: str, why: str
) -> None:
    production.create_database(database, OBJECTS + "CREATE SCHEMA s; CREATE TABLE s.t ();")
    do_push(task_values, database)
    before = staging.databases()
    with pytest.raises(EnvSyncError, match=why):
        do_pull(task_values, database, excluded_objects=objects)
    assert staging.databases() == before
