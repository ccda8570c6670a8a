# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell the monitoring how a run ended: a passive result for Icinga or Nagios, a text file for Prometheus.

Whatever goes wrong here is logged and nothing else: monitoring can neither fail a sync nor delay it for long.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Callable

from ..errors import EnvSyncError
from . import command_file, icinga2, nsca, prometheus
from .outcome import Outcome

__all__ = ["KEYS", "Outcome", "report"]

#: what the file monitoring.conf may say; secrets come from the environment (ICINGA2_PASSWORD)
KEYS = (
    "monitor",
    "service_prefix",
    "host_name",
    "nsca_host",
    "nsca_port",
    "nsca_config",
    "icinga2_url",
    "icinga2_user",
    "icinga2_ca",
    "command_file",
    "prometheus_dir",
)

#: how often a result is sent until it is taken
TRIES = 3

#: all tries together end after this many seconds
LIMIT = 20.0

_SENDERS = {"nsca": nsca.send, "icinga2": icinga2.send, "command_file": command_file.send}


def report(
    outcome: Outcome, settings: Mapping[str, str], environ: Mapping[str, str], log: Callable[[str, str], None]
) -> None:
    """Send the outcome of a run wherever ``settings`` (keys as in ``KEYS``) say. Never raises, ends within ``LIMIT``.

    :param log: takes a level and one line of text.
    """
    folder = settings.get("prometheus_dir", "")
    if folder:
        try:
            prometheus.write(outcome, folder)
        except EnvSyncError as error:
            log("warning", str(error))
    monitor = settings.get("monitor", "none") or "none"
    if monitor == "none":
        return
    send = _SENDERS.get(monitor)
    if send is None:
        log("warning", f"reporting to the monitoring: there is no monitor {monitor}. Known are {', '.join(_SENDERS)}.")
        return
    host = settings.get("host_name") or socket.getfqdn()
    service = f"{settings.get('service_prefix') or 'GOV.UK environment sync'} {outcome.title}"
    deadline = time.monotonic() + LIMIT
    for attempt in range(1, TRIES + 1):
        try:
            send(host, service, outcome.status, outcome.text, settings, environ, max(1.0, deadline - time.monotonic()))
            return
        except EnvSyncError as error:
            again = attempt < TRIES and time.monotonic() + attempt < deadline
            log("warning", f"{error}" + (" Trying again." if again else ""))
            if not again:
                return
            time.sleep(attempt)
