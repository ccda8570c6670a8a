# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A throwaway S3 server: OpenStack Swift with s3api, which checks signatures and does real multipart uploads."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.servers import Unavailable, free_port, install, made

# One set that is known to work together; none of it gets into the environment that the tests run in.
_PACKAGES = (
    "swift==2.38.3",
    "eventlet==0.41.3",
    "greenlet==3.5.6",
    "dnspython==2.9.2",
    "lxml==6.1.3",
    "PasteDeploy==3.1.0",
    "pyeclib==1.8.0",
    "requests==2.34.2",
    "cryptography==50.0.2",
    "xattr==1.3.0",
)

_STORAGE = {"account": "account", "container": "container", "object": "object"}

_COMMON = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
workers = 0
disable_fallocate = true
log_level = WARNING
"""

_PROXY = """[pipeline:main]
pipeline = catch_errors proxy-logging listing_formats bulk s3api tempauth slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
auth_pipeline_check = false
max_upload_part_num = 10000
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
user_test_stranger = {secret}
user_test_reader = {secret}
[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
"""

_HASHING = """[swift-hash]
swift_hash_path_prefix = env_sync
swift_hash_path_suffix = env_sync
[storage-policy:0]
name = default
default = yes
policy_type = replication
"""

_INTERNAL = """[pipeline:main]
pipeline = proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
"""

# The parts of large objects are in a container of their own.
_SHARE = """
import sys
from swift.common.swob import Request
from swift.common.utils import set_swift_dir
from swift.common.wsgi import loadapp
folder, reader, bucket = sys.argv[1:]
set_swift_dir(folder)
proxy = loadapp(folder + "/internal.conf")
for container in (bucket, bucket + "+segments"):
    environment = {"REQUEST_METHOD": "PUT", "swift_owner": True}
    request = Request.blank("/v1/AUTH_test/" + container, environment, headers={"X-Container-Read": reader})
    answer = request.get_response(proxy)
    assert answer.is_success, answer.status
"""


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def installed() -> Path:
    """Return the folder of an environment that has Swift; made by the first who asks, the others wait for it."""

    def make(folder: Path) -> None:
        # It is moved afterwards: its programs are started by its Python, and not by what their first lines name.
        _check(sys.executable, "-m", "venv", str(folder))
        pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _check(*pip, "--no-cache-dir", *_PACKAGES)

    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = hashlib.sha256(" ".join(_PACKAGES).encode()).hexdigest()[:8]
    return made(f"{_PACKAGES[0].replace('==', '-')}-{version}-{packages}", make)


def _check(*argv: str) -> None:
    install("OpenStack Swift", argv, Path("/"))


class SwiftS3:
    """One S3 server on loopback, its data in a temporary folder; a context manager.

    ``ENV_SYNC_TEST_S3`` names an endpoint that exists instead, with its credentials in ``AWS_ACCESS_KEY_ID`` and
    ``AWS_SECRET_ACCESS_KEY``. ``stranger`` is an access key with the same secret and no rights at all, ``reader`` one
    that may list and read what :meth:`share` gives it (empty where there are none).
    """

    region = "us-east-1"

    def __init__(self) -> None:
        self.endpoint = os.environ.get("ENV_SYNC_TEST_S3", "")
        self._external = bool(self.endpoint)
        if self._external:
            self.access_key = os.environ.get("AWS_ACCESS_KEY_ID", "")
            self.secret_key = os.environ.get("AWS_SECRET_ACCESS_KEY", "")
            self.stranger = self.reader = ""
        else:
            self.access_key = "test:tester"
            self.secret_key = secrets.token_urlsafe(24)
            self.stranger = "test:stranger"
            self.reader = "test:reader"
        self._folder = Path()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> SwiftS3:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> SwiftS3:
        """Start the server and wait until it answers (two seconds, and half a minute where it has to be installed)."""
        if self._external:
            if not (self.access_key and self.secret_key):
                raise Unavailable("ENV_SYNC_TEST_S3 is set, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not")
            return self
        programs = installed() / "bin"
        self._folder = Path(tempfile.mkdtemp(prefix="swift-"))
        atexit.register(self.stop)
        try:
            self._need_xattrs()
            ports = {name: free_port() for name in (*_STORAGE, "proxy")}
            self._configure(ports)
            self._build_rings(programs, ports)
            for name in ports:
                self._spawn(programs, name)
            self.endpoint = f"http://127.0.0.1:{ports['proxy']}"
            for port in ports.values():
                self._wait_for(f"http://127.0.0.1:{port}/healthcheck")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and remove its data; safe to call twice."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes = []
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)
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

    def create_bucket(self, name: str) -> None:
        self.client().create_bucket(Bucket=name)

    def share(self, name: str) -> None:
        """Let ``reader`` list and read a bucket: by an ACL of Swift's own, which has no right to write in it."""
        text = _COMMON.format(port=0, user=_user(), folder=self._folder)
        (self._folder / "internal.conf").write_text(text + _INTERNAL, encoding="utf-8")
        _check(str(installed() / "bin" / "python"), "-c", _SHARE, str(self._folder), self.reader, name)

    def delete_bucket(self, name: str) -> None:
        """Remove a bucket with all that is in it, unfinished uploads too."""
        client = self.client()
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=name):
            for upload in page.get("Uploads", []):
                client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            for found in page.get("Contents", []):
                client.delete_object(Bucket=name, Key=found["Key"])
        client.delete_bucket(Bucket=name)

    def _need_xattrs(self) -> None:
        """Swift keeps an object's metadata in extended attributes of its file."""
        probe = self._folder / "probe"
        probe.touch()
        try:
            os.setxattr(probe, "user.swift", b"x" * 1024)
        except OSError as error:
            raise Unavailable(
                f"{self._folder.parent} takes no extended attributes ({error.strerror}); TMPDIR can name another folder"
            ) from error

    def _configure(self, ports: dict[str, int]) -> None:
        (self._folder / "devices" / "d1").mkdir(parents=True)
        (self._folder / "swift.conf").write_text(_HASHING, encoding="utf-8")
        for name, port in ports.items():
            text = _COMMON.format(port=port, user=_user(), folder=self._folder)
            if name == "proxy":
                text += _PROXY.format(secret=self.secret_key)
            else:
                text += f"[pipeline:main]\npipeline = {name}-server\n[app:{name}-server]\nuse = egg:swift#{name}\n"
            path = self._folder / f"{name}-server.conf"
            path.touch(mode=0o600)
            path.write_text(text, encoding="utf-8")

    def _build_rings(self, programs: Path, ports: dict[str, int]) -> None:
        for name in _STORAGE:
            builder = str(self._folder / f"{name}.builder")
            build = [str(programs / "python"), str(programs / "swift-ring-builder"), builder]
            _check(*build, "create", "4", "1", "0")
            _check(*build, "add", f"r1z1-127.0.0.1:{ports[name]}/d1", "1")
            _check(*build, "rebalance")

    def _spawn(self, programs: Path, name: str) -> None:
        argv = [str(programs / "python"), str(programs / f"swift-{name}-server"), str(self._conf(name))]
        setpriv = shutil.which("setpriv")
        if setpriv:
            # Whoever started the server may be killed: it goes with it.
            argv = [setpriv, "--pdeathsig", "KILL", *argv]
        with open(self._log(name), "wb") as log:
            self._processes.append(
                subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
                )
            )

    def _conf(self, name: str) -> Path:
        return self._folder / f"{name}-server.conf"

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _wait_for(self, url: str) -> None:
        """Wait until something answers at ``url``, whatever it answers."""
        deadline = time.monotonic() + 30
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                opener.open(url, timeout=5).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError as error:
                ended = [process.args for process in self._processes if process.poll() is not None]
                if ended or time.monotonic() > deadline:
                    logs = " ".join(path.read_text(errors="replace") for path in self._folder.glob("*.log"))
                    raise Unavailable(f"OpenStack Swift does not start: {error}: {logs[-800:]}") from error
                time.sleep(0.05)
