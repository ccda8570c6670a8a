# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real servers for tests, the demo and the benchmarks: found or installed, started on loopback, stopped."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Callable


class Unavailable(Exception):
    """A component can't be had on this machine; the text says why."""


def cache_dir() -> Path:
    """Return the folder for what is installed once; ``ENV_SYNC_TEST_CACHE`` names another."""
    return Path(os.environ.get("ENV_SYNC_TEST_CACHE") or Path.home() / ".cache" / "env_sync-tests")


def made(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder in the cache; made by the first who asks, the others wait for it."""
    folder = cache_dir() / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{folder}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                making = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=folder.parent))
                try:
                    make(making)
                    making.rename(folder)
                finally:
                    shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        raise Unavailable(f"{name} can't be made in {folder}: {error}") from error
    return folder


def install(what: str, argv: Sequence[str], folder: Path, **environment: str) -> None:
    """Have a program fetch or build something in a folder; raises :class:`Unavailable`, which calls it ``what``."""
    if shutil.which(argv[0]) is None:
        raise Unavailable(f"{what} can't be had: {argv[0]} is not installed")
    done = subprocess.run(
        argv,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=1200,
        check=False,
    )
    if done.returncode != 0:
        said = done.stdout.decode(errors="replace").strip()[-500:]
        raise Unavailable(f"{what} can't be had: {' '.join(argv[:3])}: {said}")


def pip_install(target: Path, what: str, *arguments: str) -> None:
    """Have pip install into a folder, as :func:`install`."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install(what, [*pip, "--target", str(target), *arguments], target)
