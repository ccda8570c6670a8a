# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A throwaway Nagios with its command pipe, in a directory of its own, with the distribution's templates."""

from __future__ import annotations

import atexit
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.servers import Unavailable

_OBJECTS = ("commands", "contacts", "templates", "timeperiods")


class Nagios:
    """One Nagios that has no checks but those in ``checks``; a context manager.

    ``config`` is its main configuration file, ``pipe`` its command pipe.
    """

    def __init__(self) -> None:
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Nagios:
        if shutil.which("nagios4", path=f"{os.environ['PATH']}:/usr/sbin") is None:
            raise Unavailable("there is no nagios4 on the PATH (Debian: nagios4-core)")
        self._folder = Path(tempfile.mkdtemp(prefix="nagios-"))
        atexit.register(self.stop)
        try:
            self._configure()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def config(self) -> Path:
        return self._folder / "nagios.cfg"

    @property
    def checks(self) -> Path:
        return self._folder / "conf.d" / "env_sync.cfg"

    @property
    def pipe(self) -> Path:
        return self._folder / "rw" / "nagios.cmd"

    def start(self) -> None:
        """Start it; it reads its pipe when this returns."""
        with open(self._folder / "output", "wb") as output:
            self._process = subprocess.Popen(
                ["nagios4", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not (self.pipe.is_fifo() and (self._folder / "status.dat").exists()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self._folder / "output").read_text(errors="replace")[-500:]
                raise Unavailable(f"Nagios does not start: {said}")
            time.sleep(0.05)

    def result(self, host: str, service: str, output: str) -> dict[str, str]:
        """Return what it knows of a service, waiting until this is its plugin's ``output``."""
        deadline = time.monotonic() + 30
        while True:
            found = self._services().get((host, service), {})
            if found.get("plugin_output") == output:
                return found
            assert time.monotonic() < deadline, f"not the result of {service}: {found.get('plugin_output')}"
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it and remove its files; safe to call twice."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._process = None
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.stop)

    def _services(self) -> dict[tuple[str, str], dict[str, str]]:
        text = (self._folder / "status.dat").read_text(encoding="utf-8", errors="replace")
        found = {}
        for block in re.findall(r"^servicestatus \{\n(.*?)^\t\}", text, re.M | re.S):
            values = dict(line.strip().split("=", 1) for line in block.splitlines() if "=" in line)
            found[values["host_name"], values["service_description"]] = values
        return found

    def _configure(self) -> None:
        account = "nagios" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        for name in ("conf.d", "rw", "results"):
            (self._folder / name).mkdir()
        settings = {
            "log_file": self._folder / "log",
            "resource_file": "/etc/nagios4/resource.cfg",
            "object_cache_file": self._folder / "objects.cache",
            "precached_object_file": self._folder / "objects.precache",
            "status_file": self._folder / "status.dat",
            "state_retention_file": self._folder / "retention.dat",
            "lock_file": self._folder / "lock",
            "temp_file": self._folder / "temp",
            "temp_path": self._folder,
            "check_result_path": self._folder / "results",
            "command_file": self.pipe,
            "query_socket": self._folder / "rw" / "nagios.qh",
            "nagios_user": account,
            "nagios_group": account,
            "check_external_commands": 1,
            "check_for_updates": 0,
            "use_syslog": 0,
            "status_update_interval": 1,
            "check_result_reaper_frequency": 1,
            "service_freshness_check_interval": 1,
            "additional_freshness_latency": 0,
            "illegal_macro_output_chars": "`~$&|'\"<>",
        }
        lines = [f"cfg_file=/etc/nagios4/objects/{name}.cfg" for name in _OBJECTS]
        lines += [f"cfg_dir={self.checks.parent}", *(f"{name}={value}" for name, value in settings.items())]
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if os.geteuid() == 0:
            for path in (self._folder, *self._folder.rglob("*")):
                shutil.chown(path, account, account)
