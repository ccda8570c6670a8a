# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Push and pull beside what users would pick instead, as ratios in one run.

``make bench`` runs it; ``python -m benchmarks.run --megabytes 1000`` on more data. Every figure is the median of
``--rounds`` alternating rounds on the same servers, the same database and the same disk. Nothing here is a test: no
figure is judged, they are printed with the aim beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Callable
from uuid import UUID

import psycopg2

from tests.servers.postgresql import PostgresServer

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "plugins" / "module_utils"
DATABASE = "bench"

#: the tables of the sample, each with the keys and indexes that an application's has
TABLES = ("news", "guide", "form", "event")

TABLE = """
CREATE TABLE {table} (id bigint PRIMARY KEY, content_id uuid NOT NULL UNIQUE,
                      organisation_id bigint NOT NULL REFERENCES organisation, title text, body text, data jsonb,
                      updated_at timestamptz);
CREATE INDEX ON {table} (organisation_id, updated_at);
CREATE INDEX ON {table} (updated_at);
CREATE INDEX ON {table} (lower(title));
CREATE INDEX ON {table} USING gin (data jsonb_path_ops);
"""

#: runs one task with the engine in a process of its own, and says what it took
RUNNER = """
import json, resource, sys
from _engine import pull, push
from _engine.progress import Host
from _engine.task import Task
task = Task.from_mapping(json.load(sys.stdin))
result = {"push": push.push, "pull": pull.pull}[task.action](task, Host())
peak = result["manifest"]["peak_temporary_bytes"]
own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
json.dump({"peak_temporary_bytes": peak, "own_bytes": own, "away": result.get("name_away_seconds", 0),
           "seconds": result["durations"], "raw": result["raw_bytes"], "stored": result["stored_bytes"]}, sys.stdout)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the database, before indexes")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="env_sync-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        production = stack.enter_context(PostgresServer("production", shared_buffers="256MB", max_wal_size="4GB"))
        staging = stack.enter_context(PostgresServer("staging", shared_buffers="256MB", max_wal_size="4GB"))
        print(f"filling a database of about {options.megabytes} MB ...", flush=True)
        fill(production, options.megabytes * 1_000_000 // len(TABLES))
        production.psql(DATABASE, "VACUUM ANALYZE")
        bench = Bench(folder, production, staging, options.rounds)
        bench.push()
        bench.pull()


def fill(server: PostgresServer, table_bytes: int) -> None:
    """Make the sample: rows of identifiers, prose and a document, about ``table_bytes`` of them in each table."""
    server.create_database(DATABASE, "CREATE TABLE organisation (id bigint PRIMARY KEY, name text)")
    server.psql(DATABASE, "INSERT INTO organisation SELECT n, 'Office ' || n FROM generate_series(0, 999) n")
    random = Random(1)
    # Words are used as unevenly as in a language: the n-th is about n times rarer than the first.
    words = ["".join(random.choices("etaoinshrdlu", k=random.randint(2, 10))) for _unused in range(5000)]
    weights = list(itertools.accumulate(1 / n for n in range(1, len(words) + 1)))
    passages = [" ".join(random.choices(words, cum_weights=weights, k=40)) for _unused in range(20_000)]
    for table in TABLES:
        server.psql(DATABASE, TABLE.format(table=table))
        rows = Rows(random, passages, table_bytes)
        with (
            contextlib.closing(
                psycopg2.connect(host=server.host, port=server.port, user=server.superuser, dbname=DATABASE)
            ) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.copy_expert(f"COPY {table} FROM STDIN", rows)


class Rows:
    """Rows of a sample table as ``COPY`` reads them; a file to read from."""

    def __init__(self, random: Random, passages: Sequence[str], size: int) -> None:
        self._random = random
        self._passages = passages
        self._left = size
        self._id = 0

    def read(self, size: int) -> bytes:
        """Return about ``size`` bytes of whole rows; nothing when there are enough."""
        rows: list[str] = []
        room = min(size, self._left)
        while room > 0:
            rows.append(self._row())
            room -= len(rows[-1])
            self._left -= len(rows[-1])
        return "".join(rows).encode()

    def _row(self) -> str:
        self._id += 1
        random = self._random
        first, second = random.choices(self._passages, k=2)
        data = {"base_path": "/" + first[:24].replace(" ", "-"), "locale": "en", "links": [self._uuid(), self._uuid()]}
        return (
            f"{self._id}\t{self._uuid()}\t{random.randrange(1000)}\t{first[:40]}\t{second}. {first[40:]}\t"
            f"{json.dumps(data)}\t2024-{random.randint(1, 12):02}-{random.randint(1, 28):02} 12:00:{self._id % 60:02}\n"
        )

    def _uuid(self) -> str:
        return str(UUID(int=self._random.getrandbits(128)))


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
            "push to a directory": lambda: said.append(self.run("push")),
        }
        seconds = self.measure(ways)
        self.tool(self.production, "pg_dump", "-Fc", "-Z0", DATABASE, "-f", str(raw))
        raw_bytes = raw.stat().st_size
        raw.unlink()
        last = said[-1]
        push = seconds["push to a directory"]
        print(f"\npush of {raw_bytes / 1e6:.0f} MB, {self.jobs} jobs, median of {self.rounds} rounds")
        for way, took in seconds.items():
            print(f"  {way:32} {took:7.2f} s  {raw_bytes / took / 1e6:7.0f} MB/s")
        aim("push / pg_dump -Fc -Z0 > /dev/null", push / seconds["pg_dump -Fc -Z0 > /dev/null"], "at most 1.5")
        aim("pg_dump -Fc to a file / push", seconds["pg_dump -Fc to a file"] / push, "at least 6")
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
        seconds = self.measure({"pg_restore -j from local files": stock, "pull from a directory": ours})
        print(
            f"\npull, {self.jobs} jobs, median of {self.rounds} rounds (without ANALYZE, which pg_restore leaves out)"
        )
        for way, took in seconds.items():
            print(f"  {way:32} {took:7.2f} s")
        ratio = seconds["pull from a directory"] / seconds["pg_restore -j from local files"]
        aim("pull / pg_restore -j", ratio, "at most 1.1")
        print(f"  phases of the last pull, seconds: {said[-1]['seconds']}")
        # In a pull that is not timed: a client that connects a hundred times a second takes its share of the machine.
        with Watch(self.staging, self.folder / "temp") as watch:
            ours()
        aim("temporary disk, MiB", watch.disk / 2**20, "under 64")
        aim("our own process, MiB", max(item["own_bytes"] for item in said) / 2**20, "under 200")
        aim("name away in the swap, seconds", watch.away, "under 1")

    def measure(self, ways: dict[str, Callable[[], None]]) -> dict[str, float]:
        """Return the median seconds of each way; the rounds alternate, so that all meet the same weather."""
        took: dict[str, list[float]] = {name: [] for name in ways}
        for _unused in range(self.rounds):
            for name, run in ways.items():
                began = time.monotonic()
                run()
                took[name].append(time.monotonic() - began)
        return {name: statistics.median(values) for name, values in took.items()}

    def tool(self, server: PostgresServer, name: str, *arguments: str) -> None:
        subprocess.run(
            [server.program(name), *arguments], env={**os.environ, **server.env}, stdout=subprocess.DEVNULL, check=True
        )

    def run(self, action: str, **more: str) -> dict[str, Any]:
        server = self.production if action == "push" else self.staging
        (self.folder / "store").mkdir(exist_ok=True)
        task = {
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
        done = subprocess.run(
            [sys.executable, "-c", RUNNER],
            input=json.dumps(task).encode(),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ENGINE)},
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found


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


def aim(what: str, figure: float, aimed: str) -> None:
    print(f"  {what:44} {figure:8.2f}   (aim: {aimed})")


if __name__ == "__main__":
    main()
