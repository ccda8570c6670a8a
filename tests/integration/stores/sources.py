# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of bytes, and what tests look at on both sides of a store."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import Any, Callable

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import ReadableStore
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import S3Options

from tests.servers.s3 import SwiftS3

MIB = 1024 * 1024
NOISE = os.urandom(MIB)


class Stream:
    """A source of ``size`` bytes, each MiB of them different, that raises ``failure`` at its end."""

    def __init__(self, size: int, failure: BaseException | None = None) -> None:
        self.hash = hashlib.sha256()
        self._left = size
        self._failure = failure

    def read(self, size: int) -> bytes:
        size = min(size, self._left, 300_000)
        if not size and self._failure:
            raise self._failure
        block = (self._left.to_bytes(8, "big") + NOISE)[:size]
        self._left -= size
        self.hash.update(block)
        return block

    def close(self) -> None:
        pass


class Random:
    """A source of random bytes that calls ``at`` when it has given half of them."""

    def __init__(self, size: int, at: Callable[[], Any] = lambda: None) -> None:
        self.left = size
        self._half = size // 2
        self._at = at

    def read(self, size: int) -> bytes:
        size = min(size, self.left)
        if self.left > self._half >= self.left - size:
            self._at()
        self.left -= size
        return os.urandom(size)

    def close(self) -> None:
        pass


def sha256_of(store: ReadableStore, name: str, size: int | None = None) -> str:
    digest = hashlib.sha256()
    reader = store.open(name, size)
    with contextlib.closing(reader):
        for block in iter(lambda: reader.read(MIB), b""):
            digest.update(block)
    return digest.hexdigest()


def s3_options(server: SwiftS3, **others: Any) -> S3Options:
    values = {
        "endpoint_url": server.endpoint,
        "region": server.region,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
    }
    return S3Options(**{**values, **others})


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def size_below(folder: Path) -> int:
    """Return the bytes of all files below a folder, rsync's temporary ones too."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def wait_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.002)
