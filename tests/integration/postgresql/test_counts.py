# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows are counted: PostgreSQL."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

Values = Callable[..., dict[str, Any]]

#: rows that hold what divides lines, or ends COPY's data; a table without columns; partitions; one below another
SHOP = r"""
CREATE TABLE orders (id serial PRIMARY KEY, note text);
INSERT INTO orders (note) VALUES (E'one\ntwo\n'), (E'\\.'), (E'\\N'), (NULL), (''), (E'a\\\nb\r\n\tc');
CREATE TABLE "no columns" ();
INSERT INTO "no columns" DEFAULT VALUES;
INSERT INTO "no columns" DEFAULT VALUES;
CREATE TABLE empty (id int);
CREATE TABLE events (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
INSERT INTO events VALUES (1, '2026-01-05'), (2, '2026-02-05'), (3, '2026-02-06');
CREATE TABLE parent (id int);
CREATE TABLE child () INHERITS (parent);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2), (3);
CREATE TABLE "Orders" (id int);
CREATE UNLOGGED TABLE loose (id int);
INSERT INTO loose SELECT generate_series(1, 5);
CREATE MATERIALIZED VIEW shown AS SELECT * FROM events;
CREATE TABLE guarded (id int);
INSERT INTO guarded VALUES (1), (2), (3);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON guarded USING (id = 1);
"""

ROWS = {
    "orders": 6,
    "no columns": 2,
    "empty": 0,
    "events_1": 1,
    "events_2": 2,
    "parent": 1,
    "child": 2,
    "Orders": 0,
    "loose": 5,
    "guarded": 3,
}

#: refreshed at the restore's end, it takes a row away
LOSING = """
CREATE TABLE victims (id int);
INSERT INTO victims SELECT generate_series(1, 9);
CREATE FUNCTION take() RETURNS int LANGUAGE sql AS $$
    DELETE FROM public.victims WHERE id = (SELECT max(id) FROM public.victims) RETURNING id $$;
CREATE MATERIALIZED VIEW thief AS SELECT public.take() AS taken;
"""


def run(action: str, task_values: Values, database: str, **how: Any) -> dict[str, Any]:
    task = Task.from_mapping(task_values(action, database, **how))
    return (push.push if action == "push" else pull.pull)(task, Host())


def rows_of(manifest: Mapping[str, Any]) -> dict[str, int]:
    return {table["name"]: table["rows"] for table in manifest["tables"] if "rows" in table}


def change_manifest(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Have the only point's manifest say something else, as who may write to the store can."""
    (path,) = (tmp_path / "store").rglob("*.manifest.json")
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    values.pop("checksum", None)
    path.write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize(("form", "jobs"), [("directory", 1), ("directory", 3), ("custom", 1)])
@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_the_manifest_has_the_rows_of_every_table(
    production: PostgresServer, database: str, task_values: Values, form: str, jobs: int, compression: str
) -> None:
    production.create_database(database, SHOP)
    how = {"format": form, "jobs": jobs, "compression": compression}

    pushed = run("push", task_values, database, **how)

    assert rows_of(pushed["manifest"]) == ROWS
    assert run("pull", task_values, database, **how)["warnings"] == []


def test_a_table_that_cannot_be_counted_is_dumped_all_the_same(
    production: PostgresServer, database: str, task_values: Values
) -> None:
    """The planner of a SELECT runs what an index's predicate calls; COPY has none. Its neighbours are counted."""
    function = "CREATE OR REPLACE FUNCTION least_of_all() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN {} END $$;"
    sql = (
        function.format("RETURN 0;") + "CREATE TABLE odd (id int); CREATE INDEX ON odd (id) WHERE id > least_of_all();"
    )
    production.create_database(database, sql + "CREATE TABLE even (id int); INSERT INTO even VALUES (2)")
    production.psql(database, function.format("RAISE 'no';"))
    assert rows_of(run("push", task_values, database, format="custom")["manifest"]) == {"even": 1}


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_a_restore_that_loses_a_row_goes_live_nowhere(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, form: str
) -> None:
    production.create_database(database, LOSING)
    assert rows_of(run("push", task_values, database, format=form)["manifest"]) == {"victims": 8}
    staging.create_database(database, "CREATE TABLE as_it_was (id int)")

    with pytest.raises(
        EnvSyncError, match=r"table public\.victims has 7 rows, and the point's manifest says 8"
    ) as caught:
        run("pull", task_values, database)

    assert caught.value.hint and "\n" not in str(caught.value)
    assert (
        staging.psql(database, "SELECT relname FROM pg_class WHERE relname IN ('as_it_was', 'victims')") == "as_it_was"
    )
    assert [name for name in staging.databases() if "env_sync" in name] == []


def test_a_restore_that_loses_a_large_object_goes_live_nowhere(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    sql = LOSING.replace("DELETE FROM public.victims WHERE id = (SELECT max(id) FROM public.victims) RETURNING id", """
        SELECT coalesce(sum(lo_unlink(oid)), 0)::int FROM pg_largeobject_metadata""")  # fmt: skip
    production.create_database(database, sql)
    production.psql(database, "SELECT lo_create(0), lo_create(0)")
    run("push", task_values, database)

    with pytest.raises(
        EnvSyncError, match="the database as a whole has 0 large objects, and the point's manifest says 2"
    ):
        run("pull", task_values, database)

    assert staging.databases() == []


def test_rows_that_another_server_puts_into_other_partitions_are_counted_together(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    """Where enums are hashed: their numbers are the server's own."""
    states = ", ".join(f"'{letter}'" for letter in "abcdefgh")
    parts = "".join(f"CREATE TABLE p{n} PARTITION OF h FOR VALUES WITH (MODULUS 4, REMAINDER {n});" for n in range(4))
    sql = f"CREATE TYPE state AS ENUM ({states}); CREATE TABLE h (s state) PARTITION BY HASH (s); {parts}"
    production.create_database(database, f"{sql} INSERT INTO h SELECT unnest(enum_range(NULL::state))")
    rows = "SELECT count(*) FROM ONLY p0 UNION ALL SELECT count(*) FROM ONLY p1"
    run("push", task_values, database)
    staging.create_database("shifts_the_numbers", sql)

    run("pull", task_values, database)

    assert staging.psql(database, "SELECT count(*) FROM h") == "8"
    assert staging.psql(database, rows) != production.psql(database, rows)


def test_tables_that_the_manifest_does_not_have_or_that_are_lacking(
    production: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, "CREATE TABLE a (); CREATE TABLE b (); INSERT INTO b DEFAULT VALUES")
    run("push", task_values, database)

    change_manifest(tmp_path, lambda values: values["tables"].append({"schema": "public", "name": "c", "rows": 0}))
    with pytest.raises(EnvSyncError, match=r"table public\.c was not restored"):
        run("pull", task_values, database)

    change_manifest(tmp_path, lambda values: [values["tables"].pop() for _unused in range(2)])
    with pytest.raises(EnvSyncError, match=r"table public\.b was restored, and the point's manifest does not have it"):
        run("pull", task_values, database)


def test_a_point_of_before_is_pulled_as_it_was(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, LOSING)
    run("push", task_values, database)
    change_manifest(tmp_path, lambda values: [table.pop("rows", None) for table in values["tables"]])

    run("pull", task_values, database)

    assert staging.psql(database, "SELECT count(*) FROM victims") == "7"


def test_an_extensions_rows_are_its_own(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, "CREATE EXTENSION pg_trgm; CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
    pushed = run("push", task_values, database)
    assert rows_of(pushed["manifest"]) == {"a": 1}
    run("pull", task_values, database)


def test_policies_that_hold_for_the_owner_too_hide_no_rows_from_the_count(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    for server in (production, staging):
        server.psql("postgres", "DROP ROLE IF EXISTS puller; CREATE ROLE puller LOGIN CREATEDB")
    production.create_database(database, SHOP)
    run("push", task_values, database)
    pulled = run("pull", task_values, database, login_user="puller")
    assert not [text for text in pulled["warnings"] if re.search("rows|count", text)]
    staging.drop_database(database)
    for server in (production, staging):
        server.psql("postgres", "DROP ROLE puller")
