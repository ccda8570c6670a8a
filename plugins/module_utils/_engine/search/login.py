# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to a server: its address, and how a request shows who sends it."""

from __future__ import annotations

import base64
import urllib.parse
from collections.abc import Mapping
from typing import Any

from ..errors import EnvSyncError, MissingLibrary
from ..tasks.task import LOOPBACK, Connection, ElasticOptions, S3Options

try:
    import botocore.exceptions
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    from botocore.session import Session

    HAS_BOTOCORE = True
except ImportError:
    HAS_BOTOCORE = False

DEFAULT_PORT = 9200


def base_url(connection: Connection) -> str:
    """Return the server's address: ``database_hostname`` is a host's name, or a URL where TLS is spoken.

    :raises EnvSyncError: the URL has a password in it, or is not a URL.
    """
    host = connection.host or "localhost"
    doing = "connecting to Elasticsearch"
    if "://" not in host:
        name = f"[{host}]" if ":" in host else host
        return f"http://{name}:{connection.port or DEFAULT_PORT}"
    try:
        url = urllib.parse.urlsplit(host)
        port = connection.port or url.port
    except ValueError as error:
        raise EnvSyncError(doing, f"database_hostname is no URL ({error})", "Give https://host:port.") from None
    if url.username is not None or url.scheme not in ("http", "https") or not url.hostname:
        # The value itself stays out of the message, as there may be a password in it.
        raise EnvSyncError(
            doing,
            "database_hostname is no URL of the form https://host:port",
            "Give user and password as login_user and login_password.",
        )
    name = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{url.scheme}://{name}{f':{port}' if port else ''}{url.path.rstrip('/')}"


def exposed_login(url: str, login: Mapping[str, str]) -> list[str]:
    """Return a warning where a login goes to another host in plain text.

    Signed requests (aws_sigv4) have no secret in them. Neither have those of an S3 store, which are signed too.

    :param login: what :func:`login_headers` returned.
    """
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if not login or parts.scheme != "http" or host in LOOPBACK or host.startswith("127."):
        return []
    secret = "API key" if login.get("Authorization", "").startswith("ApiKey ") else "password"
    return [
        f"the {secret} goes to {url} in plain text: whoever is on the way can read it. Where the server speaks TLS, "
        f"give https://{parts.netloc} as database_hostname"
    ]


def login_headers(connection: Connection, elastic: ElasticOptions, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the header that a login takes: an API key's, or user's and password's, or none."""
    key = elastic.api_key or ("" if connection.user else environment.get("ELASTICSEARCH_API_KEY", ""))
    if key:
        # A key is an id and a secret; servers give it out both apart and encoded.
        return {"Authorization": f"ApiKey {base64.b64encode(key.encode()).decode() if ':' in key else key}"}
    user = connection.user or environment.get("ELASTICSEARCH_USERNAME", "")
    if not user:
        return {}
    password = connection.password or environment.get("ELASTICSEARCH_PASSWORD", "")
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


class Signer:
    """Signs requests for Amazon OpenSearch Service (Signature Version 4, service ``es``)."""

    def __init__(self, server: str, s3: S3Options) -> None:
        doing = f"signing requests to {server}"
        if not HAS_BOTOCORE:
            raise MissingLibrary("botocore", "botocore", "aws_sigv4")
        try:
            session = Session(profile=s3.profile or None)
            self._region = s3.region or session.get_config_variable("region")
            self._credentials: Any = session.get_credentials()
        except botocore.exceptions.BotoCoreError as error:
            raise EnvSyncError(doing, str(error), "Check profile, and the AWS configuration files.") from None
        if s3.access_key:
            self._credentials = Credentials(s3.access_key, s3.secret_key, s3.session_token or None)
        if not self._credentials or not self._region:
            what = "AWS credentials" if self._region else "region"
            raise EnvSyncError(doing, f"no {what} can be found", "Set region, and access_key or profile.")

    def sign(self, method: str, url: str, data: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers with a signature; temporary credentials are renewed by botocore."""
        request = AWSRequest(method=method, url=url, data=data, headers=dict(headers))
        SigV4Auth(self._credentials.get_frozen_credentials(), "es", self._region).add_auth(request)
        return dict(request.headers.items())
