# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores on real servers, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.rsync.store import RsyncStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3.store import S3Store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import SshOptions

from tests.integration.stores.sources import s3_options
from tests.servers.s3 import SwiftS3
from tests.servers.sshd import SshServer


@pytest.fixture
def s3_store(s3_server: SwiftS3, bucket: str) -> S3Store:
    return S3Store(bucket, "a path/below", s3_options(s3_server))


@pytest.fixture
def make_rsync_store(ssh_server: SshServer, tmp_path: Path) -> Callable[..., RsyncStore]:
    """Return a function that gives a store in ``tmp_path / "far"``; its arguments are a task's keys."""

    def make(path: str = "", attempts: int = 4, **others: Any) -> RsyncStore:
        values = {**ssh_server.values(), **others}
        options = SshOptions(*(values[name] for name in ("ssh_port", "ssh_key_file", "ssh_known_hosts_file")))
        return RsyncStore(values["url"], path or str(tmp_path / "far"), options, str(tmp_path / "temp"), attempts)

    return make
