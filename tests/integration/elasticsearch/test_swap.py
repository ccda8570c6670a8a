# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of names, aliases and live indices when what was restored goes live."""

from __future__ import annotations

import os

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store

from tests.integration.elasticsearch.support import (
    ARTICLES,
    USERS,
    Tasks,
    Values,
    aliases,
    behind,
    kill_when_reached,
    live,
    only_index,
    other_host,
    through,
)
from tests.servers.opensearch import SearchServer
from tests.servers.search_proxy import SearchProxy

#: stops where a live name is no alias any more, and no index yet
BEFORE_A_COPY = """
from _engine.search.client import Client

def stopped(self, where, *more, post=Client.post, **query):
    if "/_clone/" in where:
        reached()
    return post(self, where, *more, **query)

Client.post = stopped
"""


def rolled_over(server: SearchServer) -> None:
    """Make what an application has that writes through an alias: it leads to two indices, and one takes the writes."""
    for number, writes in ((1, False), (2, True)):
        rollover = {"is_write_index": writes, "index_routing": "a", "search_routing": "a,b", "is_hidden": True}
        years = {"filter": {"range": {"year": {"gte": 2000}}}, "is_write_index": writes}
        server.call("PUT", f"/logs-{number}", {"aliases": {"logs": rollover, "logs-by-year": years}})
        server.fill(f"logs-{number}", {str(number): {"year": 2000 + number}})
    # A single index, written to by an alias that says so.
    server.call("PUT", "/audit-1", {"aliases": {"audit": {"is_write_index": True}}})


@pytest.mark.parametrize("restore_as", ["alias", "index"])
def test_an_alias_keeps_all_that_it_had(
    production: SearchServer, staging: SearchServer, tasks: Tasks, restore_as: str
) -> None:
    rolled_over(production)
    indices = "logs-1,logs-2,audit-1"
    push.push(tasks("push", indices=indices), Host())
    for _unused in range(2):  # the second pull replaces what the first has made
        pull.pull(tasks("pull", indices=indices, restore_as=restore_as), Host())
        for name in ("logs-1", "logs-2", "audit-1"):
            there = aliases(staging, only_index(staging, name))
            assert {alias: about for alias, about in there.items() if alias != name} == aliases(production, name)
        for alias in ("logs", "logs-by-year", "audit"):
            staging.call("POST", f"/{alias}/_doc?refresh=true", {"year": 2026})
        assert len(staging.documents(only_index(staging, "logs-2"))) == 3
        assert len(staging.documents(only_index(staging, "logs-1"))) == 1


def test_names_move_to_the_new_indices_and_nothing_else_is_touched(
    production: SearchServer, staging: SearchServer, tasks: Tasks
) -> None:
    staging.call("PUT", "/users", {"aliases": {"people": {}}})
    staging.call("PUT", "/articles-v0", {"aliases": {"articles": {}}})
    staging.call("PUT", "/orders", {"aliases": {"sales": {}}})
    staging.fill("orders", {"1": {"total": 5}})
    before = live(staging)["orders"]
    push.push(tasks("push", timestamp="2026-01-02T03:04"), Host())
    open_store(tasks("pull")).prepare(write=False)
    plan = pull.plan(tasks("pull"), Host())
    assert plan["replaces"]["tables"] == 1 and any("becomes an alias" in warning for warning in plan["warnings"])

    done = pull.pull(tasks("pull"), Host())

    assert live(staging)["orders"] == before
    assert set(aliases(staging, only_index(staging, "users"))) == {"users", "people"}
    assert only_index(staging, "articles") == only_index(staging, "articles-v1")
    assert "articles-v0" in staging.indices() and any("articles-v0" in warning for warning in done["warnings"])

    # What the source has rebuilt under another name: the alias goes over, and what vanished goes.
    production.call("DELETE", "/articles-v1")
    production.call("PUT", "/articles-v2", ARTICLES)
    push.push(tasks("push"), Host())
    pull.pull(tasks("pull"), Host())
    assert only_index(staging, "articles") == only_index(staging, "articles-v2")
    assert not [name for name in staging.indices() if name.endswith("articles-v1")]
    assert live(staging)["orders"] == before


def test_what_was_replaced_is_kept_for_one_pull(production: SearchServer, staging: SearchServer, tasks: Tasks) -> None:
    staging.call("PUT", "/users", USERS)
    push.push(tasks("push"), Host())
    with pytest.raises(EnvSyncError, match="users is an index itself"):
        pull.pull(tasks("pull", old_database="keep"), Host())
    pull.pull(tasks("pull"), Host())
    staging.call("DELETE", "/users/_doc/0?refresh=true")

    assert pull.pull(tasks("pull", old_database="keep"), Host())["kept"] == "env_sync_old-*"
    assert len(staging.documents("env_sync_old-users")) == 19 and len(staging.documents("users")) == 20
    pull.pull(tasks("pull"), Host())
    assert not [name for name in staging.indices() if "env_sync_old-users" in aliases(staging, name)]


def test_restored_indices_can_have_the_live_names_themselves(
    production: SearchServer, staging: SearchServer, tasks: Tasks
) -> None:
    staging.call("PUT", "/users", {"aliases": {"people": {}}})
    staging.fill("users", {"1": {"email": "live@staging.invalid"}})
    staging.fill("orders", {"1": {"total": 5}})
    before = live(staging)
    push.push(tasks("push"), Host())
    with pytest.raises(EnvSyncError, match="cannot be renamed and so not be kept"):
        pull.pull(tasks("pull", restore_as="index", old_database="keep"), Host())
    assert live(staging) == before

    open_store(tasks("pull")).prepare(write=False)
    plan = pull.plan(tasks("pull", restore_as="index"), Host())
    assert "to be copied under the live names" in plan["steps"][1] and not plan["warnings"]

    for _time in range(2):
        done = pull.pull(tasks("pull", restore_as="index"), Host())

        assert done["warnings"] == [] and 0 < done["name_away_seconds"] < 30
        after = live(staging)
        assert set(after) == {"users", "articles-v1", "orders"} and after["orders"] == before["orders"]
        for name in ("articles-v1", "users"):
            assert staging.documents(name) == production.documents(name)
            assert behind(staging, name)["mappings"] == behind(production, name)["mappings"]
        assert aliases(staging, "articles-v1") == aliases(production, "articles-v1")
        assert aliases(staging, "users") == {"people": {}}
        staging.call("DELETE", "/users/_doc/2?refresh=true")
    staging.fill("users", {"written": {"email": "a lock that was forgotten would refuse this"}})


def test_a_name_that_cannot_be_an_index_stays_an_alias(
    production: SearchServer, staging: SearchServer, tasks: Tasks, values: Values
) -> None:
    staging.fill("users", {"1": {"email": "live@staging.invalid"}})
    push.push(tasks("push"), Host())
    with SearchProxy(staging, lambda *_request: True) as proxy:
        proxy.forbidden = r"POST /env_sync-.*/_clone/users"

        done = pull.pull(tasks("pull", restore_as="index", **through(proxy)), Host())

    (warning,) = done["warnings"]
    assert "users is an alias of env_sync-" in warning and "no permissions for this action" in warning
    assert only_index(staging, "users").startswith("env_sync-") and "articles-v1" in staging.indices()
    assert staging.documents("users") == production.documents("users")
    staging.fill("users", {"written": {"email": "a lock that was forgotten would refuse this"}})

    kill_when_reached(other_host(os.uname().nodename, values("pull", restore_as="index"), BEFORE_A_COPY))
    pull.pull(tasks("pull", restore_as="index"), Host())
    assert set(live(staging)) == {"users", "articles-v1"}
    assert staging.documents("users") == production.documents("users")
