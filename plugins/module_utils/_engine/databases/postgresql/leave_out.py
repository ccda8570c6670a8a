# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an operator has a restore leave out of a ``pg_dump`` archive: objects, extensions, and what depends on them."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from ...errors import EnvSyncError
from .toc import Entry, Toc

#: kinds of entries that can be named (``pg_dump``'s own words, ``pg_dump.c``)
KINDS = frozenset(
    {
        "ACCESS METHOD", "ACL", "AGGREGATE", "BLOB", "BLOB METADATA", "BLOBS", "CAST", "CHECK CONSTRAINT", "COLLATION",
        "COMMENT", "CONSTRAINT", "CONVERSION", "DEFAULT", "DEFAULT ACL", "DOMAIN", "EVENT TRIGGER", "EXTENSION",
        "FK CONSTRAINT", "FOREIGN DATA WRAPPER", "FOREIGN TABLE", "FUNCTION", "INDEX", "INDEX ATTACH",
        "MATERIALIZED VIEW", "MATERIALIZED VIEW DATA", "OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY", "POLICY",
        "PROCEDURAL LANGUAGE", "PROCEDURE", "PUBLICATION", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA",
        "ROW SECURITY", "RULE", "SCHEMA", "SECURITY LABEL", "SEQUENCE", "SEQUENCE OWNED BY", "SEQUENCE SET", "SERVER",
        "SHELL TYPE", "STATISTICS", "STATISTICS DATA", "SUBSCRIPTION", "SUBSCRIPTION TABLE", "TABLE", "TABLE ATTACH",
        "TABLE DATA", "TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY", "TEXT SEARCH PARSER",
        "TEXT SEARCH TEMPLATE", "TRANSFORM", "TRIGGER", "TYPE", "USER MAPPING", "VIEW",
    }
)  # fmt: skip

#: what an operator who misspells them would get although it was to stay out
_HAS_ROWS = frozenset({"BLOB", "BLOB METADATA", "BLOBS", "MATERIALIZED VIEW DATA", "TABLE", "TABLE DATA"})

#: entries about another object, whose tag begins with that one's kind
_ABOUT = frozenset({"ACL", "COMMENT", "SECURITY LABEL"})

OBJECT = "as excluded_objects says"
ON_OBJECT = "as it depends on what excluded_objects leaves out"
EXTENSION = "as excluded_extensions says"
ON_EXTENSION = "as it depends on an extension that is left out"

#: reasons for which every object is named in the log, however many there are
SAID_IN_FULL = frozenset({OBJECT, ON_OBJECT, EXTENSION, ON_EXTENSION})


@dataclass(frozen=True)
class Chosen:
    """The entries to leave out, by their numbers, each with the reason; and what there is to say of the choice."""

    reasons: Mapping[int, str]
    warnings: tuple[str, ...]


def choose(toc: Toc, objects: Sequence[str], extensions: Sequence[str], noted: Sequence[str], doing: str) -> Chosen:
    """Find what is to be left out, and what depends on it.

    :param objects: as ``excluded_objects`` has them: a kind, and a name with or without its schema; ``*`` and ``?``.
    :param extensions: as ``excluded_extensions`` has them.
    :param noted: those that were left out when the point was pushed.
    :raises EnvSyncError: a table depends on them; or what holds rows, and is to stay out, is not there.
    """
    reasons: dict[int, str] = {}
    warnings: list[str] = []
    for pattern in objects:
        matches = matcher(pattern, doing)
        found = [entry.dump_id for entry in toc.entries if matches(entry)]
        if not found and kind_of(pattern) in _HAS_ROWS:
            raise EnvSyncError(
                doing, f"excluded_objects names {pattern}, which the point does not have", "Correct or remove it."
            )
        if not found:
            warnings.append(f"excluded_objects names {pattern}, which the point does not have: correct or remove it")
        reasons.update((number, OBJECT) for number in found)
    for name in [*extensions, *noted]:
        found = [e.dump_id for e in toc.entries if e.desc == "EXTENSION" and names_extension([name], e.tag)]
        if not found and name not in noted:
            warnings.append(f"excluded_extensions names {name}, which the point does not have: correct or remove it")
        reasons.update((number, EXTENSION) for number in found if number not in reasons)
    _add_dependent(toc, reasons, doing)
    return Chosen(reasons, tuple(warnings))


def names_extension(patterns: Iterable[str], name: str) -> bool:
    """Say whether one of the patterns, with ``*`` and ``?``, is an extension's name."""
    return any(fnmatch.fnmatchcase(name, pattern.replace("[", "[[]")) for pattern in patterns)


def refuse_missing(needed: Iterable[str], available: Collection[str], doing: str) -> None:
    """Raise where an extension that is to be restored is not available on the server."""
    missing = [name for name in needed if name not in available]
    if missing:
        raise EnvSyncError(
            doing,
            f"the database uses extensions that are not available on this server: {', '.join(missing)}",
            "Install their packages on the database server, or leave them out with what depends on them: "
            f"excluded_extensions: {json.dumps(missing, ensure_ascii=False)}.",
        )


def _add_dependent(toc: Toc, reasons: dict[int, str], doing: str) -> None:
    """Add what depends on the entries that are left out, and what depends on that."""
    entries = {entry.dump_id: entry for entry in toc.entries}
    dependent: dict[str | None, list[Entry]] = {}
    for entry in toc.entries:
        for depended in entry.dependencies:
            dependent.setdefault(depended, []).append(entry)
    tables: list[Entry] = []
    open_ones = list(reasons)
    while open_ones:
        number = open_ones.pop()
        why = ON_EXTENSION if reasons[number] in (EXTENSION, ON_EXTENSION) else ON_OBJECT
        for entry in dependent.get(str(number), ()):
            if entry.dump_id not in reasons:
                reasons[entry.dump_id] = why
                open_ones.append(entry.dump_id)
                if entry.desc == "TABLE":
                    tables.append(entry)
    if tables:
        asked = [line(entries[number]) for number, reason in reasons.items() if reason in (OBJECT, EXTENSION)]
        needing = _some([line(table) for table in tables])
        raise EnvSyncError(
            doing,
            f"{_some(asked)} cannot be left out: {needing} depends on it, and would go with all its rows",
            f"If that is right, add it to the task: {setting(tables)}.",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def setting(entries: Iterable[Entry]) -> str:
    """Return the line for a task that leaves these entries out."""
    found = list(entries)
    if found and all(entry.desc == "EXTENSION" for entry in found):
        return f"excluded_extensions: {json.dumps([entry.tag for entry in found], ensure_ascii=False)}"
    return f"excluded_objects: {json.dumps([line(entry) for entry in found], ensure_ascii=False)}"


def line(entry: Entry) -> str:
    """Return what ``excluded_objects`` calls an entry."""
    if not entry.namespace:
        return f"{entry.desc} {entry.tag}"
    kind = _kind_in(entry.tag) if entry.desc in _ABOUT else ""
    if kind:
        return f"{entry.desc} {kind} {entry.namespace}.{entry.tag[len(kind) + 1 :]}"
    return f"{entry.desc} {entry.namespace}.{entry.tag}"


def kind_of(pattern: str) -> str:
    """Return the kind that a pattern begins with, empty for none."""
    words = pattern.upper().split(" ")
    return next((kind for kind in (" ".join(words[:count]) for count in range(4, 0, -1)) if kind in KINDS), "")


def _kind_in(tag: str) -> str:
    """Return the kind of object that the tag of a comment, label or grant begins with, empty for none."""
    words = tag.split(" ")
    kinds = KINDS | {"COLUMN", "DATABASE", "LARGE OBJECT", "ROUTINE"}
    return next((kind for kind in (" ".join(words[:count]) for count in range(4, 0, -1)) if kind in kinds), "")


def matcher(pattern: str, doing: str) -> Callable[[Entry], bool]:
    """Return what tells whether an entry is one that the pattern names.

    :raises EnvSyncError: the pattern does not begin with a kind of object, or names nothing.
    """
    kind = kind_of(pattern)
    name = pattern[len(kind) :].strip()
    if not kind or not name:
        raise EnvSyncError(
            doing,
            f"excluded_objects has {pattern!r}, which is not a kind of object and a name",
            "Write it as pg_restore --list does: VIEW public.broken, FK CONSTRAINT public.child child_fk.",
        )
    names = {name, name.replace('"', "")}
    expressions = [re.compile(fnmatch.translate(text.replace("[", "[[]")), re.DOTALL) for text in names]

    def matches(entry: Entry) -> bool:
        if entry.desc != kind:
            return False
        called = {entry.tag, f"{entry.namespace}.{entry.tag}" if entry.namespace else entry.tag}
        called.add(line(entry)[len(kind) + 1 :])
        return any(expression.match(text) for expression in expressions for text in called)

    return matches
