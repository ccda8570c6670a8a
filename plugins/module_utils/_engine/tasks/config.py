# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Config files: lines of ``key="value"`` that a shell could source; they are parsed, never executed.

What a shell would take literally is taken as the shell takes it (POSIX Shell Command Language, 2.2 and 2.6). What it
would expand or run is an error, so that no file means one thing here and another to ``source``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ..errors import EnvSyncError

_ASSIGNMENT = re.compile(r"(?:export[ \t]+)?(?P<key>[A-Za-z_][A-Za-z0-9_]*)=")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

#: what follows a dollar sign that the shell expands; before anything else it is an ordinary character
_EXPANDS = re.compile(r"\$[A-Za-z0-9_{(@*#?$!-]")

#: characters that end a word or a command, where no quotes are around them
_OPERATORS = ";&|<>()"


def default_conf_dir() -> str:
    """Return where the command has its config files when nothing says otherwise; it is called like the command."""
    return os.path.join("/etc", os.environ.get("ENV_SYNC_NAME") or "govuk_env_sync")


def read_config(path: str) -> dict[str, str]:
    """Return the assignments in a config file; of a key that is given twice, the last, as in a shell.

    :raises EnvSyncError: the file can't be read, or has a line that is not a plain assignment; names file and line.
    """
    doing = f"reading the config file {path}"
    try:
        with open(path, "rb") as stream:
            text = stream.read().decode("utf-8-sig")
    except OSError as error:
        raise EnvSyncError(doing, str(error.strerror), _hint(error)) from error
    except UnicodeDecodeError as error:
        raise EnvSyncError(doing, "it is not UTF-8 text", "Check that this is the right file.") from error
    return parse_config(text, doing)


def parse_config(text: str, doing: str) -> dict[str, str]:
    """Return the assignments in the text of a config file; of a key that is given twice, the last, as in a shell.

    :param doing: what is being done, for a message: a fault's line is added to it.
    :raises EnvSyncError: there is something else in it; names the line.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            assignment = _parse_line(line.rstrip("\r").lstrip(" \t"))
        except ValueError as error:
            raise EnvSyncError(f"{doing}, line {number}", str(error), 'Write it as key="value".') from error
        if assignment is not None:
            key, value = assignment
            values[key] = value
    return values


def _parse_line(line: str) -> tuple[str, str] | None:
    """Return key and value, None for a line without an assignment; the messages of ValueError quote no value."""
    if not line or line.startswith("#"):
        return None
    if "\0" in line:
        raise ValueError("there is a NUL byte in it")
    match = _ASSIGNMENT.match(line)
    if match is None:
        raise ValueError("it is no assignment")
    value, rest = _parse_word(line[match.end() :])
    rest = rest.lstrip(" \t")
    if rest and not rest.startswith("#"):
        raise ValueError(f"there is more than one value for {match['key']}")
    return match["key"], value


def _parse_word(text: str) -> tuple[str, str]:
    """Return the value of the word that ``text`` begins with, quotes resolved, and what follows it."""
    value: list[str] = []
    at = 0
    while at < len(text) and text[at] not in " \t":
        character = text[at]
        if character == "'":
            end = text.find("'", at + 1)
            if end < 0:
                raise ValueError("a ' is not closed")
            value.append(text[at + 1 : end])
            at = end + 1
        elif character == '"':
            quoted, at = _parse_double_quoted(text, at + 1)
            value.append(quoted)
        elif character == "\\":
            if at + 1 == len(text):
                raise ValueError("a value may not go on in the next line")
            value.append(text[at + 1])
            at += 2
        elif character in _OPERATORS:
            raise ValueError(f"a shell would not take {character} as a part of the value")
        else:
            if text.startswith(("$'", '$"'), at):
                raise ValueError("a shell would expand the $")
            if character == "~" and text[at - 1 : at] in ("", ":"):
                raise ValueError("a shell would expand the ~ (put the value into quotes)")
            _refuse_expansion(text, at)
            value.append(character)
            at += 1
    return "".join(value), text[at:]


def _parse_double_quoted(text: str, at: int) -> tuple[str, int]:
    """Return what is between the quotes, the first of which is before ``at``, and where it goes on after them."""
    value: list[str] = []
    while at < len(text):
        character = text[at]
        if character == '"':
            return "".join(value), at + 1
        if character == "\\" and text[at + 1 : at + 2] in tuple('$`"\\'):
            at += 1
            character = text[at]
        else:
            _refuse_expansion(text, at)
        value.append(character)
        at += 1
    raise ValueError('a " is not closed')


def _refuse_expansion(text: str, at: int) -> None:
    if text[at] == "`" or _EXPANDS.match(text, at):
        raise ValueError(f"a shell would expand the {text[at]} (write \\{text[at]} for the character itself)")


def format_config(values: Mapping[str, str]) -> str:
    """Return the text of a config file with these assignments: the inverse of :func:`read_config`.

    :raises EnvSyncError: a key is not a valid name of a shell variable, or a value has a line break or NUL in it.
    """
    lines = []
    for key, value in values.items():
        if not _KEY.match(key):
            raise EnvSyncError("writing a config file", f"{key!r} can't be a key", "Use letters, digits and _.")
        if "\n" in value or "\0" in value:
            raise EnvSyncError(
                "writing a config file", f"there is a line break or a NUL in the value of {key}", "Remove it."
            )
        escaped = re.sub(r'([\\"$`])', r"\\\1", value)
        lines.append(f'{key}="{escaped}"\n')
    return "".join(lines)


def read_envdir(path: str) -> dict[str, str | None]:
    """Return what daemontools' ``envdir`` would make of a directory: a variable for each file, None to unset it.

    The value is the file's first line without blanks at its end, a NUL in it stands for a line break; an empty file
    unsets the variable (https://cr.yp.to/daemontools/envdir.html).
    """
    values: dict[str, str | None] = {}
    doing = f"reading the environment from {path}"
    try:
        for name in sorted(os.listdir(path)):
            if name.startswith("."):
                continue
            if "=" in name:
                raise EnvSyncError(doing, f"there is a = in the name {name}", "Rename the file.")
            with open(os.path.join(path, name), "rb") as stream:
                content = stream.read()
            first = content.split(b"\n", 1)[0].rstrip(b" \t")
            values[name] = os.fsdecode(first.replace(b"\0", b"\n")) if content else None
    except OSError as error:
        raise EnvSyncError(doing, f"{error.filename}: {error.strerror}", _hint(error)) from error
    return values


def _hint(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "Run this as root, or as the user that cron runs it as."
    return "Check its name."
