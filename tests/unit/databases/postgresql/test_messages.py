# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a failed restore's words is repeated: no value of a row, in whatever form the server quotes it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.messages import (
    Restoring,
    harmless,
    without_values,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.toc import Entry, Toc
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

PARSED = 'QUERY:  SELECT lower2($1)\nCONTEXT:  SQL function "f" during inlining\n'


def entry(number: int, desc: str, tag: str, namespace: str = "public") -> Entry:
    values: dict[str, Any] = dict.fromkeys(Entry.__dataclass_fields__, "")
    return Entry(**{**values, "dump_id": number, "desc": desc, "tag": tag, "namespace": namespace, "dependencies": ()})


ENTRIES = (
    entry(1, "TABLE DATA", "people"),
    entry(2, "INDEX", "by_name"),
    entry(3, "VIEW", "broken"),
    entry(4, "EXTENSION", "pg_cron", ""),
    entry(5, "FK CONSTRAINT", "child child_fk"),
)


def restoring() -> Restoring:
    return Restoring(Toc((1, 14, 0), 4, 8, 1, 0, (0,) * 7, "app", "15", "15", ENTRIES))


def said(number: int, text: str, how: str = "could not execute query") -> str:
    at = f"pg_restore: while PROCESSING TOC:\npg_restore: from TOC entry {number}; 0 0 KIND name owner\n"
    return f"{at}pg_restore: error: {how}: {text}"


@pytest.mark.parametrize(
    ("message", "more"),
    [
        (
            'duplicate key value violates unique constraint "people_pkey"',
            "DETAIL:  Key (id)=(secret) already exists.\n",
        ),
        ('new row for relation "people" violates check constraint "c"', "DETAIL:  Failing row contains (secret).\n"),
        ("value too long for type character varying(10)", 'CONTEXT:  COPY people, line 1, column a: "secret"\n'),
        ("integer out of range", ""),
        ("function f_unaccent(text) does not exist", PARSED),
        ('could not extend file "base/1/2": No space left on device', "HINT:  Check free disk space.\n"),
        ('relation "words" does not exist', PARSED),
        (
            'relation "words" does not exist',
            "LINE 1: x\nQUERY:  x\nCONTEXT:  PL/pgSQL function f(text) line 3 at RETURN\n",
        ),
        ("operator does not exist: text = integer", PARSED),
    ],
)
def test_a_message_that_names_objects_only_is_repeated(message: str, more: str) -> None:
    assert harmless(message, "\n" + more) == message
    text = restoring().repeatable(said(1, f"ERROR:  {message}\n{more}", 'COPY failed for table "people"'))
    assert f'COPY failed for table "people": ERROR:  {message}\n' in text
    assert "secret" not in text and "QUERY" not in text


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ('invalid input syntax for type integer: "secret"', "invalid input syntax for type integer (the value is"),
        ('value "secret" is out of range for type integer', "a value is out of range for type integer"),
        ('invalid input value for enum mood: "secret"', "invalid input value for enum mood (the value is"),
        ('date/time field value out of range: "secret"', "date/time field value out of range (the value is"),
        ('malformed array literal: "secret"', "malformed array literal (the value is"),
        (
            'invalid byte sequence for encoding "UTF8": 0x73 0x65',
            'invalid byte sequence for encoding "UTF8" (the value',
        ),
    ],
)
def test_a_value_is_cut_off(message: str, kept: str) -> None:
    text = restoring().repeatable(said(2, f'ERROR:  {message}\nCONTEXT:  COPY t, line 1, column a: "secret"\n'))
    assert kept in text and "secret" not in text and "0x73" not in text


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ("secret", ""),
        ("password is secret", "CONTEXT:  PL/pgSQL function f(text) line 1 at RAISE\n"),
        ("integer out of range", "CONTEXT:  PL/pgSQL function f(text) line 1 at RAISE\nSQL statement\n"),
        (
            'duplicate key value violates unique constraint "secret"',
            "CONTEXT:  PL/pgSQL function f(text) line 1 at RAISE\n",
        ),
        ("division by zero", 'CONTEXT:  PL/Python function "secret"\n'),
        ('relation "secret" does not exist', 'CONTEXT:  COPY people, line 1, column c: "secret"\n'),
        ('type "secret" does not exist', "CONTEXT:  PL/pgSQL function f(text) line 1 at assignment\n"),
        ('relation "secret" does not exist', "QUERY:  secret\nCONTEXT:  PL/pgSQL function f(text) line 1 at EXECUTE\n"),
        ('relation "secret" does not exist', 'CONTEXT:  SQL function "f" statement 1\n'),
        ('function "secret" does not exist', ""),
        ("Eingabesyntax für Typ integer: »secret«", ""),
        ("integer out of range\nsecret", ""),
        ("invalid regular expression: secret", ""),
    ],
)
@pytest.mark.parametrize("number", [1, 2, 5, 99])
def test_any_other_message_is_withheld(message: str, more: str, number: int) -> None:
    how = 'COPY failed for table "people"' if number == 1 else "could not execute query"
    text = restoring().repeatable(said(number, f"FEHLER:  {message}\n{more}Command was: ALTER TABLE x;\n", how))
    assert "secret" not in text
    assert how in text and ("Command was: ALTER TABLE x;" in text) is (number != 1)
    if "\n" not in message:
        assert "(the server's message is withheld, as it may quote data)" in text


@pytest.mark.parametrize("lie", ["pg_restore: secret", "Command was: secret", "HINT:  secret", "pg_restore: error: x"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_value_that_looks_like_the_programs_own_words_is_not_repeated(lie: str, number: int) -> None:
    how = 'COPY failed for table "people"' if number == 1 else "could not execute query"
    rest = f"DETAIL:  Failing row contains (x\n{lie}\nsecret).\n" + ("Command was: ALTER\n" if number == 2 else "")
    text = restoring().repeatable(said(number, f"ERROR:  integer out of range\n{rest}", how))
    assert "integer out of range" in text and "secret" not in text


def test_what_is_not_about_rows_is_repeated_without_details() -> None:
    text = restoring().repeatable(
        said(
            3,
            'ERROR:  relation "b" does not exist\nLINE 1: SELECT\nDETAIL:  x\nHINT:  y\nCommand was: CREATE',
        )
    )
    assert 'relation "b" does not exist\nLINE 1: SELECT\nHINT:  y\nCommand was: CREATE' in text
    begun = "pg_restore: error: could not execute query: ERROR:  no parameter\n"
    assert restoring().repeatable(f"pg_restore: while INITIALIZING:\n{begun}") == begun
    lost = "pg_restore: error: connection to server on socket failed: FATAL:  no\n"
    assert restoring().repeatable(lost) == lost
    assert len(restoring().repeatable(said(3, "ERROR:  x\nCommand was: " + "y" * 5000))) < 700


@pytest.mark.parametrize(
    ("number", "message", "line"),
    [
        (1, "integer out of range", 'excluded_objects: ["TABLE DATA public.people"]'),
        (2, "function f_unaccent(text) does not exist", 'excluded_objects: ["INDEX public.by_name"]'),
        (3, "infinite recursion", 'excluded_objects: ["VIEW public.broken"]'),
        (4, "can only create extension in database app", 'excluded_extensions: ["pg_cron"]'),
        (5, "insert or update violates", 'excluded_objects: ["FK CONSTRAINT public.child child_fk"]'),
    ],
)
def test_the_error_has_the_line_that_leaves_the_object_out(number: int, message: str, line: str) -> None:
    failure = restoring()
    text = failure.repeatable(said(number, f"ERROR:  {message}\nHINT:  Set cron.database_name to scratch.\n"))
    assert "Set cron.database_name" not in text or number != 4
    error = failure.explain(EnvSyncError("restoring app", f"pg_restore: exit status 1: {message}"))
    assert line in error.hint
    assert (error.doing, error.why) == ("restoring app", f"pg_restore: exit status 1: {message}")


def test_what_is_wrong_with_the_server_is_no_reason_to_leave_something_out() -> None:
    failure = restoring()
    failure.repeatable(said(2, "ERROR:  out of shared memory\n"))
    for error in (EnvSyncError("a", "ERROR:  out of shared memory"), EnvSyncError("a", "b", "Make room.")):
        assert failure.explain(error) is error
    untouched = EnvSyncError("a", "pg_restore: exit status 1")
    assert restoring().explain(untouched) is untouched


def test_what_pg_dump_says_is_repeated_without_rows() -> None:
    text = "pg_dump: error: query failed: ERROR:  permission denied\nDETAIL:  row secret\nsecret\nHINT:  x\n"
    assert without_values(text) == "pg_dump: error: query failed: ERROR:  permission denied\nHINT:  x\n"
