# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store in a temporary directory, and points in it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.manifest import Manifest, Member, totals
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.name import manifest_name, point_name
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """A store at ``tmp_path / "store" / "pg"``."""
    (tmp_path / "store").mkdir()
    return DirectoryStore(str(tmp_path / "store"), "pg")


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    """Return a function that gives a manifest; what is not given is what a small push would say."""

    def make(**values: Any) -> Manifest:
        members = tuple(values.pop("members", ()))
        raw_bytes, stored_bytes = totals(list(members))
        usual: dict[str, Any] = {
            "tool_version": "1.0.0",
            "dbms": "postgresql",
            "database": "app",
            "timestamp": "2026-01-02T03:04:05",
            "environment": "production",
            "host": "db-1",
            "server": {"system": "7001", "version": "15.4", "host": "db-1:5432"},
            "client_version": "pg_dump 15.4",
            "format": "directory",
            "compression": "none",
            "jobs": 2,
            "started": "2026-01-02T03:04:05Z",
            "finished": "2026-01-02T03:05:05Z",
            "raw_bytes": raw_bytes,
            "stored_bytes": stored_bytes,
        }
        return Manifest(members=members, **{**usual, **values})

    return make


@pytest.fixture
def put_point(make_manifest: Callable[..., Manifest]) -> Callable[..., str]:
    """Return a function that stores a complete point of uncompressed members and returns its name."""

    def put(store: DirectoryStore, timestamp: str, database: str = "app", **files: bytes) -> str:
        name = point_name(timestamp, database)
        members = []
        for file, data in (files or {"toc": b"contents of " + name.encode()}).items():
            store.put_bytes(f"{name}/{file}", data)
            members.append(Member(f"{name}/{file}", len(data), hashlib.sha256(data).hexdigest(), len(data)))
        manifest = make_manifest(timestamp=timestamp, database=database, members=members)
        store.put_bytes(manifest_name(name), manifest.to_json())
        return name

    return put
