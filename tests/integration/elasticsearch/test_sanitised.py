# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Elasticsearch's scripts that sanitise nothing; and that what a right one replaced is gone from the files, too.

One node is source and target: its live indices are changed after the push.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.elasticsearch.support import USERS, aliases
from tests.servers.opensearch import SearchServer

COUNT = 20
PLANTED = 5000

_VALUE = re.compile(rb"(?=([0-9a-f]{24}))")

Pull = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", params=["opensearch", "elasticsearch"])
def node(request: pytest.FixtureRequest) -> SearchServer:
    found: SearchServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def server(node: SearchServer) -> Iterator[SearchServer]:
    node.call("PUT", "/users", USERS)
    yield node
    left = [name for name in node.indices() if name.startswith("env_sync-") and not aliases(node, name)]
    node.clear()
    assert left in ([], ["env_sync-lock"])


@pytest.fixture
def keys(server: SearchServer, tmp_path: Path) -> Callable[..., Task]:
    def make(action: str, **others: Any) -> Task:
        values = {
            "action": action,
            "dbms": "elasticsearch",
            "database": "search",
            "database_hostname": server.host,
            "database_port": server.port,
            "storagebackend": "es_snapshot",
            "url": "backups",
            "repository_type": "fs",
            "repository_settings": {"location": tmp_path.name},
            "temppath": str(tmp_path / "temp"),
            "state_dir": str(tmp_path / "state"),
        }
        return Task.from_mapping({**values, **others})

    return make


@pytest.fixture
def pull_with(keys: Callable[..., Task], tmp_path: Path) -> Pull:
    """Return a function that pulls what was pushed with a script, where sanitised data is required."""

    def run(requests: Any, **others: Any) -> dict[str, Any]:
        script = tmp_path / "sanitise.json"
        script.write_text(requests if isinstance(requests, str) else json.dumps(requests), encoding="utf-8")
        wanted = {"require_sanitised": True, "transformation_sql_filename": str(script), **others}
        return pull.pull(keys("pull", allow_restore_to_source=True, **wanted), Host())

    return run


def by_query(body: dict[str, Any], verb: str = "_update_by_query", index: str = "users") -> dict[str, Any]:
    return {"method": "POST", "path": f"/{index}/{verb}", "body": body}


MASK = {"source": "ctx._source.email = ctx._id + '@x.invalid'"}
NOBODY = {"term": {"email": "nobody"}}

NOTHING: list[tuple[str, Any, str]] = [
    ("an empty file", "", "changed nothing"),
    ("an empty list", [], "changed nothing"),
    ("a query that matches nothing", [by_query({"query": NOBODY, "script": MASK})], "changed nothing"),
    ("a deletion that matches nothing", [by_query({"query": NOBODY}, "_delete_by_query")], "changed nothing"),
    ("no operation", [by_query({"script": {"source": "ctx.op = 'noop'"}})], "changed nothing"),
    ("no script", [by_query({"query": {"match_all": {}}})], "changed nothing"),
    ("only a mapping", [{"method": "PUT", "path": "/users/_mapping", "body": {"properties": {}}}], "changed nothing"),
    ("an index that is not there", [by_query({"script": MASK}, index="userz")], "no index userz"),
    ("a pattern that matches none", [by_query({"script": MASK}, index="userz*")], r"no index userz\*"),
    ("a part", [by_query({"max_docs": 1, "script": MASK})], "max_docs would leave documents out"),
    ("a part, as it was called before", [by_query({"size": 1, "script": MASK})], "size would leave documents out"),
    ("conflicts passed over", [by_query({"conflicts": "proceed", "script": MASK})], "conflicts would leave"),
    ("a script of the server's", [by_query({"script": {"id": "mask"}})], "one that the server has stored"),
    ("an update to the same", [{"method": "POST", "path": "/users/_update/1", "body": {"doc": {}}}], "changed nothing"),
]


@pytest.mark.parametrize(("requests", "says"), [case[1:] for case in NOTHING], ids=[case[0] for case in NOTHING])
def test_a_script_that_sanitises_nothing_is_refused(
    server: SearchServer, keys: Callable[..., Task], pull_with: Pull, requests: Any, says: str
) -> None:
    server.fill("users", {str(n): {"email": f"user{n}@example.com"} for n in range(COUNT)})
    push.push(keys("push"), Host())
    server.fill("users", {"1": {"email": "live"}})
    before = server.documents("users")
    with pytest.raises(EnvSyncError, match=says) as caught:
        pull_with(requests)
    assert server.documents("users") == before and "@example.com" not in str(caught.value)


def test_what_was_replaced_is_in_no_file(server: SearchServer, keys: Callable[..., Task], pull_with: Pull) -> None:
    """A thirteenth of each segment changes: less than what a server would merge by itself."""
    planted = [secrets.token_hex(16) for _unused in range(PLANTED)]
    for batch in range(10):
        some = planted[batch * 500 : batch * 500 + 500]
        documents = {f"{batch}-{n}": {"email": value, "real": True} for n, value in enumerate(some)}
        others = {f"{batch}-x{n}": {"email": f"{n}@x.invalid", "text": "x" * 50} for n in range(6000)}
        server.fill("users", {**documents, **others})
    push.push(keys("push"), Host())
    server.call("DELETE", "/users")
    change = by_query({"query": {"term": {"real": True}}, "script": MASK})
    remove = {"method": "DELETE", "path": "/users/_doc/0-x1"}

    done = pull_with([change, remove])

    assert done["sanitised"][0]["changed"] == PLANTED + 1 and done["warnings"] == []
    (index,) = server.call("GET", "/users/_alias")
    stats = server.call("GET", f"/{index}/_stats/docs")["indices"][index]["primaries"]["docs"]
    assert stats == {"count": 10 * (500 + 6000) - 1, "deleted": 0}
    settings = server.call("GET", f"/{index}/_settings")[index]["settings"]["index"]
    assert "merge" not in settings, "the policy is what it was"
    values = {value[8:].encode() for value in planted}  # an index of terms leaves out what they begin with in common
    found = {value for data in contents(server.folder) for value in _VALUE.findall(data) if value in values}
    assert not found, f"{len(found)} of {PLANTED}"


def contents(folder: Path) -> Iterator[bytes]:
    """Give what is in the node's files; it removes some meanwhile, as it merges."""
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if file.is_file():
                yield file.read_bytes()


def test_counts_are_in_the_snapshots_note(server: SearchServer, keys: Callable[..., Task], tmp_path: Path) -> None:
    server.fill("users", {str(n): {"email": f"user{n}@example.com"} for n in range(COUNT)})
    script = tmp_path / "before.json"
    script.write_text(json.dumps([by_query({"script": MASK})]))
    push.push(keys("push", pre_dump_transformation_sql_filename=str(script)), Host())
    done = pull.pull(keys("pull", allow_restore_to_source=True, require_sanitised=True), Host())
    assert done["manifest"]["sanitised"][0]["changed"] == COUNT
