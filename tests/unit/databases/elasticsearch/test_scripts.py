# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.elasticsearch.scripts import read_script
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.scripts import Script

GOOD = {"method": "POST", "path": "/users,art*/_update_by_query", "body": {}}


def write(text: str) -> Script:
    return Script("/etc/x/script.json", text.encode())


def test_requests_are_a_list_or_one_in_a_line() -> None:
    for text in (json.dumps([GOOD, GOOD]), f"{json.dumps(GOOD)}\n\n{json.dumps(GOOD)}\n"):
        first, second = read_script(write(text), "testing")
        assert first.indices == ("users", "art*") and first.rest == ("_update_by_query",) and second.number == 2


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/_bulk"},
        {"path": "/_all/_update_by_query"},
        {"path": "/users/_update_by_query?pipeline=p"},
        {"path": "/users/../orders/_update_by_query"},
        {"path": "/users%2Forders/_search"},
        {"path": "/users/_bulk"},
        {"path": "/-users/_update_by_query"},
        {"path": "/users"},
        {"method": "DELETE", "path": "/users"},
        {"method": "PUT", "path": "/users/_settings"},
        {"method": "PUT", "path": "/users/_alias/other"},
        {"method": "PUT", "path": "/users/_doc/"},
        {"header": "x"},
    ],
    ids=str,
)
def test_what_could_reach_another_index_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(EnvSyncError, match="request 1: "):
        read_script(write(json.dumps([{**GOOD, **change}])), "testing")


@pytest.mark.parametrize("text", ["UPDATE users", "[{]"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(EnvSyncError, match="it is not JSON"):
        read_script(write(text), "testing")
