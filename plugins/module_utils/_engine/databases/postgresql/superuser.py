# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What only a superuser of PostgreSQL may make, told from the statements that ``pg_dump`` writes."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ...errors import EnvSyncError
from .client import Server

#: kinds of objects that no other role may make, whatever they say
_KINDS = {
    "ACCESS METHOD": "access methods need a superuser",
    "FOREIGN DATA WRAPPER": "foreign data wrappers need a superuser",
    "OPERATOR CLASS": "operator classes need a superuser",
    "OPERATOR FAMILY": "operator families need a superuser",
    "PROCEDURAL LANGUAGE": "procedural languages need a superuser",
    "SHELL TYPE": "base types need a superuser",
    "TEXT SEARCH PARSER": "text search parsers need a superuser",
    "TEXT SEARCH TEMPLATE": "text search templates need a superuser",
}

#: kinds of which only some take a superuser
_TOLD_BY_STATEMENT = frozenset({"AGGREGATE", "CAST", "FUNCTION", "PROCEDURE", "TYPE"})

#: roles of managed servers whose members may make extensions that the catalogue says only a superuser may
_CLOUD_ADMINISTRATORS = (
    "rds_superuser",
    "azure_pg_admin",
    "cloudsqlsuperuser",
    "alloydbsuperuser",
    "neon_superuser",
)

#: settings of libraries that let other roles make the extensions they list
_LISTS_OF_EXTENSIONS = ("extwlist.extensions", "supautils.privileged_extensions")


def needs_superuser(kind: str, read: Callable[[], Sequence[str]], untrusted: Collection[str]) -> str:
    """Return why no other role than a superuser may make this object; empty where another may.

    :param kind: what the archive calls it (``OPERATOR CLASS``).
    :param read: returns the tokens of the statement that makes it; asked only of kinds where these tell.
    :param untrusted: languages in which only a superuser may make functions.
    """
    if kind in _KINDS:
        return _KINDS[kind]
    if kind not in _TOLD_BY_STATEMENT:
        return ""
    words = read()
    lower = [word.lower() for word in words]
    if kind == "TYPE":
        # AS ( is a composite type, AS ENUM ( and AS RANGE ( are others; without anything it is a shell.
        before = lower[lower.index("(") - 1] if "(" in lower else ""
        return "" if before in ("as", "enum", "range") else _KINDS["SHELL TYPE"]
    if kind in ("FUNCTION", "PROCEDURE"):
        language = _after(words, lower, "language")
        if language in untrusted:
            return f"functions in the language {language} need a superuser"
    if kind == "AGGREGATE" and any(_follows(lower, name, "=", "internal") for name in ("stype", "mstype")):
        return "aggregates with an internal state need a superuser"
    if kind == "CAST" and _follows(lower, "without", "function"):
        return "casts without a function need a superuser"
    return ""


def _after(words: Sequence[str], lower: Sequence[str], word: str) -> str:
    """Return the name that follows the first ``word`` outside of parentheses."""
    depth = 0
    for place, found in enumerate(lower[:-1]):
        depth += {"(": 1, ")": -1}.get(found, 0)
        if found == word and depth == 0:
            return words[place + 1].strip('"')
    return ""


def _follows(words: Sequence[str], *wanted: str) -> bool:
    length = len(wanted)
    return any(tuple(words[place : place + length]) == wanted for place in range(len(words) - length + 1))


def is_security_definer(kind: str, words: Sequence[str]) -> bool:
    """Say whether the object is a function that runs with its owner's rights."""
    lower = [word.lower() for word in words]
    return kind in ("FUNCTION", "PROCEDURE") and _follows(lower, "security", "definer")


def forbidden_extensions(server: Server, doing: str) -> frozenset[str]:
    """Return the extensions that this role may not make in a database of its own.

    Since version 13 an extension may be "trusted": then the right to create in the database is enough. A managed server
    may allow more than its catalogue says.
    """
    trusted = "v.trusted" if server.control().server_version >= 130000 else "false"
    rows = server.query(
        f"""SELECT e.name FROM pg_available_extensions e
              JOIN pg_available_extension_versions v ON v.name = e.name AND v.version = e.default_version
             WHERE v.superuser AND NOT {trusted}
               AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
               AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ANY (%s) AND pg_has_role(oid, 'MEMBER'))
               AND NOT EXISTS (SELECT FROM unnest(%s::text[]) AS setting
                                WHERE e.name = ANY (regexp_split_to_array(
                                          coalesce(current_setting(setting, true), ''), '[\\s,]+')))""",
        (list(_CLOUD_ADMINISTRATORS), list(_LISTS_OF_EXTENSIONS)),
        doing,
    )
    return frozenset(str(name) for (name,) in rows)


def refuse_forbidden(server: Server, names: Sequence[str], there: frozenset[str], doing: str) -> None:
    """Refuse extensions that this role may not create.

    :param there: those that its database has from the start.
    """
    refused = sorted((forbidden_extensions(server, doing) - there).intersection(names))
    if refused:
        raise EnvSyncError(
            doing,
            f"only a superuser may create extensions that the database uses: {', '.join(refused)}",
            "Have a superuser create them in a database that the task names in template_database, or leave them out "
            f"with what depends on them: excluded_extensions: {json.dumps(refused, ensure_ascii=False)}.",
        )


@dataclass(frozen=True)
class Fresh:
    """What a database has before anything is restored into it.

    ``schemas`` are those that its template brought, but for public; ``closed_wrappers`` are the foreign-data wrappers
    that this role may not use; ``public_owner`` is empty where there is no schema public.
    """

    extensions: frozenset[str]
    schemas: frozenset[str]
    untrusted_languages: frozenset[str]
    closed_wrappers: frozenset[str]
    public_owner: str


def look(ask: Callable[[str], Sequence[tuple[Any, ...]]]) -> Fresh:
    """Return what the database has to which ``ask`` sends a statement."""

    def names(statement: str) -> frozenset[str]:
        return frozenset(str(name) for (name,) in ask(statement))

    public = names("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'")
    return Fresh(
        extensions=names("SELECT extname FROM pg_extension"),
        schemas=names("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'") - {"public", "information_schema"},
        untrusted_languages=names("SELECT lanname FROM pg_language WHERE NOT lanpltrusted"),
        closed_wrappers=names(
            "SELECT fdwname FROM pg_foreign_data_wrapper WHERE NOT has_foreign_data_wrapper_privilege(oid, 'USAGE')"
        ),
        public_owner=next(iter(public), ""),
    )
