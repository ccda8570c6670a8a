# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two ways to spell one server have one lock."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.pairs.runs import Values, keys
from tests.servers.postgresql import PostgresServer


def test_postgresql_has_one_lock_however_it_is_spelt(
    production: PostgresServer, staging: PostgresServer, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = task_values("push", "app")
    monkeypatch.setenv("PGPASSWORD", production.password)
    expected = keys(values)
    for host in ("127.0.0.1", "localhost"):
        assert keys(values, database_hostname=host) == expected
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(production.port))
    assert keys({k: v for k, v in values.items() if k not in ("database_hostname", "database_port")}) == expected
    assert keys(task_values("pull", "app")) != expected
    assert keys(task_values("push", "app2")) != expected


def test_mysql_has_one_lock_however_it_is_spelt(mysql_values: dict[str, Any]) -> None:
    found = [
        keys({"action": "push", **mysql_values}, database_hostname=host)
        for host in (mysql_values["database_hostname"], "127.0.0.1", "localhost")
    ]
    assert found[0] == found[1] == found[2]


def test_mongodb_has_one_lock_however_it_is_spelt(
    mongo_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = keys({"action": "push", **mongo_values})
    assert keys({"action": "push", **mongo_values}, database_hostname="localhost") == expected
    monkeypatch.setenv("MONGODB_URI", f"mongodb://127.0.0.1:{mongo_values['database_port']}/")
    bare = {k: v for k, v in mongo_values.items() if k not in ("database_hostname", "database_port")}
    assert keys({"action": "push", **bare}) == expected
