# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small pieces that a program writes, read in large ones."""

from __future__ import annotations

import subprocess

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.batching import BatchingReader
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.pipeline import Group, StageReader


def test_small_pieces_come_together() -> None:
    with Group() as group:
        stage = group.run(["dd", "if=/dev/zero", "bs=1k", "count=8000"], "writing", stdout=subprocess.PIPE)
        reader = BatchingReader(stage, StageReader(stage))
        sizes = [len(block) for block in iter(lambda: reader.read(1 << 20), b"")]
        reader.close()
    assert sum(sizes) == 8000 * 1024
    assert len(sizes) < 800
