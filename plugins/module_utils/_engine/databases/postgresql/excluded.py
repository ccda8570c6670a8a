# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a push leaves out of a PostgreSQL database, and what there would miss it: found before anything is stored."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ...errors import EnvSyncError
from .names import name_pattern, quote

Table = tuple[str, str]
Ask = Callable[..., list[tuple[Any, ...]]]

#: how many objects a message names
_NAMED = 5


@dataclass(frozen=True)
class Asked:
    """What a task has left out, as its keys have it: ``excluded_tables``, ``excluded_table_data``, and so on."""

    tables: tuple[str, ...] = ()
    rowless: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Excluded:
    """What a push leaves out: tables as (schema, name); extensions; and the tables of those whose rows go with them.

    ``dropped_keys`` and ``rowless_keys`` are foreign keys as (schema, table, name), which could not be restored: those
    to tables that are left out, and those to tables whose rows are.
    ``warnings`` say what a pull will leave out beside. ``notes`` say what was asked for.
    """

    tables: tuple[Table, ...] = ()
    rowless: tuple[Table, ...] = ()
    extensions: tuple[str, ...] = ()
    of_extensions: tuple[Table, ...] = ()
    dropped_keys: tuple[tuple[str, str, str], ...] = ()
    rowless_keys: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def options(self) -> list[str]:
        """Return the options of ``pg_dump`` for it; a pull sees to the extensions."""
        return [
            f"{option}={quote(schema)}.{quote(table)}"
            for option, tables in (
                ("--exclude-table", self.tables),
                ("--exclude-table-data", (*self.rowless, *self.of_extensions)),
            )
            for schema, table in tables
        ]

    def details(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {
            "excluded_tables": _dotted(self.tables),
            "excluded_foreign_keys": [list(key) for key in self.dropped_keys],
            "excluded_table_data": _dotted(self.rowless),
            "rowless_foreign_keys": [list(key) for key in self.rowless_keys],
            "excluded_extensions": list(self.extensions),
        }


def find(ask: Ask, asked: Asked, doing: str) -> Excluded:
    """Find what the task's patterns name, and check that a pull can do without it.

    :param ask: runs a statement in the database, with its parameters, and returns the rows.
    :raises EnvSyncError: a pattern names nothing; or what stays needs what is left out.
    """
    out = _tables(ask, "excluded_tables", asked.tables, "rpfmvS", doing)
    empty = [table for table in _tables(ask, "excluded_table_data", asked.rowless, "rpmf", doing) if table not in out]
    left = _extensions(ask, asked.extensions, doing)
    _refuse_needed(ask, out, doing)
    keys = _foreign_keys(ask) if out or empty else []
    dropped = [key for key, table, to in keys if to in out and table not in out]
    without = [key for key, table, to in keys if to in empty and table not in empty and table not in out]
    warnings = [
        f"a pull will leave out foreign keys to {what}: {_some([f'{s}.{t} {name}' for s, t, name in found])}"
        for what, found in (("excluded tables", dropped), ("tables without their rows", without))
        if found
    ]
    notes = [f"leave out {_some(_dotted(out))} (excluded_tables)"] if out else []
    notes += [f"leave out the rows of {_some(_dotted(empty))} (excluded_table_data)"] if empty else []
    notes += [f"leave out the extensions {', '.join(left)} (excluded_extensions)"] if left else []
    return Excluded(
        tables=tuple(out),
        rowless=tuple(empty),
        extensions=tuple(left),
        of_extensions=tuple(_tables_of(ask, left)),
        dropped_keys=tuple(dropped),
        rowless_keys=tuple(without),
        notes=tuple(notes),
        warnings=(*warnings, *_with_extensions(ask, left, doing)),
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _dotted(tables: Sequence[Table]) -> list[str]:
    return [f"{schema}.{table}" for schema, table in tables]


def _tables(ask: Ask, key: str, patterns: Sequence[str], kinds: str, doing: str) -> list[Table]:
    """Return the tables (and views) that ``patterns`` name, as ``pg_dump --exclude-table`` reads them.

    A partitioned table stands for its partitions too: without it these could not be restored.
    """
    if not patterns:
        return []
    tables = [
        (str(schema), str(table))
        for schema, table in ask(
            """SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE strpos(%s, c.relkind::text) > 0 AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
                ORDER BY 1, 2""",
            (kinds,),
        )
    ]
    found: list[Table] = []
    for pattern in patterns:
        matches = name_pattern(pattern, doing)
        matching = [table for table in tables if matches(*table)]
        if not matching:
            # To go on would store what somebody asked to leave out.
            raise EnvSyncError(doing, f"{key} names {pattern}, and there is no such table", "Correct it.")
        found += [table for table in matching if table not in found]
    return found + [table for table in _partitions(ask, found) if table not in found]


def _partitions(ask: Ask, tables: Sequence[Table]) -> list[Table]:
    rows = ask(
        """WITH RECURSIVE partition AS (
               SELECT c.oid, c.relnamespace, c.relname, true AS top FROM pg_class c
                 JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relkind = 'p' AND (n.nspname, c.relname) IN %s
               UNION ALL
               SELECT c.oid, c.relnamespace, c.relname, false FROM pg_class c
                 JOIN pg_inherits i ON i.inhrelid = c.oid JOIN partition p ON p.oid = i.inhparent
                WHERE c.relispartition)
           SELECT n.nspname, relname FROM partition JOIN pg_namespace n ON n.oid = relnamespace
            WHERE NOT top ORDER BY 1, 2""",
        (tuple(tables),),
    )
    return [(str(schema), str(table)) for schema, table in rows]


def _extensions(ask: Ask, patterns: Sequence[str], doing: str) -> list[str]:
    if not patterns:
        return []
    installed = [str(name) for (name,) in ask("SELECT extname FROM pg_extension ORDER BY 1")]
    found: list[str] = []
    for pattern in patterns:
        matching = [name for name in installed if fnmatch.fnmatchcase(name, pattern)]
        if not matching:
            raise EnvSyncError(
                doing,
                f"excluded_extensions names {pattern}, and the database has no such extension",
                f"Correct it. The database has {', '.join(installed)}.",
            )
        found += [name for name in matching if name not in found]
    return found


def _tables_of(ask: Ask, extensions: Sequence[str]) -> list[Table]:
    """Return the tables of extensions whose rows ``pg_dump`` would store (manual, "Extension Configuration Tables")."""
    if not extensions:
        return []
    rows = ask(
        """SELECT n.nspname, c.relname FROM pg_extension e JOIN pg_class c ON c.oid = ANY (e.extconfig)
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE e.extname = ANY (%s) ORDER BY 1, 2""",
        (list(extensions),),
    )
    return [(str(schema), str(table)) for schema, table in rows]


def _foreign_keys(ask: Ask) -> list[tuple[tuple[str, str, str], Table, Table]]:
    """Return all foreign keys, each with its table and the one that it refers to."""
    rows = ask(
        """SELECT n.nspname, c.relname, k.conname, fn.nspname, f.relname FROM pg_constraint k
             JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
            WHERE k.contype = 'f' ORDER BY 1, 2, 3"""
    )
    return [
        ((str(schema), str(table), str(name)), (str(schema), str(table)), (str(to_schema), str(to_table)))
        for schema, table, name, to_schema, to_table in rows
    ]


# -- what needs what is left out ---------------------------------------------------------------------------------------

#: what goes when some objects go, as ``DROP ... CASCADE`` finds it (pg_depend), but for what is part of them. A view
#: depends by its rule. Foreign keys are seen to by themselves, publications and statistics go without harm.
_NEEDING = """
WITH RECURSIVE gone (classid, objid) AS (
    {start}
    UNION
    SELECT more.classid, more.objid FROM gone g, LATERAL (
        SELECT d.classid, d.objid FROM pg_depend d
         WHERE d.refclassid = g.classid AND d.refobjid = g.objid AND d.deptype IN ('n', 'a', 'i', 'e', 'P', 'S')
        UNION ALL
        SELECT 'pg_class'::regclass, r.ev_class FROM pg_rewrite r
         WHERE g.classid = 'pg_rewrite'::regclass AND r.oid = g.objid AND r.rulename = '_RETURN') more),
relation AS (SELECT objid FROM gone WHERE classid = 'pg_class'::regclass)
SELECT DISTINCT i.type, i.identity, c.relkind::text, n.nspname, c.relname
  FROM gone g, LATERAL (SELECT (pg_identify_object(g.classid, g.objid, 0)).*) i,
       LATERAL (SELECT coalesce(
           CASE g.classid WHEN 'pg_class'::regclass THEN g.objid END,
           (SELECT ev_class FROM pg_rewrite WHERE g.classid = 'pg_rewrite'::regclass AND oid = g.objid),
           (SELECT adrelid FROM pg_attrdef WHERE g.classid = 'pg_attrdef'::regclass AND oid = g.objid),
           (SELECT polrelid FROM pg_policy WHERE g.classid = 'pg_policy'::regclass AND oid = g.objid),
           (SELECT tgrelid FROM pg_trigger WHERE g.classid = 'pg_trigger'::regclass AND oid = g.objid),
           (SELECT conrelid FROM pg_constraint WHERE g.classid = 'pg_constraint'::regclass AND oid = g.objid)) AS oid) o
  LEFT JOIN pg_class c ON c.oid = o.oid LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE g.classid <> ALL (ARRAY['pg_publication_rel', 'pg_statistic_ext', 'pg_amop', 'pg_amproc', 'pg_extension',
                               'pg_default_acl']::regclass[])
   AND CASE g.classid
           WHEN 'pg_class'::regclass THEN c.relkind IN ('r', 'p', 'v', 'm', 'f') OR c.relkind IN ('i', 'I')
                AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indexrelid = c.oid AND x.indrelid IN (TABLE relation))
                AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))
           WHEN 'pg_type'::regclass THEN EXISTS (
                SELECT FROM pg_type t WHERE t.oid = g.objid AND t.typelem = 0 AND (t.typtype <> 'c' OR t.typrelid IN (
                    SELECT k.oid FROM pg_class k WHERE k.relkind = 'c')))
           WHEN 'pg_rewrite'::regclass THEN o.oid NOT IN (TABLE relation)
           WHEN 'pg_trigger'::regclass THEN o.oid NOT IN (TABLE relation) AND NOT EXISTS (
                SELECT FROM pg_trigger t WHERE t.oid = g.objid AND t.tgisinternal)
           WHEN 'pg_constraint'::regclass THEN (o.oid = 0 OR o.oid NOT IN (TABLE relation)) AND NOT EXISTS (
                SELECT FROM pg_constraint k WHERE k.oid = g.objid AND k.contype IN ('f', 't'))
           ELSE o.oid IS NULL OR o.oid NOT IN (TABLE relation)
       END
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = g.classid AND e.objid = g.objid AND e.deptype = 'e')
 ORDER BY 1, 2
"""

_OF_TABLES = """SELECT 'pg_class'::regclass::oid, c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE (n.nspname, c.relname) IN %s"""
_OF_EXTENSIONS = "SELECT 'pg_extension'::regclass::oid, oid FROM pg_extension WHERE extname = ANY (%s)"


def _refuse_needed(ask: Ask, tables: Sequence[Table], doing: str) -> None:
    """Raise where what stays needs one of the tables: a view, a function, a rule, a default, a table that inherits."""
    if not tables:
        return
    needing = [
        row for row in ask(_NEEDING.format(start=_OF_TABLES), (tuple(tables),)) if (row[3], row[4]) not in tables
    ]
    if not needing:
        return
    names = [f"{kind} {identity}" for kind, identity, *_unused in needing]
    more = sorted({f"{schema}.{name}" for _k, _i, relkind, schema, name in needing if relkind in ("v", "m", "r", "f")})
    hint = "Give the tables in excluded_table_data instead: they then arrive, and are empty."
    if more and all(kind in ("view", "materialized view", "table", "foreign table") for kind, *_unused in needing):
        hint = f"Add to excluded_tables: {', '.join(more)}. Or: {hint[0].lower()}{hint[1:]}"
    raise EnvSyncError(doing, f"{_some(names)} cannot be restored without {_some(_dotted(tables))}", hint)


def _with_extensions(ask: Ask, extensions: Sequence[str], doing: str) -> list[str]:
    """Return a warning of what depends on the extensions, which a pull leaves out with them.

    :raises EnvSyncError: a table depends on one.
    """
    if not extensions:
        return []
    needing = ask(_NEEDING.format(start=_OF_EXTENSIONS), (list(extensions),))
    # A column's type, its default, or a check is in the table's own definition.
    inline = ("table", "table column", "default value", "table constraint")
    tables = sorted(
        {
            f"{schema}.{name}"
            for kind, _identity, relkind, schema, name in needing
            if relkind in ("r", "p") and kind in inline
        }
    )
    if tables:
        raise EnvSyncError(
            doing,
            f"the extensions {', '.join(extensions)} cannot be left out: {_some(tables)} depends on them",
            f"Bring the extension, or leave the tables out too: excluded_tables: {', '.join(tables)}.",
        )
    names = [f"{kind} {identity}" for kind, identity, *_unused in needing]
    listed = ", ".join(extensions)
    return [f"a pull will leave out what depends on the extensions {listed}: {', '.join(names)}"] if names else []
