# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scripts that change what was pulled, before anybody sees it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host

from tests.integration.elasticsearch.support import MASK, Tasks, behind, live, script
from tests.servers.opensearch import SearchServer


def test_a_script_changes_what_was_pulled_before_anybody_sees_it(
    production: SearchServer, staging: SearchServer, tasks: Tasks, tmp_path: Path
) -> None:
    push.push(tasks("push"), Host())
    drop = {"method": "POST", "path": "/art*/_delete_by_query", "body": {"query": {"range": {"year": {"lt": 2010}}}}}
    add = {"method": "PUT", "path": "/users/_doc/admin", "body": {"email": "admin@example.com"}}
    mine = script(tmp_path, add, MASK, drop)

    done = pull.pull(tasks("pull", transformation_sql_filename=mine, require_sanitised=True), Host())

    emails = {about["email"] for about in staging.documents("users").values()}
    assert len(emails) == 21 and all(email.endswith("@staging.invalid") for email in emails)
    assert len(staging.documents("articles")) == 20
    assert done["sanitised"][0]["script"] == "sanitise.json" and done["after"]["database"]["rows"] == 41
    assert len(production.documents("articles")) == 30
    assert staging.documents(".tasks") == {}, "what the server keeps of a task may quote documents"


def test_what_was_sanitised_before_its_push_needs_no_script_here(
    production: SearchServer, staging: SearchServer, tasks: Tasks, tmp_path: Path
) -> None:
    push.push(tasks("push", pre_dump_transformation_sql_filename=script(tmp_path, MASK)), Host())

    done = pull.pull(tasks("pull", require_sanitised=True), Host())

    assert done["manifest"]["sanitised"][0]["script"] == "sanitise.json"
    assert all("staging.invalid" in about["email"] for about in staging.documents("users").values())


def test_what_is_locked_at_the_source_is_not_here(
    production: SearchServer, staging: SearchServer, tasks: Tasks, tmp_path: Path
) -> None:
    locks = {"users": "index.blocks.read_only_allow_delete", "articles-v1": "index.blocks.read_only"}
    for index, lock in locks.items():
        production.call("PUT", f"/{index}/_settings", {lock: True})
    try:
        push.push(tasks("push"), Host())
    finally:
        for index, lock in locks.items():
            production.call("PUT", f"/{index}/_settings", {lock: False})

    pull.pull(tasks("pull", transformation_sql_filename=script(tmp_path, MASK)), Host())

    assert "blocks" not in behind(staging, "users")["settings"]
    assert all("staging.invalid" in about["email"] for about in staging.documents("users").values())


def test_a_script_that_fails_leaves_the_live_indices_and_quotes_no_document(
    production: SearchServer, staging: SearchServer, tasks: Tasks, tmp_path: Path
) -> None:
    staging.fill("users", {"1": {"email": "live@staging.invalid"}})
    before = live(staging)
    push.push(tasks("push"), Host())
    bad = {**MASK, "body": {"script": {"source": "throw new IllegalArgumentException(ctx._source.email)"}}}
    wrong_type = {"method": "PUT", "path": "/articles-v1/_doc/1", "body": {"year": "user1@example.com"}}

    for requests in ((MASK, bad), (MASK, wrong_type)):
        with pytest.raises(EnvSyncError, match=r"request 2 .*withheld") as raised:
            pull.pull(tasks("pull", transformation_sql_filename=script(tmp_path, *requests)), Host())
        assert "example.com" not in str(raised.value)
        assert live(staging) == before and staging.documents(".tasks") == {}
