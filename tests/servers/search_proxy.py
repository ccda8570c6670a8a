# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What guards a search server: TLS, and credentials that are checked, before a node that has no security of its own.

Signatures are checked by the steps of AWS's own documentation ("Create a signed AWS API request"), not by the library
that makes them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import shutil
import ssl
import subprocess
import tempfile
import threading
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable

import urllib3

from tests.servers import Unavailable
from tests.servers.opensearch import SearchServer

#: method, path and query as they came, headers in lower case, body; says whether the request is let through
Check = Callable[[str, str, Mapping[str, str], bytes], bool]


def header(value: str) -> Check:
    """Let through who sends this ``Authorization``."""
    return lambda _method, _path, headers, _body: headers.get("authorization") == value


def signed(access_key: str, secret_key: str, region: str, session_token: str = "") -> Check:
    """Let through what is signed for the service ``es`` (Signature Version 4)."""

    def check(method: str, path: str, headers: Mapping[str, str], body: bytes) -> bool:
        said = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
            r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
            headers.get("authorization", ""),
        )
        if said is None or (said[1], said[3], said[4]) != (access_key, region, "es"):
            return False
        names = said[5].split(";")
        if "host" not in names or headers.get("x-amz-security-token", "") != session_token:
            return False
        where, _unused, query = path.partition("?")
        pairs = sorted(tuple(pair.partition("=")[::2]) for pair in query.split("&") if pair)
        canonical = [
            method,
            # once by who sends it, and once more here, as for every service but S3
            urllib.parse.quote(where, safe="/"),
            "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in pairs),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(body).hexdigest(),
        ]
        scope = f"{said[2]}/{region}/es/aws4_request"
        digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{headers.get('x-amz-date', '')}\n{scope}\n{digest}"
        key = f"AWS4{secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return hmac.compare_digest(hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), said[6])

    return check


def _encoded(text: str) -> str:
    return urllib.parse.quote(urllib.parse.unquote_plus(text), safe="")


class SearchProxy:
    """TLS before a node; a context manager.

    :param check: says who is let through; the others get the answer of Elasticsearch's security, 401.
    """

    def __init__(self, server: SearchServer, check: Check) -> None:
        self._check = check
        self._node = f"http://{server.host}:{server.port}"
        #: requests (``METHOD path``) to which no right is given: a pattern
        self.forbidden = ""
        #: requests that are carried out, and whose answers get lost on the way: a pattern
        self.lost = ""
        #: what was asked for, ``METHOD path``, and let through
        self.seen: list[str] = []

    def __enter__(self) -> SearchProxy:
        if shutil.which("openssl") is None:
            raise Unavailable("openssl is not installed")
        self._folder = Path(tempfile.mkdtemp(prefix="env_sync-search-proxy-"))
        #: the certificate, which is its own authority
        self.certificate = str(self._folder / "certificate.pem")
        key = str(self._folder / "key.pem")
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        argv += ["-days", "2", "-subj", "/CN=search", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*argv, "-keyout", key, "-out", self.certificate], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self._listener = _Listener(self)
        self._listener.socket = context.wrap_socket(
            self._listener.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://127.0.0.1:{self._listener.server_port}"
        self._pool = urllib3.PoolManager(retries=False, timeout=60)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()
        self._pool.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer to a request."""
        if not self._check(method, path, headers, body):
            return 401, _refusal(401, f"unable to authenticate for REST request [{path}]")
        asked = f"{method} {urllib.parse.unquote(path)}"
        if self.forbidden and re.match(self.forbidden, asked):
            return 403, _refusal(403, "no permissions for this action")
        self.seen.append(asked)
        kind = {"Content-Type": headers["content-type"]} if "content-type" in headers else {}
        got = self._pool.request(method, self._node + path, body=body or None, headers=kind)
        if self.lost and re.match(self.lost, asked):
            return 504, b"<html>Gateway Timeout</html>"
        return got.status, got.data


def _refusal(status: int, reason: str) -> bytes:
    return json.dumps({"error": {"type": "security_exception", "reason": reason}, "status": status}).encode()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: SearchProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that trusts no such certificate hangs up."""


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, data = self.server.proxy.answer(self.command, self.path, headers, body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""
