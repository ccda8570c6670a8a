# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to the host of an rsync store that are cut: taken up again, or told."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import threading
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.rsync import client as rsync_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.rsync.store import PARTIAL, RsyncStore

from tests.integration.stores.sources import MIB, Random, below, size_below, wait_for
from tests.servers.sshd import SshServer


@pytest.fixture
def store(make_rsync_store: Callable[..., RsyncStore]) -> RsyncStore:
    return make_rsync_store()


def test_an_upload_that_is_cut_is_taken_up_again(
    store: RsyncStore, tmp_path: Path, ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = []
    partial = tmp_path / "far" / "point" / PARTIAL / "a"

    def cut() -> None:
        # While it is sent, and for the second time after what had arrived was kept.
        wait_for(lambda: size_below(tmp_path / "far") > 10 * MIB)
        cuts.append(ssh_server.cut())
        wait_for(partial.exists)
        cuts.append(partial.stat().st_size)

    store.put_bytes("point/first", b"")
    slow = store._remote.start
    monkeypatch.setattr(store._remote, "start", lambda argv, doing: slow(["--bwlimit=40M", *argv], doing))
    cutter = threading.Thread(target=cut)
    source = Random(30 * MIB, at=cutter.start)
    stored = store.put("point/a", source)
    cutter.join()

    assert cuts[0] >= 1
    assert cuts[1] > 5 * MIB
    assert hashlib.sha256((tmp_path / "far" / "point" / "a").read_bytes()).hexdigest() == stored.sha256
    assert below(tmp_path / "far") == ["point", "point/a", "point/first"]


def test_a_download_that_is_cut_is_taken_up_again(store: RsyncStore, ssh_server: SshServer, monkeypatch: Any) -> None:
    stored = store.put("a", Random(60 * MIB))
    slow = store._remote.start
    monkeypatch.setattr(store._remote, "start", lambda argv, doing: slow(["--bwlimit=60M", *argv], doing))
    digest = hashlib.sha256()
    size = cuts = 0
    with contextlib.closing(store.open("a")) as reader:
        for block in iter(lambda: reader.read(MIB), b""):
            digest.update(block)
            size += len(block)
            if size > (cuts + 1) * 15 * MIB and cuts < 2:
                cuts += 1
                assert ssh_server.cut()

    assert (cuts, digest.hexdigest()) == (2, stored.sha256)


class Cutting:
    """Passes connections on to sshd, and cuts the first ones when so many bytes have come from there."""

    def __init__(self, port: int, after: int, cuts: int) -> None:
        self._target = port
        self._after = after
        self.cuts = cuts
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _address = self._listening.accept()
                threading.Thread(target=self._pass_on, args=(near,), daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        cut = self.cuts > 0
        self.cuts -= cut
        left = self._after
        with (
            contextlib.suppress(OSError, ValueError),
            near,
            socket.create_connection(("127.0.0.1", self._target)) as far,
        ):
            while True:
                for line in select.select([near, far], [], [])[0]:
                    data = line.recv(65536)
                    left -= len(data) if line is far else 0
                    if not data or (cut and left < 0):
                        return
                    (far if line is near else near).sendall(data)

    def close(self) -> None:
        self._listening.close()


@pytest.mark.parametrize("after", [0, 500, 2000, 3800, 4400])
def test_a_store_whose_connection_is_cut_while_it_is_opened_or_listed_is_opened(
    make_rsync_store: Callable[..., RsyncStore], ssh_server: SshServer, tmp_path: Path, after: int, monkeypatch: Any
) -> None:
    """In the greeting, the exchange of keys, the login, and when the listing begins."""
    monkeypatch.setattr(rsync_client, "_LONGEST_PAUSE", 0.0)
    make_rsync_store().put_bytes("member", b"data")
    proxy = Cutting(ssh_server.port, after, 2)
    known = tmp_path / "known_hosts"
    known.write_text(ssh_server.known_hosts.read_text().replace(str(ssh_server.port), str(proxy.port)))
    try:
        store = make_rsync_store(ssh_port=proxy.port, ssh_known_hosts_file=str(known))
        store.preflight(write=True)
        assert [entry.name for entry in store.list()] == ["member"]
        assert proxy.cuts == 0
    finally:
        proxy.close()


def test_a_connection_that_is_always_cut_in_its_greeting_says_so(
    make_rsync_store: Callable[..., RsyncStore], ssh_server: SshServer, monkeypatch: Any
) -> None:
    monkeypatch.setattr(rsync_client, "_LONGEST_PAUSE", 0.0)
    proxy = Cutting(ssh_server.port, 0, 1000)
    try:
        with pytest.raises(EnvSyncError, match=r"opening .*(closed|reset|broke).*Check url, ssh_port and the network"):
            make_rsync_store(ssh_port=proxy.port).preflight(write=False)
        assert proxy.cuts == 1000 - 4
    finally:
        proxy.close()


def test_a_connection_that_always_breaks_is_an_error_and_nothing_is_left(
    make_rsync_store: Callable[..., RsyncStore], ssh_server: SshServer, tmp_path: Path
) -> None:
    store = make_rsync_store(attempts=2)
    store.put_bytes("first", b"")
    stop = threading.Event()

    def cut() -> None:
        while not stop.is_set():
            ssh_server.cut()
            time.sleep(0.01)

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        with pytest.raises(EnvSyncError, match="Check url, ssh_port and the network"):
            store.put_bytes("second", b"x")
        with pytest.raises(EnvSyncError):
            store.get_bytes("first")
    finally:
        stop.set()
        cutter.join()
    assert below(tmp_path / "temp" / os.listdir(tmp_path / "temp")[0]) == []
