# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A first pull makes the database as the source's was."""

from __future__ import annotations

import re

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.postgresql.runs import Values
from tests.servers.postgresql import PostgresServer

pytestmark = pytest.mark.usefixtures("shop_roles")

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
