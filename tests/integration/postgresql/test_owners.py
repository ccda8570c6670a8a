# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects are given to their owners: on servers of several versions, with small lock tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import (
    owners as postgresql_owners,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.postgresql.runs import SHOP_ROLES, Values
from tests.servers.postgresql import PostgresServer


@pytest.fixture(scope="module", params=[0, 17, 18], ids=["installed", "17", "18"])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server of one version, that databases are pushed from and pulled into; with a small lock table."""
    room = {"max_locks_per_transaction": "10", "max_connections": "12", "max_prepared_transactions": "0"}
    with PostgresServer(f"small-{request.param}", major=request.param, **room) as started:
        started.psql("postgres", SHOP_ROLES)
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
