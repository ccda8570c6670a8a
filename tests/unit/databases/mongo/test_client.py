# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tells one server from another."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.client import Server, ServerError


class Statuses(Server):
    """A server that answers serverStatus only."""

    def __init__(self, uri: str, host: str) -> None:
        super().__init__(uri)
        self._host = host

    def command(self, database: str, command: Any, doing: str) -> dict[str, Any]:
        if "serverStatus" in command:
            return {"host": self._host}
        raise ServerError(doing, "no such command", 59)


@pytest.mark.parametrize(
    ("host", "system"), [("db-1:27018", "db-1:27018"), ("db-1", "db-1:1"), ("", "docdb.example:1")]
)
def test_a_server_that_does_not_know_its_own_name_goes_by_the_tasks(host: str, system: str) -> None:
    assert Statuses("mongodb://docdb.example:1/", host).system("asking") == system
