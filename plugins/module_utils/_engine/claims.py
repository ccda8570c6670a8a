# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose a point is while it is made: two hosts may begin one of the same name in the same second.

No store here can be relied on to create a name only once (rsync and many S3 servers replace what is there). All of them
list what was stored before. So a run leaves a mark of a name that is its own, ``<point>/.claim-<run>`` (an empty
object; in a bucket an upload that is never completed), and then looks: the point is its own when nobody else's is
there. Of two that see each other, at most one goes on.
"""

from __future__ import annotations

import contextlib
import time
from typing import Callable

from .errors import Cancelled, EnvSyncError
from .points.name import manifest_name
from .stores.base import Store

_CLAIM = "/.claim-"

#: how long a run waits for another one, which comes after it by name, to give way, in seconds
PATIENCE = 5.0

_LOOK = 0.2


def claim_name(point: str, run: str) -> str:
    """Return the name of a run's claim to a point."""
    return f"{point}{_CLAIM}{run}"


def is_claim(name: str, point: str) -> bool:
    """Say whether an object is a claim to the point."""
    return name.startswith(point + _CLAIM)


def take(store: Store, point: str, run: str, cancelled: Callable[[], bool]) -> bool:
    """Claim a point; False, with nothing left there, where another run has it.

    :param run: what tells this run from all others.
    """
    if not store.claims:
        return True  # its server makes each name once
    mine = claim_name(point, run)
    try:
        store.claim(mine)
    except EnvSyncError:
        if store.stat(manifest_name(point)) is None:
            raise
        return False  # another run has just finished it, and taken its folder away with its claim
    deadline = time.monotonic() + PATIENCE
    while True:
        claims = {name for name in store.claimed(f"{point}/") if is_claim(name, point)}
        over = time.monotonic() >= deadline
        # A server that lists what it has some time later is given that time.
        if not claims - {mine} and (mine in claims or over):
            if store.stat(manifest_name(point)) is None:
                return True
            over = True
        # One that saw nobody goes on, whatever its name is: the first by name waits, and gives way in the end, too.
        if cancelled() or over or (claims and min(claims) != mine):
            store.unclaim(mine)
            if cancelled():
                raise Cancelled(f"claiming {store.url(point)}", "it was told to stop")
            return False
        time.sleep(_LOOK)


def give(store: Store, point: str, run: str) -> None:
    """Take the claim to a finished point away; one that can't be removed is in nobody's way."""
    if store.claims:
        with contextlib.suppress(EnvSyncError):
            store.unclaim(claim_name(point, run))
