# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles that the tests of PostgreSQL share, and what one of them prepares for a pull."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.postgresql.runs import SHOP_ROLES, SQL
from tests.servers.postgresql import PostgresServer

_NEW_ROLE = (
    "SELECT format('CREATE ROLE %I {1}', '{0}') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{0}') \\gexec"
)


@pytest.fixture(scope="session")
def app_roles(production: PostgresServer, staging: PostgresServer) -> None:
    """The roles of ``roles.sql`` on both servers; on the target those that pull and those that use the database."""
    for server in (production, staging):
        server.psql("postgres", (SQL / "roles.sql").read_text(encoding="utf-8"))
    for name, options in (("restorer", "LOGIN CREATEDB"), ("app", "LOGIN"), ("outsider", "LOGIN")):
        staging.psql("postgres", _NEW_ROLE.format(name, options))
    production.psql("postgres", _NEW_ROLE.format("only_there", ""))


@pytest.fixture(scope="session")
def shop_roles(production: PostgresServer, staging: PostgresServer) -> None:
    """The roles of a shop on both servers, and ``deploy``, which pulls and is no superuser."""
    for server in (production, staging):
        server.psql("postgres", SHOP_ROLES)


@pytest.fixture
def restorer(staging: PostgresServer) -> Iterator[dict[str, str]]:
    """A role that may create databases, and is a member of some owners; what a task needs to log in as it."""
    staging.psql("postgres", "GRANT app_owner, app TO restorer")
    yield {"login_user": "restorer"}
    staging.psql("postgres", "REVOKE app_owner, app FROM restorer")


@pytest.fixture
def template(staging: PostgresServer) -> Iterator[str]:
    """A database that a superuser has prepared for pulls."""
    staging.create_database("shop_template", "", "IS_TEMPLATE true")
    yield "shop_template"
    staging.psql("postgres", "ALTER DATABASE shop_template IS_TEMPLATE false ALLOW_CONNECTIONS true")
    staging.drop_database("shop_template")


@pytest.fixture
def stranger(production: PostgresServer) -> Iterator[None]:
    """A role that the target does not have."""
    production.psql("postgres", "DO $$ BEGIN CREATE ROLE only_there; EXCEPTION WHEN duplicate_object THEN END $$")
    yield
    production.psql("postgres", "ALTER ROLE only_there RESET ALL")
