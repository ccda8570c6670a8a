# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An operator's scripts: looked at before they run, run in a schema, and what each of them did there."""

from __future__ import annotations

from collections.abc import Sequence

from ...points.scripts import Effect
from ...points.scripts import Script as File
from ...streams.pipeline import Group
from . import code, effect, runner
from .client import Server
from .guard import Guard
from .runner import Place
from .scripts import Script


def look_at(server: Server, files: Sequence[File], place: Place, doing: str) -> None:
    """Raise where a script leaves its database, names one that is shut to it, or can't be read to its end."""
    guard = _guard(server, place, doing)
    for file in files:
        guard.look(Script(file.content, file.path, f"looking at {file.path}", follow=True))


def run(group: Group, server: Server, file: File, place: Place) -> tuple[Effect, list[str]]:
    """Run a script; return what it did, and warnings.

    :raises EnvSyncError: a statement must not run, or failed; the message says which, and what was done before it.
    """
    doing = f"running {file.path} on {place.schema} on {server.name}"
    guard = _guard(server, place, doing)
    guard.learn(code.read(server, place.schema, doing))
    seen = guard.look(Script(file.content, file.path, doing, follow=True))
    before = effect.take_picture(server, place.schema, doing)
    effect.wait_for_clock(group, server, before, doing)
    counts = runner.run(server, Script(file.content, file.path, doing), guard, seen, place)
    after = effect.take_picture(server, place.schema, doing)
    return effect.effect(file, before, after, counts), counts.warnings


def _guard(server: Server, place: Place, doing: str) -> Guard:
    return Guard(place.schema, place.shut, server.folds_names(doing))
