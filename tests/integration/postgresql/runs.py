# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pushes and pulls as the tests of PostgreSQL make them, and what they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

Values = Callable[..., dict[str, Any]]
SQL = Path(__file__).parents[1] / "sql"

NEW = """
CREATE TABLE people (id int PRIMARY KEY, email text CHECK (email <> ''));
INSERT INTO people VALUES (1, 'ann@new');
"""
OLD = "CREATE TABLE old_table AS SELECT 1 AS n"

#: the roles of a shop, and one that pulls; for a server that has some of them, too
SHOP_ROLES = """
SELECT format('CREATE ROLE %I %s', name, CASE WHEN name = 'deploy' THEN 'LOGIN CREATEDB' END)
  FROM unnest(ARRAY['deploy', 'shop_owner', 'shop_admin', 'shop_reader', 'shop_other']) name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \\gexec
GRANT shop_owner, shop_admin, shop_reader TO deploy;
"""


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
