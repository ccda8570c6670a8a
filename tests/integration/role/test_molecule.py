# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scenarios in extensions/molecule, as ``molecule test --all`` runs them; the story is told there."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import hosts

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where Molecule keeps its state and the sockets of its connections: their paths have to be short."""
    hosts.base_filesystem()
    made = Path(tempfile.mkdtemp(prefix="env_sync-molecule-"))
    yield made
    shutil.rmtree(made)


@pytest.mark.timeout(1500)
def test_the_scenarios_and_nothing_is_left_of_them(folder: Path) -> None:
    inventory = folder / "state" / "hosts.json"
    network = Path()
    with open(folder / "said", "w", encoding="utf-8") as said:
        process = subprocess.Popen(
            [str(BIN / "molecule"), "test", "--all"],
            cwd=ROOT,
            env={
                **os.environ,
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                "ENV_SYNC_HOSTS": "namespace",
                "MOLECULE_EPHEMERAL_DIRECTORY": str(folder / "state"),
                "NO_COLOR": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            if network == Path():
                with contextlib.suppress(OSError, ValueError):
                    network = hosts.folder_of(inventory)
            time.sleep(0.5)
    finally:
        # Does something only where Molecule was stuck, or this test is interrupted.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if inventory.exists():
            hosts.remove(hosts.folder_of(inventory))
    text = (folder / "said").read_text(encoding="utf-8")
    assert process.returncode == 0, text[-8000:]
    for step in ("idempotence", "verify", "side_effect", "cleanup"):
        assert f"nightly > {step}: Executed: Successful" in text
    # Where a step's playbook is not there, Molecule goes on without it.
    assert "Missing playbook" not in text
    assert network != Path()
    assert hosts.left_of(network) == []
