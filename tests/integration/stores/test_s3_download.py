# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads from a bucket through proxies that cut connections, or pass on little."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3 import client as s3_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3 import download as s3_download
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3.store import Limits, S3Store

from tests.integration.stores.sources import MIB, Stream, s3_options, sha256_of
from tests.servers.s3 import SwiftS3


class CuttingProxy:
    """Passes connections on to a server, and cuts each of the first ``cuts`` that got ``after`` bytes from it."""

    def __init__(self, target: str, after: int, cuts: int) -> None:
        host, port = target.rpartition("/")[2].split(":")
        self._target = (host, int(port))
        self._after = after
        self.cuts = cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                server = socket.create_connection(self._target)
                threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            for block in iter(lambda: source.recv(65536), b""):
                if counted and self.cuts > 0 and passed + len(block) > self._after:
                    self.cuts -= 1
                    sink.sendall(block[: self._after - passed])
                    break
                passed += len(block)
                sink.sendall(block)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class SlowProxy(CuttingProxy):
    """Passes on so many bytes a second in each direction."""

    rate = 400_000

    def _pass_on(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            for block in iter(lambda: source.recv(self.rate // 10), b""):
                sink.sendall(block)
                time.sleep(len(block) / self.rate)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_a_proxy_that_is_slow_to_hand_out_is_waited_for(
    s3_server: SwiftS3, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer than an answer may: as long as something arrives, nothing is given up, or sent again."""
    monkeypatch.setattr(s3_client, "_READ_TIMEOUT", 4)
    proxy = SlowProxy(s3_server.endpoint, 0, 0)
    try:
        stored = S3Store(bucket, "", s3_options(s3_server)).put("object", Stream(2_500_000))
        store = S3Store(bucket, "", s3_options(s3_server, endpoint_url=proxy.endpoint), limits=Limits(attempts=1))
        began = time.monotonic()
        assert sha256_of(store, "object") == stored.sha256
        assert time.monotonic() - began > 5
    finally:
        proxy.close()


@pytest.fixture
def cutting(s3_server: SwiftS3, bucket: str) -> Iterator[Callable[..., tuple[CuttingProxy, S3Store]]]:
    """Return a function that gives a proxy in front of the server, and a store behind it."""
    proxies = []

    def make(after: int, cuts: int) -> tuple[CuttingProxy, S3Store]:
        proxies.append(CuttingProxy(s3_server.endpoint, after, cuts))
        options = s3_options(s3_server, endpoint_url=proxies[-1].endpoint)
        return proxies[-1], S3Store(bucket, "a path/below", options, limits=Limits(attempts=2))

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.mark.parametrize("size", [5_000_000, 40_000_000])
def test_a_download_that_is_cut_is_taken_up_again(s3_store: S3Store, cutting: Any, size: int) -> None:
    stored = s3_store.put("object", Stream(size))
    proxy, store = cutting(after=1_000_000, cuts=3)

    assert sha256_of(store, "object", size) == stored.sha256
    assert proxy.cuts == 0


@pytest.mark.parametrize("size", [5_000_000, 40_000_000])
def test_a_download_that_is_always_cut_is_an_error_and_no_end(
    s3_store: S3Store, cutting: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_download, "_PAUSES", (0.1, 0.2))
    s3_store.put("object", Stream(size))
    _proxy, store = cutting(after=20_000, cuts=1000)

    with pytest.raises(EnvSyncError, match=r"reading s3://.*/object: the connection was cut 3 times"):
        sha256_of(store, "object")


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(s3_store: S3Store) -> None:
    s3_store.put("object", Stream(80_000_000))
    reader = s3_store.open("object")
    reader.read(100)
    s3_store.put("object", Stream(80_000_001))
    with contextlib.closing(reader), pytest.raises(EnvSyncError, match="Somebody replaced the object"):
        while reader.read(MIB):
            pass
