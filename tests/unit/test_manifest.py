# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.manifest import Manifest, Member, totals

Maker = Callable[..., Manifest]
MEMBERS = (Member("p/1.dat", 3, "aa", 30, {"table": "public.é"}), Member("p/toc.dat", 4, "bb", 40))


def test_what_is_written_is_what_is_read(make_manifest: Maker) -> None:
    manifest = make_manifest(
        members=MEMBERS,
        tables=({"schema": "public", "table": "é", "rows": 3},),
        extensions=({"name": "hstore", "version": "1.8"},),
        roles=("owner", "reader"),
        sanitised=({"script": "mask.sql", "sha256": "cc"},),
        peak_temporary_bytes=5,
        details={"encoding": "UTF8", "excluded_foreign_keys": [["public", "a", "b"]]},
    )
    assert Manifest.from_json(manifest.to_json(), "x") == manifest


def test_is_json_of_version_1_with_flat_members(make_manifest: Maker) -> None:
    values = json.loads(make_manifest(members=MEMBERS).to_json())
    assert values["manifest_version"] == 1
    assert values["members"][0] == {
        "name": "p/1.dat", "size": 3, "sha256": "aa", "raw_size": 30, "table": "public.é",
    }  # fmt: skip
    assert (values["raw_bytes"], values["stored_bytes"]) == totals(list(MEMBERS)) == (70, 7)


def test_keys_of_a_later_minor_version_are_ignored(make_manifest: Maker) -> None:
    values = dict(make_manifest(members=MEMBERS).to_dict(), colour="green")
    assert Manifest.from_json(json.dumps(values).encode(), "x") == make_manifest(members=MEMBERS)


def test_a_later_version_is_refused_with_what_to_do(make_manifest: Maker) -> None:
    values = dict(make_manifest().to_dict(), manifest_version=2)
    with pytest.raises(EnvSyncError, match=r"reading the manifest s3://b/x: it is of version 2.*Upgrade"):
        Manifest.from_json(json.dumps(values).encode(), "s3://b/x")


@pytest.mark.parametrize(
    "change",
    [
        {"members": None},
        {"members": 3},
        {"members": ["x"]},
        {"members": [{"name": "x"}]},
        {"members": [{"name": "x", "size": "big", "sha256": "", "raw_size": 0}]},
        {"members": [{"name": "x", "size": {}, "sha256": "", "raw_size": 0}]},
        {"tables": 3},
        {"roles": None},
    ],
    ids=str,
)
def test_wrong_types_are_damage(make_manifest: Maker, change: dict[str, Any]) -> None:
    values = dict(make_manifest().to_dict(), **change)
    with pytest.raises(EnvSyncError, match="it is damaged"):
        Manifest.from_json(json.dumps(values).encode(), "x")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"{}", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_manifest_is_damage(data: bytes) -> None:
    with pytest.raises(EnvSyncError, match="it is damaged"):
        Manifest.from_json(data, "x")


def test_every_key_that_says_what_a_point_is_must_be_there(make_manifest: Maker) -> None:
    for key in ("database", "dbms", "timestamp", "compression", "members", "manifest_version", "stored_bytes"):
        values = make_manifest().to_dict()
        del values[key]
        with pytest.raises(EnvSyncError, match="it is damaged"):
            Manifest.from_json(json.dumps(values).encode(), "x")


def test_no_part_of_a_manifest_passes_for_the_whole(make_manifest: Maker) -> None:
    data = make_manifest(members=MEMBERS).to_json().rstrip()
    for length in range(len(data)):
        with pytest.raises(EnvSyncError):
            Manifest.from_json(data[:length], "x")
