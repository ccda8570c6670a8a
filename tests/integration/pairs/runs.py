# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pairs of runs at once: they see each other, or each does its own work, whole.

| pair | what holds |
| --- | --- |
| two hosts push in one second to a directory, to rsync, to S3 | two points, each whole |
| the same with the timestamp given | one point, and one host that is told |
| two users push, push and pull, pull: PostgreSQL | the second is told |
| two ways to spell a server: PostgreSQL, MySQL, MongoDB, Elasticsearch | one lock |
| two users pull and push one tree | the second is told |
| a pull whose lock's connection breaks, and its successor: PostgreSQL, MySQL | the first drops nothing of its |
| a pull that is suspended past its lease, and its successor: MongoDB, Elasticsearch | the same |
| a push that gave up on a write, and the next push | nothing stays of the first, however late it writes |
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases import server_keys
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import locks
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers import Unavailable

ENGINE = Path(__file__).parents[3] / "plugins" / "module_utils"

Values = Callable[..., dict[str, Any]]


# A run in a process of its own: `reached()` tells the test that it is where it is wanted, and waits for a line.
RUN = """
import json, sys
sys.path.insert(0, {engine!r})
from _engine.host import locks
from _engine import push, pull
from _engine.databases.elasticsearch import database as elasticsearch
from _engine.databases import lease
from _engine.databases.mongo import database as mongo
from _engine.databases.mysql import database as mysql
from _engine.databases.postgresql import database as postgresql
from _engine.host.progress import Host
from _engine.tasks.task import Task

def reached(*args, **kwargs):
    print("reached", flush=True)
    sys.stdin.readline()

def before(owner, name):
    real = getattr(owner, name)
    def stopping(*args, **kwargs):
        reached()
        return real(*args, **kwargs)
    setattr(owner, name, stopping)

{hook}
task = Task.from_mapping(json.loads(sys.argv[1]))
try:
    done = (push.push if task.action == "push" else pull.pull)(task, Host())
    print(json.dumps(dict(point=done["point"], skipped=done["skipped"])))
except Exception as error:
    print(json.dumps(dict(error=str(error))))
"""

# Another host: its own name, its own locks, another boot's identifier.
ANOTHER_HOST = (
    'hostname "$1"; mount -t tmpfs -o mode=700 none "$2"; echo "$1" >"$2/boot"; '
    'mount --bind "$2/boot" /proc/sys/kernel/random/boot_id; shift 2; exec "$@"'
)


class Run:
    """A run of the engine in a process of its own.

    :param host: another host's name; empty: it is another user of this one, with locks and a state of their own.
    """

    def __init__(self, values: dict[str, Any], folder: Path, hook: str = "", host: str = "") -> None:
        own = folder / f"of-{uuid.uuid4().hex[:8]}"
        own.mkdir()
        values = {**values, "state_dir": str(own / "state"), "temppath": str(own / "temp")}
        if not host:
            hook = f"locks.lock_dir = lambda: {str(own)!r}\n{hook}"
        argv = [sys.executable, "-c", RUN.format(engine=str(ENGINE), hook=hook), json.dumps(values)]
        if host:
            if os.geteuid() != 0:
                raise Unavailable("hosts of one's own need root")
            shell = ["sh", "-c", ANOTHER_HOST, "sh", host, locks.lock_dir()]
            argv = ["unshare", "--uts", "--mount", "--propagation", "private", *shell, *argv]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_until_reached(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line != "reached\n":
            self.process.kill()
            pytest.fail(line + self.process.communicate()[1][-2000:])

    def end(self) -> dict[str, Any]:
        """Let it go on, and return how it ended."""
        said, errors = self.process.communicate("\n" * 9, timeout=90)
        lines = [line for line in said.splitlines() if line != "reached"]
        assert lines, errors[-2000:]
        return dict(json.loads(lines[-1]))


@contextlib.contextmanager
def stopped_at(values: dict[str, Any], folder: Path, hook: str) -> Iterator[Run]:
    """Give a run that has come to where ``hook`` stops it; gone afterwards."""
    run = Run(values, folder, hook)
    try:
        run.wait_until_reached()
        yield run
    finally:
        if run.process.poll() is None:
            run.process.send_signal(signal.SIGCONT)
            run.process.kill()
        run.process.communicate()


def keys(values: dict[str, Any], **others: Any) -> set[str]:
    found = server_keys(Task.from_mapping({**values, **others}))
    return {found.lock, found.journal}
