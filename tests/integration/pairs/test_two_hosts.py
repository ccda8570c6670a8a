# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two hosts push one database in one second."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.pairs.runs import Run
from tests.servers.s3 import SwiftS3
from tests.servers.sshd import SshServer

# The first time that is asked for is the same on both; after that it is what it is.
ONE_SECOND = """
now, times = push.now, iter(["2026-01-02T03:04:05"])
push.now = lambda timezone="utc": next(times, None) or now(timezone)
"""


@pytest.fixture(params=["directory", "rsync", "s3"])
def store_values(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "rsync":
        server: SshServer = request.getfixturevalue("ssh_server")
        return {**server.values(), "path": str(tmp_path / "far")}
    if request.param == "s3":
        s3: SwiftS3 = request.getfixturevalue("s3_server")
        return {
            "storagebackend": "s3",
            "url": request.getfixturevalue("bucket"),
            "path": "far",
            "endpoint_url": s3.endpoint,
            "access_key": s3.access_key,
            "secret_key": s3.secret_key,
            "region": "us-east-1",
        }
    (tmp_path / "store").mkdir()
    return {"storagebackend": "directory", "url": str(tmp_path / "store"), "path": "far"}


@pytest.mark.parametrize("timestamp", ["", "2026-01-02T03:04:05"])
def test_two_hosts_in_one_second_make_no_mixture(
    store_values: dict[str, Any], tree: Path, tmp_path: Path, timestamp: str
) -> None:
    values = {"action": "push", "dbms": "files", "database": "tree", "directory": str(tree), **store_values}
    # Each with a copy of the data, as a primary and its standby have.
    copy = tmp_path / "standby" / "tree"
    copy.parent.mkdir()
    subprocess.run(["cp", "-a", str(tree), str(copy)], check=True)
    runs = [
        Run({**values, "directory": str(path), "compression_level": level, "timestamp": timestamp}, tmp_path,
            "before(push.claims, 'take')\n" + ONE_SECOND, host)
        for host, level, path in (("db-1", 1, tree), ("db-2", 12, copy))
    ]  # fmt: skip
    for run in runs:
        run.wait_until_reached()
    ends: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda run=run: ends.append(run.end())) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    task = Task.from_mapping({**values, "action": "pull", "temppath": str(tmp_path / "temp")})
    points = catalogue.list_points(open_store(task), "tree")
    assert {point.state for point in points} == {"complete"}
    made = sorted(end["point"] for end in ends if "point" in end)
    assert [point.name for point in points] == made
    told = [end["error"] for end in ends if "error" in end]
    assert len(made) + len(told) == 2
    if timestamp:
        assert len(made) == 1
        assert "another host is making such a point" in told[0] or "there is such a point already" in told[0]
    else:
        assert len(set(made)) == 2, ends
    for point in points:
        assert all("/.claim-" not in name for name in point.objects)
        upkeep.verify(Task.from_mapping({**values, "action": "pull", "timestamp": point.timestamp,
                                         "temppath": str(tmp_path / "temp")}), Host())  # fmt: skip
