# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a manifest may say: the type, the form and the bounds of every field that this program reads.

A manifest comes from whoever may write to the store. A field that is not listed here is read by nobody: a later version
may add some, and only the size, the depth and the text of these are looked at.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from .name import MANIFEST_SUFFIX, TIMESTAMP_FORM, belongs, point_name

#: how deep lists and mappings may stand in one another
DEEPEST = 32

#: members, tables, and whatever else is counted
MOST = 1_000_000

#: characters of one text
LONGEST = 65536

#: the largest number: no file system and no store holds more bytes
LARGEST = 2**63 - 1

_DIGITS = len(str(LARGEST))

_UTC_FORM = TIMESTAMP_FORM + "Z"

_SHA256 = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)

#: what a server calls an encoding, a character set, a collation: they go into SQL
_WORD = re.compile(r"[A-Za-z0-9_]+\Z", re.ASCII)

#: what may be granted on a database of PostgreSQL, and what its settings are called (``valid_custom_variable_name``)
_PRIVILEGE = re.compile(r"(CREATE|CONNECT|TEMPORARY)\Z")
_SETTING = re.compile(r"[^\W\d][\w$]*(\.[^\W\d][\w$]*)*\Z")

#: PostgreSQL keeps a connection limit in 32 bits
_MOST_CONNECTIONS = 2**31 - 1

Rule = Callable[[str, Any], None]


class Fault(Exception):
    """A field of a manifest is not as it has to be.

    :param field: its name, with those around it (``members[3].size``); empty for the whole.
    :param why: what is wrong, as a predicate ("is not a number").
    """

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field or 'it'} {why}")


# -- JSON ------------------------------------------------------------------------------------------------------------


def parse(data: bytes) -> dict[str, Any]:
    """Return the JSON object in ``data``.

    Refused is what two readers might read differently, or what takes long to read: a key twice, NaN, a number of many
    digits, text that is not Unicode, great depth.

    :raises Fault: it is not one.
    """
    try:
        values = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        raise Fault("", f"is not UTF-8 text ({error.reason})") from error
    except RecursionError:
        raise Fault("", f"has lists in lists, or mappings in mappings, deeper than {DEEPEST}") from None
    except ValueError as error:
        raise Fault("", f"is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise Fault("", "is not a JSON object")
    _look_through(values)
    return values


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _unused in pairs]
        raise Fault(next(name for name in names if names.count(name) > 1)[:100], "is there twice")
    return values


def _integer(text: str) -> int:
    if len(text) > _DIGITS + 1:
        raise Fault("", f"has a number of {len(text)} digits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Fault("", f"has the number {text[:40]}, which is too large")
    return number


def _constant(text: str) -> float:
    raise Fault("", f"has {text}, which is not JSON")


def _look_through(values: Mapping[str, Any]) -> None:
    """Look at all texts and at the depth, those of unknown fields included: they are shown, and stored again."""
    left: list[tuple[str, Any, int]] = [("", values, 0)]
    while left:
        field, value, depth = left.pop()
        if depth > DEEPEST:
            raise Fault(field.partition(".")[0].partition("[")[0], f"has lists or mappings deeper than {DEEPEST}")
        if isinstance(value, str):
            _unicode(field, value)
        elif isinstance(value, dict):
            for name, item in value.items():
                _unicode(f"the name of a field of {field or 'the manifest'}", name)
                left.append((f"{field}.{name}" if field else name, item, depth + 1))
        elif isinstance(value, list):
            left += [(f"{field}[{place}]", item, depth + 1) for place, item in enumerate(value)]


def _unicode(field: str, text: str) -> None:
    if "\0" in text or any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise Fault(field[:200], "has a character that is not text (NUL, or half of a pair)")


# -- types -----------------------------------------------------------------------------------------------------------


def _text(field: str, value: Any) -> None:
    if not isinstance(value, str):
        raise Fault(field, f"is {_kind(value)}, and has to be a text")
    if len(value) > LONGEST:
        raise Fault(field, f"has {len(value)} characters")


def _matching(pattern: re.Pattern[str], what: str, empty: bool = False) -> Rule:
    def check_text(field: str, value: Any) -> None:
        _text(field, value)
        if not pattern.match(value) and not (empty and not value):
            raise Fault(field, f"is {value[:100]!r}, which is not {what}")

    return check_text


def _count(field: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Fault(field, f"is {_kind(value)}, and has to be a whole number")
    if not 0 <= value <= LARGEST:
        raise Fault(field, f"is {value}, and has to be from 0 to {LARGEST}")


def _limit(field: str, value: Any) -> None:
    """A number, or -1 for none."""
    if value != -1 or isinstance(value, bool) or not isinstance(value, int):
        _count(field, value)
        if value > _MOST_CONNECTIONS:
            raise Fault(field, f"is {value}, and has to be from -1 to {_MOST_CONNECTIONS}")


def _yes_or_no(field: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise Fault(field, f"is {_kind(value)}, and has to be true or false")


def _nothing_or(rule: Rule) -> Rule:
    def check_optional(field: str, value: Any) -> None:
        if value is not None:
            rule(field, value)

    return check_optional


def _moment(form: str, example: str) -> Rule:
    def check_moment(field: str, value: Any) -> None:
        _text(field, value)
        try:
            # strptime takes "2026-1-2" too: the way back tells.
            if datetime.datetime.strptime(value, form).strftime(form).rjust(len(example), "0") == value:
                return
        except ValueError:
            pass
        raise Fault(field, f"is {value[:100]!r}, and has to be a time like {example}")

    return check_moment


def _list_of(rule: Rule) -> Rule:
    def check_list(field: str, value: Any) -> None:
        if not isinstance(value, list):
            raise Fault(field, f"is {_kind(value)}, and has to be a list")
        if len(value) > MOST:
            raise Fault(field, f"has {len(value)} entries")
        for place, item in enumerate(value):
            rule(f"{field}[{place}]", item)

    return check_list


def _mapping(rules: Mapping[str, Rule], needed: Sequence[str] = (), others: Rule | None = None) -> Rule:
    """:param others: what holds of the values of all other keys; None: they are not looked at."""

    def check_mapping(field: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise Fault(field, f"is {_kind(value)}, and has to be a mapping")
        for name in needed:
            if name not in value:
                raise Fault(f"{field}.{name}" if field else name, "is missing")
        for name, item in value.items():
            rule = rules.get(name, others)
            if rule is not None:
                rule(f"{field}.{name}" if field else name, item)

    return check_mapping


def _kind(value: Any) -> str:
    kinds = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a mapping",
    }
    return "null" if value is None else kinds.get(type(value), type(value).__name__)


# -- fields ----------------------------------------------------------------------------------------------------------

_word = _matching(_WORD, "a name of letters, digits and underscores", empty=True)
_aliased = _mapping(
    {
        "indices": _list_of(_text),
        "whole": _yes_or_no,
        "properties": _mapping({}),
        "others": _mapping({}, others=_mapping({})),
    },
    ("indices", "whole", "properties"),
)

#: a PostgreSQL database apart from its contents, for a first pull: all of it goes into SQL, quoted
_DATABASE = _mapping(
    {
        "acl": _nothing_or(
            _list_of(
                _mapping(
                    {
                        "grantee": _text,
                        "privilege": _matching(_PRIVILEGE, "a privilege on a database"),
                        "grantable": _yes_or_no,
                    },
                    ("grantee", "privilege", "grantable"),
                )
            )
        ),
        "settings": _list_of(
            _mapping(
                {"role": _text, "name": _matching(_SETTING, "the name of a setting"), "value": _nothing_or(_text)},
                ("role", "name", "value"),
            )
        ),
        "connection_limit": _limit,
        "comment": _text,
    },
    ("acl", "settings", "connection_limit", "comment"),
)

#: what databases read of ``details``
_DETAILS: Mapping[str, Rule] = {
    "size_bytes": _count,
    "excluded_tables": _list_of(_text),
    "excluded_foreign_keys": _list_of(_list_of(_text)),
    "excluded_table_data": _list_of(_text),
    "rowless_foreign_keys": _list_of(_list_of(_text)),
    "excluded_extensions": _list_of(_text),
    "special_files": _count,
    "entries": _count,
    # PostgreSQL
    "large_objects": _count,
    "largest_table_bytes": _count,
    "owner": _text,
    "database": _DATABASE,
    "encoding": _word,
    "collate": _text,
    "ctype": _text,
    "locale_provider": _nothing_or(_word),
    "locale": _nothing_or(_text),
    "collations": _list_of(_text),
    "tablespaces": _list_of(_text),
    # MySQL, MariaDB
    "character_set": _word,
    "collation": _word,
    "versioned_tables": _list_of(_text),
    "views": _list_of(_text),
    "longest_statement": _count,
    "histograms": _list_of(_list_of(_text)),
    "history": _yes_or_no,
    # Elasticsearch
    "aliases": _mapping({}, others=_aliased),
}

_MEMBER = _mapping(
    {
        "name": _text,
        "size": _count,
        "sha256": _matching(_SHA256, "a SHA-256 (64 digits from 0 to f)", empty=True),
        "raw_size": _count,
        "packed": _yes_or_no,
        "table": _text,
        "contains": _text,
    },
    needed=("name", "size", "sha256", "raw_size"),
)

_RULES: Mapping[str, Rule] = {
    "tool_version": _text,
    "dbms": _text,
    "database": _text,
    "timestamp": _moment(TIMESTAMP_FORM, "2026-01-02T03:04:05"),
    "environment": _text,
    "host": _text,
    "server": _mapping({}, others=_text),
    "client_version": _text,
    "format": _text,
    "compression": _text,
    "jobs": _count,
    "started": _moment(_UTC_FORM, "2026-01-02T03:04:05Z"),
    "finished": _moment(_UTC_FORM, "2026-01-02T03:04:05Z"),
    "raw_bytes": _count,
    "stored_bytes": _count,
    "members": _list_of(_MEMBER),
    "tables": _list_of(
        _mapping(
            {"name": _text, "schema": _text, "rows": _count, "type": _text, "indexes": _list_of(_mapping({}))},
            ("name",),
        )
    ),
    "extensions": _list_of(_mapping({"name": _text, "version": _text}, ("name",))),
    "roles": _list_of(_text),
    "sanitised": _list_of(_mapping({"script": _text, "sha256": _text}, ("script",))),
    "peak_temporary_bytes": _count,
    "details": _mapping(_DETAILS),
}

_MAY_BE_MISSING = frozenset({"tables", "extensions", "roles", "sanitised", "peak_temporary_bytes", "details"})

_MANIFEST = _mapping(_RULES, [name for name in _RULES if name not in _MAY_BE_MISSING])


def check(values: Mapping[str, Any]) -> None:
    """Check the fields of a manifest, each by itself and with one another.

    :raises Fault: one is missing, or is not as it has to be.
    """
    _MANIFEST("", values)
    _check_members(values)
    _check_details(values["dbms"], values.get("details", {}))


def stored_by_server(values: Mapping[str, Any]) -> bool:
    """Say of a manifest whether the store's own server stored the data: it hands out no bytes to read or to hash."""
    return bool(values["format"] == "snapshot" and values["dbms"] == "elasticsearch")


def _check_members(values: Mapping[str, Any]) -> None:
    """Every member is the point's own, there once, and hashed."""
    members = values["members"]
    point = point_name(values["timestamp"], values["database"])
    if not members:
        raise Fault("members", "is empty")
    hashed = not stored_by_server(values)
    seen: set[str] = set()
    for place, member in enumerate(members):
        field, name = f"members[{place}]", member["name"]
        if not belongs(name, point) or name == point + MANIFEST_SUFFIX:
            raise Fault(f"{field}.name", f"is {name[:200]!r}, which is not a member of {point}")
        if name in seen:
            raise Fault(f"{field}.name", f"is {name[:200]!r}, which is there twice")
        if hashed and not member["sha256"]:
            raise Fault(f"{field}.sha256", "is empty")
        seen.add(name)


def _check_details(dbms: str, details: Mapping[str, Any]) -> None:
    """What stands together: an encoding has a collation; a key that was left out has a table (and its schema)."""
    for field, others in (("encoding", ("collate", "ctype")), ("character_set", ("collation",))):
        for other in others if details.get(field) else ():
            if other not in details:
                raise Fault(f"details.{other}", "is missing")
    if details.get("locale_provider") in ("i", "b") and not details.get("locale"):
        raise Fault("details.locale", "is missing")
    length = 3 if dbms == "postgresql" else 2
    for field in ("excluded_foreign_keys", "rowless_foreign_keys"):
        for place, key in enumerate(details.get(field, ())):
            if len(key) != length:
                raise Fault(f"details.{field}[{place}]", f"has {len(key)} texts, and has to have {length}")
