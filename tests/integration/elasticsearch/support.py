# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of Elasticsearch and OpenSearch share: documents, looks at a node, another host's process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.opensearch import SearchServer
from tests.servers.search_proxy import SearchProxy

ENGINE = Path(__file__).resolve().parents[3] / "plugins" / "module_utils"

ARTICLES = {
    "settings": {
        "number_of_shards": 2,
        "analysis": {"analyzer": {"plain": {"type": "custom", "tokenizer": "standard", "filter": ["lowercase"]}}},
    },
    "mappings": {"properties": {"title": {"type": "text", "analyzer": "plain"}, "year": {"type": "integer"}}},
    "aliases": {"articles": {}, "recent": {"filter": {"term": {"year": 2026}}, "routing": "1"}},
}

USERS = {"mappings": {"properties": {"email": {"type": "keyword"}}}}

MASK = {
    "method": "POST",
    "path": "/users/_update_by_query",
    "body": {"script": {"source": "ctx._source.email = ctx._id + '@staging.invalid'"}},
}

Tasks = Callable[..., Task]
Values = Callable[..., dict[str, Any]]


def fill(server: SearchServer) -> None:
    server.call("PUT", "/articles-v1", ARTICLES)
    server.call("PUT", "/users", USERS)
    server.fill("articles-v1", {str(n): {"title": f"Article {n}", "year": 2000 + n} for n in range(30)})
    server.fill("users", {str(n): {"email": f"user{n}@example.com"} for n in range(20)})


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


def script(tmp_path: Path, *requests: dict[str, Any]) -> str:
    path = tmp_path / "sanitise.json"
    path.write_text("\n".join(json.dumps(request) for request in requests), encoding="utf-8")
    return str(path)


# -- another host's process ------------------------------------------------------------------------------------------

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
from _engine.databases.elasticsearch import database, dump, restore
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
