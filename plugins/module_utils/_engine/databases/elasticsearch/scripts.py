# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the operator's script: requests in JSON, on the indices that a pull restored and on no others.

A script is a JSON list of requests, or one request in a line::

    {"method": "POST", "path": "/users/_update_by_query", "body": {"script": {"source": "ctx._source.remove('email')"}}}

Its paths have live names, aliases, and wildcards; they are replaced by the names of the scratch indices.
"""

from __future__ import annotations

import contextlib
import json
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import EnvSyncError
from ...points.scripts import Effect, Script
from ...search.client import Client, ServerError, path
from ...streams.pipeline import Group
from .names import live_name, matching

#: what may follow the indices in a path, with how many more parts it has, by the method
_ALLOWED = {
    ("POST", "_update_by_query"): 0,
    ("POST", "_delete_by_query"): 0,
    ("POST", "_update"): 1,
    ("PUT", "_doc"): 1,
    ("DELETE", "_doc"): 1,
    ("PUT", "_mapping"): 0,
}

#: these go on for long: the server makes a task of each
_BY_QUERY = ("_update_by_query", "_delete_by_query")

#: keys of a request by query that would have it leave out documents that it matches
_PARTIAL = ("max_docs", "size", "conflicts", "terminate_after")

#: seconds between two looks at a task
_POLL = 0.2


@dataclass(frozen=True)
class Request:
    """One request: ``indices`` as the script has them, ``rest`` is the path after them."""

    number: int
    method: str
    indices: tuple[str, ...]
    rest: tuple[str, ...]
    body: Any


def read_script(script: Script, doing: str) -> list[Request]:
    """Return the script's requests.

    :raises EnvSyncError: it is not JSON, or asks for what could reach another index.
    """
    items = _items(script.path, script.text(doing), doing)
    return [_request(script.path, number, item, doing) for number, item in enumerate(items, 1)]


def _items(script: str, text: str, doing: str) -> list[Any]:
    try:
        if text.lstrip().startswith("["):
            found = json.loads(text)
        else:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise EnvSyncError(
            doing, f"{script}: it is not JSON ({error})", "Give a JSON list of requests, or one request in each line."
        ) from None
    return list(found)


def _request(script: str, number: int, item: Any, doing: str) -> Request:
    def refuse(why: str) -> EnvSyncError:
        allowed = ", ".join(f"{method} /INDEX/{verb}{'/ID' * more}" for (method, verb), more in _ALLOWED.items())
        return EnvSyncError(doing, f"{script}, request {number}: {why}", f"Allowed are {allowed}.")

    if not isinstance(item, dict) or not {"method", "path"} <= set(item) <= {"method", "path", "body"}:
        raise refuse("it is not a mapping of method, path and body")
    method, where = str(item["method"]).upper(), str(item["path"])
    if "?" in where:
        raise refuse("a path with parameters")
    parts = [urllib.parse.unquote(part) for part in where.strip("/").split("/")]
    indices = tuple(name for name in parts[0].split(",") if name)
    if not indices or any(name.startswith(("_", "-", "<")) for name in indices):
        raise refuse(f"{parts[0]!r} is not the name of an index")
    more = _ALLOWED.get((method, parts[1] if len(parts) > 1 else ""))
    if more is None or len(parts) != 2 + more or not all(parts):
        raise refuse(f"{method} {where}")
    body = item.get("body")
    if body is not None and not isinstance(body, dict):
        raise refuse("its body is not a mapping")
    for why in _leaves_out(parts[1], body or {}):
        raise refuse(why)
    return Request(number, method, indices, tuple(parts[1:]), body)


def _leaves_out(verb: str, body: Mapping[str, Any]) -> Iterator[str]:
    """Say why a request could end well and have left documents as they were, or run what is not in the script."""
    if verb in _BY_QUERY:
        for key in _PARTIAL:
            if key in body:
                yield f"{key} would leave documents out; say in query which are meant"
    found = body.get("script") if verb in ("_update_by_query", "_update") else None
    if isinstance(found, dict) and "source" not in found and "inline" not in found:
        yield "its script is one that the server has stored; give the source"


def run_script(
    script: Script, client: Client, names: Mapping[str, tuple[str, ...]], group: Group, doing: str
) -> Effect:
    """Run a script; return what it changed, by the server's own count, by index.

    :param names: the indices that a name in the script stands for: those to work on.
    :raises EnvSyncError: names the script and the request, and no value of any document.
    """
    changed: dict[str, int] = {}
    for request in read_script(script, doing):
        group.check()
        at = f"{script.path}, request {request.number} ({request.method} {'/'.join(request.rest[:1])})"
        for index in _targets(request, names, at, doing):
            try:
                count = _send(client, request, index, group, doing)
            except ServerError as error:
                raise EnvSyncError(
                    doing, f"{at}: {error.kind or error.status} (its text is withheld, as it may quote data)"
                ) from None
            except _Failed as error:
                raise EnvSyncError(doing, f"{at}: {error}", "Correct the script.") from None
            if count:
                live = live_name(index)
                changed[live] = changed.get(live, 0) + count
    return Effect(script, sum(changed.values()), changed, units=("documents", "indices"))


def _targets(request: Request, names: Mapping[str, tuple[str, ...]], at: str, doing: str) -> list[str]:
    """Return the indices that a request means; raise where a name or a pattern means none."""
    targets: list[str] = []
    for pattern in request.indices:
        found = sorted({index for name in matching(list(names), [pattern]) for index in names[name]})
        if not found:
            raise EnvSyncError(doing, f"{at}: there is no index {pattern}", "Correct the script.")
        targets += [index for index in found if index not in targets]
    return targets


def _forget(client: Client, task: str, doing: str) -> None:
    """Remove what the server keeps of a task for good: it may quote the documents that failed."""
    kind = "task" if client.version(doing).has_types else "_doc"
    with contextlib.suppress(EnvSyncError):
        client.delete(path(".tasks", kind, task), doing)


class _Failed(Exception):
    """What a task of the server says of its failure, without a document's values."""


def _send(client: Client, request: Request, index: str, group: Group, doing: str) -> int:
    """Send a request to one index; return how many documents it changed."""
    where = path(index, *request.rest)
    if request.rest[0] not in _BY_QUERY:
        # What is written has to be found by the queries that come after it.
        query = {} if request.rest[0] == "_mapping" else {"refresh": True}
        answer = client.request(request.method, where, doing, query, request.body)
        return int(answer.get("result") in ("created", "updated", "deleted"))
    begun = client.post(where, doing, request.body, wait_for_completion=False, refresh=True, conflicts="abort")
    task = path("_tasks", str(begun["task"]))
    try:
        while True:
            found = client.get(task, doing)
            if found.get("completed"):
                break
            group.sleep(_POLL)
    except BaseException:
        client.post(task + "/_cancel", doing)
        raise
    _forget(client, str(begun["task"]), doing)
    if "error" in found:
        raise _Failed(f"{found['error'].get('type')} (its text is withheld, as it may quote data)")
    response = found.get("response") or {}
    failures = response.get("failures") or []
    if failures or response.get("timed_out") or response.get("canceled"):
        cause = (failures[0].get("cause") or failures[0].get("reason") or {}) if failures else {}
        kind = cause.get("type", "it was cancelled or timed out") if isinstance(cause, dict) else "failure"
        raise _Failed(f"{len(failures)} documents failed, the first with {kind}")
    if response.get("version_conflicts"):
        raise _Failed(f"{response['version_conflicts']} documents were changed by somebody else meanwhile")
    counts = {key: int(response.get(key) or 0) for key in ("updated", "created", "deleted", "noops")}
    if sum(counts.values()) != int(response.get("total") or 0):
        raise _Failed(f"{sum(counts.values())} of {response.get('total')} documents were worked on")
    if request.rest[0] == "_update_by_query" and not (request.body or {}).get("script"):
        return 0  # they are indexed anew, as they are
    return sum(counts.values()) - counts["noops"]
