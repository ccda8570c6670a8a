# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Collations: which a server knows, and which of them is most like one that it does not know."""

from __future__ import annotations

import contextlib
import re

from .client import Server
from .errors import ServerError

#: for example utf8mb4_sv_0900_ai_ci; utf8mb4_uca1400_swedish_nopad_ai_ci
_COLLATION = re.compile(
    r"(?P<charset>[a-z0-9]+)_(?:(?P<code>[a-z_]+)_)?"
    r"(?:0900|uca1400(?:_(?P<language>(?!nopad)[a-z0-9]+))?(?:_nopad)?)_(?P<rest>ai_ci|as_ci|as_cs|ai_cs|bin)"
)

#: MySQL's codes of languages, and MariaDB's names of them
_LANGUAGES = {
    "cs": "czech",
    "da": "danish",
    "de_pb": "german2",
    "eo": "esperanto",
    "es": "spanish",
    "es_trad": "spanish2",
    "et": "estonian",
    "hr": "croatian",
    "hu": "hungarian",
    "is": "icelandic",
    "la": "roman",
    "lt": "lithuanian",
    "lv": "latvian",
    "pl": "polish",
    "ro": "romanian",
    "sk": "slovak",
    "sl": "slovenian",
    "sv": "swedish",
    "tr": "turkish",
    "vi": "vietnamese",
}


def known_collations(server: Server, doing: str) -> frozenset[str]:
    """Return the names of all collations of a server, in lower case."""
    ask = server.query
    names = {
        str(name).lower() for (name,) in ask("SELECT COLLATION_NAME FROM information_schema.COLLATIONS", (), doing)
    }
    # MariaDB 10.10 and newer list a collation of several character sets once, and here with each of their names.
    with contextlib.suppress(ServerError):
        table = "information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
        names |= {str(name).lower() for (name,) in ask(f"SELECT FULL_COLLATION_NAME FROM {table}", (), doing)}
    return frozenset(names)


def nearest_collation(name: str, known: frozenset[str]) -> str:
    """Return the collation that sorts and compares most like this one, of those known; empty when there is none.

    MySQL's ``utf8mb4_0900_*`` and MariaDB's ``utf8mb4_uca1400_*`` are each other's; older servers have neither. What
    tells letters apart is never answered by what does not: unique keys hold.
    """
    charset, _unused, rest = name.partition("_")
    match = _COLLATION.fullmatch(name)
    if match:
        rest = match["rest"]
        codes = {language: code for code, language in _LANGUAGES.items()}
        code = match["code"] or codes.get(match["language"] or "", "")
        language = match["language"] or _LANGUAGES.get(code, "")
        options = [f"{charset}_{code}_0900_{rest}"] if code else []
        options += [f"{charset}_uca1400_{language}_{pad}{rest}" for pad in ("nopad_", "") if language]
        options += [f"{charset}_{older}{rest}" for older in ("0900_", "uca1400_nopad_", "uca1400_")]
        if rest == "ai_ci":
            options += [f"{charset}_{language}_ci"] if language else []
            options += [f"{charset}_unicode_520_ci", f"{charset}_unicode_ci", f"{charset}_general_ci"]
        else:
            options += [f"{charset}_nopad_bin", f"{charset}_bin"]
    elif charset in ("utf8mb3", "utf8"):
        options = [f"{'utf8' if charset == 'utf8mb3' else 'utf8mb3'}_{rest}", f"{charset}_general_ci"]
    else:
        blind = rest.endswith("_ci") and not rest.endswith("_as_ci")
        options = [f"{charset}_general_ci" if blind else f"{charset}_bin"]
    return next((option for option in options if option in known), "")
