# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the operator's script on scratch collections: ``mongosh`` for JavaScript, pymongo for a list of commands.

In both, collections go by the names that they will have after the swap.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import EnvSyncError
from ..pipeline import Group
from ..scripts import Effect, Script
from .base import within
from .mongo_archive import extended_json
from .mongo_client import Server, ServerError, program

#: the commands that a list may hold: each names one collection, first
COMMANDS = ("update", "delete", "insert", "createIndexes", "dropIndexes", "collMod", "drop")

#: commands that may name a collection that is not there yet
_MAKING = ("insert", "createIndexes")

#: kinds of errors whose text is of the script, not of the data
_OF_THE_SCRIPT = re.compile(r"\b(?:ReferenceError|SyntaxError|MongoshInvalidInputError|TypeError)\b[^\n]*")
_KIND = re.compile(r"\b(Mongo\w*Error|Error)\b")
_CODE = re.compile(r"\b(E\d{3,5})\b")

# Follows the script, which so keeps its line numbers. What is called db inside it is the live database, with every
# collection's name mapped; what would lead out of it is refused.
_WRAPPER = """
})((function () {
  const prefix = %(prefix)s, live = connect(%(uri)s).getSiblingDB(%(database)s);
  const refuse = (what) => () => { throw new TypeError(what + " reaches beyond the scratch collections"); };
  const own = {
    getCollection: (name) => live.getCollection(prefix + name),
    getCollectionNames: () =>
      live.getCollectionNames().filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)),
    runCommand: (command) => {
      const verb = Object.keys(command)[0];
      return live.runCommand({ ...command, [verb]: prefix + command[verb] });
    },
    createCollection: (name, options) => live.createCollection(prefix + name, options),
  };
  for (const name of ["getSiblingDB", "getMongo", "adminCommand", "aggregate", "dropDatabase"]) {
    own[name] = refuse(name);
  }
  return new Proxy(live, {
    get(target, name) {
      if (Object.hasOwn(own, name)) return own[name];
      if (typeof name !== "string" || name in Object.getPrototypeOf(target) || name.startsWith("_")) {
        return Reflect.get(target, name);
      }
      return live.getCollection(prefix + name);
    },
  });
})());
"""


def check_script(script: Script, doing: str) -> None:
    """Raise unless the script can be run on this host."""
    text = script.text(doing)
    if script.name.endswith(".js"):
        program("mongosh", doing)
    else:
        list(_commands(script.path, text, doing))


def run_script(
    script: Script, server: Server, database: str, prefix: str, known: set[str], group: Group, work_dir: str | None
) -> Effect:
    """Run a script on the collections of ``database`` whose names begin with ``prefix``.

    :param known: the names, without the prefix, of the collections that there are.
    :raises EnvSyncError: names the script and the command (JSON) or the kind of error (JavaScript), and no value.
    """
    where = "the scratch collections" if prefix else "the database itself"
    doing = f"running {script.path} on {where} of {database}"
    text = script.text(doing)
    if script.name.endswith(".js"):
        _run_javascript(text, server.uri, database, prefix, group, work_dir, doing)
        return Effect(script, 0)
    for number, command in _commands(script.path, text, doing):
        group.check()
        verb = next(iter(command))
        name = str(command[verb])
        at = f"{script.path}, command {number} ({verb} of {name})"
        if name not in known and verb not in _MAKING:
            raise EnvSyncError(doing, f"{at}: there is no collection {name}", "Correct the script.")
        try:
            answer = server.command(database, {**command, verb: prefix + name}, doing)
        except ServerError as error:
            raise EnvSyncError(
                doing, f"{at}: error {error.code} (its text is withheld, as it may quote data)"
            ) from None
        if answer.get("writeErrors") or answer.get("writeConcernError"):
            errors = answer.get("writeErrors") or [answer["writeConcernError"]]
            why = f"{at}: error {errors[0].get('code')} (its text is withheld, as it may quote data)"
            raise EnvSyncError(doing, why, "Correct the script.")
        known.add(name)
    return Effect(script, 0)


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


def _run_javascript(
    text: str, uri: str, database: str, prefix: str, group: Group, work_dir: str | None, doing: str
) -> None:
    mongosh = program("mongosh", doing)
    path = within(work_dir, "script.js")
    values = {"prefix": json.dumps(prefix), "uri": json.dumps(uri), "database": json.dumps(database)}
    # The address with its password stands in the file: on a command line everybody could read it.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write("(function (db) { " + text + _WRAPPER % values)
    try:
        # mongosh keeps its settings and logs in HOME, which a backup user may lack.
        argv = [mongosh, "--nodb", "--quiet", "--norc", "--file", path]
        stage = group.run(argv, doing, env={"HOME": os.path.dirname(path)}, checked=False)
        stage.join()
    finally:
        os.unlink(path)
    if stage.popen.returncode != 0:
        raise EnvSyncError(doing, _describe(stage.stderr_text), "Correct the script.")


def _describe(stderr: str) -> str:
    """Return what of mongosh's complaint may be repeated: its text only where it is about the script."""
    of_the_script = _OF_THE_SCRIPT.search(stderr)
    if of_the_script:
        return of_the_script.group()[:300]
    kind, code = _KIND.search(stderr), _CODE.search(stderr)
    words = [match.group(1) for match in (kind, code) if match]
    return f"mongosh: {' '.join(words) or 'it failed'} (its text is withheld, as it may quote data)"
