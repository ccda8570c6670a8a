# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from tests.servers import Unavailable, free_port, start_or_retry


class Server:
    """One that starts at the try of this number."""

    def __init__(self, starts_at: int) -> None:
        self.starts_at = starts_at
        self.did: list[str] = []

    def settle(self, where: str) -> None:
        self.did.append(f"settle {where}")

    def try_to_start(self) -> None:
        self.did.append("start")
        if self.did.count("start") < self.starts_at:
            raise Unavailable("no room")

    def stop(self) -> None:
        self.did.append("stop")


def test_a_server_that_does_not_start_gets_a_second_try_elsewhere() -> None:
    again = ["start", "stop", f"settle {tempfile.gettempdir()}", "start"]
    for starts_at, did in ((1, ["start"]), (2, again)):
        server = Server(starts_at)
        start_or_retry(server)
        assert server.did == did
    server = Server(3)
    with pytest.raises(Unavailable):
        start_or_retry(server)
    assert server.did == [*again, "stop"], "nothing of it is left"


def test_a_free_port_is_none_that_an_outgoing_connection_may_get() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    with socket.socket() as server:
        port = free_port()
        assert port < first
        server.bind(("127.0.0.1", port))
