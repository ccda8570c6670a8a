# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One Elasticsearch or OpenSearch server over HTTP.

Neither vendor's own client is used: each refuses the other's servers, and has to be of the server's major version.
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import Any

from ..errors import EnvSyncError, MissingLibrary
from ..host.stopping import Stop, attempts, interruptible
from ..tasks.task import Connection, ElasticOptions, S3Options, Task
from .login import Signer, base_url, exposed_login, login_headers
from .version import Version

try:
    import urllib3
    import urllib3.exceptions

    HAS_URLLIB3 = True
except ImportError:
    HAS_URLLIB3 = False

#: waits before a request that changes nothing is tried again, in seconds
_PAUSES = (0.5, 1.0, 2.0)

#: answers of a server, or of what is before it, that is busy or just going up
_BUSY = frozenset({429, 502, 503, 504})

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 120.0

#: what to do next, by the server's own word for what is wrong, else by HTTP's
_HINTS: Mapping[str | int, str] = {
    "cluster_block_exception": "Take the block away (index.blocks.*, or a disk that is full), and run it again.",
    "concurrent_snapshot_execution_exception": "Wait until the other snapshot or restore has ended.",
    "repository_exception": "Check repository_type and repository_settings, and the server's log.",
    "repository_missing_exception": "Register the repository, or set repository_type.",
    "repository_verification_exception": "Check repository_settings, and that every node can reach the place.",
    "snapshot_restore_exception": "Choose another point: a server reads those of its major version and of the last.",
    401: "Check login_user, login_password, api_key or the AWS credentials.",
    403: "Give this user the right that is missing.",
}

_OTHERWISE = "Look into the server's log, and run it again."


class ServerError(EnvSyncError):
    """The server refused; ``status`` is HTTP's, ``kind`` the server's own (``repository_missing_exception``)."""

    def __init__(self, doing: str, why: str, status: int, kind: str) -> None:
        super().__init__(doing, why, _HINTS.get(kind) or _HINTS.get(status, _OTHERWISE))
        self.status = status
        self.kind = kind


def path(*parts: str) -> str:
    """Return the parts as a URL's path; ``*`` and ``,`` keep their meaning to the server.

    They are encoded all the same: who signs a request and who checks it might else not encode them alike.
    """
    return "/" + "/".join(urllib.parse.quote(part, safe="") for part in parts)


class Client:
    """Requests to one server. Opened lazily; safe to use from several threads.

    ``name`` is the server's address, with no secret in it; ``warnings`` is what is wrong with the way there.

    :param elastic: the API key, and whether requests are signed for AWS.
    :param s3: whose credentials and region sign requests, and what is trusted over TLS.
    """

    def __init__(self, connection: Connection, elastic: ElasticOptions, s3: S3Options) -> None:
        self.name = base_url(connection)
        self._s3 = s3
        self._headers = {} if elastic.aws_sigv4 else login_headers(connection, elastic, os.environ)
        self.warnings = exposed_login(self.name, self._headers)
        self._signer = Signer(self.name, s3) if elastic.aws_sigv4 else None
        self._pool: Any = None
        self.stop = Stop()
        self._about: dict[str, Any] = {}

    @classmethod
    def from_task(cls, task: Task) -> Client:
        """Return the client of a task's server; nothing is connected yet."""
        return cls(task.connection, task.elastic, task.s3)

    def about(self, doing: str) -> dict[str, Any]:
        """Return what the server says of itself: ``cluster_uuid``, ``version``..."""
        if not self._about:
            self._about = self.get("/", doing)
        return self._about

    def version(self, doing: str) -> Version:
        """Return the server's version; it is asked once."""
        about = self.about(doing).get("version") or {}
        return Version(str(about.get("distribution", "elasticsearch")), str(about.get("number", "0")))

    def get(self, where: str, doing: str, **query: Any) -> Any:
        """Ask for something, as :meth:`request` does."""
        return self.request("GET", where, doing, query)

    def post(self, where: str, doing: str, body: Any = None, **query: Any) -> Any:
        """Have something done, as :meth:`request` does."""
        return self.request("POST", where, doing, query, body)

    def put(self, where: str, doing: str, body: Any = None, **query: Any) -> Any:
        """Make or change something, as :meth:`request` does."""
        return self.request("PUT", where, doing, query, body)

    def delete(self, where: str, doing: str, **query: Any) -> Any:
        """Delete something; False where there is none."""
        try:
            return self.request("DELETE", where, doing, query)
        except ServerError as error:
            if error.status == 404:
                return False
            raise

    def request(
        self, method: str, where: str, doing: str, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> Any:
        """Send a request, return the JSON of its answer (empty: a mapping without keys).

        What changes nothing (GET) is tried again when the server is busy or cannot be reached.

        :param where: the path, from :func:`path`.
        :param doing: what messages say is done.
        :param query: what follows the path; true and false are written as JSON has them.
        :param body: what is sent as JSON.
        :raises ServerError: the server refused.
        :raises EnvSyncError: it could not be reached, or its answer is not JSON.
        """
        url = self.name + where
        if query:
            url += "?" + urllib.parse.urlencode({key: _plain(value) for key, value in query.items()})
        data = b"" if body is None else json.dumps(body).encode()
        pool = self._opened()
        for last in attempts(_PAUSES if method == "GET" else (), self.stop, doing):
            try:
                answer = interruptible(lambda: self._send(pool, method, url, data), self.stop, doing)
            except urllib3.exceptions.SSLError as error:
                raise EnvSyncError(
                    doing,
                    f"{self.name}: {_complaint(error)}",
                    "Check the server's certificate and aws_ca_bundle, or say http:// where no TLS is spoken.",
                ) from None
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if last:
                    raise EnvSyncError(doing, f"{self.name}: {_complaint(error)}", _remedy(error)) from None
            else:
                if answer.status not in _BUSY or last:
                    return self._read(answer, doing)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close the connections; never raises."""
        if self._pool is not None:
            self._pool.clear()

    def _opened(self) -> Any:
        if not HAS_URLLIB3:
            raise MissingLibrary("urllib3", "urllib3", "a task with dbms elasticsearch")
        if self._pool is None:
            timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
            self._pool = urllib3.PoolManager(maxsize=4, timeout=timeout, **self._trust())
        return self._pool

    def _send(self, pool: Any, method: str, url: str, data: bytes) -> Any:
        headers = {"Accept": "application/json", **self._headers}
        if data:
            headers["Content-Type"] = "application/json"
        if self._signer is not None:
            headers = self._signer.sign(method, url, data, headers)
        return pool.request(method, url, body=data or None, headers=headers, retries=False, redirect=False)

    def _trust(self) -> dict[str, Any]:
        if not self.name.startswith("https:"):
            return {}
        bundle = self._s3.aws_ca_bundle
        try:
            context = ssl.create_default_context(cafile=bundle or None)
        except OSError as error:
            raise EnvSyncError(
                f"connecting to {self.name}", f"{bundle}: {error}", "Check aws_ca_bundle: a file of certificates (PEM)."
            ) from error
        if self._s3.validate_certs:
            return {"ssl_context": context}
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        return {"ssl_context": context, "cert_reqs": "CERT_NONE", "assert_hostname": False}

    def _read(self, answer: Any, doing: str) -> Any:
        text = answer.data.decode("utf-8", errors="replace")
        try:
            found = json.loads(text) if text.strip() else {}
        except ValueError:
            found = None
        if answer.status >= 300:
            kind, why = _refusal(found)
            raise ServerError(doing, f"{self.name}: {why or f'HTTP status {answer.status}'}", answer.status, kind)
        if found is None:
            raise EnvSyncError(
                doing, f"{self.name}: its answer is not JSON", "Check database_hostname and database_port."
            )
        return found


def _remedy(error: Exception) -> str:
    """Return what to do about a request without an answer: where it never arrived, the address may be wrong."""
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "The server has the request and is slow: look into its log and its load, then run again."
    if isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)):
        return "Check database_hostname and database_port, and that the server is running."
    return "The connection broke: check that the server is running, and say https:// where it speaks TLS."


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refusal(answer: Any) -> tuple[str, str]:
    """Return kind and reason of a refusal, as Elasticsearch has them, or a proxy or AWS before it."""
    if not isinstance(answer, dict):
        return "", ""
    error = answer.get("error")
    if isinstance(error, dict):
        kind, why = str(error.get("type", "")), str(error.get("reason") or "")
        cause = error.get("caused_by")
        while isinstance(cause, dict):
            if cause.get("reason") and str(cause["reason"]) not in why:
                why += f": {cause['reason']}"
            cause = cause.get("caused_by")
        return kind, f"{kind}: {why}" if why else kind
    return "", str(error or answer.get("message") or answer.get("Message") or "")


def _complaint(error: BaseException) -> str:
    """Return what urllib3 says without the names of its own objects, which lead no operator anywhere."""
    return str(getattr(error, "reason", None) or error).rsplit(">: ", 1)[-1]
