# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an operator names of an archive, on entries made here; real archives are in the integration tests."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.leave_out import (
    line,
    matcher,
    names_extension,
    refuse_missing,
    setting,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.toc import Entry
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError


def entry(desc: str, tag: str, namespace: str | None = "public") -> Entry:
    values: dict[str, Any] = dict.fromkeys(Entry.__dataclass_fields__, "")
    return Entry(**{**values, "desc": desc, "tag": tag, "namespace": namespace, "dependencies": ()})


@pytest.mark.parametrize(
    ("found", "called"),
    [
        (entry("VIEW", "broken"), "VIEW public.broken"),
        (entry("FUNCTION", "f(integer, text)", "Odd schema"), "FUNCTION Odd schema.f(integer, text)"),
        (entry("FK CONSTRAINT", "child child_fk"), "FK CONSTRAINT public.child child_fk"),
        (entry("SECURITY LABEL", "TABLE t"), "SECURITY LABEL TABLE public.t"),
        (entry("COMMENT", "MATERIALIZED VIEW m"), "COMMENT MATERIALIZED VIEW public.m"),
        (entry("EVENT TRIGGER", "e", None), "EVENT TRIGGER e"),
        (entry("MATERIALIZED VIEW DATA", "m"), "MATERIALIZED VIEW DATA public.m"),
        (entry("TABLE", "a*b[c]?"), "TABLE public.a*b[c]?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_line_that_is_shown_for_an_entry_names_it_and_no_other(found: Entry, called: str) -> None:
    assert line(found) == called
    assert matcher(called, "")(found)
    assert not matcher(called, "")(entry(found.desc, "another", "elsewhere"))
    assert not matcher(called, "")(entry("SEQUENCE SET", found.tag, found.namespace))


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("view broken", True),
        ("VIEW bro*", True),
        ("VIEW public.*", True),
        ('VIEW public."broken"', True),
        ("VIEW Broken", False),
        ("VIEW other.broken", False),
        ("VIEW publicxbroken", False),
        ("VIEW [b]roken", False),
        ("TABLE broken", False),
    ],
)
def test_names_may_go_without_schema_or_have_wildcards(pattern: str, matching: bool) -> None:
    assert matcher(pattern, "")(entry("VIEW", "broken")) is matching


def test_data_is_told_from_a_table_of_that_name() -> None:
    assert matcher("TABLE DATA t", "")(entry("TABLE DATA", "t"))
    assert not matcher("TABLE DATA t", "")(entry("TABLE", "DATA t"))
    assert matcher("TABLE public.DATA t", "")(entry("TABLE", "DATA t"))


@pytest.mark.parametrize("pattern", ["broken", "VIEW", "VIEW ", "DATABASE app", "ENCODING ENCODING", "*"])
def test_what_is_no_kind_and_name_is_refused(pattern: str) -> None:
    with pytest.raises(EnvSyncError, match="is not a kind of object and a name"):
        matcher(pattern, "")


def test_the_setting_is_what_a_task_takes() -> None:
    assert setting([entry("EXTENSION", "pg_cron", None)]) == 'excluded_extensions: ["pg_cron"]'
    objects = [entry("VIEW", 'a "b"'), entry("INDEX", "café")]
    assert setting(objects) == 'excluded_objects: ["VIEW public.a \\"b\\"", "INDEX public.café"]'


def test_extensions_are_named_with_wildcards() -> None:
    assert names_extension(["pg_*"], "pg_cron") and not names_extension(["pg_[c]ron", "PG_CRON"], "pg_cron")


def test_missing_extensions_are_named_with_what_leaves_them_out() -> None:
    refuse_missing(["hstore"], {"hstore", "postgis"}, "restoring app")
    with pytest.raises(EnvSyncError, match=r"not available on this server: postgis\..*excluded_extensions: ") as caught:
        refuse_missing(["hstore", "postgis"], {"hstore"}, "restoring app")
    assert caught.value.hint.endswith('excluded_extensions: ["postgis"].')
