# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a pull does: restore a point into the scratch schema, and check that it is fit to serve."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import EnvSyncError
from ...members import PointSource
from ...points.manifest import Manifest
from ...streams.pipeline import Group
from ..base import Plan
from . import checks, code, counts, names, statistics, swap
from .client import Server, quote
from .code import Definition
from .collations import known_collations, nearest_collation
from .definers import possible_definers
from .fit import Target
from .load import Loader, longest_statement, twins


class Restore:
    """The restore of a point into a scratch schema.

    ``options`` are the default character set and collation that the point's database had, as CREATE DATABASE takes
    them; ``held`` the triggers and events that are made when the schema goes live. Both are known once :meth:`run` is
    done. ``signature`` stands in the scratch schema's mark: nobody else's is dropped when this run fails.

    :param jobs: how many tables are restored at once.
    :param analyze: whether the server is to gather its statistics.
    """

    def __init__(self, server: Server, schemas: names.Names, jobs: int, analyze: bool) -> None:
        self._server = server
        self._live = schemas.live
        self._scratch = schemas.scratch
        self._old = schemas.old
        self._jobs = jobs
        self._analyze = analyze
        self._restored = 0
        self._histograms: Sequence[Sequence[str]] = ()
        self.options = ""
        self.held: list[Definition] = []
        self.signature = f"run {secrets.token_hex(4)}"

    def preflight(self, manifest: Manifest | None) -> Plan:
        """Check all that a restore needs, and change nothing.

        :param manifest: the point's; None for a legacy point.
        :raises EnvSyncError: a schema is in the way, a right is missing, or the server can't take what the point has.
        """
        server = self._server
        doing = f"preparing to restore {self._live} on {server.name}"
        for name in (self._scratch, self._old):
            if swap.exists(server, name) and swap.mark(server, name, doing) is None:
                raise EnvSyncError(doing, f"there is a schema {name} that is not env_sync's", "Rename or drop it.")
        swap.may_move(server, self._live, self._scratch)
        if manifest is not None:
            self._can_hold(manifest, doing)
        replaces: dict[str, Any] | None = None
        if swap.exists(server, self._live):
            referring = swap.foreign_references(server, self._live, doing)
            if referring:
                raise EnvSyncError(
                    doing,
                    f"tables of other databases have foreign keys into it: {', '.join(referring[:5])}",
                    "Drop these: they would go on referring to the replaced tables.",
                )
            rows = server.query(
                """SELECT COUNT(*), COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES
                    WHERE TABLE_SCHEMA = %s AND TABLE_TYPE <> 'VIEW'""",
                (self._live,),
                doing,
            )
            replaces = {"tables": int(rows[0][0]), "size_bytes": int(rows[0][1])}
        jobs = self._jobs if manifest is not None and manifest.format == "directory" else 1
        steps = (
            f"create the scratch schema {self._scratch}",
            f"restore the point into it with {jobs} jobs",
        )
        return Plan(self._scratch, replaces, steps)

    def _can_hold(self, manifest: Manifest, doing: str) -> None:
        """Raise where it shows already that the server can't take what the point has."""
        spelt: dict[str, list[str]] = {}
        for name in (*(str(item["name"]) for item in manifest.tables), *manifest.details.get("views", ())):
            spelt.setdefault(name.lower(), []).append(name)
        pairs = [(found[0], found[1]) for found in spelt.values() if len(found) > 1]
        if pairs and self._server.folds_names(doing):
            raise twins(doing, pairs)
        longest, allowed = int(manifest.details.get("longest_statement", 0)), 0
        if longest:
            allowed = longest_statement(self._server, doing)
        if longest >= allowed > 0:
            raise EnvSyncError(
                doing,
                f"the point has a row that takes a statement of {longest} bytes; max_allowed_packet is {allowed} there",
                f"Set max_allowed_packet on the server to {_round_up(longest)} or more, and pull again.",
            )

    def run(self, group: Group, source: PointSource) -> Mapping[str, Any]:
        """Restore the point into the scratch schema, which is made; return ``warnings`` (texts).

        :raises EnvSyncError: something could not be loaded, or tables or rows are missing afterwards.
        """
        server, manifest = self._server, source.manifest
        details = manifest.details
        self._histograms = details.get("histograms", ())
        doing = f"restoring {manifest.timestamp}-{self._live} on {server.name}"
        known = known_collations(server, doing)
        self.options = _schema_options(details, known)
        swap.create(server, self._scratch, f"scratch schema of a pull, {self.signature}", self.options, doing)
        target = Target(self._scratch, self._live, server.mariadb, known, possible_definers(server, doing))
        loader = Loader(group, server, source, target, bool(details.get("excluded_tables")), doing)
        staying = self._load(loader, source, doing)
        # Now it is known that they can be made. No script sets off a trigger, which could do something in the live
        # database or copy what is yet to be sanitised; and tables with triggers can't be moved.
        definitions = code.read(server, self._scratch, doing, loader.notes.enabled_events)
        self.held = [item for item in definitions if item.kind in ("TRIGGER", "EVENT")]
        code.drop(server, self._scratch, self.held, doing)
        held = {item.key for item in self.held}
        self.held += [item for item in staying if item.key not in held]
        self._require_whole(group, manifest, doing)
        warnings = loader.warnings()
        rowless_keys = details.get("rowless_foreign_keys", ())
        if rowless_keys:
            named = ", ".join(f"{table} {name}" for table, name in rowless_keys)
            warnings.append(f"left out, foreign keys to tables without their rows (excluded_table_data): {named}")
        return {"warnings": warnings}

    def _load(self, loader: Loader, source: PointSource, doing: str) -> list[Definition]:
        """Load the point's members.

        :returns: the live database's events that are to stay, as legacy points have none.
        """
        server, manifest = self._server, source.manifest
        members = source.names()
        staying: list[Definition] = []
        keys = [manifest.details.get(name, ()) for name in ("excluded_foreign_keys", "rowless_foreign_keys")]
        gone = [key for found in keys for key in found]
        if manifest.format == "directory":
            loader.load(names.TABLES)
            _drop_foreign_keys(server, self._scratch, gone, doing)
            loader.load_all([name for name in members if name.startswith(names.ROWS)], self._jobs)
            for name in (names.ROUTINES, names.VIEWS, names.TRIGGERS, names.EVENTS):
                if name in members:
                    loader.load(name)
        else:
            if not manifest.dbms:
                staying = self._take_over(doing)
            loader.load(members[0])
            _drop_foreign_keys(server, self._scratch, gone, doing)
        return staying

    def _take_over(self, doing: str) -> list[Definition]:
        """Copy the live database's routines, and return its events: legacy dumps have neither.

        The legacy script loaded them into the live database, where routines and events stayed, and where the views
        found their functions.
        """
        live = code.read(self._server, self._live, doing) if swap.exists(self._server, self._live) else []
        routines = [item for item in live if item.kind not in ("VIEW", "TRIGGER", "EVENT")]
        code.add_missing(self._server, self._scratch, routines, doing)
        return [item for item in live if item.kind == "EVENT"]

    def _require_whole(self, group: Group, manifest: Manifest, doing: str) -> None:
        """Raise unless every table of the manifest is in the scratch schema, with as many rows."""
        found = swap.tables(self._server, self._scratch, doing)
        there = {name.lower() for name in found}
        missing = [item["name"] for item in manifest.tables if item["name"].lower() not in there]
        if missing:
            raise EnvSyncError(doing, f"these tables were not restored: {', '.join(missing[:5])}")
        counting = f"counting what was restored of {self._live} on {self._server.name}"
        counts.compare(group, self._server, self._scratch, manifest, found, self._jobs, counting)
        self._restored = len(there)

    def check(self, group: Group) -> Mapping[str, Any]:
        """Raise unless the scratch schema is fit to serve; return ``tables`` (their number) and ``size_bytes``."""
        server, scratch, jobs = self._server, self._scratch, self._jobs
        doing = f"checking the restored {self._live} on {server.name}"
        tables = swap.tables(server, scratch, doing)
        if self._restored and not tables:
            raise EnvSyncError(doing, "no table is left", "Check the transformation SQL.")
        checks.require_keys(group, server, scratch, jobs, doing)
        if self._analyze:
            statistics.analyze(group, server, scratch, [n for n, t in tables.items() if t != "SEQUENCE"], jobs)
        statistics.make_histograms(group, server, scratch, self._histograms, jobs)
        size = server.query(
            "SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES"
            " WHERE TABLE_SCHEMA = %s",
            (scratch,),
            doing,
        )
        return {"tables": len(tables), "size_bytes": int(size[0][0])}


def _schema_options(details: Mapping[str, Any], known: frozenset[str]) -> str:
    """Return the default character set and collation, as CREATE DATABASE takes them; empty where not in the manifest.

    :param known: the collations that the server knows.
    """
    if not details.get("character_set"):
        return ""
    collation = str(details["collation"])
    if collation not in known:
        collation = nearest_collation(collation, known)
    return f"CHARACTER SET {details['character_set']}" + (f" COLLATE {collation}" if collation else "")


def _drop_foreign_keys(server: Server, schema: str, keys: Sequence[Sequence[str]], doing: str) -> None:
    """Drop the foreign keys to tables that are not in the point, or not with their rows.

    :param keys: of each, the table's name and its own.
    """
    for table, name in keys:
        server.query(f"ALTER TABLE {quote(schema)}.{quote(table)} DROP FOREIGN KEY {quote(name)}", doing=doing)


def _round_up(size: int) -> str:
    """Return a size as option files have it, with room for what goes before a row: ``24M``."""
    return f"{(size >> 20) + 1}M"
