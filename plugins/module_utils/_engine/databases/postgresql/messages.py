# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``pg_dump`` and ``pg_restore`` say when they fail: what of it may be repeated, and what there is to do.

The programs hand on the server's message without its SQLSTATE, and the server's language may be any. So a message from
where rows are read is repeated only where it has one of the forms below, in which no value of a row has a place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...errors import EnvSyncError
from . import leave_out
from .toc import Entry, Toc

WITHHELD = "(the server's message is withheld, as it may quote data)"

#: lines in which the server quotes rows, and where the next line of pg_dump's or pg_restore's own begins
_QUOTES_ROWS = re.compile(r"^(DETAIL|CONTEXT):.*?(?=^(?:pg_\w+: |HINT:|Command was:)|\Z)", re.M | re.S)

#: with --verbose, what ``pg_restore`` says of the entry that it was at, before it says what went wrong
_AT_ENTRY = re.compile(r"pg_restore: from TOC entry (\d+);")

#: where something begins that it says; and what it says of its progress, not of something that is wrong
_BEGINS = re.compile(r"^(?=pg_restore: )", re.M)
_WRONG = re.compile(r"pg_restore: (?:(?:error|fatal|warning|detail|hint): |\[)")

#: an error of the server's, as ``pg_restore`` hands it on: the severity is in the server's language
_REPORTED = re.compile(
    r"(?P<head>pg_restore: error: (?:could not execute query|COPY failed for table .*?)): (?P<severity>[^\s:]+):  "
    r"(?P<message>[^\n]*)(?P<rest>.*)",
    re.S,
)
_COMMAND = re.compile(r"^Command was: ", re.M)

#: how much of a statement that failed is repeated, in characters
_COMMAND_SHOWN = 400

#: kinds of entries for which the server reads rows, and may quote them
_READS_ROWS = frozenset(
    {
        "BLOB", "BLOBS", "CHECK CONSTRAINT", "CONSTRAINT", "FK CONSTRAINT", "INDEX", "INDEX ATTACH",
        "MATERIALIZED VIEW", "MATERIALIZED VIEW DATA", "STATISTICS DATA", "TABLE ATTACH", "TABLE DATA",
    }
)  # fmt: skip

#: messages in which names of objects stand, numbers, and nothing else
_HARMLESS = [
    re.compile(form)
    for form in (
        r'duplicate key value violates unique constraint ".+"',
        r'could not create unique index ".+"',
        r'could not create exclusion constraint ".+"',
        r'conflicting key value violates exclusion constraint ".+"',
        r'new row for relation ".+" violates (check|partition) constraint( ".+")?',
        r'(check|partition) constraint( ".+")? of relation ".+" is violated by some row',
        r'null value in column ".+" of relation ".+" violates not-null constraint',
        r'column ".+" of relation ".+" contains null values',
        r'insert or update on table ".+" violates foreign key constraint ".+"',
        r'value for domain \S+ violates check constraint ".+"',
        r"domain \S+ does not allow null values",
        r'no partition of relation ".+" found for row',
        r"value too long for type [a-z ]+\(\d+\)",
        r"(bigint|double precision|integer|interval|real|smallint|timestamp|value) out of range",
        r"numeric field overflow|division by zero|stack depth limit exceeded|out of memory|out of shared memory",
        r"deadlock detected|extra data after last expected column",
        r'missing data for column ".+"',
        r"invalid memory alloc request size \d+",
        r"row is too big: size \d+, maximum size \d+",
        r'index row size \d+ exceeds (btree version \d+ )?maximum \d+ for index ".+"',
        r"index row requires \d+ bytes, maximum size is \d+",
        r"permission denied for [a-z -]+ \S+",
        r'could not (extend|write to|open|read) file ".+": [A-Z][A-Za-z ]+',
        r"could not write to (temporary )?file: [A-Z][A-Za-z ]+",
        r"(canceling statement|terminating connection) due to [a-z -]+",
        r'query would be affected by row-level security policy for table ".+"',
        r'materialized view ".+" has not been populated',
        r'infinite recursion detected in rules for relation ".+"',
        # What the parser finds no function for; the type regprocedure has the name that it was given in quotes.
        r'function [^"()]+\([\w ,.\[\]"]*\) does not exist',
    )
]

#: the same of a name that a value may be cast to (regclass, regtype): harmless in the text of a function
_HARMLESS_IN_CODE = [
    re.compile(form)
    for form in (
        r'(relation|type|schema|text search configuration|text search dictionary) ".+" does not exist',
        r'column ("?).+\1 does not exist',
        r"operator does not exist: .+",
    )
]

#: what stands before a value, which is all that is repeated
_BEFORE_VALUE = re.compile(
    r'(invalid input syntax for type [a-z ]+|invalid input value for enum [\w."]+|date/time field value out of range|'
    r'malformed (?:array|record|range) literal|invalid byte sequence for encoding "\w+")(?=: )'
)
_VALUE_OUT_OF_RANGE = re.compile(r'value ".*" is out of range for type ([a-z ]+)')

#: code that says what it likes: a function's RAISE, and any other language
_SAYS_ANYTHING = re.compile(r" at RAISE$|\bPL/(?!pgSQL)", re.M)

#: a statement of a function that was being parsed, and that no value has a part in
_PARSED = re.compile(
    r'^CONTEXT:  (SQL function ".+" during (inlining|startup)$|'
    r"PL/pgSQL function .+ line \d+ at (assignment|RETURN|IF|SQL statement|PERFORM|FOR over SELECT rows)$)",
    re.M,
)

#: what is wrong with the server or the connection, and not with the object
_OF_SERVER = re.compile(
    r"out of shared memory|out of memory|could not (?:extend|write to) file|No space left|canceling statement|"
    r"terminating connection|server closed the connection|connection to server|permission denied"
)


def without_values(said: str) -> str:
    """Return what ``pg_dump`` said, without what quotes values of rows."""
    return _QUOTES_ROWS.sub("", said)


class Restoring:
    """What a ``pg_restore`` of this archive says when it fails.

    :param toc: its table of contents, as the program reads it.
    """

    def __init__(self, toc: Toc) -> None:
        self._entries = {entry.dump_id: entry for entry in toc.entries}
        self._failed: Entry | None = None

    def repeatable(self, said: str) -> str:
        """Return what may be repeated of what is wrong; what is said of the progress is left out.

        After a message from where rows are read, nothing is: it may be more of a value, whatever it looks like.
        """
        kept: list[str] = []
        number = ""
        for text in _BEGINS.split(said):
            at = _AT_ENTRY.match(text)
            number = at[1] if at else number
            report = _REPORTED.match(text)
            if report is None:
                if _WRONG.match(text):
                    kept.append(_QUOTES_ROWS.sub("", text))
                continue
            entry = self._entries.get(int(number)) if number else None
            self._failed = self._failed or entry
            copies = "COPY failed" in report["head"]
            quoting = copies or (bool(number) and (entry is None or entry.desc in _READS_ROWS))
            kept.append(_repeated(report, entry, quoting))
            if quoting:
                break
        return "".join(kept)

    def explain(self, error: EnvSyncError) -> EnvSyncError:
        """Return the error with what there is to do about the object that could not be restored."""
        if self._failed is None or error.hint or _OF_SERVER.search(error.why):
            return error
        return EnvSyncError(error.doing, error.why, _what_to_do(self._failed, error.why))


def _repeated(report: re.Match[str], entry: Entry | None, quoting: bool) -> str:
    head, message, rest = report["head"], report["message"], report["rest"]
    # The last such line is the program's own. After a COPY there is none.
    command = [] if "COPY failed" in head else [found.start() for found in _COMMAND.finditer(rest)]
    after = _shortened(rest[command[-1] :]) if command else ""
    more = rest[: command[-1]] if command else rest
    if quoting:
        text = harmless(message, more)
        return f"{head}: {report['severity']}:  {text}\n{after}" if text else f"{head} {WITHHELD}\n{after}"
    more = _QUOTES_ROWS.sub("", more)
    if entry is not None and entry.desc == "EXTENSION":
        # It may be for another database than the scratch one, which it names: what it says is not to be done.
        more = re.sub(r"^HINT:.*", "", more, flags=re.M | re.S)
    return f"{head}: {report['severity']}:  {message}{more}{after}"


def _shortened(command: str) -> str:
    return command if len(command) <= _COMMAND_SHOWN else f"{command[:_COMMAND_SHOWN].rstrip()} ...\n"


def harmless(message: str, more: str) -> str:
    """Return a message of the server's as far as it can't hold a value of a row; empty where nothing is left.

    :param message: its first line.
    :param more: the lines that follow: DETAIL, HINT, QUERY, CONTEXT.
    """
    if _SAYS_ANYTHING.search(more):
        return ""
    if any(form.fullmatch(message) for form in _HARMLESS):
        return message
    context = _PARSED.search(more)
    in_code = context and (context[2] or "\nQUERY:  " in more) and more.find("CONTEXT:  ") == context.start()
    if in_code and any(form.fullmatch(message) for form in _HARMLESS_IN_CODE):
        return message
    before = _BEFORE_VALUE.match(message)
    if before:
        return f"{before[0]} (the value is withheld)"
    found = _VALUE_OUT_OF_RANGE.fullmatch(message)
    return f"a value is out of range for type {found[1]}" if found else ""


def _what_to_do(entry: Entry, why: str) -> str:
    line = leave_out.setting([entry])
    if entry.desc == "EXTENSION":
        return _EXTENSIONS.get(entry.tag, _EXTENSION).format(line=line)
    if entry.desc == "TABLE DATA":
        return f"Correct the rows or the table at the source, and push again. Or have the table empty: {line}."
    if re.search(r"(function|relation|type|operator) \S.* does not exist|operator does not exist", why):
        cause = "Does a function name objects without their schema? ALTER FUNCTION ... SET search_path at the source."
        return f"{cause} Or leave it out of the pull: {line}."
    if "violates" in why or "could not create unique index" in why or "violated by" in why:
        return f"Correct the rows at the source, and push again. Or leave it out of the pull: {line}."
    return f"Correct it at the source, and push again. Or leave it out of the pull: {line}."


_EXTENSION = "Have a superuser see to it on this server. Or leave it out, with what depends on it: {line}."

#: extensions that no scratch database can have
_EXTENSIONS = {
    "pg_cron": "It can be in one database of a server only, never in the scratch database of a pull. Leave it out: "
    "{line}; create it after the pull where it is wanted. Do not change cron.database_name.",
}


def refuse_one_database_only(extensions: Iterable[str], doing: str) -> None:
    """Raise where one of the extensions to restore can't be in a scratch database; the server would say so late."""
    for name in extensions:
        if name in _EXTENSIONS:
            line = f'excluded_extensions: ["{name}"]'
            raise EnvSyncError(doing, f"the point has the extension {name}", _EXTENSIONS[name].format(line=line))
