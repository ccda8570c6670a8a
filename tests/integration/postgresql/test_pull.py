# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A pull over a database that is in use: what it keeps, what its clients see, and who may do it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import psycopg2
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import swap as postgresql_swap
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.members import PointSource
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

Values = Callable[..., dict[str, Any]]
SQL = Path(__file__).parents[1] / "sql"

NEW = """
CREATE TABLE people (id int PRIMARY KEY, email text CHECK (email <> ''));
INSERT INTO people VALUES (1, 'ann@new');
"""
OLD = "CREATE TABLE old_table AS SELECT 1 AS n"


@pytest.fixture(scope="module", autouse=True)
def _roles(production: PostgresServer, staging: PostgresServer) -> None:
    for server in (production, staging):
        server.psql("postgres", (SQL / "roles.sql").read_text(encoding="utf-8"))
    staging.psql("postgres", "CREATE ROLE restorer LOGIN CREATEDB; CREATE ROLE app LOGIN; CREATE ROLE outsider LOGIN")
    production.psql("postgres", "CREATE ROLE only_there")


def pushed(task_values: Values, database: str, **how: Any) -> dict[str, Any]:
    return push.push(Task.from_mapping(task_values("push", database, **how)), Host())


def pulled(task_values: Values, database: str, host: Host | None = None, **how: Any) -> dict[str, Any]:
    return pull.pull(Task.from_mapping(task_values("pull", database, **how)), host or Host())


def at(phase: str, act: Callable[[], Any]) -> Host:
    """Return a host that does something when a run enters a phase."""
    return Host(log=lambda level, text: act() if text == phase else None)


def script(tmp_path: Path, sql: str) -> str:
    path = tmp_path / "transform.sql"
    path.write_text(sql, encoding="utf-8")
    return str(path)


def test_the_largest_tables_are_restored_first(
    production: PostgresServer, database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = (400, 800, 1600, 3200)
    tables = "; ".join(f"CREATE TABLE of_{size} AS SELECT repeat('x', {size} * 1024) AS x" for size in sizes)
    production.create_database(database, tables)
    pushed(task_values, database)
    taken: list[int] = []
    send = PointSource.send

    def told(self: PointSource, name: str, descriptor: int) -> None:
        taken.append(self.member(name).raw_size // 1024)
        send(self, name, descriptor)

    monkeypatch.setattr(PointSource, "send", told)
    pulled(task_values, database, jobs=2)
    # Two at a time, and which of them is seen first is a matter of luck.
    assert sorted(taken[:2]) == [1600, 3200] and taken[3] == 400


@pytest.mark.parametrize(("cores", "jobs", "helpers"), [(2, 2, 0), (4, 4, 1), (16, 16, 2), (4, 2, 2)])
def test_a_small_host_makes_indexes_with_no_more_processes_than_it_has_cores(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    jobs: int,
    helpers: int,
) -> None:
    setting = "current_setting('max_parallel_maintenance_workers')::int"
    # Filled by the restoring session itself.
    production.create_database(database, f"CREATE MATERIALIZED VIEW said AS SELECT {setting} AS helpers")
    pushed(task_values, database)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cores)))
    pulled(task_values, database, jobs=jobs)
    assert staging.psql(database, "SELECT helpers FROM said") == str(helpers)
    assert staging.psql(database, f"SELECT {setting}") == "2", "what the server has, for all others"


PROPERTIES = """
SELECT pg_get_userbyid(datdba), datconnlimit, datallowconn, datistemplate, shobj_description(d.oid, 'pg_database'),
       (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a),
       (SELECT array_agg((setrole::regrole, setconfig)::text ORDER BY setrole) FROM pg_db_role_setting
         WHERE setdatabase = d.oid)
  FROM pg_database d WHERE datname = '{0}'"""


@pytest.mark.parametrize(
    "sql",
    [
        "",
        """ALTER DATABASE {0} OWNER TO app_owner;
           REVOKE ALL ON DATABASE {0} FROM PUBLIC, app_owner;
           GRANT CONNECT ON DATABASE {0} TO app_owner;
           GRANT CONNECT, TEMPORARY ON DATABASE {0} TO app_reader WITH GRANT OPTION;
           ALTER DATABASE {0} CONNECTION LIMIT 7;
           ALTER DATABASE {0} SET search_path = "$user", "odd, ""x"" schema", public;
           ALTER DATABASE {0} SET default_transaction_read_only = on;
           ALTER DATABASE {0} SET app.setting = E'it''s a \\\\ value';
           ALTER ROLE "Röle ""quoted"" name" IN DATABASE {0} SET work_mem = '9MB';
           ALTER ROLE "Röle ""quoted"" name" IN DATABASE {0} SET statement_timeout = 1;
           COMMENT ON DATABASE {0} IS 'the app''s'""",
        "ALTER DATABASE {0} IS_TEMPLATE true; GRANT CREATE ON DATABASE {0} TO PUBLIC",
        "ALTER DATABASE {0} ALLOW_CONNECTIONS false",
    ],
    ids=["plain", "all", "template", "closed"],
)
def test_what_the_database_is_apart_from_its_contents_is_carried_over(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, sql: str
) -> None:
    production.create_database(database, NEW)
    staging.create_database(database, OLD)
    staging.psql("postgres", sql.format(database))
    before = staging.psql("postgres", PROPERTIES.format(database))
    pushed(task_values, database)

    assert pulled(task_values, database)["warnings"] == []

    after = staging.psql("postgres", PROPERTIES.format(database))
    if "GRANT" not in sql:  # the default grants, spelt out
        after = after.replace(f"{{=Tc/{staging.superuser},{staging.superuser}=CTc/{staging.superuser}}}", "")
    staging.psql("postgres", f"ALTER DATABASE {database} ALLOW_CONNECTIONS true IS_TEMPLATE false")
    assert after == before
    assert staging.psql(database, "SELECT email FROM people") == "ann@new"
    assert [name for name in staging.databases() if "env_sync" in name] == []


PREPARED = "BEGIN; CREATE TABLE never (n int); PREPARE TRANSACTION 'held'"


def test_the_old_database_is_kept_until_the_next_pull(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, NEW)
    staging.create_database(database, OLD)
    pushed(task_values, database)

    kept = pulled(task_values, database, old_database="keep")["kept"]
    staging.psql("postgres", f"ALTER DATABASE {kept} ALLOW_CONNECTIONS true")
    staging.psql(database, "CREATE TABLE of_first_pull ()")
    held = at("restoring", lambda: staging.psql(database, PREPARED))
    looking = psycopg2.connect(host=staging.host, port=staging.port, user=staging.superuser, dbname=kept)
    with contextlib.closing(looking):
        with pytest.raises(EnvSyncError, match=r"prepared transaction.*ROLLBACK PREPARED held"):
            pulled(task_values, database, held, old_database="keep")
        assert staging.psql(kept, "SELECT n FROM old_table") == "1", "a swap that fails does not cost it"
        staging.psql(database, "ROLLBACK PREPARED 'held'")

        assert pulled(task_values, database, old_database="keep")["kept"] == kept
    staging.psql("postgres", f"ALTER DATABASE {kept} ALLOW_CONNECTIONS true")
    assert staging.psql(kept, "SELECT relname FROM pg_class WHERE relname = 'of_first_pull'") == "of_first_pull"

    assert pulled(task_values, database)["kept"] == ""
    assert [name for name in staging.databases() if "env_sync" in name] == []


def test_somebody_elses_database_under_a_name_of_ours_is_left_alone(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, NEW)
    staging.create_database(database, OLD)
    pushed(task_values, database)
    kept = pulled(task_values, database, old_database="keep")["kept"]
    for theirs in (kept, kept.replace("_old_", "_scratch_")):
        staging.drop_database(kept)
        staging.create_database(theirs, "CREATE TABLE precious ()")
        for how in ("keep", "drop"):
            with pytest.raises(EnvSyncError, match=f"there is a database {theirs} that is not env_sync's"):
                pulled(task_values, database, old_database=how)
        assert staging.psql(theirs, "SELECT count(*) FROM precious") == "0"
        staging.drop_database(theirs)


class Client(threading.Thread):
    """Polls a database, and connects again as fast as it can when it is thrown out."""

    def __init__(self, server: PostgresServer, database: str) -> None:
        super().__init__(daemon=True)
        self._address = {"host": server.host, "port": server.port, "user": server.superuser, "dbname": database}
        self.stop = threading.Event()
        self.answers: list[tuple[float, str]] = []
        self.start()

    def run(self) -> None:
        while not self.stop.is_set():
            with contextlib.suppress(psycopg2.Error), contextlib.closing(psycopg2.connect(**self._address)) as session:
                session.autocommit = True
                while not self.stop.is_set():
                    with session.cursor() as cursor:
                        cursor.execute("SELECT coalesce(to_regclass('people')::text, 'old')")
                        self.answers.append((time.monotonic(), cursor.fetchone()[0]))
                    time.sleep(0.002)


def test_clients_that_reconnect_all_the_time_lose_the_database_for_less_than_a_second(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, NEW)
    staging.create_database(database, OLD)
    pushed(task_values, database)
    clients = [Client(staging, database) for _unused in range(6)]
    try:
        result = pulled(task_values, database)
        time.sleep(0.3)
    finally:
        for client in clients:
            client.stop.set()
        for client in clients:
            client.join(10)

    assert result["name_away_seconds"] < 1
    for client in clients:
        seen = [answer for _at, answer in client.answers]
        assert seen == sorted(seen) and set(seen) == {"old", "people"}
        gaps = [after[0] - before[0] for before, after in zip(client.answers, client.answers[1:])]
        assert max(gaps) < 1


def test_a_swap_that_fails_leaves_the_live_database_as_it_was(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, NEW)
    staging.create_database(database, OLD)
    staging.psql("postgres", f"ALTER DATABASE {database} IS_TEMPLATE true")
    before = staging.psql("postgres", PROPERTIES.format(database))
    pushed(task_values, database)
    # A prepared transaction can't be ended from outside.
    held = at("checking", lambda: staging.psql(database, PREPARED))

    with pytest.raises(EnvSyncError, match=r"swapping .*prepared transaction.* The old database still serves"):
        pulled(task_values, database, held)

    staging.psql(database, "ROLLBACK PREPARED 'held'")
    assert staging.psql("postgres", PROPERTIES.format(database)) == before
    assert staging.psql(database, "SELECT n FROM old_table") == "1"
    assert [name for name in staging.databases() if "env_sync" in name] == []
    staging.psql("postgres", f"ALTER DATABASE {database} IS_TEMPLATE false")


SUBSCRIPTION = (
    "CREATE SUBSCRIPTION held CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE)"
)


def unsubscribe(server: PostgresServer, database: str) -> None:
    server.psql("postgres", f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
    server.psql(database, "DROP SUBSCRIPTION held")


def test_replaced_databases_that_cannot_be_dropped_are_a_warning_as_long_as_there_is_room(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, NEW)
    staging.create_database(database, OLD)
    pushed(task_values, database)
    # A database with a subscription can't be dropped; one that has it from the start is refused.
    subscribes = at("restoring", lambda: staging.psql(database, SUBSCRIPTION))
    left = []
    try:
        for _unused in range(2):
            result = pulled(task_values, database, subscribes)
            left.append(result["kept"])
            assert "is being used by logical replication subscription" in " ".join(result["warnings"])
            assert staging.psql(database, "SELECT email FROM people") == "ann@new"
        assert any("what an earlier pull replaced is still there" in text for text in result["warnings"])
        older = left[0].replace("_old_", "_older_")
        with pytest.raises(EnvSyncError, match=f"{left[0]} and {older}, .* are still there.* Drop {older}"):
            pulled(task_values, database)
    finally:
        for name in [name for name in staging.databases() if name.startswith("env_sync_old")]:
            unsubscribe(staging, name)
    pulled(task_values, database)
    assert [name for name in staging.databases() if "env_sync" in name] == []


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (PREPARED, r"has prepared transactions \(held\).*COMMIT PREPARED or ROLLBACK PREPARED"),
        (SUBSCRIPTION, r"has subscriptions \(held\).*DROP SUBSCRIPTION first"),
    ],
    ids=["prepared", "subscription"],
)
def test_a_database_that_cannot_make_room_is_refused_before_anything_happens(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, sql: str, why: str
) -> None:
    production.create_database(database, NEW)
    staging.create_database(database, OLD + ";" + sql)
    pushed(task_values, database)
    task = Task.from_mapping(task_values("pull", database))
    said: list[str] = []
    try:
        for verb in (pull.plan, pull.pull):
            with pytest.raises(EnvSyncError, match=why):
                verb(task, Host(log=lambda level, text: said.append(text)))
    finally:
        staging.psql(database, "DROP SUBSCRIPTION held" if sql == SUBSCRIPTION else "ROLLBACK PREPARED 'held'")
    assert [line for line in said if not line.startswith("taking ")] == []
    assert staging.psql(database, "SELECT n FROM old_table") == "1"


def test_replication_slots_that_go_with_the_old_database_are_said(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, NEW)
    staging.create_database(database, OLD)
    staging.psql(database, "SELECT pg_create_logical_replication_slot('a_slot', 'pgoutput')")
    pushed(task_values, database)
    said = "its logical replication slots (a_slot) go with the replaced database"
    assert pull.plan(Task.from_mapping(task_values("pull", database)), Host())["warnings"] == [said]
    assert pulled(task_values, database)["warnings"] == [said]
    assert staging.psql("postgres", "SELECT count(*) FROM pg_replication_slots") == "0"


def test_the_database_that_everybody_connects_to_can_be_pulled_too(task_values: Values) -> None:
    # On servers of their own: it is not for other tests to find it replaced.
    with PostgresServer("source") as source, PostgresServer("target") as target:
        source.psql("postgres", NEW)
        target.psql("postgres", OLD)
        of_source, of_target = (
            {"database_hostname": server.host, "database_port": server.port} for server in (source, target)
        )
        pushed(task_values, "postgres", **of_source)
        pulled(task_values, "postgres", **of_target)
        assert target.psql("postgres", "SELECT email FROM people") == "ann@new"
        assert target.databases() == []


FAILING = {
    "a constraint": ("UPDATE people SET email = ''", "SQLSTATE 23514: new row for relation"),
    "a raise": (
        "DO $$ BEGIN RAISE EXCEPTION 'cannot mask %', (SELECT email FROM people); END $$",
        "in inline_code_block, line 1, at RAISE: SQLSTATE P0001 (its text is withheld",
    ),
    "a raise in disguise": (
        "DO $$ BEGIN RAISE unique_violation USING MESSAGE = (SELECT email FROM people); END $$",
        "at RAISE: SQLSTATE 23505 (its text is withheld",
    ),
    "a cast": ("SELECT email::int FROM people", "SQLSTATE 22P02 (its text is withheld"),
    "made SQL": (
        "DO $$ BEGIN EXECUTE (SELECT 'SELECT ' || email FROM people); END $$",
        "at EXECUTE: SQLSTATE 42703 (its text is withheld",
    ),
    "a name": ("UPDATE peopel SET email = 'x'", 'SQLSTATE 42P01: relation "peopel" does not exist'),
    "psql": ("\\nonsense", "invalid command \\nonsense"),
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_transformation_that_fails_says_where_and_shows_no_data(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    tmp_path: Path,
    kind: str,
) -> None:
    production.create_database(database, NEW)
    staging.create_database(database, OLD)
    pushed(task_values, database)
    sql, said = FAILING[kind]
    path = script(tmp_path, f"UPDATE people SET email = 'masked' WHERE false;\n\n{sql};\n")

    with pytest.raises(EnvSyncError) as caught:
        pulled(task_values, database, transformation_sql_filename=path)

    assert f"{path}, line 3" in str(caught.value)
    assert said in str(caught.value)
    assert "ann" not in str(caught.value)
    assert staging.psql(database, "SELECT n FROM old_table") == "1"
    assert [name for name in staging.databases() if "env_sync" in name] == []
    assert list((tmp_path / "temp").iterdir()) == []


def test_a_row_that_cannot_be_restored_is_not_shown_either(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(
        database,
        """CREATE TABLE allowed (email text); INSERT INTO allowed VALUES ('ann@new');
           CREATE FUNCTION known(text) RETURNS boolean LANGUAGE sql AS
             $$ SELECT EXISTS (SELECT FROM public.allowed WHERE email = $1) $$;
           CREATE TABLE aaa (email text CHECK (known(email))); INSERT INTO aaa VALUES ('ann@new');
           DROP FUNCTION IF EXISTS nothing();""",
    )
    pushed(task_values, database, format="custom")
    with pytest.raises(EnvSyncError) as caught:
        pulled(task_values, database)
    assert 'COPY failed for table "aaa"' in str(caught.value)
    assert "ann" not in str(caught.value)


def test_nobody_else_sees_the_scratch_database(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, NEW)
    pushed(task_values, database)
    path = script(tmp_path, "SELECT pg_sleep(1); UPDATE people SET email = 'masked'")
    said: list[str] = []

    def intrude() -> None:
        while not said or "does not exist" in said[-1]:
            names = [name for name in staging.databases() if name.startswith("env_sync_scratch")]
            for name in names:
                try:
                    psycopg2.connect(host=staging.host, port=staging.port, user="outsider", dbname=name).close()
                    said.append("let in")
                except psycopg2.Error as error:
                    said.append(str(error))

    intruder = threading.Thread(target=intrude, daemon=True)
    intruder.start()
    pulled(task_values, database, transformation_sql_filename=path)
    intruder.join(5)

    assert "permission denied" in said[-1] or "not currently accepting connections" in said[-1]
    assert staging.psql(database, "SELECT email FROM people") == "masked"


def test_scripts_find_tables_as_the_originals_did_and_run_in_order(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, NEW)
    pushed(task_values, database)
    staging.psql("postgres", "ALTER ROLE postgres SET search_path = nowhere")
    try:
        second = tmp_path / "second.sql"
        second.write_text("UPDATE people SET email = email || current_setting('search_path')", encoding="utf-8")
        first = script(tmp_path, "UPDATE people SET email = 'masked '")
        result = pulled(task_values, database, transformation_sql_filename=[first, str(second)])
        assert staging.psql(database, "SELECT email FROM public.people") == 'masked "$user",public'
        assert [item["script"] for item in result["sanitised"]] == ["transform.sql", "second.sql"]
    finally:
        staging.psql("postgres", "ALTER ROLE postgres RESET search_path")


def test_limits_that_roles_and_databases_have_do_not_end_a_pull(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, NEW)
    limits = "ALTER ROLE postgres SET {0} = '200ms'"
    names = ("statement_timeout", "lock_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout")
    try:
        for server in (production, staging):
            for name in names:
                server.psql("postgres", limits.format(name))
        pushed(task_values, database)
        path = script(tmp_path, "SELECT pg_sleep(0.6)")
        pulled(task_values, database, transformation_sql_filename=path)
    finally:
        for server in (production, staging):
            server.psql("postgres", "ALTER ROLE postgres RESET ALL")
    assert staging.psql(database, "SELECT email FROM people") == "ann@new"


# -- not a superuser ---------------------------------------------------------------------------------------------------

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


@pytest.fixture
def restorer(staging: PostgresServer) -> Iterator[dict[str, str]]:
    """A role that may create databases, and is a member of some owners; what a task needs to log in as it."""
    staging.psql("postgres", "GRANT app_owner, app TO restorer")
    yield {"login_user": "restorer"}
    staging.psql("postgres", "REVOKE app_owner, app FROM restorer")


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
