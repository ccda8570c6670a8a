# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The grants of an archive: those that can be made on the target, and by which role each is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .names import quote
from .notes import Notes
from .sql import split_statements, tokens, unquoted
from .target import Target
from .toc import Entry


def fitting(entry: Entry, target: Target, notes: Notes) -> list[tuple[str, str]]:
    """Return the entry's grants without those that name a role which does not exist here.

    :param notes: told of those that are left out, and of those that another role makes.
    :returns: each with its statement: (role, statement). The role is that which makes the grant; empty for the object's
        owner, who makes it also where the user can't become the role that had made it.
    """
    found: list[tuple[str, str]] = []
    label = entry.label
    grantor = ""
    for statement in split_statements(entry.defn or ""):
        words = tokens(statement)
        start = [word.lower() for word in words[:3]]
        if start[1:] == ["session", "authorization"] and start[0] in ("set", "reset"):
            grantor = unquoted(words[3]) if start[0] == "set" and len(words) > 3 else ""
            continue
        unknown = unknown_roles(statement, target, extra_words=("role",))
        for role in unknown:
            notes.grant(role, label)
        if not unknown:
            can = grantor in target.roles and (target.superuser or grantor in target.assumable)
            if grantor and not can:
                notes.grantor(grantor, label)
            found.append((grantor if can else "", statement))
    return found


def in_sessions(grants: Sequence[tuple[str, str]]) -> str:
    """Return (role, statement) as SQL for a superuser, who can speak for every role."""
    text = ""
    for role, statement in grants:
        became = f"SET SESSION AUTHORIZATION {quote(role)};\n" if role else ""
        text += became + statement + ";\n" + ("RESET SESSION AUTHORIZATION;\n" if role else "")
    return text


def as_roles(grants: Sequence[tuple[str, str]], owner: str) -> tuple[str, ...]:
    """Return (role, statement) as statements for a member of the roles.

    :param owner: who makes those that no other role does; empty for the user.
    """
    statements: list[str] = []
    for role, statement in grants:
        speaker = role or owner
        became = [f"SET ROLE {quote(speaker)}"] if speaker else []
        statements += [*became, statement, *(["RESET ROLE"] if speaker else [])]
    return tuple(statements)


def unknown_roles(statement: str, target: Target, extra_words: Iterable[str] = ()) -> list[str]:
    """Return the roles that a statement names and that do not exist here.

    Roles stand after TO, FROM, BY and ``extra_words``, with commas between them. In what pg_dump writes these words
    introduce nothing else outside of parentheses and strings.
    """
    introducing = {"to", "from", "by", *extra_words}
    everyone = {"public", "current_user", "session_user", "current_role", "default"}
    unknown: list[str] = []
    words = tokens(statement)
    depth = 0
    for position, word in enumerate(words):
        depth += {"(": 1, ")": -1}.get(word, 0)
        if depth or word.lower() not in introducing:
            continue
        following = position + 1
        while following < len(words):
            name = words[following]
            if name.lower() == "group":
                following += 1
                continue
            role = unquoted(name)
            if role.lower() not in everyone and role not in target.roles and _is_name(name):
                unknown.append(role)
            if following + 1 < len(words) and words[following + 1] == ",":
                following += 2
                continue
            break
    return unknown


def _is_name(token: str) -> bool:
    return token.startswith(('"', "_")) or token[:1].isalpha()
