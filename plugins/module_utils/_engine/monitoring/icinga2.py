# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A passive result through Icinga 2's REST API (process-check-result)."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from ..errors import EnvSyncError, one_line
from .outcome import Outcome


def send(
    host: str,
    service: str,
    outcome: Outcome,
    settings: Mapping[str, str],
    environ: Mapping[str, str],
    timeout: float,
) -> None:
    """Send one result; raises unless Icinga took it for exactly the service that is meant.

    ``ICINGA2_PASSWORD`` in the environment is the API user's password; ``icinga2_ca`` the file of the authority that
    Icinga's certificate comes from (``/var/lib/icinga2/certs/ca.crt`` on the Icinga host).
    """
    server, port = address(settings.get("icinga2_url", ""))
    doing = f"sending the result to Icinga 2 on {server}"
    try:
        context = ssl.create_default_context(cafile=settings.get("icinga2_ca") or None)
    except OSError as error:
        raise EnvSyncError(doing, f"the certificates in {settings.get('icinga2_ca')} can't be read: {error}") from error
    credentials = f"{settings.get('icinga2_user', '')}:{environ.get('ICINGA2_PASSWORD', '')}"
    body = {
        "type": "Service",
        "service": f"{host}!{service}",
        "exit_status": outcome.status,
        "plugin_output": outcome.text,
        "performance_data": outcome.performance_data,
        "check_source": host,
        "execution_start": outcome.started,
        "execution_end": outcome.finished,
    }
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Authorization": "Basic " + base64.b64encode(credentials.encode()).decode("ascii"),
    }
    connection = http.client.HTTPSConnection(server, port, timeout=timeout, context=context)
    try:
        connection.request("POST", "/v1/actions/process-check-result", json.dumps(body).encode("utf-8"), headers)
        response = connection.getresponse()
        said = response.read(1024 * 1024)
        if response.status == 200:
            results = json.loads(said)["results"]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise EnvSyncError(doing, one_line(str(error)) or type(error).__name__) from error
    finally:
        connection.close()
    if response.status != 200:
        hints = {
            401: "Check icinga2_user and ICINGA2_PASSWORD.",
            403: "The API user needs the permission actions/process-check-result.",
            404: f"Icinga has no service {service} on host {host}: deploy the checks there.",
        }
        raise EnvSyncError(doing, f"HTTP {response.status} {response.reason}", hints.get(response.status, ""))
    if [result.get("code") for result in results] != [200]:
        raise EnvSyncError(doing, one_line(json.dumps(results))[:200])


def address(url: str) -> tuple[str, int]:
    """Return host and port of Icinga's API."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "https" and parts.hostname:
            return parts.hostname, parts.port or 5665
    except ValueError:
        pass
    raise EnvSyncError(
        "sending the result to Icinga 2", f"icinga2_url is {url!r}", "It has the form https://HOST:5665."
    )
