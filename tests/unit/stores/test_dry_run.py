# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import removal
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.catalogue import list_points
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.base import ReadableStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.dry_run import DryRunStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.reader import BytesReader


def contents(store: ReadableStore) -> dict[str, bytes]:
    return {found.name: store.get_bytes(found.name) for found in store.list()}


def test_it_reads_what_the_store_has(store: DirectoryStore, tmp_path: Path) -> None:
    store.put_bytes("a/b", b"data")
    (tmp_path / "store" / "pg" / "a" / ".00ff.partial").write_bytes(b"half")
    dry = DryRunStore(store)
    assert contents(dry) == contents(store) == {"a/b": b"data"}
    assert dry.get_bytes("a/b", 2) == b"da"
    assert (dry.stat("a/b"), dry.stat("c"), dry.url("a/b")) == (store.stat("a/b"), None, store.url("a/b"))
    assert [found.name for found in dry.begun()] == ["a/.00ff.partial"]


def test_it_notes_what_it_is_asked_to_change_and_changes_nothing(store: DirectoryStore, tmp_path: Path) -> None:
    store.put_bytes("a/b", b"data")
    partial = tmp_path / "store" / "pg" / "a" / ".00ff.partial"
    partial.write_bytes(b"half")
    dry = DryRunStore(store)
    source = BytesReader(b"new")
    stored = dry.put("c", source, 3)
    dry.put_bytes("d", b"x")
    dry.delete(["a/b"])
    assert dry.sweep("a") == []
    assert dry.noted == [("put", "c"), ("put", "d"), ("delete", "a/b"), ("sweep", "a")]
    assert (stored.size, source.read(9)) == (3, b"new"), "nothing of it was read"
    assert contents(store) == {"a/b": b"data"}
    assert partial.exists()


def test_a_point_is_removed_from_it_with_the_code_that_removes_points(
    store: DirectoryStore, put_point: Callable[..., str]
) -> None:
    name = put_point(store, "2026-01-01T00:00:00", a=b"1", b=b"2")
    dry = DryRunStore(store)
    (point,) = list_points(dry, "app")
    removal.remove_point(dry, point)
    assert dry.noted == [("delete", f"{name}.manifest.json"), ("delete", f"{name}/a"), ("delete", f"{name}/b")]
    assert list_points(store, "app") == [point]


def test_a_store_that_may_only_be_read_is_good_for_a_dry_run(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(DirectoryStore, "preflight", lambda self, write: asked.append(write))
    DryRunStore(store).preflight(write=True)
    DryRunStore(store).prepare(write=True)
    assert asked == [False, False]
