# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sanitised means that it happened: scripts that do not sanitise, and what those that do leave behind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

Values = Callable[..., dict[str, Any]]

SAMPLE = """
CREATE TABLE users (id int PRIMARY KEY, email text);
INSERT INTO users SELECT n, 'real' || n || '@example.org' FROM generate_series(1, 20) n;
CREATE SCHEMA other; CREATE TABLE other.users (id int, email text);
CREATE TABLE log (line text); CREATE TABLE empty (id int);
CREATE VIEW ruled AS SELECT * FROM users;
CREATE RULE nothing AS ON UPDATE TO ruled DO INSTEAD NOTHING;
CREATE PROCEDURE undo() LANGUAGE plpgsql AS $$ BEGIN UPDATE users SET email = 'x'; ROLLBACK; END $$;
"""
LIVE = "CREATE TABLE users (id int PRIMARY KEY, email text); INSERT INTO users VALUES (1, 'live')"
UPDATE = "UPDATE users SET email = 'user' || id || '@invalid';\n"

#: scripts that sanitise nothing, each with what is said of it; LIVE stands for the live database's name
NOTHING: dict[str, tuple[str, str]] = {
    # what psql is told
    "errors off": (
        "\\set ON_ERROR_STOP off\nUPDATE userz SET email = 'x';\n" + UPDATE,
        "line 1: ON_ERROR_STOP is sw",
    ),
    "errors unset": (
        "\\unset ON_ERROR_STOP\nUPDATE userz SET email = 'x';\n",
        "line 1: ON_ERROR_STOP is switched off",
    ),
    "errors off by a variable": (
        "\\set how off\n\\set ON_ERROR_STOP :how\nUPDATE userz SET email = 'x';\n" + UPDATE,
        'line 3: SQLSTATE 42P01: relation "userz" does not exist',
    ),
    "errors off and on": (
        "COMMIT;\n\\set ON_ERROR_STOP off\nUPDATE userz SET email = 'x';\n\\set ON_ERROR_STOP on\n",
        'an error was passed over: .*line 3: SQLSTATE 42P01: relation "userz"',
    ),
    "errors rolled back": (
        r"\set ON_ERROR_ROLLBACK on"
        "\n"
        r"\set ON_ERROR_STOP off"
        "\nUPDATE userz SET email = 'x';\n"
        r"\set ON_ERROR_STOP on"
        "\nINSERT INTO log VALUES ('done');\n",
        "an error was passed over: .*line 3: SQLSTATE 42P01",
    ),
    "quit first": ("\\q\n" + UPDATE, r"line 1: \\q ends it there"),
    "quit in the middle": ("INSERT INTO log VALUES ('x');\n\\quit\n" + UPDATE, r"line 2: \\quit ends it there"),
    "quit on a condition": (
        "\\if true\n\\q\n\\endif\n" + UPDATE,
        r"psql did not come to its end, .* \\q in line 2 of ",
    ),
    "an if that is false": ("\\if false\n" + UPDATE + r"\endif", "changed nothing"),
    "an if with no end": ("\\if true\n" + UPDATE, r"line 1: an \\if begins here, and nothing ends it"),
    "a variable that quits": ("\\set bye '\\\\q'\n:bye\n" + UPDATE, "psql did not come to its end"),
    # another database
    "connect": ("\\connect LIVE\n" + UPDATE, r"line 1: \\connect leaves the database"),
    "c in a line": ("SELECT 1; \\c LIVE\n" + UPDATE, r"line 1: \\c leaves the database"),
    "c after a statement": ("SELECT 1 \\g \\c LIVE\n" + UPDATE, r"line 1: \\c leaves the database"),
    "c after a command": ("\\echo x \\\\ \\c LIVE\n" + UPDATE, r"line 1: \\c leaves the database"),
    "c in an if": ("\\if true\n\\c LIVE\n\\endif\n" + UPDATE, r"line 2: \\c leaves the database"),
    "reuse": ("\\c -reuse-previous=on dbname=LIVE\n" + UPDATE, r"line 1: \\c leaves the database"),
    "c in a variable": ("\\set go '\\\\connect LIVE'\n:go\n" + UPDATE, r"line 1: \\connect leaves the database"),
    "c after a string": ("SELECT '\\'; \\c LIVE\n" + UPDATE, r"line 1: \\c leaves the database"),
    "c after data": ("COPY log FROM STDIN;\nx\n\\.\n\\c LIVE\n" + UPDATE, r"line 4: \\c leaves the database"),
    "an included file": ("\\ir more.sql\n" + UPDATE, r"more\.sql, line 1: \\c leaves the database"),
    "a program": ("\\! psql -d LIVE -c 'UPDATE users SET email = 1'\n", "would start a program"),
    "backquotes": ("\\set x `psql -d LIVE -c 'DELETE FROM users'`\n", "would start a program"),
    "a pipe": ("SELECT 'DELETE FROM users' \\g | psql -d LIVE\n", "would start a program"),
    "output to a pipe": ("\\o | psql -d LIVE\nSELECT 'DELETE FROM users';\n", "would start a program"),
    "copy to a program": ("\\copy users TO PROGRAM 'psql -d LIVE'\n", "would start a program"),
    "the database": ("ALTER DATABASE LIVE SET search_path = other;\n" + UPDATE, "line 1: ALTER ... DATABASE reaches"),
    "strings of old": (
        "SET standard_conforming_strings = off; SELECT '\\'', '\n\\c LIVE\n'; " + UPDATE,
        "line 1: with standard_conforming_strings off",
    ),
    # undone
    "rollback": (UPDATE + "ROLLBACK;\n", "line 2: ROLLBACK undoes"),
    "abort": ("BEGIN;\n" + UPDATE + "/* never mind */ abort;", "line 3: ABORT undoes"),
    "to a savepoint": ("SAVEPOINT a;\n" + UPDATE + "ROLLBACK TO a;\n", "line 3: ROLLBACK undoes"),
    "rollback in one with others": (UPDATE.strip()[:-1] + r"\; ROLLBACK;", "line 1: ROLLBACK undoes"),
    "rollback that is made": (UPDATE + "SELECT 'ROLLBACK' \\gexec\n", "psql did not come|changed nothing"),
    "rollback in a procedure": ("COMMIT;\nCALL undo();\n", "changed nothing"),
    "prepared": ("BEGIN;\n" + UPDATE + "PREPARE TRANSACTION 'p';\n", "line 3: PREPARE TRANSACTION"),
    "prepared by made SQL": (
        "BEGIN;\n" + UPDATE + "SELECT $$PREPARE TRANSACTION 'p2'$$ \\gexec\n",
        r"it left prepared transactions \(p2\)",
    ),
    "a device": ("\\ir /dev/zero\n" + UPDATE, "line 1: /dev/zero is not a file"),
    "an exception that is caught": (
        "DO $$ BEGIN UPDATE users SET email = 'x'; UPDATE userz SET email = 'x'; "
        "EXCEPTION WHEN OTHERS THEN NULL; END $$;\n",
        "changed nothing",
    ),
    "a deletion that is caught": (
        "DO $$ BEGIN DELETE FROM users; RAISE 'no'; EXCEPTION WHEN OTHERS THEN NULL; END $$;\n",
        "changed nothing",
    ),
    # nothing
    "empty": ("", "changed nothing"),
    "a comment": ("-- UPDATE users SET email = 'x';\n", "changed nothing"),
    "a comment that hides the rest": ("/* begin /* again */\n" + UPDATE, "line 1: a comment begins here"),
    "a string that hides the rest": ("SELECT 'it''s;\n" + UPDATE, "a string begins here, and nothing ends it"),
    "a dollar that hides the rest": ("DO $a$ BEGIN NULL; END $b$;\n" + UPDATE, "a string that begins with .a. begins"),
    "data that hide the rest": ("COPY log FROM STDIN;\nx\n" + UPDATE, "line 1: the data of COPY, .* nothing ends it"),
    "carriage returns": ("-- mask\r" + UPDATE.replace("\n", "\r").replace("UPDATE", "-- UPDATE"), "changed nothing"),
    "select": ("SELECT 1;\n", "changed nothing"),
    "no row": ("UPDATE users SET email = 'x' WHERE id > 1000;\n", "changed nothing"),
    "a block that returns": ("DO $$ BEGIN RETURN; UPDATE users SET email = 'x'; END $$;\n", "changed nothing"),
    "only settings": ("SET LOCAL search_path = other;\n", "changed nothing"),
    "a temporary table": ("CREATE TEMP TABLE users AS TABLE users;\n" + UPDATE, "changed nothing"),
    "another schema's table": ("SET search_path = other;\n" + UPDATE, "changed nothing"),
    "a rule": ("UPDATE ruled SET email = 'x';\n", "changed nothing"),
    "an empty table is emptied": ("TRUNCATE empty;\nDELETE FROM empty;\n", "changed nothing"),
    "read only": ("SET TRANSACTION READ ONLY;\nSELECT count(*) FROM users;\n", "changed nothing"),
    "a rule of its own": (
        "CREATE RULE no AS ON UPDATE TO users DO INSTEAD NOTHING;\n" + UPDATE,
        "changed nothing",
    ),
    "UTF-16": ("\ufeff" + UPDATE, "holds zero bytes"),
    "a backslash": ("\\", "invalid command"),
}


@pytest.fixture(scope="module")
def point(production: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A database that was pushed, and the store that it is in."""
    store, name = tmp_path_factory.mktemp("points"), "sanitised"
    production.create_database(name, SAMPLE)
    values = {
        "action": "push",
        "dbms": "postgresql",
        "database": name,
        "storagebackend": "directory",
        "url": str(store),
    }
    where = {"database_hostname": production.host, "database_port": production.port, "login_user": "postgres"}
    push.push(Task.from_mapping({**values, **where, "state_dir": str(store / "state")}), Host())
    yield name, str(store)
    production.drop_database(name)


@pytest.fixture
def pulled_over(staging: PostgresServer, live: str) -> Iterator[str]:
    """The live database, for a test that replaces it."""
    yield live
    staging.drop_database(live)
    staging.create_database(live, LIVE)


@pytest.fixture(scope="module")
def live(staging: PostgresServer, point: tuple[str, str]) -> Iterator[str]:
    """The live database of the same name, which no script of these tests may change."""
    staging.create_database(point[0], LIVE)
    yield point[0]
    staging.drop_database(point[0])


#: all that a script could have done to the live database, and what a pull could have left beside it
STATE = """
SELECT (SELECT array_agg(u::text) FROM users u),
       (SELECT array_agg(c::text ORDER BY oid) FROM pg_class c WHERE oid > 16384),
       (SELECT array_agg((d.oid, d.datname, d.datacl, s.setconfig)::text ORDER BY d.oid) FROM pg_database d
          LEFT JOIN pg_db_role_setting s ON s.setdatabase = d.oid),
       (SELECT array_agg(p::text) FROM pg_prepared_xacts p)
"""


@pytest.fixture
def run(point: tuple[str, str], task_values: Values, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that pulls with a script (text or bytes)."""

    def pulled(sql: str | bytes, host: Host | None = None, **how: Any) -> dict[str, Any]:
        path = tmp_path / "transform.sql"
        path.write_bytes(sql.encode() if isinstance(sql, str) else sql)
        values = task_values("pull", point[0], url=point[1], path="", transformation_sql_filename=str(path))
        task = Task.from_mapping({**values, "require_sanitised": True, "analyze": False, **how})
        return pull.pull(task, host or Host())

    return pulled


Run = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("kind", NOTHING)
def test_a_script_that_sanitises_nothing_is_refused(
    staging: PostgresServer, live: str, run: Run, tmp_path: Path, kind: str
) -> None:
    sql, why = NOTHING[kind]
    (tmp_path / "more.sql").write_text(f"\\c {live}\n", encoding="utf-8")
    before = staging.psql(live, STATE)
    text = sql.replace("LIVE", live)
    with pytest.raises(EnvSyncError, match=why) as caught:
        run(text.encode("utf-16") if kind == "UTF-16" else text)
    assert str(tmp_path / "transform.sql") in str(caught.value) or "more.sql" in str(caught.value)
    assert "real" not in str(caught.value)
    assert staging.psql(live, STATE) == before
    assert list((tmp_path / "temp").iterdir()) == []


#: scripts that sanitise all twenty users, however they are written
RIGHT: dict[str, str] = {
    "no semicolon": UPDATE.strip()[:-1] + " -- done",
    "its own transaction": "BEGIN;\n" + UPDATE + "COMMIT;\n",
    "two of its own": "COMMIT;\nBEGIN;\n"
    + UPDATE
    + "END;\nBEGIN ISOLATION LEVEL SERIALIZABLE;\nINSERT INTO log VALUES ('');",
    "an isolation level": "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;\n" + UPDATE,
    "leaving at the end": UPDATE + "\\q\n",
    "stopping at errors": "\\set ON_ERROR_STOP on\n" + UPDATE,
    "a condition": "\\set mask on\n\\if :mask\n" + UPDATE + "\\else\nSELECT 1;\n\\endif",
    "variables": "\\set domain 'invalid\\\\\\\\\\\\c'\nUPDATE users SET email = 'user' || id || :'domain';\n",
    "made statements": "SELECT format('UPDATE %I SET email = %L', 'users', 'x') \\gexec\n",
    "data": (
        "CREATE TEMP TABLE new (n int, email text);\nCOPY new FROM STDIN;\n1\t\\\\c\n\\.\nUPDATE users SET email = 'x';"
    ),
    "two statements at once": "SET LOCAL work_mem = '8MB'\\; " + UPDATE,
    "no more counts": "SET track_counts = off;\n" + UPDATE,
    "a function that fails at first": (
        "DO $$ BEGIN BEGIN UPDATE users SET email = 'x'; RAISE 'no'; EXCEPTION WHEN OTHERS THEN NULL; END; "
        "UPDATE users SET email = 'y'; END $$;\n"
    ),
    "Windows": "\ufeff" + UPDATE.replace("\n", "\r\n") + "-- done\r\n",
    "an included file": "\\ir more.sql\n\\i more.sql\n",
    "settings that stay": "\\set AUTOCOMMIT off\n\\o /dev/null\n\\set SINGLELINE on\n" + UPDATE,
    "discarding": UPDATE + "COMMIT;\nDISCARD ALL;\n",
    "another role": "SET SESSION AUTHORIZATION postgres;\n" + UPDATE + "SET search_path = other;\n",
}


@pytest.mark.parametrize("kind", RIGHT)
def test_a_script_that_is_right_is_taken_as_it_is(
    staging: PostgresServer, pulled_over: str, run: Run, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "more.sql").write_text(UPDATE, encoding="utf-8")
    result = run(RIGHT[kind])
    [said] = result["sanitised"]
    assert result["warnings"] == []
    assert staging.psql(pulled_over, "SELECT count(*), count(*) FILTER (WHERE email LIKE 'real%') FROM users") == "20|0"
    assert said["changed"] == (21 if kind == "two of its own" else 20)
    included = [item["script"] for item in said.get("included", ())]
    assert included == (["more.sql"] * 2 if kind == "an included file" else [])
    assert staging.psql(pulled_over, "SELECT count(*) FROM pg_class WHERE relname LIKE 'env_sync%'") == "0"


def test_a_failure_in_a_transaction_of_the_scripts_own_is_the_one_that_is_told(run: Run, live: str) -> None:
    with pytest.raises(EnvSyncError, match=r'transform\.sql, line 3: SQLSTATE 42P01: relation "userz" does not exist'):
        run("BEGIN;\n" + UPDATE + "UPDATE userz SET email = 'x';\nCOMMIT;\n")


def test_a_failure_in_an_included_file_is_told_with_that_files_line(run: Run, live: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.sql").write_text("\\ir b.sql\n", encoding="utf-8")
    (tmp_path / "sub" / "b.sql").write_text("SELECT 1;\n\nUPDATE userz SET email = 'x';\n", encoding="utf-8")
    with pytest.raises(EnvSyncError, match=r'sub/b\.sql, line 3: SQLSTATE 42P01: relation "userz" does not exist'):
        run("\\i sub/a.sql\n")
    with pytest.raises(EnvSyncError, match=r"reading the script .*/gone\.sql: No such file"):
        run("\\i gone.sql\n")
    with pytest.raises(EnvSyncError, match=r"line 2: \\i: which file that is shows only when it runs"):
        run("SELECT 1;\n\\i :name\n")
    (tmp_path / "sub" / "b.sql").write_text("\\ir a.sql\n", encoding="utf-8")
    with pytest.raises(EnvSyncError, match=r"sub/b\.sql, line 1: .*/a\.sql includes itself"):
        run("\\i sub/a.sql\n")


def test_a_constraint_that_fails_at_the_end_is_told(production: PostgresServer, run: Run, live: str) -> None:
    sql = "CREATE TABLE child (id int REFERENCES users DEFERRABLE INITIALLY DEFERRED); INSERT INTO child VALUES (77);"
    with pytest.raises(EnvSyncError, match=r"transform\.sql, at its end: SQLSTATE 23503"):
        run(sql)


def test_what_runs_is_what_was_read_at_the_start(
    staging: PostgresServer, pulled_over: str, tmp_path: Path, point: tuple[str, str], task_values: Values
) -> None:
    path = tmp_path / "transform.sql"
    path.write_text(UPDATE, encoding="utf-8")

    def tamper(level: str, text: str) -> None:
        if text == "restoring":
            path.write_text("SELECT 1", encoding="utf-8")

    values = task_values("pull", point[0], url=point[1], path="", transformation_sql_filename=str(path))
    [said] = pull.pull(Task.from_mapping({**values, "require_sanitised": True}), Host(log=tamper))["sanitised"]
    assert said["sha256"] == hashlib.sha256(UPDATE.encode()).hexdigest()
    assert staging.psql(pulled_over, "SELECT count(*) FROM users WHERE email LIKE 'real%'") == "0"


def test_what_else_a_script_changes_is_named(
    staging: PostgresServer, pulled_over: str, run: Run, tmp_path: Path
) -> None:
    log: list[str] = []
    sql = """TRUNCATE users; DROP TABLE log CASCADE; ALTER TABLE other.users DROP COLUMN email;
             CREATE TABLE made (id int); CREATE MATERIALIZED VIEW seen AS SELECT 1;"""
    result = run(sql, host=Host(log=lambda level, text: log.append(text)))
    assert [(item["changed"], item["altered"]) for item in result["sanitised"]] == [(0, 5)]
    [line] = [text for text in log if "changed 0 rows" in text]
    for words in (
        "truncated or rewrote public.users", "dropped table public.log", "dropped or altered email of other.users",
        "made table public.made", "made materialized view public.seen",
    ):  # fmt: skip
        assert words in line


# -- what stays ----------------------------------------------------------------------------------------------------

PLANTED = """
CREATE FUNCTION planted(n int) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'planted-' || lpad(n::text, 5, '0') $$;
CREATE TABLE users (id int PRIMARY KEY, email text, phone text);
INSERT INTO users SELECT n, planted(n), planted(n) FROM generate_series(1, 5000) n;
CREATE INDEX ON users (email); CREATE INDEX ON users (upper(phone));
CREATE STATISTICS together ON email, phone FROM users;
CREATE VIEW between AS SELECT email FROM users;
CREATE MATERIALIZED VIEW seen AS SELECT email FROM between; CREATE UNIQUE INDEX ON seen (email);
CREATE MATERIALIZED VIEW above AS SELECT left(email, 13) AS email FROM seen;
CREATE MATERIALIZED VIEW never AS SELECT email FROM users WITH NO DATA;
CREATE FUNCTION first_user() RETURNS text LANGUAGE sql AS $$ SELECT email FROM public.users ORDER BY id LIMIT 1 $$;
CREATE MATERIALIZED VIEW opaque AS SELECT first_user() AS email;
CREATE MATERIALIZED VIEW apart AS SELECT clock_timestamp() AS at;
CREATE TABLE events (id int, email text) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (2500);
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (2500) TO (5001);
INSERT INTO events SELECT id, email FROM users;
CREATE TABLE notes (id int, body text, packed text); ALTER TABLE notes ALTER body SET STORAGE EXTERNAL;
INSERT INTO notes SELECT id, repeat(email, 200), repeat(email, 1000) FROM users;
CREATE TABLE sessions AS SELECT email FROM users; CREATE TABLE tokens AS SELECT email FROM users;
CREATE TABLE states (state text DEFAULT 'planted-00001'); INSERT INTO states VALUES ('a');
SELECT lo_from_bytea(7, convert_to(repeat(email, 20), 'UTF8')) FROM users WHERE id = 77;
"""
SANITISE = """
UPDATE users SET email = 'user' || id;
ALTER TABLE users DROP COLUMN phone;
UPDATE events SET email = 'x';
UPDATE notes SET body = 'x', packed = 'x';
TRUNCATE sessions;
DELETE FROM tokens;
ALTER TABLE states ALTER state DROP DEFAULT;
SELECT lo_unlink(7);
"""
PLANTED_VALUE = rb"planted-\d{5}"
LEFT = """SELECT {} FROM (SELECT email FROM users UNION ALL SELECT email FROM seen UNION ALL SELECT email FROM above
    UNION ALL SELECT email FROM opaque UNION ALL SELECT email FROM events UNION ALL SELECT body FROM notes
    UNION ALL SELECT packed FROM notes UNION ALL SELECT email FROM sessions UNION ALL SELECT email FROM tokens
    UNION ALL SELECT most_common_vals::text FROM pg_stats WHERE schemaname = 'public'
    UNION ALL SELECT histogram_bounds::text FROM pg_stats WHERE schemaname = 'public'
    UNION ALL SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef) t (text) WHERE text LIKE '%planted-%'"""


@pytest.mark.parametrize("analyze", [True, False])
@pytest.mark.parametrize("user", ["postgres", "sanitiser"])
def test_what_a_script_replaced_is_nowhere_in_the_new_database(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    tmp_path: Path,
    user: str,
    analyze: bool,
) -> None:
    production.create_database(database, PLANTED)
    staging.psql(
        "postgres", "DO $$ BEGIN CREATE ROLE sanitiser LOGIN CREATEDB; EXCEPTION WHEN duplicate_object THEN END $$"
    )
    push.push(Task.from_mapping(task_values("push", database)), Host())
    path = tmp_path / "transform.sql"
    path.write_text(SANITISE, encoding="utf-8")
    before: list[int] = []

    def watch(level: str, text: str) -> None:
        if text in ("sanitising", "rewriting"):
            [scratch] = [name for name in staging.databases() if name.startswith("env_sync_scratch")]
            if text == "sanitising":
                staging.psql(scratch, "ANALYZE")  # as autovacuum may have done
            before.append(len(staging.in_files(scratch, PLANTED_VALUE)))

    values = task_values(
        "pull",
        database,
        transformation_sql_filename=str(path),
        require_sanitised=True,
        analyze=analyze,
        login_user=user,
    )
    result = pull.pull(Task.from_mapping(values), Host(log=watch))

    assert before == [5000, 5000], "they were there"
    assert staging.psql(database, LEFT.format("count(*)")) == ("0" if user == "postgres" else "2")
    if user == "postgres":
        assert staging.in_files(database, PLANTED_VALUE) == set()
        assert result["warnings"] == []
    else:
        [warning] = [text for text in result["warnings"] if "statistics of" in text]
        assert "public.sessions, public.tokens, which" in warning
    [said] = result["sanitised"]
    assert said["changed"] >= 20_000
    assert staging.psql(database, "SELECT relispopulated FROM pg_class WHERE relname = 'never'") == "f"
    assert staging.psql(database, "SELECT at FROM apart") != ""
    assert staging.psql(database, "SELECT count(*) FROM pg_stats WHERE tablename IN ('users', 'seen', 'events')") != "0"


def test_rows_that_a_slot_keeps_in_the_files_are_told(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, PLANTED)
    push.push(Task.from_mapping(task_values("push", database)), Host())
    path = tmp_path / "transform.sql"
    path.write_text(SANITISE, encoding="utf-8")
    held = None

    def hold(level: str, text: str) -> None:
        nonlocal held
        if text == "sanitising":
            [scratch] = [name for name in staging.databases() if name.startswith("env_sync_scratch")]
            staging.psql(scratch, "BEGIN; CREATE TABLE held (); PREPARE TRANSACTION 'held'")
            held = scratch
        if text == "checking" and held:
            staging.psql(held, "ROLLBACK PREPARED 'held'")

    values = task_values("pull", database, transformation_sql_filename=str(path))
    result = pull.pull(Task.from_mapping(values), Host(log=hold))
    assert "public.events_1, public.events_2, public.notes, public.tokens, public.users" in " ".join(result["warnings"])


# -- ways to other servers -------------------------------------------------------------------------------------------

FOREIGN = """
CREATE EXTENSION postgres_fdw;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'production.example', dbname 'x');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (user 'app', password 'hunter2');
GRANT USAGE ON FOREIGN SERVER elsewhere TO PUBLIC; COMMENT ON SERVER elsewhere IS 'far';
CREATE FOREIGN TABLE remote (id int, t text) SERVER elsewhere; GRANT SELECT ON remote TO PUBLIC;
ALTER FOREIGN TABLE remote ALTER id SET DEFAULT 3;
CREATE VIEW on_remote AS SELECT * FROM remote; COMMENT ON VIEW on_remote IS 'x';
CREATE VIEW on_that AS SELECT id FROM on_remote;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM remote WITH NO DATA; CREATE INDEX ON kept (id);
CREATE FUNCTION all_remote() RETURNS SETOF remote LANGUAGE sql AS 'SELECT * FROM remote';
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON remote FOR EACH ROW EXECUTE FUNCTION f();
CREATE TABLE parted (id int, t text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE FOREIGN TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20) SERVER elsewhere;
INSERT INTO parted VALUES (1, 'here');
CREATE TABLE ours (id int); CREATE VIEW on_ours AS SELECT * FROM ours;
"""


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_ways_to_the_sources_other_servers_are_left_out_unless_they_are_wanted(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, form: str
) -> None:
    production.create_database(database, FOREIGN)
    push.push(Task.from_mapping(task_values("push", database, format=form)), Host())

    result = pull.pull(Task.from_mapping(task_values("pull", database)), Host())

    there = "SELECT (SELECT count(*) FROM pg_foreign_server), (SELECT count(*) FROM pg_user_mapping)"
    assert staging.psql(database, there) == "0|0"
    relations = (
        "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    )
    assert staging.psql(database, relations) == "on_ours ours parted parted_1"
    assert staging.psql(database, "SELECT count(*) FROM pg_extension WHERE extname = 'postgres_fdw'") == "1"
    assert staging.psql(database, "SELECT t FROM parted") == "here"
    warnings = " ".join(result["warnings"])
    assert "keep_foreign_servers" in warnings
    for name in ("SERVER elsewhere", "USER MAPPING", "FOREIGN TABLE remote", "FOREIGN TABLE parted_2", "VIEW on_that"):
        assert name in warnings
    assert "hunter2" not in warnings

    result = pull.pull(Task.from_mapping(task_values("pull", database, keep_foreign_servers=True)), Host())

    assert result["warnings"] == []
    assert staging.schema(database) == production.schema(database)
