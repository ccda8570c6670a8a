# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Push and pull of a PostgreSQL database beside pg_dump and pg_restore.

``python -m benchmarks.postgresql --megabytes 1000 --sample ledger``. No figure is judged.

What compressing costs beside reading depends on the data. Of the two samples, ``documents`` is hard to compress and
quick to read (prose, identifiers), ``ledger`` is the other way round (numbers, times, codes).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from random import Random
from typing import Any, Callable

import psycopg2

from benchmarks._sample import TABLES, Documents, Ledger, Rows
from benchmarks._table import aim, measure, run_task, show, show_counting
from tests.servers.postgresql import PostgresServer

DATABASE = "bench"

DOCUMENTS = """
CREATE TABLE {table} (id bigint PRIMARY KEY, content_id uuid NOT NULL UNIQUE,
                      organisation_id bigint NOT NULL REFERENCES organisation, title text, body text, data jsonb,
                      updated_at timestamptz);
CREATE INDEX ON {table} (organisation_id, updated_at);
CREATE INDEX ON {table} (updated_at);
CREATE INDEX ON {table} (lower(title));
CREATE INDEX ON {table} USING gin (data jsonb_path_ops);
"""

LEDGER = """
CREATE TABLE {table} (id bigint PRIMARY KEY, organisation_id bigint NOT NULL REFERENCES organisation,
                      account integer NOT NULL, amount numeric(12,2) NOT NULL, currency text, entered_at timestamptz,
                      value_on date, state text, reference text);
CREATE INDEX ON {table} (organisation_id, entered_at);
CREATE INDEX ON {table} (account, value_on);
CREATE INDEX ON {table} (reference);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the database, before indexes")
    parser.add_argument("--sample", choices=SAMPLES, default="documents")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="env_sync-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # Without autovacuum: what one round has restored would be worked on while the next is measured.
        settings = {"shared_buffers": "256MB", "max_wal_size": "4GB", "autovacuum": "off"}
        production = stack.enter_context(PostgresServer("production", **settings))
        staging = stack.enter_context(PostgresServer("staging", **settings))
        print(f"filling a database of about {options.megabytes} MB of {options.sample} ...", flush=True)
        fill(production, options.megabytes * 1_000_000, *SAMPLES[options.sample])
        production.psql(DATABASE, "VACUUM ANALYZE")
        bench = Bench(folder, production, staging, options.rounds)
        bench.push()
        bench.pull()
        bench.count()
        bench.sanitise()


def fill(server: PostgresServer, size: int, sql: str, kind: type[Rows]) -> None:
    """Make the sample: about ``size`` bytes of rows."""
    server.create_database(DATABASE, "CREATE TABLE organisation (id bigint PRIMARY KEY, name text)")
    server.psql(DATABASE, "INSERT INTO organisation SELECT n, 'Office ' || n FROM generate_series(0, 999) n")
    for number, (table, share) in enumerate(TABLES.items()):
        server.psql(DATABASE, sql.format(table=table))
        rows = kind(Random(number), round(size * share))
        connection = psycopg2.connect(host=server.host, port=server.port, user=server.superuser, dbname=DATABASE)
        with contextlib.closing(connection):
            connection.cursor().copy_expert(f"COPY {table} FROM STDIN", rows)
            connection.commit()


_TEXT_COLUMN = """SELECT attname FROM pg_attribute WHERE attrelid = '{}'::regclass AND attnum > 0
    AND atttypid = 'text'::regtype ORDER BY attnum LIMIT 1"""

#: for each, how a table is made, and its rows
SAMPLES: dict[str, tuple[str, type[Rows]]] = {"documents": (DOCUMENTS, Documents), "ledger": (LEDGER, Ledger)}


class Bench:
    """The measurements, on two servers that run."""

    def __init__(self, folder: Path, production: PostgresServer, staging: PostgresServer, rounds: int) -> None:
        self.folder = folder
        self.production = production
        self.staging = staging
        self.rounds = rounds
        self.jobs = str(os.cpu_count() or 1)

    def push(self) -> None:
        raw = self.folder / "raw.dump"
        said: list[dict[str, Any]] = []
        ways: dict[str, Callable[[], None]] = {
            "pg_dump -Fc -Z0 > /dev/null": lambda: self.tool(self.production, "pg_dump", "-Fc", "-Z0", DATABASE),
            "pg_dump -Fc to a file": lambda: self.tool(
                self.production, "pg_dump", "-Fc", DATABASE, "-f", str(self.folder / "compressed.dump")
            ),
            "pg_dump -Fc -Z0 | zstd -1 -T0 to a file": self.piped,
            "push to a directory": lambda: said.append(self.run("push")),
        }
        took = measure(ways, self.rounds)
        self.tool(self.production, "pg_dump", "-Fc", "-Z0", DATABASE, "-f", str(raw))
        raw_bytes = raw.stat().st_size
        raw.unlink()
        last = said[-1]
        push = took["push to a directory"].clock
        show(f"push of {raw_bytes / 1e6:.0f} MB, {self.jobs} jobs, median of {self.rounds} rounds", took)
        aim("push / pg_dump -Fc -Z0 > /dev/null", push / took["pg_dump -Fc -Z0 > /dev/null"].clock, "at most 1.5")
        aim("pg_dump -Fc to a file / push", took["pg_dump -Fc to a file"].clock / push, "at least 6")
        piped = took["pg_dump -Fc -Z0 | zstd -1 -T0 to a file"].clock
        aim("push / pg_dump -Fc -Z0 | zstd -1 -T0", push / piped, "about 1")
        aim("temporary disk / raw data", last["peak_temporary_bytes"] / raw_bytes, "under 0.1")
        aim("our own process, MiB", max(item["own_bytes"] for item in said) / 2**20, "under 200")
        compressed = (self.folder / "compressed.dump").stat().st_size
        aim("stored / what pg_dump -Fc stores", last["stored"] / compressed, "about 1")

    def pull(self) -> None:
        plain = self.folder / "plain"
        self.tool(self.production, "pg_dump", "-Fd", "-Z0", f"-j{self.jobs}", DATABASE, "-f", str(plain))
        said: list[dict[str, Any]] = []

        def stock() -> None:
            # The old one goes when the new one is there, as in a pull; dropped first, its pages need no writing.
            self.staging.create_database("stock_new")
            self.tool(self.staging, "pg_restore", "-Fd", f"-j{self.jobs}", "-d", "stock_new", str(plain))
            self.staging.drop_database("stock")
            self.staging.psql("postgres", "ALTER DATABASE stock_new RENAME TO stock")

        def ours() -> None:
            said.append(self.run("pull", analyze="false"))

        self.staging.create_database(DATABASE)
        took = measure({"pg_restore -j from local files": stock, "pull from a directory": ours}, self.rounds)
        show(f"pull, {self.jobs} jobs, median of {self.rounds} rounds (without ANALYZE, as pg_restore)", took)
        ratio = took["pull from a directory"].clock / took["pg_restore -j from local files"].clock
        aim("pull / pg_restore -j", ratio, "at most 1.1")
        print(f"  phases of the last pull, seconds: {said[-1]['seconds']}")
        # In a pull that is not timed: a client that connects a hundred times a second takes its share of the machine.
        with Watch(self.staging, self.folder / "temp") as watch:
            ours()
        aim("temporary disk, MiB", watch.disk / 2**20, "under 64")
        aim("our own process, MiB", max(item["own_bytes"] for item in said) / 2**20, "under 200")
        aim("name away in the swap, seconds", watch.away, "under 1")

    def count(self) -> None:
        """What it costs to count all that was restored."""
        show_counting(functools.partial(self.run, "pull", analyze="false"), self.folder / "store", self.rounds)

    def sanitise(self) -> None:
        """What it takes to prove what a script did and to remove what it replaced, beside the script itself."""
        seconds: dict[str, list[dict[str, float]]] = {"form": [], "event": []}
        alone: dict[str, list[float]] = {"form": [], "event": []}
        scripts = {table: self.folder / f"mask_{table}.sql" for table in seconds}
        for table, script in scripts.items():
            column = self.production.psql(DATABASE, _TEXT_COLUMN.format(table))
            script.write_text(f"UPDATE {table} SET {column} = md5({column});\n", encoding="utf-8")

        def masked(table: str) -> None:
            found = self.run("pull", analyze="false", transformation_sql_filename=str(scripts[table]))
            seconds[table].append(found["seconds"])

        def by_psql(table: str) -> None:
            began = time.monotonic()
            self.tool(self.staging, "psql", "-q", "-1", "-d", DATABASE, "-f", str(scripts[table]))
            alone[table].append(time.monotonic() - began)

        # The scripts alone run on what the pull without one has just restored, as those of the other pulls do.
        ways: dict[str, Callable[[], object]] = {"pull with no script": lambda: self.run("pull", analyze="false")}
        for table in seconds:
            ways[f"psql alone, {TABLES[table]:.0%} of the data changed"] = functools.partial(by_psql, table)
        for table in seconds:
            ways[f"pull, {TABLES[table]:.0%} of the data changed"] = functools.partial(masked, table)
        took = measure(ways, self.rounds)
        show(f"sanitising, median of {self.rounds} rounds", took)
        plain = took["pull with no script"].clock
        extra = 0.0
        for table, found in seconds.items():
            of_script = statistics.median(alone[table])
            ours = statistics.median(item["sanitising"] + item["rewriting"] for item in found) - of_script
            extra += ours / plain / (TABLES[table] * 10) / len(seconds)
            aim(f"beside the script itself, {TABLES[table]:.0%} changed / pull", ours / plain, "under its share")
        aim("the same for a tenth of the data / pull", extra, "under 0.1")

    def piped(self) -> None:
        """Dump as a script would that is written for speed."""
        argv = [self.production.program("pg_dump"), "-Fc", "-Z0", DATABASE]
        with (
            open(self.folder / "piped.dump.zst", "wb") as stream,
            subprocess.Popen(argv, env={**os.environ, **self.production.env}, stdout=subprocess.PIPE) as dump,
        ):
            subprocess.run(["zstd", "-q", "-1", "-T0"], stdin=dump.stdout, stdout=stream, check=True)
            os.fsync(stream.fileno())  # as a push and pg_dump do

    def tool(self, server: PostgresServer, name: str, *arguments: str) -> None:
        subprocess.run(
            [server.program(name), *arguments], env={**os.environ, **server.env}, stdout=subprocess.DEVNULL, check=True
        )

    def run(self, action: str, **more: str) -> dict[str, Any]:
        server = self.production if action == "push" else self.staging
        (self.folder / "store").mkdir(exist_ok=True)
        return run_task(
            {
                "action": action,
                "dbms": "postgresql",
                "database": DATABASE,
                "database_hostname": server.host,
                "database_port": server.port,
                "login_user": server.superuser,
                "storagebackend": "directory",
                "url": str(self.folder / "store"),
                "temppath": str(self.folder / "temp"),
                "state_dir": str(self.folder / "state"),
                **more,
            }
        )


class Watch:
    """While it is entered: how long no connection to the database could be made, and the temporary disk's peak."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._poll), threading.Thread(target=self._measure)]
        self.away = 0.0
        self.disk = 0

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _poll(self) -> None:
        since = 0.0
        while not self._over.is_set():
            try:
                psycopg2.connect(
                    host=self._server.host, port=self._server.port, user=self._server.superuser, dbname=DATABASE
                ).close()
                since = 0.0
            except psycopg2.OperationalError:
                since = since or time.monotonic()
                self.away = max(self.away, time.monotonic() - since)
            self._over.wait(0.01)

    def _measure(self) -> None:
        while not self._over.wait(0.1):
            total = 0
            for folder, _folders, names in os.walk(self._folder):
                for name in names:
                    with contextlib.suppress(OSError):
                        total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            self.disk = max(self.disk, total)


if __name__ == "__main__":
    main()
