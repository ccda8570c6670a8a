# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.search import client as search_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.search.client import (
    Client,
    path,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import (
    Connection,
    ElasticOptions,
    S3Options,
)


class Stub(ThreadingHTTPServer):
    """Answers each request with what stands next in ``answers``; remembers the requests."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        status, body = self.server.answers.pop(0) if self.server.answers else (200, b"{}")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setattr(search_client, "_PAUSES", (0.01, 0.01))
    for name in ("ELASTICSEARCH_API_KEY", "ELASTICSEARCH_USERNAME", "ELASTICSEARCH_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    with Stub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


def client(stub: Stub, elastic: ElasticOptions | None = None, s3: S3Options | None = None, **login: str) -> Client:
    return Client(Connection("127.0.0.1", stub.server_port, **login), elastic or ElasticOptions(), s3 or S3Options())


def test_logins(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    basic = base64.b64encode(b"u:p").decode()
    client(stub).get("/", "testing")
    client(stub, user="u", password="p").get("/", "testing")
    client(stub, ElasticOptions(api_key="a2V5")).get("/", "testing")
    client(stub, ElasticOptions(api_key="id:key")).get("/", "testing")
    monkeypatch.setenv("ELASTICSEARCH_USERNAME", "u")
    monkeypatch.setenv("ELASTICSEARCH_PASSWORD", "p")
    client(stub).get("/", "testing")
    found = [headers.get("Authorization") for _method, _path, headers in stub.seen]
    encoded = base64.b64encode(b"id:key").decode()
    assert found == [None, f"Basic {basic}", "ApiKey a2V5", f"ApiKey {encoded}", f"Basic {basic}"]


def test_requests_are_signed_for_aws(stub: Stub) -> None:
    s3 = S3Options(region="eu-west-1", access_key="AKID", secret_key="s", session_token="t")
    client(stub, ElasticOptions(aws_sigv4=True), s3, user="u").put("/a:b", "testing", {"x": 1}, wait=True)
    headers = stub.seen[0][2]
    assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert "/eu-west-1/es/aws4_request" in headers["Authorization"] and headers["X-Amz-Security-Token"] == "t"
    assert "host" in headers["Authorization"]


def test_a_busy_server_is_asked_again_but_told_only_once(stub: Stub) -> None:
    stub.answers = [(503, b"busy"), (429, b"{}"), (200, b'{"a": 1}')]
    assert client(stub).get("/x", "testing") == {"a": 1}
    stub.answers = [(503, b"{}")]
    with pytest.raises(EnvSyncError, match="HTTP status 503"):
        client(stub).put("/x", "testing", {})
    assert [method for method, *_unused in stub.seen] == ["GET"] * 3 + ["PUT"]


def test_a_refusal_is_told_with_its_causes(stub: Stub) -> None:
    cause = {"type": "b", "reason": "why", "caused_by": {"type": "c", "reason": "deeper"}}
    stub.answers = [(400, json.dumps({"error": {"type": "a", "reason": "what", "caused_by": cause}}).encode())]
    with pytest.raises(search_client.ServerError, match="a: what: why: deeper") as raised:
        client(stub).get("/", "testing")
    assert (raised.value.status, raised.value.kind) == (400, "a")
    blocked = {"type": "cluster_block_exception", "reason": "blocked by: [FORBIDDEN/8/index write (api)]"}
    stub.answers = [(403, json.dumps({"error": blocked}).encode()), (400, b"{}")]
    with pytest.raises(EnvSyncError, match=r"Take the block away"):
        client(stub).put("/", "testing")
    with pytest.raises(EnvSyncError, match=r"HTTP status 400. Look into the server's log"):
        client(stub).put("/", "testing")
    stub.answers = [(403, b'{"Message": "User is not authorized"}')]
    with pytest.raises(EnvSyncError, match=r"User is not authorized. Give this user the right"):
        client(stub).get("/", "testing")


def test_nobody_there_and_nothing_sensible_said(stub: Stub) -> None:
    stub.answers = [(200, b"<html>")]
    with pytest.raises(EnvSyncError, match="not JSON"):
        client(stub).get("/", "testing")
    gone = Client(Connection("127.0.0.1", 1), ElasticOptions(), S3Options())
    with pytest.raises(EnvSyncError, match=r"http://127.0.0.1:1: .*refused") as raised:
        gone.get("/", "testing")
    assert "object at" not in str(raised.value)
    assert "Check database_hostname" in str(raised.value)
    tls = Client(Connection(f"https://127.0.0.1:{stub.server_port}"), ElasticOptions(), S3Options())
    with pytest.raises(EnvSyncError, match="or say http:// where no TLS is spoken"):
        tls.get("/", "testing")


def test_a_server_that_is_slow_is_not_called_a_wrong_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_client, "_READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = Client(Connection("127.0.0.1", silent.getsockname()[1]), ElasticOptions(), S3Options())
        with pytest.raises(EnvSyncError, match=r"timed out.*The server has the request and is slow") as raised:
            slow.delete("/_snapshot/backups/2026", "removing a snapshot")
    assert "database_hostname" not in str(raised.value)


def test_a_path_has_no_room_for_another() -> None:
    assert path("a,b*", "x/../y?z#") == "/a%2Cb%2A/x%2F..%2Fy%3Fz%23"
