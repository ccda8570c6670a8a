# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A pull over a database that is in use: what it keeps, what its clients see, and what stops the swap."""

from __future__ import annotations

import contextlib
import threading
import time

import psycopg2
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.postgresql.runs import NEW, OLD, Values, at, pulled, pushed
from tests.servers.postgresql import PostgresServer

pytestmark = pytest.mark.usefixtures("app_roles")


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
