# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Throwaway MariaDB servers."""

from __future__ import annotations

import atexit
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.servers import Unavailable, fast_dir, free_port, start_or_retry

#: what a server has by itself
_OWN = ("information_schema", "mysql", "performance_schema", "sys", "test")


def program(name: str, path: str | None = None) -> str:
    """Return the path of one of MariaDB's programs; from ``path``, by default the PATH of this moment."""
    found = shutil.which(name, path=path) or shutil.which(name, path="/usr/sbin:/usr/libexec")
    if not found:
        raise Unavailable(f"{name} is not installed (Debian: mariadb-server)")
    return found


class MariaServer:
    """One server with a data directory of its own, on a Unix socket and on loopback.

    ``user`` has all rights, from anywhere, with ``password``; so has ``root`` on the socket, without one.

    :param base: the folder of another version than the installed one, with ``bin``, ``scripts`` and ``share``.
    :param settings: the server's options; an empty value for one that takes none.
    """

    user = "administrator"

    client, dumper = "mariadb", "mariadb-dump"

    #: options of the client programs; what TLS over a socket takes is half of the time of a short statement
    client_options: tuple[str, ...] = ("--skip-ssl",)

    def __init__(self, name: str, base: Path | None = None, **settings: str) -> None:
        self.name = name
        self.base = base
        self.password = secrets.token_urlsafe(12) + "#'\"\\ "
        self.host = "127.0.0.1"
        self._settings = settings
        self._path = os.environ.get("PATH")
        self._server: subprocess.Popen[bytes] | None = None
        # In memory where there is room: half of the time of small databases goes to the disk otherwise.
        self.settle(fast_dir(1 << 30))
        atexit.register(self.stop)

    def settle(self, where: str) -> None:
        """Choose a port, and make the server's folder in this one."""
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix=f"maria-{self.name}-", dir=where)
        self.socket = os.path.join(self.folder, "s")

    def __enter__(self) -> MariaServer:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> MariaServer:
        """Start the server and wait until it answers (about two seconds)."""
        start_or_retry(self)
        return self

    def try_to_start(self) -> None:
        """Start the server where it is settled; raises :class:`Unavailable`."""
        server, *install = self._programs()
        os.chmod(self.folder, 0o755)
        # A server that starts removes what looks like another's temporary tables.
        temporary = os.path.join(self.folder, "t")
        os.mkdir(temporary)
        os.chmod(temporary, 0o1777)
        common = [
            f"--datadir={os.path.join(self.folder, 'data')}",
            f"--tmpdir={temporary}",
            *self._as_user(),
            *self._small(),
        ]
        if self.base is not None:
            common.append(f"--basedir={self.base}")
        done = subprocess.run(
            [install[0], "--no-defaults", *common, *install[1:]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd="/", check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Unavailable(f"{install[0]} failed: {done.stdout.decode(errors='replace')[-3000:]}")
        settings = {**self._defaults(), **self._settings}
        options = [f"--{key}={value}" if value else f"--{key}" for key, value in settings.items()]
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self._server = subprocess.Popen(
                [server, "--no-defaults", *common, f"--socket={self.socket}", f"--port={self.port}",
                 "--bind-address=127.0.0.1", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                said = Path(self.folder, "log").read_text(errors="replace")[-3000:]
                raise Unavailable(f"{server} did not start: {said}")
            time.sleep(0.05)
        self.sql(
            f"CREATE USER {self.user}@'%' IDENTIFIED BY {literal(self.password)};"
            f"GRANT ALL ON *.* TO {self.user}@'%' WITH GRANT OPTION"
        )

    def _programs(self) -> list[str]:
        """Return the server's program, the one that makes its data directory, and options of the latter's own."""
        return [
            self.program("mariadbd"), self.program("mariadb-install-db"), "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]  # fmt: skip

    def _small(self) -> list[str]:
        """Return options for small logs: they are written before anything else, and to a disk that others use."""
        return ["--innodb-log-file-size=16M", "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0"]

    def _defaults(self) -> dict[str, str]:
        return {
            "innodb-doublewrite": "0",
            "innodb-flush-method": "nosync",
            "sync-frm": "0",
            "event-scheduler": "OFF",
            "max-connections": "60",
        }

    def _as_user(self) -> list[str]:
        """Return the option with which root starts the server; its folder is given to that user."""
        if os.geteuid() != 0:
            return []
        if self.base is not None:
            return ["--user=root"]  # others may not look into root's cache
        try:
            owner = pwd.getpwnam("mysql")
        except KeyError:
            raise Unavailable("running as root, and there is no user mysql to run the server as") from None
        os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        return ["--user=mysql"]

    def program(self, name: str) -> str:
        """Return the path of one of the programs of this version; a test's own PATH is no matter."""
        if self.base is None:
            return program(name, self._path)
        return str(next(self.base.glob(f"*/{name}"), self.base / "bin" / name))

    def stop(self) -> None:
        """Stop the server and remove its files; safe to call twice."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        return self._client("", "SELECT 1").returncode == 0

    def _client(self, database: str, sql: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self.program(self.client), "--no-defaults", "-uroot", f"--socket={self.socket}", *self.client_options,
             "--batch", "--raw", "--skip-column-names", "--default-character-set=utf8mb4", database],
            input=sql.encode(), capture_output=True, check=False,
        )  # fmt: skip

    def sql(self, sql: str, database: str = "") -> str:
        """Run SQL as root with the client program; return rows, fields separated by a tabulator."""
        done = self._client(database, sql)
        if done.returncode != 0:
            raise AssertionError(done.stderr.decode(errors="replace"))
        return done.stdout.decode(errors="replace").rstrip("\n")

    def load(self, database: str, dump: bytes) -> None:
        """Load what mysqldump wrote, with the client program."""
        done = subprocess.run(
            [self.program(self.client), "--no-defaults", "-uroot", f"--socket={self.socket}", *self.client_options,
             "--binary-mode", database],
            input=dump, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def dump(self, database: str, *options: str) -> bytes:
        """Return what ``mysqldump`` writes of a database."""
        done = subprocess.run(
            [self.program(self.dumper), "--no-defaults", "-uroot", f"--socket={self.socket}", *self.client_options,
             "--single-transaction", "--skip-dump-date", *options, database],
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def databases(self) -> list[str]:
        """Return the names of all databases but the server's own."""
        return [name for name in self.sql("SHOW DATABASES").split("\n") if name and name not in _OWN]

    def create_database(self, name: str, sql: str = "", options: str = "") -> None:
        """Create a database and run ``sql`` in it; ``options`` follow CREATE DATABASE."""
        self.sql(f"CREATE DATABASE {quote(name)} {options}")
        if sql:
            self.sql(sql, name)

    def drop_database(self, name: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {quote(name)}")


def quote(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
