# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects that PostgreSQL keeps and can't restore: the error says the line that leaves them out, and that line does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

Values = Callable[..., dict[str, Any]]

UNQUALIFIED = """
CREATE TABLE words (word text); INSERT INTO words VALUES ('planted-secret');
CREATE FUNCTION plain(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower($1)';
CREATE FUNCTION twice(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT plain($1) || plain($1)';
"""
RAISING = """
CREATE TABLE words (word text); INSERT INTO words VALUES ('planted-secret');
CREATE TABLE allowed (word text); INSERT INTO allowed VALUES ('planted-secret');
CREATE FUNCTION check_word(text) RETURNS boolean LANGUAGE plpgsql SET search_path = public AS $$ BEGIN
    IF NOT EXISTS (SELECT FROM allowed WHERE word = $1) THEN RAISE EXCEPTION 'bad word %', $1; END IF; RETURN true;
END $$;
"""

CASES = {
    "an index": (
        UNQUALIFIED + "CREATE INDEX by_word ON words (twice(word))",
        "ERROR: function plain(text) does not exist",
        ["INDEX public.by_word"],
    ),
    "a generated column": (
        UNQUALIFIED + "ALTER TABLE words ADD COLUMN both_words text GENERATED ALWAYS AS (twice(word)) STORED",
        "ERROR: function plain(text) does not exist",
        ["TABLE public.words"],
    ),
    "a check in code": (
        UNQUALIFIED
        + """CREATE FUNCTION same(text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN plain($1) = lower($1); END';
             ALTER TABLE words ADD CHECK (same(word))""",
        'COPY failed for table "words": ERROR: function plain(text) does not exist',
        ["TABLE DATA public.words"],
    ),
    "a check": (
        RAISING + "ALTER TABLE words ADD CHECK (check_word(word)); DELETE FROM allowed",
        "(the server's message is withheld, as it may quote data)",
        ["TABLE DATA public.words"],
    ),
    "a key": (
        """CREATE TABLE parent (id text PRIMARY KEY);
           CREATE TABLE child (id text CONSTRAINT child_fk REFERENCES parent);
           SET session_replication_role = replica; INSERT INTO child VALUES ('planted-secret')""",
        'insert or update on table "child" violates foreign key constraint "child_fk"',
        ["FK CONSTRAINT public.child child_fk"],
    ),
    "a label": (
        """CREATE TABLE t (); SET allow_system_table_mods = on;
           INSERT INTO pg_seclabel VALUES ('t'::regclass, 'pg_class'::regclass, 0, 'odd', 'secret')""",
        'security label provider "odd" is not loaded',
        ["SECURITY LABEL TABLE public.t"],
    ),
    "a view": (
        "CREATE VIEW v AS SELECT 1 AS a; CREATE OR REPLACE VIEW v AS SELECT a FROM v; CREATE TABLE t ()",
        "",
        ["VIEW public.v"],
    ),
}


@pytest.mark.parametrize("form", ["directory", "custom"])
@pytest.mark.parametrize("case", CASES)
def test_the_error_has_the_line_that_leaves_the_object_out(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, case: str, form: str
) -> None:
    sql, why, objects = CASES[case]
    production.create_database(database, sql)
    push.push(Task.from_mapping(task_values("push", database, format=form)), Host())

    with pytest.raises(EnvSyncError) as caught:
        pull.pull(Task.from_mapping(task_values("pull", database)), Host())

    assert why in caught.value.why and "planted-secret" not in str(caught.value)
    assert f"excluded_objects: {json.dumps(objects)}" in caught.value.hint
    result = pull.pull(Task.from_mapping(task_values("pull", database, excluded_objects=objects)), Host())
    assert any(line.startswith("left out, as excluded_objects says: ") for line in result["warnings"])
    assert database in staging.databases()


#: does what pg_cron does, whose package is of servers that are not here
ONE_DATABASE = """
DO $$ BEGIN IF current_database() <> 'postgres' THEN
    RAISE EXCEPTION 'can only create extension in database postgres'
        USING HINT = 'Add cron.database_name = ''' || current_database() || ''' in postgresql.conf';
END IF; END $$;
"""


@pytest.fixture
def one_database(request: pytest.FixtureRequest) -> PostgresServer:
    """A server with extensions that only its database ``postgres`` may have."""
    server = PostgresServer("18", major=18).start()
    request.addfinalizer(server.stop)
    folder = next(Path(server.program("")).parent.parent.rglob("plpgsql.control")).parent
    for name in ("pg_cron", "one_place"):
        (folder / f"{name}.control").write_text("default_version = '1'\n", encoding="utf-8")
        (folder / f"{name}--1.sql").write_text(ONE_DATABASE, encoding="utf-8")
    return server


def test_an_extension_of_one_database_is_left_out_and_the_servers_hint_is_not_repeated(
    one_database: PostgresServer, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = one_database
    monkeypatch.setenv("PATH", os.path.dirname(server.program("pg_dump")), prepend=os.pathsep)
    server.psql("postgres", "CREATE EXTENSION pg_cron; CREATE EXTENSION one_place; CREATE TABLE t AS SELECT 1 AS n")
    where = {"database_hostname": server.host, "database_port": server.port, "login_user": "postgres"}
    push.push(Task.from_mapping(task_values("push", "postgres", **where)), Host())
    copy = {**task_values("pull", "postgres", **where), "allow_restore_to_source": True}

    def refusal(verb: Any, **how: Any) -> EnvSyncError:
        with pytest.raises(EnvSyncError) as caught:
            verb(Task.from_mapping({**copy, **how}), Host())
        assert "cron.database_name = 'env_sync" not in str(caught.value)
        return caught.value

    for verb in (pull.plan, pull.pull):
        assert 'excluded_extensions: ["pg_cron"]' in refusal(verb).hint
    late = refusal(pull.pull, excluded_extensions="pg_cron")
    assert "can only create extension in database postgres" in late.why
    assert 'excluded_extensions: ["one_place"]' in late.hint
    result = pull.pull(Task.from_mapping({**copy, "excluded_extensions": "pg_cron,one_place"}), Host())
    assert "left out, as excluded_extensions says: EXTENSION one_place, EXTENSION pg_cron" in result["warnings"]
    assert server.psql("postgres", "SELECT n FROM t") == "1"
