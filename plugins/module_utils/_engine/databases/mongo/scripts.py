# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the operator's script on scratch collections: ``mongosh`` for JavaScript, pymongo for a list of commands.

In both, collections go by the names that they will have after the swap.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import EnvSyncError
from ...points.scripts import Effect, Script
from ...streams.pipeline import Group
from .archive import extended_json
from .client import Server
from .commands import Commands
from .names import END
from .programs import program
from .scope import Refused
from .shell import run_javascript

#: the commands that a list may hold: each names one collection, first
COMMANDS = ("update", "delete", "insert", "createIndexes", "dropIndexes", "collMod", "drop")


def check_script(script: Script, doing: str) -> None:
    """Raise unless the script can be run on this host."""
    text = script.text(doing)
    if script.name.endswith(".js"):
        program("mongosh", doing)
    else:
        list(_commands(script.path, text, doing))


def run_script(
    script: Script, server: Server, database: str, prefix: str, group: Group, work_dir: str | None
) -> Effect:
    """Run a script on the collections of ``database`` whose names begin with ``prefix``.

    :raises EnvSyncError: names the script and the command (JSON) or the kind of error (JavaScript), and no value.
    """
    where = "the scratch collections" if prefix else "the database itself"
    doing = f"running {script.path} on {where} of {database}"
    text = script.text(doing)
    commands = Commands(server, database, prefix, doing)
    if script.name.endswith(".js"):
        run_javascript(text, commands, group, work_dir)
    else:
        for number, command in _commands(script.path, text, doing):
            group.check()
            verb = next(iter(command))
            _run(commands, database, command, doing, f"{script.path}, command {number} ({verb} of {command[verb]})")
    tables = {name: count for name, count in commands.changed.items() if name != END}
    return Effect(script, sum(tables.values()), tables, commands.altered, ("documents", "collections"))


def _run(commands: Commands, database: str, command: Mapping[str, Any], doing: str, at: str) -> None:
    try:
        answer = commands.run(database, command)
    except Refused as error:
        raise EnvSyncError(doing, f"{at}: {error}", "Correct the script.") from None
    errors = answer.get("writeErrors") or [answer.get("writeConcernError") or answer]
    if answer.get("writeErrors") or answer.get("writeConcernError") or not answer.get("ok"):
        why = f"{at}: error {errors[0].get('code')} (its text is withheld, as it may quote data)"
        raise EnvSyncError(doing, why, "Correct the script.")


def _commands(script: str, text: str, doing: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Give each command of a list in Extended JSON with its number, from 1."""
    try:
        commands = extended_json(text)
    except ValueError as error:
        place = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise EnvSyncError(
            doing, f"{script}{place}: it is no JSON", "Give a JSON list of commands, or a file that ends in .js."
        ) from error
    if not isinstance(commands, list):
        raise EnvSyncError(doing, f"{script}: it is no list of commands", "Put the commands in a JSON list.")
    for number, command in enumerate(commands, 1):
        verb = next(iter(command), "") if isinstance(command, dict) else ""
        if verb not in COMMANDS or not isinstance(command[verb], str):
            raise EnvSyncError(
                doing,
                f"{script}, command {number}: it does not begin with a command and a collection's name",
                f"The commands are {', '.join(COMMANDS)}.",
            )
        yield number, command
