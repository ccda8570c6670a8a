# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""moto as an S3 server: what OpenStack Swift has not, object locks and lifecycle rules among it.

It checks no signature and lets everybody in, keeps all in memory, and is no server that anybody stores backups in: what
Swift can show is shown there.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.servers import Unavailable, free_port, install, made

_PACKAGES = ("moto[s3,server]==5.2.5",)


def installed() -> Path:
    """Return the folder of an environment that has moto; made by the first who asks, the others wait for it."""

    def make(folder: Path) -> None:
        install("moto", (sys.executable, "-m", "venv", str(folder)), Path("/"))
        pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        install("moto", (*pip, "--no-cache-dir", *_PACKAGES), Path("/"))

    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return made(f"moto-5.2.5-{version}-{hashlib.sha256(' '.join(_PACKAGES).encode()).hexdigest()[:8]}", make)


class MotoS3:
    """One server on loopback; a context manager. Its keys are any."""

    region = "us-east-1"
    access_key = "key"
    secret_key = "any-secret"

    def __init__(self) -> None:
        self.endpoint = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> MotoS3:
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        argv = [str(installed() / "bin" / "python"), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        setpriv = shutil.which("setpriv")
        if setpriv:
            argv = [setpriv, "--pdeathsig", "KILL", *argv]
        # Uploads of many parts need no large ones.
        environment = {**os.environ, "S3_UPLOAD_PART_MIN_SIZE": "1", "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "16777216"}
        quiet: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(argv, cwd="/", env=environment, start_new_session=True, **quiet)
        atexit.register(self.stop)
        deadline = time.monotonic() + 60
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                opener.open(f"{self.endpoint}/moto-api/", timeout=5).close()
                return self
            except urllib.error.HTTPError:
                return self
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise Unavailable(f"moto does not start: {error}") from error
                time.sleep(0.1)

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop it; safe to call twice."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        atexit.unregister(self.stop)

    def client(self) -> Any:
        """Return a boto3 client of the server's."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}),
        )

    def locked_bucket(self, name: str) -> None:
        """Make a bucket whose objects nobody can remove for 120 days."""
        self.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
        retention = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 120}}
        self.client().put_object_lock_configuration(
            Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention}
        )
