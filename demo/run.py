# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job before your eyes: two throwaway PostgreSQL servers, a push, a pull, before and after.

``make demo`` runs it. ``STORE=s3`` uses a throwaway S3 server instead of a directory. Everything listens on loopback
only, and is removed at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.servers import Unavailable
from tests.servers.postgresql import PostgresServer
from tests.servers.s3 import SwiftS3

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "demo"
DATABASE = "shop"
LAST_MONTH = """
CREATE TABLE customers (id bigint, email text);
INSERT INTO customers SELECT g, 'customer' || g || '@staging.invalid' FROM generate_series(1, 50000) g;
CREATE TABLE orders (id bigint, note text);
INSERT INTO orders (id) SELECT generate_series(1, 200000);
"""
TABLES = ("customers", "orders", "audit")


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    store = os.environ.get("STORE", "directory")
    if store not in ("directory", "s3"):
        print(f"STORE={store}: choose directory or s3", file=sys.stderr)
        return 2
    try:
        with contextlib.ExitStack() as stack:
            return show(stack, store)
    except Unavailable as error:
        print(f"the demo can't run here: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; everything is cleaned up", file=sys.stderr)
        return 130


def show(stack: contextlib.ExitStack, store: str) -> int:
    folder = Path(tempfile.mkdtemp(prefix="env_sync-demo-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    began = time.monotonic()
    say("starting two PostgreSQL servers, production and staging")
    production = stack.enter_context(PostgresServer("production"))
    staging = stack.enter_context(PostgresServer("staging"))
    store_keys, environment = open_store(stack, store, folder)
    say("filling production's database: customers, orders, an audit trail")
    production.create_database(DATABASE, (DEMO / "production.sql").read_text(encoding="utf-8"))
    say("staging has last month's copy")
    staging.create_database(DATABASE, LAST_MONTH)
    before = look(staging)
    say(f"pushing and pulling with ansible-playbook, through a store: {store_keys['url']} ({store})")
    print()
    run_playbook(folder, production, staging, store_keys, environment)
    report(folder, look(production), before, look(staging), time.monotonic() - began)
    return 0


def open_store(stack: contextlib.ExitStack, store: str, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the task's store keys, and the environment with the credentials for the modules."""
    if store == "directory":
        (folder / "store").mkdir()
        return {"storagebackend": "directory", "url": str(folder / "store")}, {}
    say("starting an S3 server (OpenStack Swift; the first time it is installed, which takes a minute)")
    server = stack.enter_context(SwiftS3())
    server.create_bucket("env-sync-demo")
    keys = {"storagebackend": "s3", "url": "env-sync-demo", "endpoint_url": server.endpoint}
    keys.update(region=server.region, addressing_style="path")
    return keys, {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}


def run_playbook(
    folder: Path,
    production: PostgresServer,
    staging: PostgresServer,
    store: dict[str, Any],
    environment: dict[str, str],
) -> None:
    collections = folder / "collections" / "ansible_collections" / "govuk"
    collections.mkdir(parents=True)
    (collections / "env_sync").symlink_to(ROOT)
    hosts = {
        name: {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "demo_server": {"host": server.host, "port": server.port, "user": server.superuser},
        }
        for name, server in (("production", production), ("staging", staging))
    }
    inventory = folder / "inventory.json"
    inventory.write_text(
        json.dumps(
            {
                "all": {
                    "hosts": hosts,
                    "vars": {"demo_environment": environment, "demo_folder": str(folder), "demo_store": store},
                }
            }
        ),
        encoding="utf-8",
    )
    inventory.chmod(0o600)
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(DEMO / "demo.yml")],
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
            "ANSIBLE_NOCOWS": "1",
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_RETRY_FILES_ENABLED": "False",
            "ANSIBLE_LOCAL_TEMP": str(folder / "ansible"),
            "ANSIBLE_REMOTE_TEMP": str(folder / "ansible"),
        },
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit("the playbook failed: see above")


def look(server: PostgresServer) -> dict[str, str]:
    """Return the facts about a server's database that the report compares."""
    found = {f"rows in {table}": "-" for table in TABLES}
    for table in TABLES:
        if server.psql(DATABASE, f"SELECT to_regclass('{table}') IS NOT NULL") == "t":
            found[f"rows in {table}"] = f"{int(server.psql(DATABASE, f'SELECT count(*) FROM {table}')):,}"
    found["a customer's email"] = server.psql(DATABASE, "SELECT email FROM customers ORDER BY id LIMIT 1") or "-"
    found["orders with a note"] = f"{int(server.psql(DATABASE, 'SELECT count(note) FROM orders')):,}"
    found["size on disk"] = size(int(server.psql(DATABASE, "SELECT pg_database_size(current_database())")))
    return found


def report(
    folder: Path, production: dict[str, str], before: dict[str, str], after: dict[str, str], seconds: float
) -> None:
    pushed = json.loads((folder / "pushed.json").read_text(encoding="utf-8"))
    pulled = json.loads((folder / "pulled.json").read_text(encoding="utf-8"))
    rows = [("", "production", "staging before", "staging after")]
    rows += [(name, production[name], before[name], after[name]) for name in production]
    print(table(rows))
    print()
    for done in (pushed, pulled):
        print(f"  {done['msg']}")
    print()
    print(
        table(
            [
                ("point", pushed["point"]),
                ("in the store", f"{size(pushed['stored_bytes'])} of {size(pushed['raw_bytes'])}"),
                ("push", f"{pushed['durations']['total']:.1f} s"),
                (
                    "pull",
                    f"{pulled['durations']['total']:.1f} s, {pulled['durations']['sanitising']:.1f} s of it sanitising",
                ),
                ("name away in the swap", f"{pulled['name_away_seconds'] * 1000:.0f} ms"),
                ("the whole demo", f"{seconds:.0f} s, servers and sample data included"),
            ]
        )
    )


def table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def say(text: str) -> None:
    print(f"demo: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
