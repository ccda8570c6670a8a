# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots pushed by one cluster and pulled by another, of each version; what upkeep, the command and modules do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push, store_check, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.elasticsearch.names import LOCK
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.elasticsearch.support import (
    ENGINE,
    MASK,
    Tasks,
    Values,
    aliases,
    behind,
    fill,
    live,
    only_index,
    script,
)
from tests.servers.opensearch import SearchServer

#: Elasticsearch, and what else is asked for by its name in tests/servers/opensearch.py (opensearch-1,opensearch-3)
VERSIONS = ["elasticsearch", *filter(None, os.environ.get("ENV_SYNC_TEST_SEARCH", "").split(","))]


BIN = Path(sys.executable).parent


@pytest.fixture
def version(request: pytest.FixtureRequest, repositories: Path) -> Iterator[SearchServer]:
    """A node of one of the other versions."""
    if request.param == "elasticsearch":
        yield request.getfixturevalue("elasticsearch")
        return
    with SearchServer("production-n", repositories, request.param) as server:
        yield server


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
