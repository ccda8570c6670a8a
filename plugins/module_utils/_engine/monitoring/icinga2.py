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


def send(
    host: str,
    service: str,
    status: int,
    text: str,
    settings: Mapping[str, str],
    environ: Mapping[str, str],
    timeout: float,
) -> None:
    """Send one result; raises unless Icinga took it for exactly the service that is meant.

    ``ICINGA2_PASSWORD`` in the environment is the API user's password; ``icinga2_ca`` the file of the authority that
    Icinga's certificate comes from (``/var/lib/icinga2/certs/ca.crt`` on the Icinga host).
    """
    base = settings.get("icinga2_url", "")
    parts = urlsplit(base)
    doing = f"sending the result to Icinga 2 on {parts.hostname or base}"
    if parts.scheme != "https" or not parts.hostname:
        raise EnvSyncError(doing, f"icinga2_url is {base!r}", "It has the form https://HOST:5665.")
    try:
        context = ssl.create_default_context(cafile=settings.get("icinga2_ca") or None)
    except OSError as error:
        raise EnvSyncError(doing, f"the certificates in {settings.get('icinga2_ca')} can't be read: {error}") from error
    credentials = f"{settings.get('icinga2_user', '')}:{environ.get('ICINGA2_PASSWORD', '')}"
    body = {
        "type": "Service",
        "filter": "host.name==host_name && service.name==service_name",
        "filter_vars": {"host_name": host, "service_name": service},
        "exit_status": status,
        "plugin_output": text,
    }
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Authorization": "Basic " + base64.b64encode(credentials.encode()).decode("ascii"),
    }
    connection = http.client.HTTPSConnection(parts.hostname, parts.port or 5665, timeout=timeout, context=context)
    try:
        connection.request("POST", "/v1/actions/process-check-result", json.dumps(body).encode("utf-8"), headers)
        response = connection.getresponse()
        said = response.read(1024 * 1024)
        if response.status != 200:
            hints = {
                401: "Check icinga2_user and ICINGA2_PASSWORD.",
                404: f"Icinga has no service {service} on host {host}.",
            }
            raise EnvSyncError(doing, f"HTTP {response.status} {response.reason}", hints.get(response.status, ""))
        results = json.loads(said).get("results", [])
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise EnvSyncError(doing, one_line(str(error))) from error
    finally:
        connection.close()
    if not results:
        raise EnvSyncError(doing, f"it has no service {service} on host {host}", "Deploy the checks there.")
