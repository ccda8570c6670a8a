# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell the monitoring how a run ended: a passive result for Icinga or Nagios, a text file for Prometheus.

Whatever goes wrong here is logged and nothing else: monitoring can neither fail a sync nor delay it for long.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Callable

from ..errors import EnvSyncError, one_line
from ..host.stopping import attempts
from . import command_file, icinga2, nsca, prometheus
from .outcome import Outcome

__all__ = ["KEYS", "Outcome", "faults", "report"]

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

#: one try may take this many seconds
TRY_SECONDS = 5.0

#: reporting ends after this many seconds, whatever hangs (name service, file system, network)
LIMIT = 20.0

#: what is kept of the time that is left, to say in the log that there was not enough, in seconds
_FOR_THE_LOG = 0.5

#: how often it is looked whether there is still time, in seconds
_LOOK = 0.2

_SENDERS = {"nsca": nsca.send, "icinga2": icinga2.send, "command_file": command_file.send}

#: what each way of sending can't do without
_NEEDED: Mapping[str, Sequence[str]] = {
    "nsca": ("nsca_host",),
    "icinga2": ("icinga2_url", "icinga2_user", "icinga2_ca"),
    "command_file": ("command_file",),
}

Log = Callable[[str, str], None]


def faults(settings: Mapping[str, Any]) -> list[str]:
    """Return why no result could ever be sent with these settings, one line for each; each begins with a key."""
    monitor = settings.get("monitor") or "none"
    found = [
        f"{key}: missing, and monitor {monitor} needs it" for key in _NEEDED.get(monitor, ()) if not settings.get(key)
    ]
    if monitor == "icinga2" and settings.get("icinga2_url"):
        try:
            icinga2.address(str(settings["icinga2_url"]))
        except EnvSyncError:
            found.append(f"icinga2_url: has the form https://HOST:5665, not {settings['icinga2_url']}")
    for key in ("icinga2_ca", "nsca_config"):
        path = str(settings.get(key) or "")
        if path and not os.path.isfile(path):
            found.append(f"{key}: there is no {path} on this host")
    return found


def report(
    outcome: Outcome,
    settings: Mapping[str, str],
    environ: Mapping[str, str],
    log: Log,
    left: Callable[[], float] = lambda: LIMIT,
) -> None:
    """Send the outcome of a run wherever ``settings`` (keys as in ``KEYS``) say. Never raises, ends within ``LIMIT``.

    :param log: takes a level and one line of text.
    :param left: how many seconds there are; asked again and again, as a signal may shorten them.
    """
    # Not all that may hang takes a timeout: so it is waited for, and then left behind (a daemon thread ends with us).
    worker = threading.Thread(target=_report, args=(outcome, settings, environ, log), daemon=True, name="monitoring")
    try:
        worker.start()
    except RuntimeError as error:
        log("warning", f"reporting to the monitoring: {error}")
        return
    began = time.monotonic()
    while worker.is_alive() and time.monotonic() - began < LIMIT and left() > _FOR_THE_LOG:
        worker.join(_LOOK)
    if worker.is_alive():
        log(
            "warning",
            f"reporting to the monitoring: not done within {time.monotonic() - began:.0f} s. "
            "Is its host or its disk in trouble?",
        )


def _report(outcome: Outcome, settings: Mapping[str, str], environ: Mapping[str, str], log: Log) -> None:
    ways: list[Callable[[], None]] = []
    if settings.get("prometheus_dir"):
        ways.append(partial(prometheus.write, outcome, settings["prometheus_dir"]))
    if settings.get("monitor", "none") not in ("", "none"):
        ways.append(partial(_send, outcome, settings, environ, log))
    for way in ways:
        try:
            way()
        except EnvSyncError as error:
            log("warning", str(error))
        except Exception as error:  # nothing that nobody thought of may fail a run that is over
            log("warning", f"reporting to the monitoring: unexpected {type(error).__name__}: {error}")


def _send(outcome: Outcome, settings: Mapping[str, str], environ: Mapping[str, str], log: Log) -> None:
    """Send a passive result, ``TRIES`` times if need be."""
    monitor = settings["monitor"]
    send = _SENDERS.get(monitor)
    if send is None:
        raise EnvSyncError(
            "reporting to the monitoring", f"there is no monitor {monitor}", f"Known are {', '.join(_SENDERS)}."
        )
    host = settings.get("host_name") or socket.getfqdn()
    # Tabs, semicolons and line breaks separate the fields and the results of what is sent.
    service = one_line(f"{settings.get('service_prefix') or 'GOV.UK environment sync'} {outcome.title}")
    # Nobody asks this run to stop any more: the time limit of all the reporting ends it.
    for last in attempts(range(1, TRIES), lambda: False, "reporting to the monitoring"):
        try:
            send(host, service, outcome, settings, environ, TRY_SECONDS)
            return
        except EnvSyncError as error:
            if last:
                raise
            log("warning", f"{str(error).rstrip('.')}. Trying again.")
