# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Give restored indices the live names themselves, for applications that cannot do with aliases.

An index cannot be renamed, but the server copies one in an instant, by links to its files (``_clone``). As an index
and an alias cannot have one name, the name is away for that instant.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from ...errors import EnvSyncError
from ...search.client import Client, path

# It begins where a swap of aliases has ended: the live name is an alias of the restored index, and serves.
# 1. Block writes to the restored index: only such a one is copied, and no write may get lost between copy and removal.
# 2. Remove the alias. From here on the name is away.
# 3. Copy the index under the live name, without the block, and wait until its primary shards serve. The name is back.
# 4. In one request give the other aliases to the copy, and remove the restored index.
# Whatever fails in between, the way back is the same: make the name the alias again, in place of what may have come of
# the copy, and lift the block. The pull has still succeeded then, with a warning. Only when that fails, too, does the
# name stay away; so it does when the run is killed in step 3. The next pull gives it back.


def take_name(
    client: Client, live: str, index: str, aliases: Mapping[str, Mapping[str, Any]], doing: str
) -> tuple[float, str]:
    """Turn the alias ``live`` of ``index`` into an index of that name; ``index`` is gone then.

    :param aliases: the other aliases of ``index``, with their properties. They serve all the while.
    :returns: how long the name was away, in seconds, and a warning where the alias was left instead.
    :raises EnvSyncError: neither worked: the name is away.
    """
    add = [{"add": {"index": live, "alias": alias, **properties}} for alias, properties in aliases.items()]
    copy = {"settings": {"index.blocks.write": None}}
    began = time.monotonic()
    try:
        client.put(path(index, "_settings"), doing, {"index.blocks.write": True})
        began = time.monotonic()
        client.post("/_aliases", doing, {"actions": [{"remove": {"index": index, "alias": live}}]})
        done = client.post(path(index, "_clone", live), doing, copy, wait_for_active_shards=1, timeout="60s")
        if not done.get("shards_acknowledged"):
            raise EnvSyncError(doing, f"the copy of {live} has no shards after 60 s", "Look into the server's log.")
        away = time.monotonic() - began
        client.post("/_aliases", doing, {"actions": [*add, {"remove_index": {"index": index}}]})
    except EnvSyncError as error:
        _take_back(client, live, index, doing)
        return time.monotonic() - began, f"{live} is an alias of {index}, as it could not become an index: {error}"
    return away, ""


def _take_back(client: Client, live: str, index: str, doing: str) -> None:
    """Make ``live`` the alias of ``index`` again, instead of what has come to be of that name."""
    actions: list[dict[str, Any]] = [{"add": {"index": index, "alias": live}}]
    try:
        if live in client.get(path(live, "_alias"), doing):
            actions.insert(0, {"remove_index": {"index": live}})
    except EnvSyncError:
        pass  # there is no such name
    try:
        client.post("/_aliases", doing, {"actions": actions})
    except EnvSyncError as error:
        raise EnvSyncError(
            doing, f"the name {live} is away ({error}), and its documents are in {index}", "Run it again."
        ) from None
    with contextlib.suppress(EnvSyncError):
        client.put(path(index, "_settings"), doing, {"index.blocks.write": None})
