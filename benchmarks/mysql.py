# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Push and pull of a MariaDB (or MySQL) database beside mysqldump and the client program.

``python -m benchmarks.mysql --megabytes 400``; with ``--mysql`` on MySQL 8.0 instead of MariaDB. ``--tables 1500``
measures what each table costs: so many, of two rows each. No figure is judged.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pymysql

from benchmarks._sample import TABLES, Documents
from benchmarks._table import aim, measure, run_task, show, show_counting
from tests.servers.mariadb import MariaServer
from tests.servers.mysql import MySQLServer

DATABASE = "bench"

TABLE = """
CREATE TABLE {0} (id bigint PRIMARY KEY, content_id char(36) NOT NULL UNIQUE, organisation_id int NOT NULL,
                  title varchar(60), body text, data longtext, updated_at datetime,
                  KEY (organisation_id, updated_at), KEY (updated_at), KEY (title));
"""

SMALL = """
CREATE TABLE t{0} (id int PRIMARY KEY, title varchar(60), KEY (title)); INSERT INTO t{0} VALUES (1, 'a'), (2, 'b');
"""

SETTINGS = {
    "innodb-buffer-pool-size": "1G",
    "max-allowed-packet": "64M",
    "key-buffer-size": "8M",
    "local-infile": "1",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--megabytes", type=int, default=400, help="size of the dump")
    parser.add_argument("--tables", type=int, default=0, help="so many small tables instead")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mysql", action="store_true", help="MySQL 8.0 instead of MariaDB")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="env_sync-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        production, staging = (stack.enter_context(_server(options.mysql, name)) for name in ("production", "staging"))
        if production.base is not None:
            os.environ["PATH"] = f"{production.base}/bin:{os.environ['PATH']}"
        if options.tables:
            print(f"making {options.tables} tables ...", flush=True)
            production.create_database(DATABASE, "".join(SMALL.format(number) for number in range(options.tables)))
        else:
            print(f"filling a database of about {options.megabytes} MB ...", flush=True)
            _fill(production, options.megabytes, folder)
        bench = Bench(folder, production, staging, options.rounds)
        bench.push()
        bench.pull()
        if not options.tables:
            bench.count()
            bench.sanitise()


def _server(mysql: bool, name: str) -> MariaServer:
    if mysql:
        return MySQLServer(name, **SETTINGS, **{"innodb-redo-log-capacity": "1G"})
    return MariaServer(name, **SETTINGS, **{"innodb-log-file-size": "1G"})


def _fill(server: MariaServer, megabytes: int, folder: Path) -> None:
    server.create_database(DATABASE)
    file = folder / "rows"
    connection = pymysql.connect(
        unix_socket=server.socket, user="root", database=DATABASE, local_infile=True, autocommit=True
    )
    with contextlib.closing(connection):
        for number, (table, share) in enumerate(TABLES.items()):
            server.sql(TABLE.format(table), DATABASE)
            rows = Documents(Random(number), round(megabytes * 1_000_000 * share))
            with open(file, "wb") as stream:
                shutil.copyfileobj(rows, stream, 2**20)
            connection.cursor().execute(f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE {table}")
    file.unlink()
    server.sql(f"ANALYZE TABLE {', '.join(TABLES)}", DATABASE)


class Bench:
    """The measurements, on two servers that run."""

    def __init__(self, folder: Path, production: MariaServer, staging: MariaServer, rounds: int) -> None:
        self.folder = folder
        self.production = production
        self.staging = staging
        self.rounds = rounds

    def push(self) -> None:
        said: list[dict[str, Any]] = []
        gzip, zstd = self.folder / "dump.gz", self.folder / "dump.zst"
        took = measure(
            {
                "mysqldump > /dev/null": self.dump,
                "mysqldump | gzip": lambda: self.dump(["gzip"], gzip),
                "mysqldump | zstd -1": lambda: self.dump(["zstd", "-q", "-1"], zstd),
                "push to a directory": lambda: said.append(self.run("push")),
            },
            self.rounds,
        )
        raw, last = said[-1]["raw"], said[-1]
        show(f"push of {raw / 1e6:.0f} MB, {os.cpu_count()} processors, median of {self.rounds} rounds", took)
        push = took["push to a directory"].clock
        aim("push / mysqldump > /dev/null", push / took["mysqldump > /dev/null"].clock, "at most 1.3")
        aim("mysqldump | gzip / push", took["mysqldump | gzip"].clock / push, "over 1")
        aim("mysqldump | zstd / push", took["mysqldump | zstd -1"].clock / push, "over 1")
        aim("stored / what mysqldump | zstd stores", last["stored"] / zstd.stat().st_size, "about 1")

    def pull(self) -> None:
        said: list[dict[str, Any]] = []
        plain = self.folder / "dump.sql"
        self.dump(["cat"], plain)
        self.staging.create_database(DATABASE)
        took = measure(
            {
                "mysql < dump": lambda: self.load(["cat", str(plain)]),
                "zstd -d | mysql": lambda: self.load(["zstd", "-q", "-d", "-c", str(self.folder / "dump.zst")]),
                "pull from a directory": lambda: said.append(self.run("pull", analyze="false")),
            },
            self.rounds,
        )
        show(f"pull, median of {self.rounds} rounds (without ANALYZE, which the client leaves out)", took)
        pull = took["pull from a directory"].clock
        aim("pull / mysql < dump", pull / took["mysql < dump"].clock, "at most 1.1")
        aim("pull / zstd -d | mysql", pull / took["zstd -d | mysql"].clock, "at most 1.1")
        print(f"  phases of the last pull, seconds: {said[-1]['seconds']}")

    def count(self) -> None:
        """What it costs to count all that was restored."""
        show_counting(functools.partial(self.run, "pull", analyze="false"), self.folder / "store", self.rounds)

    def sanitise(self) -> None:
        """What a script costs that changes every row of one table, which has about a seventh of the bytes."""
        script = self.folder / "mask.sql"
        script.write_text("UPDATE event SET title = CONCAT('title ', id), body = REVERSE(body);\n")
        plain: list[dict[str, Any]] = []
        masked: list[dict[str, Any]] = []
        took = measure(
            {
                "pull": lambda: plain.append(self.run("pull")),
                "pull with a script": lambda: masked.append(
                    self.run("pull", transformation_sql_filename=str(script), require_sanitised="true")
                ),
            },
            self.rounds,
        )
        show(
            f"pull with a script that changes {TABLES['event']:.0%} of the bytes, median of {self.rounds} rounds", took
        )
        phases = masked[-1]["seconds"]
        pull = took["pull"].clock
        aim("the script itself / pull", phases["sanitising"] / pull, "what its statements take")
        aim("rewriting / pull", phases["rewriting"] / pull, "under 0.1 for a tenth of the tables")
        print(f"  phases of the last pull, seconds: {phases}")

    def dump(self, compressor: Sequence[str] = (), target: Path = Path("/dev/null")) -> None:
        server = self.production
        argv = [server.program(server.dumper), "--no-defaults", "-uroot", f"--socket={server.socket}"]
        if isinstance(server, MySQLServer):
            argv.append("--set-gtid-purged=OFF")  # a second dump with these can't be loaded into the same server
        argv += ["--single-transaction", "--quick", DATABASE]
        with (
            open(target, "wb") as stream,
            subprocess.Popen(argv, stdout=subprocess.PIPE if compressor else stream) as tool,
        ):
            if compressor:
                subprocess.run(list(compressor), stdin=tool.stdout, stdout=stream, check=True)
        if tool.returncode != 0:
            raise RuntimeError(f"mysqldump: exit status {tool.returncode}")

    def load(self, source: Sequence[str]) -> None:
        server = self.staging
        server.drop_database("stock")
        server.create_database("stock")
        argv = [server.program(server.client), "--no-defaults", "-uroot", f"--socket={server.socket}", "stock"]
        with subprocess.Popen(list(source), stdout=subprocess.PIPE) as reader:
            subprocess.run(argv, stdin=reader.stdout, check=True)

    def run(self, action: str, **more: str) -> dict[str, Any]:
        server = self.production if action == "push" else self.staging
        (self.folder / "store").mkdir(exist_ok=True)
        return run_task(
            {
                "action": action,
                "dbms": "mysql",
                "database": DATABASE,
                "database_hostname": server.socket,
                "login_user": "root",
                "storagebackend": "directory",
                "url": str(self.folder / "store"),
                "temppath": str(self.folder / "temp"),
                "state_dir": str(self.folder / "state"),
                **more,
            }
        )


if __name__ == "__main__":
    main()
