# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A throwaway Icinga 2 with its REST API over TLS and its command pipe, in a directory of its own."""

from __future__ import annotations

import atexit
import base64
import json
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.servers import Unavailable, free_port, start_or_retry

_PATHS = {
    "ConfigDir": "etc",
    "DataDir": "data",
    "LogDir": "log",
    "CacheDir": "cache",
    "SpoolDir": "spool",
    "InitRunDir": "run",
    "StatePath": "data/state",
    "ModAttrPath": "data/modified.conf",
    "ObjectsPath": "cache/objects",
    "VarsPath": "cache/vars",
    "PidPath": "run/icinga2.pid",
}


class Icinga:
    """One Icinga 2 on loopback, whose certificate is for ``localhost``; a context manager.

    ``checks`` is the file for the checks, ``ca`` that of its certificate's authority, ``pipe`` its command pipe;
    ``user`` is one of the API's who may do nothing but send results, ``password`` is theirs.
    """

    user = "env-sync"

    def __init__(self) -> None:
        self.password = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._serving = False

    def __enter__(self) -> Icinga:
        if shutil.which("icinga2", path=f"{os.environ['PATH']}:/usr/sbin") is None:
            raise Unavailable("there is no icinga2 on the PATH (Debian: icinga2)")
        self.settle(tempfile.gettempdir())
        atexit.register(self.stop)
        start_or_retry(self)
        return self

    def settle(self, where: str) -> None:
        """Choose a port, and make its folder in this one."""
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self._folder = Path(tempfile.mkdtemp(prefix="icinga-", dir=where))

    def try_to_start(self) -> None:
        """Start it where it is settled; raises :class:`Unavailable`."""
        self._configure()
        self._start()
        self._serving = True

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def pid_file(self) -> Path:
        return self._folder / "run" / "icinga2.pid"

    @property
    def checks(self) -> Path:
        return self._folder / "etc" / "conf.d" / "env_sync.conf"

    @property
    def ca(self) -> Path:
        return self._folder / "data" / "certs" / "ca.crt"

    @property
    def pipe(self) -> Path:
        return self._folder / "run" / "icinga2.cmd"

    def argv(self, *command: str) -> list[str]:
        """Return the argument vector of an icinga2 command in its directory."""
        paths = [f"-DConfiguration.{name}={self._folder / path}" for name, path in _PATHS.items()]
        account = [f"-DConfiguration.RunAs{kind}={self._account()}" for kind in ("User", "Group")]
        return ["icinga2", *command, *paths, *account]

    def service(self, host: str, name: str) -> dict[str, Any] | None:
        """Return the attributes of a service; None where there is no such service."""
        try:
            found = self._api(f"/v1/objects/services/{urllib.parse.quote(f'{host}!{name}')}")
        except urllib.error.HTTPError as error:
            assert error.code == 404, error
            return None
        attributes: dict[str, Any] = found["results"][0]["attrs"]
        return attributes

    def result(self, host: str, name: str, output: str) -> dict[str, Any]:
        """Return the last result of a service, waiting until it has this ``output``."""
        deadline = time.monotonic() + 20
        while True:
            found = (self.service(host, name) or {}).get("last_check_result") or {}
            if found.get("output") == output:
                return dict(found)
            assert time.monotonic() < deadline, f"not the result of {name}: {found.get('output')}"
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it and remove its files; safe to call twice."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _account(self) -> str:
        return "nagios" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name

    def _configure(self) -> None:
        for path in _PATHS.values():
            (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
        for name in ("conf.d", "features-available", "features-enabled", "zones.d"):
            (self._folder / "etc" / name).mkdir(parents=True)
        for name in ("data", "log", "cache", "spool", "run"):
            (self._folder / name).mkdir(exist_ok=True)
        etc = self._folder / "etc"
        for name in ("icinga2.conf", "constants.conf", "zones.conf"):
            try:
                shutil.copy(f"/etc/icinga2/{name}", etc / name)
            except PermissionError as error:
                raise Unavailable(f"an Icinga of one's own needs root, or the group nagios: {error}") from error
        (etc / "features-available" / "api.conf").write_text(
            f'object ApiListener "api" {{\n  bind_host = "127.0.0.1"\n  bind_port = {self.port}\n}}\n'
        )
        (etc / "features-enabled" / "command.conf").write_text(
            f'object ExternalCommandListener "command" {{ command_path = "{self.pipe}" }}\n'
        )
        (etc / "features-enabled" / "checker.conf").write_text('object CheckerComponent "checker" { }\n')
        (etc / "conf.d" / "app.conf").write_text('object IcingaApplication "app" { }\n')
        if os.geteuid() == 0:
            for path in (self._folder, *self._folder.rglob("*")):
                shutil.chown(path, "nagios", "nagios")
        self._run(*self.argv("api", "setup", "--cn", "localhost"))
        found = re.search(r'password = "([^"]+)"', (etc / "conf.d" / "api-users.conf").read_text())
        assert found is not None
        self.password = found[1]
        (etc / "conf.d" / "env-sync-user.conf").write_text(
            f'object ApiUser "{self.user}" {{\n  password = "{self.password}"\n'
            '  permissions = [ "actions/process-check-result" ]\n}\n'
        )

    def _run(self, *argv: str) -> None:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
        )
        if done.returncode != 0:
            raise Unavailable(f"{' '.join(argv[:3])}: {done.stdout.decode(errors='replace')[-500:]}")

    def _start(self) -> None:
        with open(self._folder / "output", "wb") as output:
            self._process = subprocess.Popen(
                self.argv("daemon"), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self._api("/v1/status/IcingaApplication")
                if self.pipe.is_fifo():
                    return
                why = "there is no command pipe"
            except OSError as error:
                why = str(error)
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self._folder / "output").read_text(errors="replace")[-500:]
                raise Unavailable(f"Icinga 2 does not start: {why}: {said}")
            time.sleep(0.05)

    def _api(self, path: str) -> Any:
        credentials = base64.b64encode(f"root:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"{self.url}{path}",
            headers={"Authorization": f"Basic {credentials}", "Accept": "application/json"},
        )
        context = ssl.create_default_context(cafile=str(self.ca))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                with opener.open(request, timeout=10) as response:
                    return json.load(response)
            except urllib.error.HTTPError:
                raise
            except (urllib.error.URLError, ConnectionError):
                # While it reads its configuration anew, it closes connections that have just been made.
                if not self._serving or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


class Nsca:
    """A throwaway NSCA daemon on loopback that hands results to a command pipe; a context manager.

    ``client`` is the configuration file that ``send_nsca`` needs: it has the password.
    """

    def __init__(self, pipe: Path) -> None:
        self.port = free_port()
        self._pipe = pipe
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Nsca:
        for program in ("nsca", "send_nsca"):
            if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
                raise Unavailable(f"there is no {program} on the PATH (Debian: nsca, nsca-client)")
        self._folder = Path(tempfile.mkdtemp(prefix="nsca-"))
        atexit.register(self.stop)
        config = self._folder / "nsca.cfg"
        config.write_text(
            f"server_address=127.0.0.1\nserver_port={self.port}\ncommand_file={self._pipe}\npassword=of-nsca\n"
            f"decryption_method=16\nalternate_dump_file={self._folder / 'dump'}\nmax_packet_age=600\n",
            encoding="ascii",
        )
        self.client.write_text("password=of-nsca\nencryption_method=16\n", encoding="ascii")
        with open(self._folder / "output", "wb") as output:
            self._process = subprocess.Popen(
                ["nsca", "-f", "-c", str(config), "--single"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = (self._folder / "output").read_text(errors="replace")[-500:]
                    self.stop()
                    raise Unavailable(f"nsca does not start: {error}: {said}") from error
                time.sleep(0.05)

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def client(self) -> Path:
        return self._folder / "send_nsca.cfg"

    def stop(self) -> None:
        """Stop it and remove its files; safe to call twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.stop)
