# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the checkout importable as ``ansible_collections.govuk.env_sync``, wherever it is."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["tests.skips"]

ROOT = Path(__file__).resolve().parent.parent


def _collection_tree() -> Path:
    """Make a folder in which the checkout is where Ansible and Python look for the collection."""
    tree = Path(tempfile.mkdtemp(prefix="env_sync-collections-"))
    namespace = tree / "ansible_collections" / "govuk"
    namespace.mkdir(parents=True)
    (namespace / "env_sync").symlink_to(ROOT)
    return tree


# Tests send these, and what a shell started in the background or under nohup was told to pass over them.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

_TREE = _collection_tree()
sys.path.insert(0, str(_TREE))
os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(_TREE)


def pytest_unconfigure() -> None:
    (_TREE / "ansible_collections" / "govuk" / "env_sync").unlink(missing_ok=True)
    for folder in (_TREE / "ansible_collections" / "govuk", _TREE / "ansible_collections", _TREE):
        folder.rmdir()


@pytest.fixture(autouse=True)
def _state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test reads or writes the user's own state."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))
    yield
