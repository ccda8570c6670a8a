# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Elasticsearch and OpenSearch: snapshots pushed by one cluster and pulled by another, on real nodes."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push, store_check, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.elasticsearch.database import (
    Elasticsearch,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.elasticsearch.swap import (
    LOCK,
    LockDocument,
    owner_of,
    scratch_prefix,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.lease import DocumentStorage
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.search.client import Client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.opensearch import SearchServer
from tests.servers.search_proxy import Check, SearchProxy, header, signed

ROOT = Path(__file__).resolve().parents[3]
ENGINE = ROOT / "plugins" / "module_utils"
BIN = Path(sys.executable).parent

ARTICLES = {
    "settings": {
        "number_of_shards": 2,
        "analysis": {"analyzer": {"plain": {"type": "custom", "tokenizer": "standard", "filter": ["lowercase"]}}},
    },
    "mappings": {"properties": {"title": {"type": "text", "analyzer": "plain"}, "year": {"type": "integer"}}},
    "aliases": {"articles": {}, "recent": {"filter": {"term": {"year": 2026}}, "routing": "1"}},
}
#: Elasticsearch, and what else is asked for by its name in tests/servers/opensearch.py (opensearch-1,opensearch-3)
VERSIONS = ["elasticsearch", *filter(None, os.environ.get("ENV_SYNC_TEST_SEARCH", "").split(","))]

USERS = {"mappings": {"properties": {"email": {"type": "keyword"}}}}

Tasks = Callable[..., Task]
Values = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def repositories() -> Iterator[Path]:
    """What is shared by all clusters, as a bucket would be."""
    with tempfile.TemporaryDirectory(prefix="env_sync-repositories-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def opensearch(repositories: Path) -> Iterator[SearchServer]:
    with SearchServer("production", repositories) as server:
        yield server


@pytest.fixture(scope="module")
def elasticsearch(repositories: Path) -> Iterator[SearchServer]:
    with SearchServer("production-7", repositories, "elasticsearch") as server:
        yield server


@pytest.fixture
def version(request: pytest.FixtureRequest, repositories: Path) -> Iterator[SearchServer]:
    """A node of one of the other versions."""
    if request.param == "elasticsearch":
        yield request.getfixturevalue("elasticsearch")
        return
    with SearchServer("production-n", repositories, request.param) as server:
        yield server


@pytest.fixture(scope="module")
def staging_node(repositories: Path) -> Iterator[SearchServer]:
    with SearchServer("staging", repositories) as server:
        yield server


@pytest.fixture
def production(opensearch: SearchServer) -> Iterator[SearchServer]:
    fill(opensearch)
    yield opensearch
    opensearch.clear()


@pytest.fixture
def staging(staging_node: SearchServer) -> Iterator[SearchServer]:
    yield staging_node
    left = [name for name in staging_node.indices() if name.startswith("env_sync-") and not aliases(staging_node, name)]
    staging_node.clear()
    assert left in ([], ["env_sync-lock"])


def fill(server: SearchServer) -> None:
    server.call("PUT", "/articles-v1", ARTICLES)
    server.call("PUT", "/users", USERS)
    server.fill("articles-v1", {str(n): {"title": f"Article {n}", "year": 2000 + n} for n in range(30)})
    server.fill("users", {str(n): {"email": f"user{n}@example.com"} for n in range(20)})


@pytest.fixture
def values(opensearch: SearchServer, staging_node: SearchServer, tmp_path: Path) -> Values:
    """Return a function that gives a task's keys; each test has a repository of its own."""

    def values(action: str, server: SearchServer | None = None, **others: Any) -> dict[str, Any]:
        server = server or (opensearch if action == "push" else staging_node)
        return {
            "action": action,
            "dbms": "elasticsearch",
            "database": "Search",
            "database_hostname": server.host,
            "database_port": server.port,
            "storagebackend": "es_snapshot",
            "url": "backups",
            "repository_type": "fs",
            "repository_settings": {"location": tmp_path.name},
            "temppath": str(tmp_path / "temp"),
            "state_dir": str(tmp_path / "state"),
            **others,
        }

    return values


@pytest.fixture
def tasks(values: Values) -> Tasks:
    """Return a function that gives a task: ``tasks("push", **others)``, or ``tasks("push", server, **others)``."""
    return lambda *where, **others: Task.from_mapping(values(*where, **others))


def aliases(server: SearchServer, index: str) -> dict[str, Any]:
    found: dict[str, Any] = server.indices()[index]["aliases"]
    return found


def behind(server: SearchServer, name: str) -> dict[str, Any]:
    """Return what counts of the one index behind a name: mappings and settings."""
    found = dict(server.call("GET", f"/{name}"))
    assert len(found) == 1
    about = next(iter(found.values()))
    settings = about["settings"]["index"]
    own = ("creation_date", "provided_name", "uuid", "version", "replication")
    return {"mappings": about["mappings"], "settings": {k: v for k, v in settings.items() if k not in own}}


def live(server: SearchServer) -> dict[str, Any]:
    """Return all that may not change when a pull fails."""
    names = [name for name in server.indices() if name != "env_sync-lock" and not name.startswith(".")]
    return {name: (server.indices()[name], server.documents(name)) for name in sorted(names)}


def through(proxy: SearchProxy) -> dict[str, Any]:
    """Return the keys of a task that reaches its server by the proxy."""
    return {"database_hostname": proxy.url, "database_port": "", "aws_ca_bundle": proxy.certificate}


def only_index(server: SearchServer, name: str) -> str:
    (index,) = server.call("GET", f"/{name}/_alias")
    return str(index)


@pytest.mark.parametrize("source", ["opensearch", "elasticsearch"])
def test_everything_arrives(source: str, request: pytest.FixtureRequest, staging: SearchServer, tasks: Tasks) -> None:
    server = request.getfixturevalue(source)
    fill(server)
    server.call("PUT", "/secrets", {})
    before = live(server)
    try:
        pushed = push.push(tasks("push", server, excluded_tables="sec*", environment="production"), Host())
        manifest = pushed["manifest"]
        assert {table["name"]: table["rows"] for table in manifest["tables"]} == {"articles-v1": 30, "users": 20}
        assert manifest["stored_bytes"] > 0 and manifest["environment"] == "production"

        pulled = pull.pull(tasks("pull"), Host())

        assert pulled["manifest"]["server"]["system"] == server.call("GET", "/")["cluster_uuid"]
        assert {**pulled["manifest"], "server": {}, "host": "", "finished": ""} == {
            **json.loads(json.dumps(manifest)), "server": {}, "host": "", "finished": "",
            "started": pulled["manifest"]["started"],
        }  # fmt: skip
        assert live(server) == before
        for name in ("articles-v1", "users"):
            assert staging.documents(name) == server.documents(name)
            assert behind(staging, name) == behind(server, name)
        of_articles = aliases(staging, only_index(staging, "articles-v1"))
        assert of_articles == {**aliases(server, "articles-v1"), "articles-v1": {}}
        found = staging.call("GET", "/articles/_search", {"query": {"match": {"title": "article"}}})
        assert found["hits"]["total"]["value"] == 30
        assert "secrets" not in str(staging.indices())
        assert staging.call("GET", "/_snapshot/backups")["backups"]["settings"]["readonly"] == "true"
    finally:
        server.clear()


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


def test_a_check_of_a_repository(production: SearchServer, staging: SearchServer, tasks: Tasks) -> None:
    def check(task: Task, account: str, dry_run: bool = False) -> dict[str, tuple[str, str]]:
        found = store_check.check(task, account, Host(), dry_run)
        return {line["check"]: (line["severity"], line["result"]) for line in found["checks"]}

    assert check(tasks("push"), "push")["open"][0] == "failed"  # nothing is registered by a check
    push.push(tasks("push"), Host())
    pull.pull(tasks("pull"), Host())
    before = live(production), production.call("GET", "/_snapshot/backups/_all")
    found = check(tasks("push"), "push")
    assert {name: severity for name, (severity, _result) in found.items()} == dict.fromkeys(
        ("open", "repository", "verify", "clock"), "ok"
    )
    assert check(tasks("push"), "push", dry_run=True)["verify"][0] == "unknown"
    assert check(tasks("push"), "pull")["repository"][0] == "warning"
    assert check(tasks("pull"), "push")["repository"][0] == "failed"
    assert check(tasks("pull"), "pull")["repository"] == ("ok", "type fs, registered as read-only")
    assert (live(production), production.call("GET", "/_snapshot/backups/_all")) == before


@pytest.mark.parametrize("version", VERSIONS, indirect=True)
def test_one_cluster_of_another_version_can_do_all_of_it(version: SearchServer, tasks: Tasks, tmp_path: Path) -> None:
    fill(version)
    try:
        push.push(tasks("push", version), Host())
        before = live(version)
        with pytest.raises(EnvSyncError, match="that is the server it was pushed from"):
            pull.pull(tasks("pull", version), Host())
        assert live(version) == before

        version.fill("users", {"1": {"email": "newer"}, "more": {"email": "newer"}})
        for others, emails in (
            ({"transformation_sql_filename": script(tmp_path, MASK)}, {f"{n}@staging.invalid" for n in range(20)}),
            ({"old_database": "keep"}, {f"user{n}@example.com" for n in range(20)}),
            ({"restore_as": "index"}, {f"user{n}@example.com" for n in range(20)}),
        ):
            pull.pull(tasks("pull", version, allow_restore_to_source=True, **others), Host())
            assert {about["email"] for about in version.documents("users").values()} == emails
            assert only_index(version, "articles") == only_index(version, "articles-v1")
        kept = [name for name in version.indices() if any("env_sync_old-" in a for a in aliases(version, name))]
        assert not kept and {"users", "articles-v1"} <= set(version.indices())
    finally:
        version.clear()


def test_a_pull_takes_the_newest_point_or_the_one_of_a_time(
    production: SearchServer, staging: SearchServer, tasks: Tasks
) -> None:
    push.push(tasks("push", timestamp="2026-01-02T03:04"), Host())
    production.call("DELETE", "/users/_doc/0?refresh=true")
    push.push(tasks("push", timestamp="2026-01-03T03:04"), Host())

    assert pull.pull(tasks("pull"), Host())["point"] == "2026-01-03T03:04:00-Search"
    assert len(staging.documents("users")) == 19
    pull.pull(tasks("pull", timestamp="2026-01-02T03:04"), Host())
    assert len(staging.documents("users")) == 20
    with pytest.raises(EnvSyncError, match="there is none of 2026-01-01T00:00"):
        pull.pull(tasks("pull", timestamp="2026-01-01T00:00"), Host())


def test_a_snapshot_of_the_originals_can_be_pulled(
    production: SearchServer, staging: SearchServer, tasks: Tasks
) -> None:
    push.push(tasks("push"), Host())  # registers the repository
    production.call("DELETE", "/users/_doc/0?refresh=true")
    # All indices are in the original's, and so may be what is our own; and the cluster's state is.
    production.call("PUT", f"/{LOCK}")
    production.call("PUT", "/_template/ours", {"index_patterns": ["none-*"]})
    try:
        production.call("PUT", "/_snapshot/backups/2019-06-19t03:00:00-search?wait_for_completion=true", {})
    finally:
        production.call("DELETE", "/_template/ours")

    done = pull.pull(tasks("pull", timestamp="2019-06-19T03:00"), Host())

    assert len(staging.documents("users")) == 19
    assert any("does not say which cluster" in warning for warning in done["warnings"])
    assert done["after"]["database"]["tables"] == 2 and "ours" not in staging.call("GET", "/_template")
    with pytest.raises(EnvSyncError, match="this one may write to its repository"):
        pull.pull(tasks("pull", production, timestamp="2019-06-19T03:00"), Host())
    with pytest.raises(EnvSyncError, match="requires sanitised data"):
        pull.pull(tasks("pull", timestamp="2019-06-19T03:00", require_sanitised=True), Host())


def test_the_servers_own_api_restores_a_point(
    production: SearchServer, staging: SearchServer, tasks: Tasks, tmp_path: Path
) -> None:
    """The requests are like those of docs/operate/restore-by-hand.md."""
    push.push(tasks("push", timestamp="2026-01-02T03:04"), Host())

    settings = {"location": tasks("pull").elastic.repository_settings["location"], "readonly": True}
    staging.call("PUT", "/_snapshot/backups", {"type": "fs", "settings": settings})
    body = {"indices": "users", "include_global_state": False}
    where = "/_snapshot/backups/2026-01-02t03:04:00-search/_restore?wait_for_completion=true"
    staging.call("POST", where, body)

    assert staging.documents("users") == production.documents("users")


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


def test_chosen_indices_are_pulled_and_no_others(production: SearchServer, staging: SearchServer, tasks: Tasks) -> None:
    push.push(tasks("push"), Host())
    pull.pull(tasks("pull"), Host())
    articles = only_index(staging, "articles")

    done = pull.pull(tasks("pull", indices="user?"), Host())

    assert done["after"]["database"]["tables"] == 1
    assert only_index(staging, "articles") == articles
    with pytest.raises(EnvSyncError, match="none of the indices that are wanted"):
        pull.pull(tasks("pull", indices="orders"), Host())


def test_what_was_pulled_can_be_pushed_on(production: SearchServer, staging: SearchServer, tasks: Tasks) -> None:
    push.push(tasks("push"), Host())
    pull.pull(tasks("pull"), Host())
    settings = {"location": f"{tasks('pull').elastic.repository_settings['location']}-2"}
    push.push(tasks("push", staging, url="second", repository_settings=settings), Host())
    for name in ("articles-v1", "users"):
        production.call("DELETE", f"/{name}")

    pull.pull(tasks("pull", production, url="second", repository_settings=settings), Host())

    assert production.documents("users") == staging.documents("users")
    assert set(aliases(production, only_index(production, "articles"))) == {"articles", "articles-v1", "recent"}


# -- sanitising ------------------------------------------------------------------------------------------------------


def script(tmp_path: Path, *requests: dict[str, Any]) -> str:
    path = tmp_path / "sanitise.json"
    path.write_text("\n".join(json.dumps(request) for request in requests), encoding="utf-8")
    return str(path)


MASK = {
    "method": "POST",
    "path": "/users/_update_by_query",
    "body": {"script": {"source": "ctx._source.email = ctx._id + '@staging.invalid'"}},
}


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


# -- what is refused -------------------------------------------------------------------------------------------------


def test_the_source_itself_is_refused(production: SearchServer, tasks: Tasks) -> None:
    push.push(tasks("push"), Host())
    before = live(production)

    with pytest.raises(EnvSyncError, match="that is the server it was pushed from"):
        pull.pull(tasks("pull", production), Host())
    assert live(production) == before
    production.call("DELETE", "/users/_doc/0?refresh=true")
    pull.pull(tasks("pull", production, allow_restore_to_source=True), Host())
    assert len(production.documents("users")) == 20


def test_a_snapshot_that_lacks_data_is_refused_and_the_live_indices_stay(
    production: SearchServer, staging: SearchServer, tasks: Tasks, repositories: Path
) -> None:
    staging.fill("users", {"1": {"email": "live@staging.invalid"}})
    before = live(staging)
    push.push(tasks("push"), Host())
    folder = repositories / tasks("push").elastic.repository_settings["location"]
    blobs = sorted(folder.glob("indices/*/*/__*"), key=lambda path: path.stat().st_size)
    kept = blobs[-1].read_bytes()

    for damaged in (kept[: len(kept) // 2], None):
        if damaged is None:
            blobs[-1].unlink()
        else:
            blobs[-1].write_bytes(damaged)
        with pytest.raises(EnvSyncError, match="cannot be restored"):
            pull.pull(tasks("pull"), Host())
        assert live(staging) == before


def test_a_snapshot_that_ends_with_less_than_every_shard_is_no_point(
    production: SearchServer, tasks: Tasks, repositories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = tasks("push").elastic.repository_settings["location"]
    slow = {"location": location, "max_snapshot_bytes_per_sec": "2kb"}
    finish = Elasticsearch._finish

    def finish_badly(*arguments: Any) -> None:
        while not (shards := list((repositories / location).glob("indices/*/*"))):
            time.sleep(0.01)
        for folder in shards:
            # The server goes on writing meanwhile.
            while folder.is_dir():
                with contextlib.suppress(OSError):
                    shutil.rmtree(folder)
                    folder.write_bytes(b"so that it can be written no more")
        finish(*arguments)

    monkeypatch.setattr(Elasticsearch, "_finish", finish_badly)
    with pytest.raises(EnvSyncError, match=r"its state is (PARTIAL|FAILED), \d of \d shards failed"):
        push.push(tasks("push", repository_settings=slow), Host())
    assert "complete" not in {point.state for point in catalogue.list_points(open_store(tasks("push")), "Search")}


def test_a_snapshot_whose_description_is_gone_hides_no_other(
    production: SearchServer, staging: SearchServer, tasks: Tasks, repositories: Path
) -> None:
    folder = repositories / tasks("push").elastic.repository_settings["location"]
    found: list[Path] = []
    for day in (2, 3):
        push.push(tasks("push", timestamp=f"2026-01-0{day}T03:04"), Host())
        found += [path for path in folder.glob("snap-*.dat") if path not in found]
    found[1].unlink()

    assert pull.pull(tasks("pull"), Host())["point"] == "2026-01-02T03:04:00-Search"
    with pytest.raises(EnvSyncError, match=r"there is none of 2026-01-03T03:04. The nearest points are 2026-01-02"):
        pull.pull(tasks("pull", timestamp="2026-01-03T03:04"), Host())
    found[0].write_bytes(b"")
    with pytest.raises(EnvSyncError, match="there is none"):
        pull.pull(tasks("pull"), Host())


def test_a_snapshot_that_is_not_whole_is_no_point(
    production: SearchServer, staging: SearchServer, tasks: Tasks
) -> None:
    push.push(tasks("push", timestamp="2026-01-02T03:04"), Host())
    nowhere = {"index.routing.allocation.require._name": "nowhere"}
    production.call("PUT", "/red?wait_for_active_shards=0", {"settings": nowhere})
    body = {"partial": True, "include_global_state": False}
    production.call("PUT", "/_snapshot/backups/2026-01-03t03:04:00-search?wait_for_completion=true", body)

    states = {p.timestamp: p.state for p in catalogue.list_points(open_store(tasks("push")), "Search")}
    assert states == {"2026-01-02T03:04:00": "complete", "2026-01-03T03:04:00": "incomplete"}
    assert pull.pull(tasks("pull"), Host())["point"] == "2026-01-02T03:04:00-Search"
    with pytest.raises(EnvSyncError, match="was interrupted"):
        pull.pull(tasks("pull", timestamp="2026-01-03T03:04"), Host())
    with pytest.raises(EnvSyncError, match="the index red is red"):
        push.push(tasks("push"), Host())


def test_a_repository_is_used_only_as_it_is_registered(
    production: SearchServer, staging: SearchServer, tasks: Tasks
) -> None:
    with pytest.raises(EnvSyncError, match=r"not registered at this server\. Register it"):
        push.push(tasks("push", repository_type="", repository_settings=""), Host())
    with pytest.raises(EnvSyncError, match="The first run registers it"):
        pull.plan(tasks("pull"), Host())
    push.push(tasks("push"), Host())
    pull.pull(tasks("pull"), Host())
    with pytest.raises(EnvSyncError, match="read-only"):
        push.push(tasks("push", staging), Host())
    with pytest.raises(EnvSyncError, match="other settings"):
        push.push(tasks("push", repository_settings="location=elsewhere"), Host())


def test_a_name_that_means_nothing_is_refused(production: SearchServer, tasks: Tasks) -> None:
    for others, why in (
        ({"excluded_tables": "userz"}, "excluded_tables names userz"),
        ({"indices": "orders"}, "there is no index to dump"),
        ({"database": "a b"}, "a snapshot's name has no blanks"),
        ({"storagebackend": "directory", "url": "/tmp"}, "stored as a snapshot"),
    ):
        with pytest.raises(EnvSyncError, match=why):
            push.push(tasks("push", **others), Host())


# -- several at once, and killed ones --------------------------------------------------------------------------------

# What a process runs as another host would: `reached()` tells the test that it is where it is to be killed.
RUN = """
import json, os, socket, sys, tempfile, time
sys.path.insert(0, {engine!r})
if {host!r} != os.uname().nodename:
    socket.gethostname = lambda: {host!r}
    from _engine.host import linux, locks
    linux.boot_id = lambda: {host!r}
    folder = tempfile.mkdtemp()
    locks.lock_dir = lambda: folder
from _engine import push, pull
from _engine.databases.elasticsearch import database as elasticsearch
from _engine.host.progress import Host
from _engine.tasks.task import Task

def reached(*args, **kwargs):
    print("reached", flush=True)
    time.sleep(60)

{hook}
values = json.loads(sys.argv[1])
done = getattr({{"push": push, "pull": pull}}[values["action"]], values["action"])(Task.from_mapping(values), Host())
print(json.dumps([done["changed"], done["skipped"]]))
"""


#: stops where a live name is no alias any more, and no index yet
BEFORE_A_COPY = """
from _engine.search.client import Client

def stopped(self, where, *more, post=Client.post, **query):
    if "/_clone/" in where:
        reached()
    return post(self, where, *more, **query)

Client.post = stopped
"""


def other_host(host: str, values: dict[str, Any], hook: str = "") -> subprocess.Popen[str]:
    code = RUN.format(engine=str(ENGINE), host=host, hook=hook)
    argv = [sys.executable, "-c", code, json.dumps(values)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_when_reached(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    process.kill()
    said = process.communicate()[1]
    assert line == "reached\n", said


def test_hosts_that_push_at_the_same_minute_make_one_snapshot(
    production: SearchServer, tasks: Tasks, values: Values, tmp_path: Path
) -> None:
    push.push(tasks("push", timestamp="2026-01-02T03:04"), Host())
    running = []
    for number, address in enumerate(("127.0.0.1", "localhost", "http://127.0.0.1")):
        mine = values("push", database_hostname=address, state_dir=str(tmp_path / f"host{number}"))
        running.append(other_host(f"search-{number}", mine))
    ends = [(process.communicate(timeout=60), process.returncode) for process in running]

    assert [status for _said, status in ends] == [0, 0, 0], [said[1][-600:] for said, _status in ends]
    done = [json.loads(said[0]) for said, _status in ends]
    assert sorted(changed for changed, _reason in done) == [False, False, True]
    assert all("snapshot" in reason or "another host" in reason for changed, reason in done if not changed)
    points = catalogue.list_points(open_store(tasks("push")), "Search")
    assert [point.state for point in points] == ["complete", "complete"]


def test_a_push_that_is_killed_leaves_nothing_once_the_next_has_run(
    production: SearchServer, staging: SearchServer, tasks: Tasks, values: Values
) -> None:
    slow = {"location": tasks("push").elastic.repository_settings["location"], "max_snapshot_bytes_per_sec": "2kb"}
    mine = values("push", repository_settings=slow)
    kill_when_reached(other_host(os.uname().nodename, mine, "elasticsearch.Elasticsearch._finish = reached"))
    states = [point.state for point in catalogue.list_points(open_store(tasks("push")), "Search")]
    assert states == ["incomplete"], "the snapshot is to be running still, for the test to be worth anything"

    push.push(tasks("push", repository_settings=slow, indices="users"), Host())

    (point,) = catalogue.list_points(open_store(tasks("push")), "Search")
    assert point.state == "complete"


@pytest.mark.parametrize("where", ["_await_shards", "check", "swap"])
def test_a_pull_that_is_killed_costs_nothing_but_its_own_work(
    where: str, production: SearchServer, staging: SearchServer, tasks: Tasks, values: Values
) -> None:
    staging.fill("users", {"1": {"email": "live@staging.invalid"}})
    before = live(staging)
    push.push(tasks("push"), Host())
    # It runs on this very host: another one's lock would hold for a minute.
    host = os.uname().nodename
    kill_when_reached(other_host(host, values("pull"), f"elasticsearch.Elasticsearch.{where} = reached"))
    left = [name for name in staging.indices() if name.startswith(scratch_prefix("Search", "2")[:18])]
    assert len(left) == 2
    after = live(staging)
    assert {name: after[name] for name in before} == before

    said: list[str] = []
    pull.pull(tasks("pull"), Host(log=lambda _level, text: said.append(text)))

    assert sum("removed what an interrupted pull left" in text for text in said) == 2
    assert staging.documents("users") == production.documents("users")


def test_a_pull_waits_for_no_other_hosts(
    production: SearchServer, staging: SearchServer, tasks: Tasks, values: Values
) -> None:
    push.push(tasks("push"), Host())
    process = other_host("elsewhere", values("pull"), "elasticsearch.Elasticsearch.check = reached")
    assert process.stdout is not None and process.stdout.readline() == "reached\n"
    try:
        with pytest.raises(EnvSyncError, match=r"elsewhere is pulling into it \(process \d+\)"):
            pull.pull(tasks("pull", database_hostname="localhost", state_dir="", temppath=""), Host())
    finally:
        process.kill()
        process.communicate()
    staging.call("DELETE", "/env_sync-lock")
    pull.pull(tasks("pull"), Host())


def test_who_has_lost_the_lock_leaves_the_work_of_who_has_it(
    production: SearchServer, staging: SearchServer, tasks: Tasks
) -> None:
    push.push(tasks("push"), Host())
    theirs = scratch_prefix("Search", "20260102030405") + "users"

    def progress(snapshot: Any) -> None:
        if snapshot.phase == "checking" and theirs not in staging.indices():
            staging.call("PUT", f"/{theirs}")
            taken = {"host": "elsewhere", "token": "theirs", "until": 4102444800}
            staging.call("PUT", f"/{LOCK}/_doc/{owner_of('Search')}", taken)

    with pytest.raises(EnvSyncError, match="the lock was lost: elsewhere has taken it"):
        pull.pull(tasks("pull"), Host(progress=progress))
    # Its own scratch indices are gone, as their names are its own; nothing else is.
    assert {theirs, LOCK} <= set(staging.indices())
    assert [index for index in staging.indices() if index.startswith("env_sync-") and index != LOCK] == [theirs]
    with pytest.raises(EnvSyncError, match="elsewhere is pulling into it"):
        pull.pull(tasks("pull"), Host())
    staging.call("DELETE", f"/{LOCK}")
    pull.pull(tasks("pull"), Host())
    assert theirs not in staging.indices()


def test_the_holder_of_the_lock_does_not_take_itself_for_another(staging: SearchServer, tasks: Tasks) -> None:
    lock = DocumentStorage(LockDocument(Client.from_task(tasks("pull")), "Search"))
    assert lock.acquire() == ""
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert {done.result() for done in [threads.submit(lock.lost) for _time in range(20)]} == {""}
    lock.release()
    assert staging.documents(LOCK) == {}


def test_a_run_that_is_cancelled_takes_its_snapshot_away(production: SearchServer, tasks: Tasks) -> None:
    slow = {"location": tasks("push").elastic.repository_settings["location"], "max_snapshot_bytes_per_sec": "2kb"}
    stop = threading.Event()

    def progress(snapshot: Any) -> None:
        if snapshot.phase == "dumping":
            stop.set()

    with pytest.raises(EnvSyncError, match="told to stop"):
        push.push(tasks("push", repository_settings=slow), Host(progress=progress, cancelled=stop.is_set))
    assert not list(catalogue.list_points(open_store(tasks("push")), "Search"))


@pytest.mark.parametrize("phase", ["restoring", "checking"])
def test_a_pull_that_is_cancelled_leaves_nothing(
    phase: str, production: SearchServer, staging: SearchServer, tasks: Tasks
) -> None:
    staging.fill("users", {"1": {"email": "live@staging.invalid"}})
    before = live(staging)
    push.push(tasks("push"), Host())
    stop = threading.Event()

    def progress(snapshot: Any) -> None:
        if snapshot.phase == phase:
            stop.set()

    with pytest.raises(EnvSyncError, match="told to stop"):
        pull.pull(tasks("pull"), Host(progress=progress, cancelled=stop.is_set))
    assert live(staging) == before
    assert not [name for name in staging.indices() if name.startswith("env_sync-") and name != LOCK]


# -- behind what guards a server ---------------------------------------------------------------------------------------

LOGINS: dict[str, tuple[dict[str, Any], Check]] = {
    "basic": (
        {"login_user": "sync", "login_password": "s:cret"},
        header(f"Basic {base64.b64encode(b'sync:s:cret').decode()}"),
    ),
    "key": ({"api_key": "aWQ6a2V5"}, header("ApiKey aWQ6a2V5")),
    "sigv4": (
        {"aws_sigv4": True, "access_key": "AKID", "secret_key": "s3", "session_token": "t", "region": "eu-west-1"},
        signed("AKID", "s3", "eu-west-1", "t"),
    ),
}


@pytest.mark.parametrize("login", LOGINS)
def test_over_tls_with_a_login(
    login: str, production: SearchServer, staging: SearchServer, tasks: Tasks, tmp_path: Path
) -> None:
    given, check = LOGINS[login]
    with SearchProxy(production, check) as here, SearchProxy(staging, check) as there:
        point = push.push(tasks("push", **through(here), **given), Host())["point"]
        others = {"transformation_sql_filename": script(tmp_path, MASK), "restore_as": "index"}
        done = pull.pull(tasks("pull", **through(there), **given, **others), Host())

        assert done["point"] == point and done["warnings"] == []
        assert {about["email"] for about in staging.documents("users").values()} == {
            f"{n}@staging.invalid" for n in range(20)
        }
        before = live(staging)
        wrong = {key: f"{given[key]}x" for key in ("login_password", "api_key", "secret_key") if key in given}
        for bad, why in (
            (wrong, r"unable to authenticate .*Check login_user, login_password, api_key or the AWS credentials"),
            ({"aws_ca_bundle": ""}, r"certificate verify failed.* Check the server's certificate and aws_ca_bundle"),
        ):
            asked = len(there.seen)
            with pytest.raises(EnvSyncError, match=why) as raised:
                pull.pull(tasks("pull", **{**through(there), **given, **bad}), Host())
            assert len(there.seen) == asked and not any(str(value) in str(raised.value) for value in wrong.values())
        unchecked = {**through(there), "aws_ca_bundle": "", "validate_certs": False}
        pull.plan(tasks("pull", **unchecked, **given), Host())
        assert live(staging) == before


def test_a_push_needs_no_right_but_to_make_snapshots(production: SearchServer, tasks: Tasks) -> None:
    open_store(tasks("push")).prepare(write=True)
    with SearchProxy(production, lambda *_request: True) as proxy:
        proxy.forbidden = r"DELETE|POST|PUT /(?!_snapshot/backups/2)"

        push.push(tasks("push", **through(proxy)), Host())

    assert [request.partition("/")[0] for request in proxy.seen if not request.startswith("GET")] == ["PUT "]


def test_an_answer_that_is_lost_makes_no_stranger_of_a_snapshot(production: SearchServer, tasks: Tasks) -> None:
    with SearchProxy(production, lambda *_request: True) as proxy:
        proxy.lost = r"PUT /_snapshot/backups/2"

        done = push.push(tasks("push", **through(proxy)), Host())

    assert done["changed"] and not done["skipped"]


def test_a_repository_can_be_read_over_http(
    production: SearchServer, staging: SearchServer, tasks: Tasks, repositories: Path
) -> None:
    push.push(tasks("push"), Host())
    handler = functools.partial(_Files, directory=str(repositories))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
        location = tasks("push").elastic.repository_settings["location"]
        settings = {"url": f"http://127.0.0.1:{listener.server_port}/{location}/"}
        pull.pull(tasks("pull", repository_type="url", repository_settings=settings), Host())
        listener.shutdown()

    assert staging.documents("users") == production.documents("users")


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


# -- as an operator has it -------------------------------------------------------------------------------------------


def test_upkeep_of_snapshots(production: SearchServer, tasks: Tasks, tmp_path: Path) -> None:
    for day in (2, 3, 4):
        push.push(tasks("push", timestamp=f"2026-01-0{day}T03:04"), Host())
    upkeep.verify(tasks("pull", production), Host())

    removed = upkeep.prune(tasks("pull", production), Host(), keep=1)["removed"]

    assert removed == ["2026-01-02T03:04:00-Search", "2026-01-03T03:04:00-Search"]
    assert [p.name for p in catalogue.list_points(open_store(tasks("push")))] == ["2026-01-04T03:04:00-Search"]
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere = Task.from_mapping({"action": "push", "dbms": "elasticsearch", "database": "Search", "dest": folder})
    with pytest.raises(EnvSyncError, match="hands nothing out"):
        upkeep.copy(tasks("pull", production), elsewhere, Host())


def test_the_command_and_the_module_do_the_same(
    production: SearchServer, staging: SearchServer, tasks: Tasks, values: Values, tmp_path: Path
) -> None:
    old_names = {"dbms": "elasticsearch5", "storagebackend": "elasticsearch"}
    keys = {**values("push"), **old_names}
    settings = ",".join(f"{key}={value}" for key, value in keys.pop("repository_settings").items())
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in {**keys, "repository_settings": settings}.items()]
    pushed = command(tmp_path, *flags)
    assert pushed.returncode == 0, pushed.stderr
    listed = command(tmp_path, *flags, "--list")
    assert "Search" in listed.stdout and "complete" in listed.stdout
    assert "is whole, by what its server says of it" in command(tmp_path, *flags, "--verify").stdout

    given = {**values("pull"), **old_names}
    pull.pull(tasks("pull"), Host())
    before = live(staging)
    planned = module("env_sync_restore", {**given}, tmp_path, "--check")
    assert planned["changed"] and planned["replaces"]["tables"] == 2
    assert live(staging) == before
    done = module("env_sync_restore", {**given}, tmp_path)
    assert done["point"] == planned["point"] and staging.documents("users") == production.documents("users")
    of_store = {key: value for key, value in given.items() if key in ("url", "database_hostname", "database_port")}
    info = module("env_sync_info", {**of_store, "storagebackend": "es_snapshot", "details": True}, tmp_path)
    assert [(p["name"], p["dbms"], p["state"]) for p in info["points"]] == [
        (done["point"], "elasticsearch", "complete")
    ]


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    logging = (
        "import sys; from _engine.command import main as cli; cli.LOG_ROOT = sys.argv.pop(1); sys.exit(cli.main())"
    )
    environment = {**os.environ, "PYTHONPATH": str(ENGINE), "HOME": str(folder)}
    argv = [sys.executable, "-c", logging, str(folder / "log"), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=100, check=False)


def module(name: str, values: dict[str, Any], folder: Path, *options: str) -> dict[str, Any]:
    """Run one of the modules ad hoc; return its result."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    argv = [str(BIN / "ansible"), f"--extra-vars={json.dumps(here)}", "--inventory=localhost,", "localhost"]
    argv += ["--module-name", f"govuk.env_sync.{name}", "--args", json.dumps(values), *options]
    environment = {**os.environ, "ANSIBLE_HOME": str(folder / "ansible"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, cwd=folder, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout.partition(" => ")[2])[0]
    return found
