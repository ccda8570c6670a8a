# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the operator's SQL: wholly or not at all, and without a row's values in what is said of a failure."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Callable

from ...errors import EnvSyncError
from ...streams.pipeline import Group

#: how long the server may take to cancel a script's statement, in seconds
CANCEL_PATIENCE = 1.5

#: what psql says of a script: ``psql:FILE:LINE: TEXT``, and lines of detail
_LINE = re.compile(r"^psql:(?P<file>.*?):(?P<line>\d+): (?P<text>.*)$(?P<more>(?:\n(?!psql:).*)*)", re.M)

#: how ``TEXT`` begins, with VERBOSITY=verbose, where the server says it: ``SEVERITY:  SQLSTATE: MESSAGE``, the severity
#: in the server's language; psql's own complaints (an unknown command, a lost connection) have no SQLSTATE
_MESSAGE = re.compile(r"[^\s:]+:  (?P<state>[0-9A-Z]{5}): (?P<text>.*)")

# Classes of messages that are not errors: success (RAISE NOTICE), warning, no data.
_NO_ERRORS = frozenset({"00", "01", "02"})

# Classes of errors (PostgreSQL manual, appendix A) whose message can't hold a value of a row: it names objects, or
# quotes the script. Others (22 data exception, P0 raised by a function...) may: "invalid input syntax: ...".
_SAFE_CLASSES = frozenset({"0A", "23", "25", "2B", "2D", "3D", "3F", "40", "42", "53", "54", "55", "57", "58"})


# Details of an error in a statement of the script itself. Anything else (CONTEXT, QUERY, a message of several lines)
# says that it happened in a function or in SQL that a function made, possibly of values.
_OF_STATEMENT = re.compile(r"LINE \d+:|\s*\^$|(DETAIL|HINT|LOCATION|(SCHEMA|TABLE|COLUMN|DATATYPE|CONSTRAINT) NAME): ")

#: a procedural language's source files: these raise what a function tells them to, under any SQLSTATE
_FROM_LANGUAGE = re.compile(r"^LOCATION:  \S+, pl\w*\.", re.M)

#: a place in a function, which is code and no data
_FUNCTION_LINE = re.compile(r"PL/pgSQL function (?P<name>.+?) line (?P<line>\d+) at (?P<kind>[A-Za-z ]+)$", re.M)


#: warnings that a script with its own BEGIN and COMMIT gets, under SQLSTATEs that errors have too
_OF_TRANSACTION = re.compile(r"^LOCATION:  (?:BeginTransactionBlock|EndTransactionBlock), ", re.M)


#: "current transaction is aborted": by an earlier error
_CONSEQUENCE = "25P02"


def run_psql(
    group: Group,
    psql: str,
    files: Sequence[str],
    conninfo: str,
    environment: Mapping[str, str],
    doing: str,
    folder: str,
    place: Callable[[str, int], str],
) -> str:
    """Run files with ``psql`` in one session, which the first error ends; return what it says beside.

    The search path is the usual one, whatever the role's own is, so that a script need not qualify names in ``public``.

    :param folder: where relative names of files are looked up.
    :param place: what to call a line of a file in a message.
    :raises EnvSyncError: names file, line and SQLSTATE, and no value of any row.
    """
    settings = """-c statement_timeout=0 -c standard_conforming_strings=on -c search_path="$user",public"""
    given = environment.get("PGOPTIONS") or os.environ.get("PGOPTIONS", "")
    argv = [psql, "-X", "-q", "--no-password", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-d", conninfo]
    for file in files:
        argv += ["-f", file]
    stage = group.run(
        argv,
        doing,
        env=dict(environment, PGOPTIONS=f"{given} {settings}".strip()),
        cwd=folder,
        checked=False,
    )
    try:
        stage.join()
    except BaseException:
        # psql then has the server cancel the statement, which would otherwise go on by itself, and hold its locks.
        stage.signal(signal.SIGINT)
        deadline = time.monotonic() + CANCEL_PATIENCE
        while not stage.ended() and time.monotonic() < deadline:
            time.sleep(0.02)
        raise
    if stage.popen.returncode < 0:
        raise EnvSyncError(
            doing, f"psql: ended by signal {-stage.popen.returncode}", "What it had not committed is undone. Run again."
        )
    if stage.popen.returncode != 0:
        why = describe(stage.stderr_text, place)
        raise EnvSyncError(doing, why, "What it had not committed is undone. Correct the script.")
    return stage.stderr_text


def _as_it_is(file: str, line: int) -> str:
    return f"{file}, line {line}"


def describe(stderr: str, place: Callable[[str, int], str] = _as_it_is) -> str:
    """Return what of psql's complaint may be repeated: where, which error, and its text if that is harmless.

    It is the last error that counts, as the session ends with it: warnings come before.
    """
    return passed_over(stderr, place) or "psql failed"


def passed_over(stderr: str, place: Callable[[str, int], str] = _as_it_is) -> str:
    """Return what :func:`describe` does; nothing where psql has complained of no error."""
    complaint = error = state = ""
    for line in _LINE.finditer(stderr):
        where = place(line["file"], int(line["line"]))
        message = _MESSAGE.match(line["text"])
        if message is None:
            text = line["text"]
            if not text.startswith(("warning: ", "info: ")):
                complaint = complaint or f"{where}: {text[len('error: ') :] if text.startswith('error: ') else text}"
        elif message["state"][:2] in _NO_ERRORS or _OF_TRANSACTION.search(line["more"]):
            continue
        elif message["state"] != _CONSEQUENCE or not error:
            state = message["state"]
            error = _said(where, state, message["text"], line["more"])
    # A class that warnings are of too gives way to what psql itself says.
    return complaint if complaint and (not error or state in ("25001", "25P01")) else error


def _said(where: str, state: str, text: str, more: str) -> str:
    if _is_harmless(state, more):
        return f"{where}: SQLSTATE {state}: {text}"
    function = _FUNCTION_LINE.search(more)
    if function:
        where += f", in {function['name']}, line {function['line']}, at {function['kind']}"
    return f"{where}: SQLSTATE {state} (its text is withheld, as it may quote data)"


def _is_harmless(state: str, more: str) -> bool:
    """Say whether a message can't hold a value of a row, going by its class and by where it comes from."""
    if state[:2] not in _SAFE_CLASSES or _FROM_LANGUAGE.search(more):
        return False
    in_statement = all(_OF_STATEMENT.match(line) for line in more.splitlines() if line)
    # What the server says of a violated constraint names objects only, wherever it happens.
    return in_statement or state.startswith("23")
