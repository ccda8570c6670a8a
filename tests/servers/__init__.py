# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real servers for tests, the demo and the benchmarks: found or installed, started on loopback, stopped."""

from __future__ import annotations

import os
from pathlib import Path


class Unavailable(Exception):
    """A component can't be had on this machine; the text says why."""


def cache_dir() -> Path:
    """Return the folder for what is installed once; ``ENV_SYNC_TEST_CACHE`` names another."""
    return Path(os.environ.get("ENV_SYNC_TEST_CACHE") or Path.home() / ".cache" / "env_sync-tests")
