# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the operator's SQL: wholly or not at all, and without a row's values in what is said of a failure."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping

from .errors import EnvSyncError
from .pipeline import Group

#: how long the server may take to cancel a script's statement, in seconds
CANCEL_PATIENCE = 1.5

#: what psql says of a script: ``psql:FILE:LINE: TEXT``, and lines of detail
_LINE = re.compile(r"^psql:(?P<file>.*?):(?P<line>\d+): (?P<text>.*)$(?P<more>(?:\n(?!psql:).*)*)", re.M)

#: how ``TEXT`` begins, with VERBOSITY=verbose, where the server says it: ``SEVERITY:  SQLSTATE: MESSAGE``, the severity
#: in the server's language; psql's own complaints (an unknown command, a lost connection) have no SQLSTATE
_MESSAGE = re.compile(r"[^\s:]+:  (?P<state>[0-9A-Z]{5}): (?P<text>.*)")

# Classes of messages that are no errors: success (RAISE NOTICE), warning, no data.
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


def run_sql_file(
    group: Group, psql: str, script: str, conninfo: str, environment: Mapping[str, str], where: str
) -> None:
    """Run a script with ``psql``, in one transaction that the first error ends.

    The search path is the usual one, whatever the role's own is, so that a script need not qualify names in ``public``.

    :param where: what to call the database in a message.
    :raises EnvSyncError: names file, line and SQLSTATE, and no value of any row.
    """
    doing = f"running {script} on {where}"
    if not os.access(script, os.R_OK):
        raise EnvSyncError(
            doing, "there is no such file, or it may not be read", "Check the transformation file's name."
        )
    options = f"""{os.environ.get("PGOPTIONS", "")} -c statement_timeout=0 -c search_path="$user",public""".strip()
    argv = [psql, "-X", "-q", "-1", "--no-password", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]
    stage = group.run(
        [*argv, "-d", conninfo, "-f", script],
        doing,
        env=dict(environment, PGOPTIONS=options),
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
            doing, f"psql: ended by signal {-stage.popen.returncode}", "Nothing of it was done. Run again."
        )
    if stage.popen.returncode != 0:
        raise EnvSyncError(doing, describe(stage.stderr_text), "Nothing of it was done. Correct the script.")


def describe(stderr: str) -> str:
    """Return what of psql's complaint may be repeated: where, which error, and its text if that is harmless."""
    complaint = ""
    for line in _LINE.finditer(stderr):
        place = f"{line['file']}, line {line['line']}"
        message = _MESSAGE.match(line["text"])
        if message is None:
            text = line["text"]
            complaint = complaint or f"{place}: {text[len('error: ') :] if text.startswith('error: ') else text}"
        elif _is_harmless(message["state"], line["more"]):
            return f"{place}: SQLSTATE {message['state']}: {message['text']}"
        elif message["state"][:2] not in _NO_ERRORS:
            function = _FUNCTION_LINE.search(line["more"])
            if function:
                place += f", in {function['name']}, line {function['line']}, at {function['kind']}"
            return f"{place}: SQLSTATE {message['state']} (its text is withheld, as it may quote data)"
    return complaint or "psql failed"


def _is_harmless(state: str, more: str) -> bool:
    """Say whether a message can't hold a value of a row, going by its class and by where it comes from."""
    if state[:2] not in _SAFE_CLASSES or _FROM_LANGUAGE.search(more):
        return False
    in_statement = all(_OF_STATEMENT.match(line) for line in more.splitlines() if line)
    # What the server says of a violated constraint names objects only, wherever it happens.
    return in_statement or state.startswith("23")
