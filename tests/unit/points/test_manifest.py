# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points import manifest as manifest_module
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.manifest import Manifest, Member, totals

Maker = Callable[..., Manifest]
POINT = "2026-01-02T03:04:05-app"
MEMBERS = (
    Member(f"{POINT}/1.dat", 3, "a" * 64, 30, {"table": "public.é"}),
    Member(f"{POINT}/toc.dat", 4, "b" * 64, 40),
)


def test_what_is_written_is_what_is_read(make_manifest: Maker) -> None:
    manifest = make_manifest(
        members=MEMBERS,
        tables=({"schema": "public", "name": "é", "rows": 3},),
        extensions=({"name": "hstore", "version": "1.8"},),
        roles=("owner", "reader"),
        sanitised=({"script": "mask.sql", "sha256": "cc"},),
        peak_temporary_bytes=5,
        details={"encoding": "UTF8", "collate": "C", "ctype": "C", "excluded_foreign_keys": [["public", "a", "b"]]},
    )
    assert Manifest.from_json(manifest.to_json(), "x") == manifest


def test_is_json_of_version_1_with_flat_members(make_manifest: Maker) -> None:
    values = json.loads(make_manifest(members=MEMBERS).to_json())
    assert values["manifest_version"] == 1
    assert values["members"][0] == {
        "name": f"{POINT}/1.dat", "size": 3, "sha256": "a" * 64, "raw_size": 30, "table": "public.é",
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
    "data", [b"", b"{", b"[]", b"null", b"{}", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000]
)
def test_what_is_no_manifest_is_damage(data: bytes) -> None:
    with pytest.raises(EnvSyncError, match="it is damaged"):
        Manifest.from_json(data, "x")


def test_every_key_that_says_what_a_point_is_must_be_there(make_manifest: Maker) -> None:
    for key in ("database", "dbms", "timestamp", "compression", "members", "manifest_version", "stored_bytes"):
        values = make_manifest(members=MEMBERS).to_dict()
        del values[key]
        with pytest.raises(EnvSyncError, match=f"it is damaged: {key} is "):
            Manifest.from_json(json.dumps(values).encode(), "x")


def test_no_part_of_a_manifest_passes_for_the_whole(make_manifest: Maker) -> None:
    data = make_manifest(members=MEMBERS).to_json().rstrip()
    for length in range(len(data)):
        with pytest.raises(EnvSyncError):
            Manifest.from_json(data[:length], "x")


# -- what somebody who may write to the store could put there ----------------------------------------------------------

OTHER = "2026-01-01T03:04:05-app"
NAMES = (
    f"{OTHER}/1.dat",
    f"{OTHER}.manifest.json",
    f"{POINT}.manifest.json",
    f"{POINT}2/1.dat",
    f"{POINT}-2.dump",
    f"{POINT}.old.gz",
    f"{POINT}/../{OTHER}/1.dat",
    f"{POINT}//1.dat",
    f"{POINT}/",
    f"{POINT}/\x1b[2J",
    f"{POINT}/a\nb",
    f"/{POINT}/1.dat",
    f"../{POINT}/1.dat",
    "",
)


def member(**changes: Any) -> dict[str, Any]:
    return {"name": f"{POINT}/1.dat", "size": 7, "sha256": "a" * 64, "raw_size": 70, **changes}


def of_database(**changes: Any) -> dict[str, Any]:
    return {"acl": None, "settings": [], "connection_limit": -1, "comment": "", **changes}


def setting(**changes: Any) -> dict[str, Any]:
    return {"role": "", "name": "work_mem", "value": "5MB", **changes}


GRANT = {"grantee": "app", "privilege": "CONNECT", "grantable": False}
DATABASES: list[tuple[dict[str, Any], str]] = [
    ({"acl": "CONNECT"}, "acl"),
    ({"acl": [["app", "CONNECT", False]]}, r"acl\[0\]"),
    ({"acl": [{**GRANT, "privilege": "ALL ON DATABASE x TO PUBLIC; --"}]}, r"acl\[0\]\.privilege"),
    ({"acl": [{**GRANT, "privilege": "SELECT"}]}, r"acl\[0\]\.privilege"),
    ({"acl": [{**GRANT, "grantee": None}]}, r"acl\[0\]\.grantee"),
    ({"acl": [{**GRANT, "grantable": "no"}]}, r"acl\[0\]\.grantable"),
    ({"settings": {"work_mem": "5MB"}}, "settings"),
    ({"settings": [setting(name="work_mem TO 1; DROP DATABASE live; --")]}, r"settings\[0\]\.name"),
    ({"settings": [setting(name="")]}, r"settings\[0\]\.name"),
    ({"settings": [setting(name="a..b")]}, r"settings\[0\]\.name"),
    ({"settings": [setting(value=5)]}, r"settings\[0\]\.value"),
    ({"settings": [setting(role=None)]}, r"settings\[0\]\.role"),
    ({"settings": [{"name": "work_mem"}]}, r"settings\[0\]\.role"),
    ({"connection_limit": -2}, "connection_limit"),
    ({"connection_limit": 2**31}, "connection_limit"),
    ({"connection_limit": "5 OWNER TO evil"}, "connection_limit"),
    ({"connection_limit": True}, "connection_limit"),
    ({"comment": None}, "comment"),
]

HOSTILE: list[tuple[dict[str, Any], str]] = [
    *(({"members": [member(name=name)]}, r"members\[0\]\.name") for name in NAMES),
    ({"members": None}, "members"),
    ({"members": 3}, "members"),
    ({"members": []}, "members"),
    ({"members": {"0": member()}}, "members"),
    ({"members": ["x"]}, r"members\[0\]"),
    ({"members": [{"name": f"{POINT}/1.dat"}]}, r"members\[0\]\.size"),
    ({"members": [member(name=["x"])]}, r"members\[0\]\.name"),
    ({"members": [member(size="7")]}, r"members\[0\]\.size"),
    ({"members": [member(size=True)]}, r"members\[0\]\.size"),
    ({"members": [member(size=-1)]}, r"members\[0\]\.size"),
    ({"members": [member(size=7.0)]}, r"members\[0\]\.size"),
    ({"members": [member(size=2**63)]}, r"members\[0\]\.size"),
    ({"members": [member(raw_size=-70)]}, r"members\[0\]\.raw_size"),
    ({"members": [member(sha256="")]}, r"members\[0\]\.sha256"),
    ({"members": [member(sha256="A" * 64)]}, r"members\[0\]\.sha256"),
    ({"members": [member(sha256="a" * 63)]}, r"members\[0\]\.sha256"),
    ({"members": [member(sha256=None)]}, r"members\[0\]\.sha256"),
    ({"members": [member(packed="no")]}, r"members\[0\]\.packed"),
    ({"members": [member(), member()]}, r"members\[1\]\.name"),
    ({"raw_bytes": "x"}, "raw_bytes"),
    ({"stored_bytes": None}, "stored_bytes"),
    ({"peak_temporary_bytes": -5}, "peak_temporary_bytes"),
    ({"jobs": "2"}, "jobs"),
    ({"dbms": 5}, "dbms"),
    ({"dbms": None}, "dbms"),
    ({"database": ["app"]}, "database"),
    ({"database": "other"}, r"members\[0\]\.name"),
    ({"timestamp": "2026-01-03T03:04:05"}, r"members\[0\]\.name"),
    ({"timestamp": "2026-13-02T03:04:05"}, "timestamp"),
    ({"timestamp": "2026-1-2T03:04:05"}, "timestamp"),
    ({"timestamp": "9" * 5000}, "timestamp"),
    ({"started": ""}, "started"),
    ({"finished": "tomorrow"}, "finished"),
    ({"finished": 1767323105}, "finished"),
    ({"server": "db-1"}, "server"),
    ({"server": {"system": 7001}}, r"server\.system"),
    ({"tables": 3}, "tables"),
    ({"tables": ["users"]}, r"tables\[0\]"),
    ({"tables": [{"schema": "public"}]}, r"tables\[0\]\.name"),
    ({"tables": [{"name": "users", "rows": "many"}]}, r"tables\[0\]\.rows"),
    ({"extensions": {"name": "hstore"}}, "extensions"),
    ({"extensions": [{"version": "1"}]}, r"extensions\[0\]\.name"),
    ({"roles": None}, "roles"),
    ({"roles": [{"name": "x"}]}, r"roles\[0\]"),
    ({"sanitised": ["mask.sql"]}, r"sanitised\[0\]"),
    ({"sanitised": True}, "sanitised"),
    ({"details": []}, "details"),
    ({"details": {"encoding": "UTF8'; DROP DATABASE live; --", "collate": "C", "ctype": "C"}}, r"details\.encoding"),
    ({"details": {"encoding": "UTF8"}}, r"details\.collate"),
    ({"details": {"encoding": "UTF8", "collate": 5, "ctype": "C"}}, r"details\.collate"),
    ({"details": {"locale_provider": "i", "locale": None}}, r"details\.locale"),
    ({"details": {"database": []}}, r"details\.database"),
    ({"details": {"database": {"acl": None, "settings": [], "connection_limit": -1}}}, r"details\.database\.comment"),
    *(({"details": {"database": of_database(**wrong)}}, rf"details\.database\.{field}") for wrong, field in DATABASES),
    ({"details": {"character_set": "utf8 COLLATE x", "collation": "y"}}, r"details\.character_set"),
    ({"details": {"character_set": "utf8", "collation": "y; DROP DATABASE live"}}, r"details\.collation"),
    ({"details": {"character_set": "utf8"}}, r"details\.collation"),
    ({"details": {"excluded_tables": "users"}}, r"details\.excluded_tables"),
    ({"details": {"excluded_foreign_keys": [["a", "b"]]}}, r"details\.excluded_foreign_keys\[0\]"),
    ({"details": {"excluded_foreign_keys": [["a", "b", 3]]}}, r"details\.excluded_foreign_keys\[0\]\[2\]"),
    ({"details": {"large_objects": "3"}}, r"details\.large_objects"),
    ({"details": {"aliases": {"shop": {"indices": 3}}}}, r"details\.aliases\.shop\.whole"),
    ({"environment": "\ud800"}, "environment"),
    ({"host": "db\0"}, "host"),
    ({"unknown": "\ud800"}, "unknown"),
    ({"manifest_version": "1"}, "manifest_version"),
    ({"manifest_version": 0}, "manifest_version"),
    ({"manifest_version": True}, "manifest_version"),
    ({"checksum": 5}, "checksum"),
    ({"checksum": "a" * 64}, "checksum"),
]


@pytest.mark.parametrize(("change", "field"), HOSTILE, ids=[str(change)[:60] for change, _field in HOSTILE])
def test_what_no_manifest_says_is_refused_by_name(make_manifest: Maker, change: dict[str, Any], field: str) -> None:
    usual = {**make_manifest(members=MEMBERS).to_dict(), "members": [member()]}
    Manifest.from_json(json.dumps(usual).encode(), "x")
    with pytest.raises(EnvSyncError, match=rf"^reading the manifest s3://b/x: it is damaged: {field} "):
        Manifest.from_json(json.dumps({**usual, **change}).encode(), "s3://b/x")


@pytest.mark.parametrize(
    ("found", "written", "why"),
    [
        ('"raw_bytes": 70', '"raw_bytes": 70, "raw_bytes": 70', "raw_bytes is there twice"),
        ('"size": 3', '"size": 3, "size": 9', "size is there twice"),
        ('"jobs": 2', '"jobs": NaN', "it has NaN"),
        ('"jobs": 2', '"jobs": 1e999', "it has the number 1e999"),
        ('"jobs": 2', '"jobs": ' + "9" * 100_000, "it has a number of 100000 digits"),
        ('"jobs": 2', '"jobs": 2, "deep": ' + "[" * 40 + "]" * 40, "deep has lists or mappings deeper than 32"),
        ('"jobs": 2', '"jobs": 2, "deep": ' + '{"a":' * 50_000 + "1" + "}" * 50_000, "it has lists in lists"),
    ],
    ids=lambda value: value[:40],
)
def test_what_json_readers_differ_about_is_refused(make_manifest: Maker, found: str, written: str, why: str) -> None:
    text = json.dumps(make_manifest(members=MEMBERS).to_dict())
    assert found in text
    with pytest.raises(EnvSyncError, match=f"it is damaged: {re.escape(why)}"):
        Manifest.from_json(text.replace(found, written, 1).encode(), "x")


def test_a_manifest_of_any_size_is_not_read(make_manifest: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_manifest(members=MEMBERS).to_json()
    monkeypatch.setattr(manifest_module, "LARGEST", len(data))
    with pytest.raises(EnvSyncError, match=f"it has {len(data)} bytes or more"):
        Manifest.from_json(data, "x")


def test_a_servers_own_members_have_no_hash(make_manifest: Maker) -> None:
    of_server = Member(f"{POINT}/snapshot", 5, "", 5)
    manifest = make_manifest(dbms="elasticsearch", format="snapshot", members=[of_server])
    assert Manifest.from_json(manifest.to_json(), "x") == manifest
    for values in ({"dbms": "postgresql", "format": "snapshot"}, {"dbms": "elasticsearch", "format": "custom"}):
        with pytest.raises(EnvSyncError, match=r"members\[0\]\.sha256 is empty"):
            Manifest.from_json(make_manifest(members=[of_server], **values).to_json(), "x")


@pytest.mark.parametrize(
    "details",
    [
        {"excluded_foreign_keys": [["child", "fk"]], "character_set": "utf8mb4", "collation": "utf8mb4_0900_ai_ci"},
        {"character_set": "", "collation": ""},
        {"something_new": [{"deep": [1, 2.5, None, True]}]},
    ],
)
def test_what_a_dbms_notes_is_read(make_manifest: Maker, details: dict[str, Any]) -> None:
    manifest = make_manifest(dbms="mysql", members=MEMBERS, details=details)
    assert Manifest.from_json(manifest.to_json(), "x").details == details
