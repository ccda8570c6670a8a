# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a script's commands become: on collections whose names begin with a prefix, and on nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: commands that read, and change nothing
READING = frozenset({"find", "aggregate", "count", "distinct", "listIndexes", "collStats", "explain"})

#: commands that change documents of a collection that is there
CHANGING = frozenset({"update", "delete", "findAndModify"})

#: commands that make a collection that is not there
MAKING = frozenset({"insert", "create", "createIndexes"})

#: commands that change what else a collection has
_ALTERING = frozenset({"dropIndexes", "collMod", "drop", "renameCollection"})

#: commands on a cursor, whose collection goes by the name that the server has given
_CURSORS = {"getMore": "collection", "killCursors": "killCursors"}

_SPELLINGS = {"findandmodify": "findAndModify", "deleteIndexes": "dropIndexes"}

#: stages of an aggregation that name collections: the key, or "" where the value itself is one
_FOREIGN = {"$lookup": "from", "$graphLookup": "from", "$unionWith": "coll", "$out": "coll", "$merge": "into"}

#: what a driver adds to a command, and our own connection adds anew
_DRIVERS = frozenset({"lsid", "$clusterTime", "$readPreference"})


class Refused(Exception):
    """Why a command is not run; in words that name what the script does, and no value."""


def verb_of(command: Mapping[str, Any]) -> str:
    """Return a command's name."""
    verb = next(iter(command), "")
    return _SPELLINGS.get(verb, verb)


def writes(command: Mapping[str, Any]) -> bool:
    """Say whether a command changes anything."""
    verb = verb_of(command)
    return verb in CHANGING | MAKING | _ALTERING or (verb == "aggregate" and bool(target_of(command)))


def upserts(command: Mapping[str, Any]) -> bool:
    """Say whether a command may make the collection that it changes."""
    verb = verb_of(command)
    if verb == "update":
        return any(change.get("upsert") for change in command.get("updates", ()))
    return verb in MAKING or (verb == "findAndModify" and bool(command.get("upsert")))


def target_of(command: Mapping[str, Any]) -> str:
    """Return the collection that an aggregation writes to; empty where it only reads."""
    pipeline = command.get("pipeline") or ()
    for stage in pipeline[-1:]:
        for operator in ("$out", "$merge"):
            if operator in stage:
                value = stage[operator]
                value = value.get("into", value.get("coll", "")) if isinstance(value, Mapping) else value
                return str(value.get("coll", "") if isinstance(value, Mapping) else value)
    return ""


class Scope:
    """The collections of ``database`` whose names begin with ``prefix``, which are known without it."""

    def __init__(self, database: str, prefix: str) -> None:
        self._database = database
        self._prefix = prefix

    def real(self, name: Any) -> str:
        """Return what the server calls a collection; a name that has the prefix already stays."""
        if not isinstance(name, str) or not name:
            raise Refused("it names no collection")
        if name.startswith("system."):
            raise Refused(f"{name} is the server's own")
        return name if name.startswith(self._prefix) else self._prefix + name

    def known(self, name: str) -> str:
        """Return what a script calls a collection of the server's."""
        return name[len(self._prefix) :] if name.startswith(self._prefix) else name

    def translated(self, database: str, command: Mapping[str, Any]) -> dict[str, Any]:
        """Return the command for the server.

        :raises Refused: it reaches beyond these collections, or could not be followed.
        """
        verb = verb_of(command)
        if not verb:
            raise Refused("an empty command")
        options = {key: value for key, value in list(command.items())[1:] if key not in _DRIVERS}
        if {"startTransaction", "autocommit", "txnNumber"} & set(options):
            raise Refused("a transaction, which could be aborted")
        if verb == "renameCollection" and database == "admin":
            return {
                verb: self._namespace(command[next(iter(command))]),
                **options,
                "to": self._namespace(options["to"]),
            }
        if database != self._database:
            raise Refused(f"{verb} of the database {database}")
        if verb in _CURSORS:
            key = _CURSORS[verb]
            return {verb: command[verb], **options, key: self.real(command[key])}
        if verb == "explain":
            return {verb: self.translated(database, command[verb]), **options}
        if verb not in READING | CHANGING | MAKING | _ALTERING:
            raise Refused(f"{verb} is not among the commands for scripts")
        if {"viewOn", "timeseries"} & set(options):
            raise Refused(f"{verb} of a view or a time series, which could not be swapped in")
        if "pipeline" in options:
            options["pipeline"] = self._pipeline(options["pipeline"])
        if (options.get("writeConcern") or {}).get("w") == 0:
            del options["writeConcern"]  # nobody would learn of an error
        return {verb: self.real(command[next(iter(command))]), **options}

    def _namespace(self, name: Any) -> str:
        database, dot, collection = str(name).partition(".")
        if database != self._database or not dot:
            raise Refused(f"renameCollection of {database}")
        return f"{database}.{self.real(collection)}"

    def _pipeline(self, stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [{operator: self._stage(operator, value) for operator, value in stage.items()} for stage in stages]

    def _stage(self, operator: str, value: Any) -> Any:
        if operator == "$facet":
            return {name: self._pipeline(stages) for name, stages in value.items()}
        if operator not in _FOREIGN:
            return value
        if isinstance(value, str):
            return self.real(value)
        made = dict(value.items())
        for key in {_FOREIGN[operator], "coll"} & set(made):
            made[key] = self._foreign(made[key])
        if made.get("db", self._database) != self._database:
            raise Refused(f"{operator} of the database {made['db']}")
        if "pipeline" in made:
            made["pipeline"] = self._pipeline(made["pipeline"])
        return made

    def _foreign(self, value: Any) -> Any:
        """Return the name that a stage has: plain, or with its database (``{db, coll}``)."""
        if isinstance(value, str):
            return self.real(value)
        made = dict(value.items())
        if made.get("db", self._database) != self._database:
            raise Refused(f"an aggregation that reaches the database {made['db']}")
        return {**made, "coll": self.real(made.get("coll"))}
