# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A task's keys as they are given become the engine's own values, or all that is wrong with them is said at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import EnvSyncError
from .config import default_conf_dir
from .keys import ACTIONS, KEYS, LOCAL, ONLY_FOR, OTHER_NAMES, SECRETS, SELF_STORING, did_you_mean, is_here, local_path
from .schedule import FIELDS, Schedule


def read(values: Mapping[str, Any], name: str = "", conf_dir: str = "") -> dict[str, Any]:
    """Return a task's values by key, each of the engine's own type; for the parameters see ``Task.from_mapping``.

    1. Each value that is given is turned into its key's kind.
    2. Keys that are missing are named.
    3. The store is settled: some stores decide other keys, and ``src`` or ``dest`` stands in for one.
    4. Names of transformation files become paths, as ``transformation_sql`` and ``pre_dump_transformation_sql``.
    5. Keys that the task's kind of database can't obey are refused.

    :raises EnvSyncError: names every fault of all these steps.
    """
    given, faults = _converted(values)
    given["name"] = name or given.get("name", "")
    faults += _missing(values, given)
    faults += _settle_store(given)
    faults += _timing_faults(given)
    faults += _settle_local(given)
    for stem in ("transformation_sql", "pre_dump_transformation_sql"):
        try:
            given[stem] = _scripts(given, stem, conf_dir or default_conf_dir())
        except ValueError as error:
            faults.append(f"{stem}_filename {error}")
    faults += [
        f"{key} is for dbms {', '.join(only)}, not for {given['dbms']}"
        for key, only in ONLY_FOR.items()
        if given.get(key) and given.get("dbms", only[0]) not in only
    ]
    if faults:
        raise EnvSyncError(
            f"reading the task {given['name']}".rstrip(), "; ".join(faults), "Correct the parameters named here."
        )
    return given


def _is_given(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and value == "")


def _converted(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the values that are given, each of its key's kind, and what is wrong with the others."""
    given: dict[str, Any] = {}
    faults: list[str] = []
    for key, value in values.items():
        if not _is_given(value):
            continue
        convert = KEYS.get(key)
        if convert is None:
            faults.append(f"unknown key {key}{did_you_mean(str(key), KEYS, OTHER_NAMES)}")
            continue
        try:
            given[key] = convert(value)
        except ValueError as error:
            faults.append(f"{key} {error}" + ("" if key in SECRETS else f", not {value!r}"))
    return given, faults


def _missing(values: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield a fault for each key that is missing; one whose value was refused is not."""
    for key, which in _needed(given).items():
        if key not in given and not _is_given(values.get(key)):
            yield f"missing key {key}{which}"


def _needed(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys that such a task must have, each with what else to say where it is missing."""
    action = given.get("action", "")
    if not action:
        return {"action": f" (one of {', '.join(ACTIONS)})"}
    if action == "s3_sync":
        needed = ["source_bucket", "destination_bucket"]
    else:
        needed = ["dbms", "database"]
        if not given.get(LOCAL[action]):
            needed += ["storagebackend", "url"]
    if given.get("dbms") == "files" and not given.get("database", "/").startswith("/"):
        needed.append("directory")  # the original has the path in database
    return dict.fromkeys(needed, "")


def _settle_store(given: dict[str, Any]) -> list[str]:
    """Have ``path`` and ``compression`` be as the store needs them; return why it can't hold such points."""
    if given.get("storagebackend") != "rsync" and "path" in given:
        # Only an rsync store has a root of its own that a path could begin at.
        given["path"] = given["path"].lstrip("/")
    only_dbms = SELF_STORING.get(given.get("storagebackend", ""))
    if only_dbms:
        given["compression"] = "none"  # the server stores its own files
        if given.get("dbms", only_dbms) != only_dbms:
            return [f"storagebackend {given['storagebackend']} is for dbms {only_dbms}, not for {given['dbms']}"]
    return []


def _timing_faults(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with when a task runs; one that runs when it is asked to need not say when."""
    when = {key: given[key] for key in FIELDS if key in given}
    try:
        Schedule.parse(**{"hour": "0", "minute": "0", **when})
    except ValueError as error:
        yield str(error)


def _settle_local(given: dict[str, Any]) -> list[str]:
    """Have ``src`` or ``dest`` stand in for a store, and a directory store's url be absolute; return why not."""
    folders = {key: given.pop(key, "") for key in LOCAL.values()}
    local = folders.get(LOCAL.get(given.get("action", ""), ""))
    if local:
        given.update(storagebackend="directory", url=local, path="")
    if given.get("storagebackend") == "directory" and "url" in given:
        try:
            given["url"] = local_path(given["url"])
        except ValueError as error:
            return [f"url {error}, not {given['url']!r}"]
    return []


def _scripts(given: Mapping[str, Any], stem: str, conf_dir: str) -> tuple[str, ...]:
    """Return the paths of the scripts given as ``<stem>_filename`` (the inventory) or ``<stem>_file`` (old configs).

    A name is that of a deployed one, unless it is a path: absolute, or one that begins with ``./``.

    :raises ValueError: one begins with ``./``, and the current directory is gone.
    """
    folder = os.path.join(conf_dir, "transformation_sql")
    names = given.get(f"{stem}_filename", ()) + given.get(f"{stem}_file", ())
    return tuple(
        local_path(name) if os.path.isabs(name) or is_here(name) else os.path.join(folder, name) for name in names
    )
