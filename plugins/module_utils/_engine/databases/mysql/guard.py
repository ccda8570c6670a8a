# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a script must not do: leave its schema, or name the live one while it runs in the scratch schema.

A right of its own would be a surer fence, but a pull's user has all rights on both schemas, and none to make users. So
every statement is looked at before the server gets it, token by token, as the server reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .code import Definition
from .scripts import Part, Script, Statement, made_by, words
from .statements import Token, tokenise, unquote
from .swap import JOURNAL, MARK_TABLE

#: after these a table's name follows, or that of another object of a schema, and never a column's
_BEFORE_TABLES = frozenset(
    {b"UPDATE", b"FROM", b"JOIN", b"STRAIGHT_JOIN", b"INTO", b"TABLE", b"TABLES", b"TRUNCATE", b"INSERT", b"REPLACE"}
    | {b"LOW_PRIORITY", b"HIGH_PRIORITY", b"DELAYED", b"IGNORE", b"QUICK", b"REFERENCES", b"EXISTS", b"VIEW", b"CALL"}
    | {b"PROCEDURE", b"FUNCTION", b"EVENT", b"TRIGGER", b"HANDLER", b"SEQUENCE", b"PACKAGE", b"BODY", b"TO"}
)

#: kinds of statements whose strings may be SQL that is run later
_OF_TEXTS = frozenset({"SET", "PREPARE", "EXECUTE IMMEDIATE", "SELECT", "SET STATEMENT"})

#: without its mark, a scratch schema would be nobody's
_OWN = (MARK_TABLE, JOURNAL)

_UNQUALIFY = "Write the names of tables without the database: the script runs where they are meant."


@dataclass(frozen=True)
class Refusal:
    """Why a statement must not run, and what to do."""

    line: int
    why: str
    hint: str = _UNQUALIFY


@dataclass(frozen=True)
class Seen:
    """What a script has: statements made of texts, files of this host to be loaded.

    ``functions`` are the names (in lower case) of the stored functions that it can call: those it makes, and others.
    """

    dynamic: bool
    loads_files: bool
    functions: frozenset[str]


class Guard:
    """Looks at statements before they run.

    :param schema: where the script runs.
    :param others: schemas that it must not name: the live one, when it runs in the scratch schema.
    :param fold: the server takes names in upper and lower case for the same.
    """

    def __init__(self, schema: str, others: Sequence[str], fold: bool) -> None:
        self._schema = schema
        self._others = frozenset(name.lower() if fold else name for name in others)
        self._fold = fold
        self._reaching: Mapping[str, str] = {}
        self._functions: frozenset[str] = frozenset()
        shut = "|".join(re.escape(name) for name in others)
        # In a text that becomes SQL: not in an address (name@shop.example, https://shop.example).
        self._in_text = re.compile(
            rf"(?<![\w@./$-])`?(?:{shut})`?\s*\.|\bUSE\s+`?(?:{shut})\b" if shut else r"(?!)", re.I if fold else 0
        )

    def look(self, script: Script) -> Seen:
        """Raise where one of a script's statements must not run; return what is to be known of the others."""
        statements = list(script)
        parts = [part for statement in statements for part in statement.parts]
        seen = Seen(
            dynamic=any(is_dynamic(part.tokens) for part in parts),
            loads_files=any(part.kind.startswith("LOAD ") and "LOCAL" in words(part.tokens) for part in parts),
            functions=self._functions.union(
                made_by(part, "FUNCTION").lower() for part in parts if part.kind == "CREATE FUNCTION"
            ),
        )
        for statement in statements:
            refusal = self.refusal(statement, seen.dynamic)
            if refusal:
                raise script.refused(refusal.line, refusal.why, refusal.hint)
        return seen

    def learn(self, definitions: Sequence[Definition]) -> None:
        """Take note of the functions that are there, and of what names a schema which the script must not reach.

        :param definitions: all routines and views of the schema.
        """
        self._functions = frozenset(item.name.lower() for item in definitions if item.kind == "FUNCTION")
        tokens = {item: [t for t in tokenise(item.statement.encode("latin-1")) if _means(t)] for item in definitions}
        reaching: dict[str, str] = {}
        for item, found in tokens.items():
            named = self._qualified(found)
            if named:
                reaching[item.name.lower()] = named
        while True:
            also = {
                item.name.lower(): reaching[self._calls(found, reaching)]
                for item, found in tokens.items()
                if item.name.lower() not in reaching and self._calls(found, reaching)
            }
            if not also:
                break
            reaching.update(also)
        self._reaching = reaching

    def refusal(self, statement: Statement, dynamic: bool) -> Refusal | None:
        """Return why a statement must not run; None when it may.

        :param dynamic: the script makes statements of texts.
        """
        for part in statement.parts:
            why = self._leaves(part) or self._qualified_why(part.tokens)
            if not why and dynamic and (part.kind in _OF_TEXTS or is_dynamic(part.tokens)):
                why = self._text_why(part.tokens)
            if why:
                return Refusal(part.line, why)
            if part.kind.startswith("LOAD ") and _relative_file(part):
                return Refusal(
                    part.line, "LOAD DATA LOCAL names a file without its folder", "Write the file's full path."
                )
            if part.kind.startswith("XA "):
                return Refusal(part.line, "XA transactions outlive the session that began them", "Use COMMIT.")
            called = self._calls(part.tokens, self._reaching)
            if called:
                why = f"{called} names {self._reaching[called]}: it would reach the live database"
                return Refusal(part.line, why, "Correct the routine or the view at the source, or do without it.")
        return None

    def text_refusal(self, text: bytes, line: int) -> Refusal | None:
        """Return why a statement that a script has made of a text must not run."""
        for statement in Script(text, "", ""):
            found = self.refusal(statement, True)
            if found:
                return Refusal(line, f"the statement that it makes: {found.why}", found.hint)
        return None

    def _leaves(self, part: Part) -> str:
        """Say whether a statement goes to another schema, makes or drops one, or touches what is env_sync's own."""
        own = next((_name(t) for t in part.tokens if t.kind in ("name", "word") and _name(t).lower() in _OWN), "")
        if own:
            return f"{own} is env_sync's own table"
        if part.kind == "USE":
            to = _name(part.tokens[1]) if len(part.tokens) > 1 else ""
            return "" if self._same(to, self._schema) else f"USE {to} leaves the database that the script is for"
        if part.kind.endswith(" DATABASE"):
            named = [_name(token) for token in part.tokens if token.kind in ("name", "word")]
            found = next((name for name in named[2:] if self._shut(name) or self._same(name, self._schema)), "")
            return f"{part.kind} {found} is not for a script" if found else ""
        return ""

    def _qualified_why(self, tokens: Sequence[Token]) -> str:
        named = self._qualified(tokens)
        return f"{named} is in the live database" if named else ""

    def _qualified(self, tokens: Sequence[Token]) -> str:
        """Return the first name that a schema of the others' qualifies, empty where there is none.

        ``orders.id`` can be the column of a table ``orders`` in a database of that name: it is taken for one where the
        statement has such a table or alias, unless it stands where only tables do.
        """
        if not self._others:
            return ""
        bare = {
            _name(token)
            for at, token in enumerate(tokens)
            if self._is_shut(token) and not _dotted(tokens, at - 1) and not _dotted(tokens, at + 1)
        }
        for at, token in enumerate(tokens[:-2]):
            if not self._is_shut(token) or not _dotted(tokens, at + 1) or _text(tokens, at - 1) in (b".", b"@"):
                continue
            three = _dotted(tokens, at + 3)
            called = _text(tokens, at + 3) == b"("
            if _name(token) not in bare or three or called or self._where_tables_are(tokens, at):
                return f"{_name(token)}.{_name(tokens[at + 2])}"
        return ""

    def _where_tables_are(self, tokens: Sequence[Token], at: int) -> bool:
        before = _text(tokens, at - 1).upper()
        if before == b"ON":  # of CREATE TRIGGER, CREATE INDEX, GRANT; not that of a JOIN
            first = words(tokens, 1)
            joined = any(token.kind == "word" and token.upper.endswith(b"JOIN") for token in tokens[:at])
            return first[0] in ("CREATE", "DROP", "GRANT", "REVOKE") and not joined
        return before in _BEFORE_TABLES

    def _text_why(self, tokens: Sequence[Token]) -> str:
        for token in tokens:
            if token.kind == "string":
                match = self._in_text.search(token.text[1:].decode("utf-8", "replace"))
                if match:
                    return f"a text that may become a statement names the live database ({match.group().strip()})"
        return ""

    def _calls(self, tokens: Sequence[Token], names: Mapping[str, str]) -> str:
        """Return the first of these routines and views that a statement uses."""
        if not names:
            return ""
        return next((_name(t).lower() for t in tokens if t.kind in ("name", "word") and _name(t).lower() in names), "")

    def _is_shut(self, token: Token) -> bool:
        quoted = token.kind == "string" and token.text[:1] == b'"'  # a name, with the SQL mode ANSI_QUOTES
        return (token.kind in ("name", "word") or quoted) and self._shut(_name(token))

    def _shut(self, name: str) -> bool:
        return (name.lower() if self._fold else name) in self._others

    def _same(self, one: str, other: str) -> bool:
        return one.lower() == other.lower() if self._fold else one == other


def is_dynamic(tokens: Sequence[Token]) -> bool:
    """Say whether statements are made of texts here."""
    found = [token.upper for token in tokens if token.kind == "word"]
    return b"PREPARE" in found or any(pair == (b"EXECUTE", b"IMMEDIATE") for pair in zip(found, found[1:]))


def made_of_variable(part: Part) -> str:
    """Return the variable (``@text``) whose value the server takes for a statement here, empty where there is none."""
    tokens = part.tokens
    begin = {"PREPARE": 3, "EXECUTE IMMEDIATE": 2}.get(part.kind, 0)
    if not begin or _text(tokens, begin) != b"@" or len(tokens) <= begin + 1:
        return ""
    return "@" + tokens[begin + 1].text.decode("utf-8", "replace")


def _relative_file(part: Part) -> bool:
    """Say whether a file of this host is loaded that would be looked for in the current directory."""
    found = words(part.tokens)
    if "LOCAL" not in found or "INFILE" not in found:
        return False
    return not unquote(_text(part.tokens, found.index("INFILE") + 1)).startswith(b"/")


def _means(token: Token) -> bool:
    return token.kind in ("string", "name", "word", "other")


def _name(token: Token) -> str:
    return unquote(token.text).decode("utf-8", "replace")


def _text(tokens: Sequence[Token], at: int) -> bytes:
    return tokens[at].text if 0 <= at < len(tokens) else b""


def _dotted(tokens: Sequence[Token], at: int) -> bool:
    return _text(tokens, at) == b"."
