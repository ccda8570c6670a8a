# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real PgBouncer in front of a throwaway PostgreSQL server."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg2

from tests.servers import Unavailable, free_port
from tests.servers.postgresql import PostgresServer


class PgBouncer:
    """Answers on loopback, asks for no password, and connects to the server as its superuser.

    :param mode: ``session`` or ``transaction``: for how long a client has a connection of the server's.
    """

    def __init__(self, server: PostgresServer, mode: str, **settings: str) -> None:
        self._server = server
        self._settings = {"pool_mode": mode, **settings}
        self.host, self.port = "127.0.0.1", free_port()
        self._folder = tempfile.mkdtemp(prefix="pgbouncer-")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PgBouncer:
        program = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not program:
            raise Unavailable("PgBouncer is not installed (Debian: pgbouncer)")
        server = self._server
        values = {
            "listen_addr": self.host,
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "any",
            **self._settings,
        }
        lines = [f"* = host={server.host} port={server.port} user={server.superuser}", "[pgbouncer]"]
        lines += [f"{key} = {value}" for key, value in values.items()]
        config = Path(self._folder, "pgbouncer.ini")
        config.write_text("\n".join(["[databases]", *lines, ""]), encoding="utf-8")
        as_owner = []
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            config.chmod(0o644)
            as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        with open(Path(self._folder, "log"), "wb") as log:
            self._process = subprocess.Popen(
                [*as_owner, program, str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/"
            )
        deadline = time.monotonic() + 15
        while True:
            try:
                self.connect("postgres").close()
                return self
            except psycopg2.Error as error:
                if time.monotonic() > deadline:
                    self.__exit__()
                    raise Unavailable(f"PgBouncer does not answer: {error}") from error
            time.sleep(0.05)

    def connect(self, database: str, **how: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(dbname=database, host=self.host, port=self.port, user=self._server.superuser, **how)

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)
