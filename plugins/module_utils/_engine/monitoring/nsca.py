# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A passive result through ``send_nsca``, the client of the Nagios Service Check Acceptor."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

from ..errors import EnvSyncError, one_line
from ..host import programs
from .outcome import Outcome


def send(
    host: str,
    service: str,
    outcome: Outcome,
    settings: Mapping[str, str],
    environ: Mapping[str, str],
    timeout: float,
) -> None:
    """Send one result; raises unless ``send_nsca`` says that it was sent.

    The daemon answers nothing: a wrong password or encryption in send_nsca's configuration shows in its log only.
    """
    server = settings.get("nsca_host") or "alert.cluster"
    doing = f"sending the result to NSCA on {server}"
    program = shutil.which("send_nsca", path=":".join([*programs.search_path(environ), "/usr/sbin", "/usr/bin"]))
    if program is None:
        raise EnvSyncError(doing, "there is no send_nsca", "Install nsca-client.")
    argv = [program, "-H", server, "-p", settings.get("nsca_port") or "5667", "-to", str(max(1, int(timeout)))]
    if settings.get("nsca_config"):
        argv += ["-c", settings["nsca_config"]]
    line = "\t".join((host, service, str(outcome.status), outcome.plugin_output)) + "\n"
    try:
        done = subprocess.run(
            argv,
            input=line.encode("utf-8"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=programs.environment(),
            cwd=programs.START,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EnvSyncError(doing, f"no answer within {timeout:.0f} s") from None
    except OSError as error:
        raise EnvSyncError(doing, f"{program}: {error.strerror}") from error
    if done.returncode != 0:
        raise EnvSyncError(doing, one_line(done.stdout.decode("utf-8", "replace")) or "send_nsca failed")
