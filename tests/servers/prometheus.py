# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A throwaway Prometheus that scrapes a throwaway node exporter, once a second."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.servers import Unavailable, free_port

_CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}/*.rules.yml"]
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Prometheus:
    """Both on loopback; a context manager.

    ``textfiles`` is the directory of node exporter's textfile collector, ``rules`` that of Prometheus' rules.
    """

    def __init__(self) -> None:
        self._folder = Path()
        self._ports = {"node exporter": free_port(), "Prometheus": free_port()}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Prometheus:
        for program in ("prometheus", "prometheus-node-exporter", "promtool"):
            if shutil.which(program) is None:
                raise Unavailable(f"there is no {program} on the PATH (Debian: prometheus, prometheus-node-exporter)")
        self._folder = Path(tempfile.mkdtemp(prefix="prometheus-"))
        atexit.register(self.stop)
        self.textfiles.mkdir()
        self.rules.mkdir()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def textfiles(self) -> Path:
        return self._folder / "textfiles"

    @property
    def rules(self) -> Path:
        return self._folder / "rules"

    def start(self) -> None:
        """Start both, with what is in their directories now."""
        config = self._folder / "prometheus.yml"
        config.write_text(_CONFIG.format(rules=self.rules, port=self._ports["node exporter"]), encoding="utf-8")
        self._start(
            "node exporter",
            "prometheus-node-exporter",
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={self.textfiles}",
        )
        self._start(
            "Prometheus", "prometheus", f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'data'}"
        )

    def scraped(self) -> str:
        """Return what node exporter tells."""
        return self._get("node exporter", "/metrics").decode()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression now; raises for one that Prometheus does not take."""
        found = json.loads(self._get("Prometheus", f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}"))
        assert found["status"] == "success", found
        result: list[dict[str, Any]] = found["data"]["result"]
        return result

    def stop(self) -> None:
        """Stop both and remove their files; safe to call twice."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.stop)

    def _start(self, name: str, *argv: str) -> None:
        output = self._folder / f"{name}.output"
        with open(output, "wb") as stream:
            process = subprocess.Popen(
                [*argv, f"--web.listen-address=127.0.0.1:{self._ports[name]}"],
                cwd=self._folder,
                env={**os.environ, "GOMAXPROCS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        deadline = time.monotonic() + 60
        while True:
            try:
                self._get(name, "/" if name == "node exporter" else "/-/ready")
                return
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    said = output.read_text(errors="replace")[-500:]
                    raise Unavailable(f"{name} does not start: {error}: {said}") from error
                time.sleep(0.05)

    def _get(self, name: str, path: str) -> bytes:
        with self._opener.open(f"http://127.0.0.1:{self._ports[name]}{path}", timeout=10) as response:
            content: bytes = response.read()
            return content
