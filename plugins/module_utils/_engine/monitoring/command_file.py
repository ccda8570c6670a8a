# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A passive result through the command pipe of an Icinga or Nagios on this host."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Mapping

from ..errors import EnvSyncError
from .outcome import Outcome


def send(
    host: str,
    service: str,
    outcome: Outcome,
    settings: Mapping[str, str],
    environ: Mapping[str, str],
    timeout: float,
) -> None:
    """Write one line into the pipe, whole; raises when nobody reads it."""
    path = settings.get("command_file") or "/run/icinga2/cmd/icinga2.cmd"
    doing = f"writing the result to {path}"
    result = f"{host};{service.replace(';', ',')};{outcome.status};{outcome.plugin_output}"
    line = f"[{int(time.time())}] PROCESS_SERVICE_CHECK_RESULT;{result}\n".encode()
    try:
        # Without waiting: a pipe that nobody has open would hold the run for ever.
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = "nobody reads it" if error.errno == errno.ENXIO else str(error.strerror)
        raise EnvSyncError(doing, why, "Is Icinga running, with its feature command enabled?") from error
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise EnvSyncError(doing, "it is no pipe", "Correct command_file.")
        # Up to PIPE_BUF bytes, 4096, go into a pipe whole or not at all (pipe(7)); a line is far shorter.
        os.write(descriptor, line)
    except OSError as error:
        raise EnvSyncError(doing, str(error.strerror)) from error
    finally:
        os.close(descriptor)
