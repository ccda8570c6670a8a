# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fit the table of contents of an archive to a server and to the rights of the restoring role there.

Nothing is granted that was not granted before; what can't be restored is left out and said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...errors import EnvSyncError
from . import grants
from .notes import FOREIGN, ON_FOREIGN, Notes
from .order import row_security_last
from .sql import split_statements, tokens, unquoted
from .superuser import is_security_definer, needs_superuser
from .target import Target
from .toc import BATCH, PUBLIC, Entry, Toc

#: entries that say something of another one, which their tag names
_ABOUT_OTHERS = ("COMMENT", "ACL", "SECURITY LABEL")

#: what ALTER ... OWNER TO works on (pg_restore's own list, _printTocEntry)
OWNED = frozenset(
    {
        "AGGREGATE", "BLOB", BATCH, "COLLATION", "CONVERSION", "DOMAIN", "FOREIGN TABLE", "FUNCTION", "LARGE OBJECT",
        "MATERIALIZED VIEW", "OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY", "PROCEDURAL LANGUAGE", "PROCEDURE",
        "PUBLICATION", "SCHEMA", "SEQUENCE", "SERVER", "STATISTICS", "TABLE", "TEXT SEARCH CONFIGURATION",
        "TEXT SEARCH DICTIONARY", "TYPE", "VIEW",
    }
)  # fmt: skip

_OF_TEMPLATE = "as the template database has it"
_NEEDING = "as it needs something that is left out"

#: when what ``pg_restore`` is not given is done: while everything still belongs to the restoring user, when its owners
#: have it, or when nothing else is left to do
FIRST, GRANTS, LAST = "first", "grants", "last"


@dataclass(frozen=True)
class Later:
    """What a role that is not a superuser does after ``pg_restore``, one thing in one transaction.

    ``label`` is what a message calls it; ``about`` is the label of the object that it says something of, if it does.
    ``reason`` is why it is left out where the server does not permit it; empty for the server's own words. ``optional``
    is left out whatever the server has against it.
    """

    stage: str
    label: str
    about: str
    statements: tuple[str, ...]
    reason: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Adapted:
    """An archive's table of contents, fitted to a server.

    ``dump_ids`` are the entries to restore, in order (``pg_restore -L``). ``owners`` are objects as SQL names them,
    with the role to give them to after the restore, for a user who can't do that on the way; ``later`` is what else
    such a user does then.
    """

    toc: Toc
    dump_ids: tuple[int, ...]
    warnings: tuple[str, ...]
    owners: tuple[tuple[str, str], ...] = ()
    later: tuple[Later, ...] = ()


def adapt(toc: Toc, target: Target) -> Adapted:
    """Fit the table of contents to the target: owners, grants and tablespaces that are not there, rights of the user.

    Nothing is granted that was not granted before; what can't be restored is left out and said.

    :raises EnvSyncError: rows would be lost, because their table needs what only a superuser can restore.
    """
    fitting = _Fitting(target)
    for entry in toc.entries:
        fitting.add(entry)
    return fitting.adapted(toc)


class _Fitting:
    """Goes through the entries in their order: what an entry depends on comes before it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._notes = Notes(target.in_full)
        self._kept: list[Entry] = []
        self._dump_ids: list[int] = []
        self._owners: list[tuple[str, str]] = []
        self._later: list[Later] = []
        #: why objects are left out, by what entries about them call them
        self._left_out: dict[str, str] = {}
        #: numbers of entries that are left out because they lead to other servers
        self._foreign: set[str | None] = set()
        #: why entries are left out that others may need, by their numbers
        self._lacking: dict[str | None, str] = {}
        #: functions that only their new owner may execute
        self._closed: set[str] = set()
        #: names of the large objects that one entry stands for, by its number
        self._batches: dict[str | None, tuple[str, ...]] = {}

    def adapted(self, toc: Toc) -> Adapted:
        entries = tuple(self._kept)
        if not self._target.superuser:
            entries = row_security_last(entries, set(self._dump_ids))
        return Adapted(
            replace(toc, entries=entries),
            tuple(self._dump_ids),
            self._notes.lines(),
            tuple(self._owners),
            tuple(self._later),
        )

    def add(self, entry: Entry) -> None:
        if _of_the_database(entry):
            self._kept.append(entry)
            return
        reason = self._reason(entry)
        if reason:
            self._notes.left_out(reason, entry)
            if entry.object_names and reason != _OF_TEMPLATE:
                self._left_out[_described(entry)] = reason
            self._kept.append(entry)
            return
        if entry.desc in ("ACL", "DEFAULT ACL"):
            self._add_grants(entry)
            return
        stage, why = self._postponed(entry)
        if stage:
            optional = entry.desc == "SECURITY LABEL"
            text = tuple(split_statements(entry.defn or ""))
            about = entry.tag if entry.desc in _ABOUT_OTHERS else ""
            self._later.append(Later(stage, entry.label, about, text, why, optional))
            self._kept.append(entry)
            return
        if entry.desc == BATCH:
            self._batches[str(entry.dump_id)] = entry.object_names
        if not (entry.is_public_schema and not self._target.superuser):
            self._dump_ids.append(entry.dump_id)
        entry = self._closed_to_others(entry)
        self._kept.append(self._fit_owner(_fit_tablespace(entry, self._target, self._notes)))

    def _reason(self, entry: Entry) -> str:
        """Return why the entry is left out; empty where it is not."""
        reason = (
            self._target.left_out.get(entry.dump_id, "")
            or _foreign_reason(entry, self._target, self._foreign)
            or _reason_to_leave_out(entry, self._target)
        )
        if reason:
            return reason
        if entry.desc in _ABOUT_OTHERS:
            reason = self._left_out.get(f"{entry.namespace or ''} {entry.tag}", "")
        if not reason and not self._target.superuser:
            reason = self._lacking_reason(entry)
        return reason

    def _lacking_reason(self, entry: Entry) -> str:
        """Return why the entry is left out, because it takes a superuser, or needs something that does."""
        target = self._target
        reason = needs_superuser(entry.desc, lambda: tokens(entry.defn or ""), target.untrusted_languages)
        if entry.desc == "SERVER" and not reason:
            wrapper = _wrapper(tokens(entry.defn or ""))
            if wrapper in target.closed_wrappers:
                reason = f"as {target.user} may not use the foreign-data wrapper {wrapper}"
        needed = next((number for number in entry.dependencies if number in self._lacking), None)
        if needed is not None and not reason:
            reason = self._lacking[needed]
            if entry.desc in ("TABLE", "TABLE DATA", "SEQUENCE"):
                raise EnvSyncError(
                    f"fitting the archive to the rights of {target.user}",
                    f"{entry.desc} {entry.namespace}.{entry.tag} needs something that is left out ({reason})",
                    "Pull as a superuser, or have it left out when the database is pushed (excluded_tables).",
                )
            if entry.desc not in _ABOUT_OTHERS and not reason.startswith(_NEEDING):
                reason = f"{_NEEDING} ({reason})"
        if reason:
            self._lacking[str(entry.dump_id)] = reason
        return reason

    def _postponed(self, entry: Entry) -> tuple[str, str]:
        """Return when a user who is not a superuser does this, and why it may be refused; empty for ``pg_restore``."""
        if self._target.superuser:
            return "", ""
        about = entry.tag if entry.desc in _ABOUT_OTHERS else ""
        if entry.desc == "EVENT TRIGGER" or about.startswith("EVENT TRIGGER "):
            return LAST, "event triggers need a superuser"
        if entry.desc == "PUBLICATION" and "ALL TABLES" in (entry.defn or ""):
            return FIRST, "publications of all tables need a superuser"
        if entry.desc == "PUBLICATION TABLES IN SCHEMA":
            return FIRST, "publications of all tables in a schema need a superuser"
        of_another = about.startswith(("EXTENSION ", "PUBLICATION ")) or about == PUBLIC
        if entry.desc == "SECURITY LABEL" or of_another or about.removeprefix("SCHEMA ") in self._target.schemas:
            return FIRST, ""
        return "", ""

    def _add_grants(self, entry: Entry) -> None:
        """Grants are left out of roles that are not here. A user who is not a superuser makes them after the owners."""
        target = self._target
        if f"{entry.namespace or ''} {entry.tag}" in self._closed:
            self._kept.append(entry)
            return
        found = grants.fitting(entry, target, self._notes)
        if target.superuser:
            self._kept.append(replace(entry, defn=grants.in_sessions(found)))
            if found:
                self._dump_ids.append(entry.dump_id)
            return
        self._kept.append(entry)
        owner = entry.owner or ""
        owner = "" if owner == "pg_database_owner" or entry.tag == PUBLIC else target.owner_for(owner)
        as_owner = "" if owner == target.user or owner in target.inherited else owner
        batch = self._batches.get(entry.dependencies[0], ()) if entry.dependencies else ()
        of = re.compile(r"LARGE OBJECT [0-9]+")
        for name in batch if found and entry.tag.startswith("LARGE OBJECTS ") else ("",):
            made = [(role, of.sub(name, text, count=1) if name else text) for role, text in found]
            if made:
                label = f"ACL {name}" if name else entry.label
                about = name or entry.tag
                self._later.append(Later(GRANTS, label, about, grants.as_roles(made, as_owner)))

    def _closed_to_others(self, entry: Entry) -> Entry:
        """Let nobody but its new owner execute what would run with the rights of another role than it was made for."""
        target = self._target
        owner = entry.owner or ""
        if not owner or not entry.object_names or target.owner_for(owner) == owner:
            return entry
        if not is_security_definer(entry.desc, tokens(entry.defn or "")):
            return entry
        [name] = entry.object_names
        self._closed.add(_described(entry))
        self._notes.closed(owner, target.owner_for(owner), name)
        return replace(entry, defn=f"{(entry.defn or '').rstrip()}\nREVOKE ALL ON {name} FROM PUBLIC;\n")

    def _fit_owner(self, entry: Entry) -> Entry:
        """Return the entry with an owner that the restoring user can give it; empty leaves it with the user."""
        target, owner = self._target, entry.owner or ""
        if not owner or owner == "pg_database_owner":
            return entry
        wanted = target.owner_for(owner)
        if entry.is_public_schema and not target.superuser and wanted != owner:
            self._notes.say(
                f"schema public keeps the owner that it has here, {target.public_owner}: {target.user} may not give it "
                f"to {owner}"
            )
            return replace(entry, owner="")
        if wanted != owner and (entry.desc in OWNED or entry.is_public_schema):
            for name in entry.object_names:
                self._notes.owner(owner, wanted, name)
        if target.superuser:
            return replace(entry, owner=wanted)
        # A user who is not a superuser could give an object away only where the new owner may create in its schema,
        # which it often may only once its grants are restored: so everything stays the user's for now.
        if entry.desc in OWNED and wanted != target.user:
            self._owners += [(name, wanted) for name in entry.object_names]
        return replace(entry, owner="")


def _of_the_database(entry: Entry) -> bool:
    """Say whether the entry is about the database itself, not its contents: the one that is replaced has its own."""
    if entry.desc in _ABOUT_OTHERS:
        return entry.tag.startswith("DATABASE ")
    return entry.desc in ("DATABASE", "DATABASE PROPERTIES")


def _described(entry: Entry) -> str:
    """What a COMMENT, ACL or SECURITY LABEL calls this object in its tag, with its schema."""
    return f"{entry.namespace or ''} {entry.desc} {entry.tag}"


def _foreign_reason(entry: Entry, target: Target, foreign: set[str | None]) -> str:
    """Return why the entry must not be restored if it is, or depends on, a way to the source's other servers.

    :param foreign: numbers of the entries that are left out for that; the entry's own is added. What an entry depends
        on comes before it.
    """
    if target.keep_foreign_servers:
        return ""
    if entry.desc in ("SERVER", "USER MAPPING"):
        reason = FOREIGN
    elif any(number in foreign for number in entry.dependencies):
        reason = FOREIGN if entry.desc == "FOREIGN TABLE" else ON_FOREIGN
    else:
        return ""
    foreign.add(str(entry.dump_id))
    return reason


def _reason_to_leave_out(entry: Entry, target: Target) -> str:
    """Return why the entry can't or must not be restored, empty when it can."""
    if entry.desc in ("SUBSCRIPTION", "SUBSCRIPTION TABLE"):
        return "subscriptions would connect to the source's publisher"
    if entry.desc in ("COMMENT", "SECURITY LABEL") and entry.tag.startswith("SUBSCRIPTION "):
        return "subscriptions would connect to the source's publisher"
    if entry.desc == "FK CONSTRAINT":
        for schema, table, constraint in target.excluded_foreign_keys:
            if entry.namespace == schema and entry.tag == f"{table} {constraint}":
                return "foreign keys to excluded tables"
        for schema, table, constraint in target.rowless_foreign_keys:
            if entry.namespace == schema and entry.tag == f"{table} {constraint}":
                return "foreign keys to tables without their rows (excluded_table_data)"
    if entry.desc == "POLICY" and grants.unknown_roles(entry.defn or "", target):
        return "policies of roles that do not exist here (row security then denies)"
    if entry.desc == "USER MAPPING" and grants.unknown_roles(entry.defn or "", target, extra_words=("for",)):
        return "user mappings of roles that do not exist here"
    if entry.desc == "SCHEMA" and entry.tag in target.schemas:
        return _OF_TEMPLATE
    if entry.desc == "DEFAULT ACL" and entry.owner and entry.owner not in target.roles:
        return "default privileges of roles that do not exist here"
    if target.superuser:
        return ""
    if entry.desc == "DEFAULT ACL" and entry.owner and entry.owner not in target.assumable:
        return f"default privileges of roles that {target.user} is not a member of"
    return ""


def _fit_tablespace(entry: Entry, target: Target, notes: Notes) -> Entry:
    if not entry.tablespace or entry.tablespace in target.tablespaces:
        return entry
    notes.tablespace(entry.tablespace, entry.label)
    return replace(entry, tablespace="")


def _wrapper(words: Sequence[str]) -> str:
    """Return the foreign-data wrapper that CREATE SERVER names."""
    places = [place for place, word in enumerate(words[:-1]) if word.lower() == "wrapper"]
    return unquoted(words[places[0] + 1]) if places else ""
