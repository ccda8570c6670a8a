# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.govuk.env_sync.plugins.module_utils._engine import removal
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.journal import Journal
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.run import Run
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.directory import DirectoryStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task


def test_a_journal_can_not_have_anything_removed_but_what_a_push_of_this_database_left(
    store: DirectoryStore, tmp_path: Path
) -> None:
    """Others than root may write to its folder."""
    kept = ["2026-01-01T00:00:00-other/toc", "elsewhere/toc", "2026-01-01T00:00:00-app.d/toc"]
    for name in [*kept, "2026-01-01T00:00:00-app/toc"]:
        store.put_bytes(name, b"x")
    journal = Journal(str(tmp_path), store.url(), "key")
    noted = ["2026-01-01T00:00:00-other", "elsewhere", "", "..", "2026-01-01T00:00:00-app.d", "2026-01-01T00:00:00-app"]
    (tmp_path / "journal").mkdir()
    Path(journal._path).write_text(json.dumps({"points": noted}), encoding="ascii")
    removal.sweep(store, "app", journal, Run(Task(action="push", database="app"), Host(), dry_run=True))
    assert sorted(found.name for found in store.list()) == sorted(kept)
