# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run of the command in a process of its own, which is told to stop once it hangs."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[3]

#: what is promised, in seconds after the signal
PROMISE = 30.0

#: runs the command with its log files below the folder that is its first argument
PROGRAM = "import sys; from _engine.command import main as cli; cli.LOG_ROOT = sys.argv.pop(1); sys.exit(cli.main())"

#: as that, with a file system that hangs: fsync in a thread that stores, and from then on what is the third argument.
#: Nothing that waits for it comes back, as with a server of files that is gone.
HANGING_FILES = """
import os, sys, threading
from _engine.command import main as cli
cli.LOG_ROOT, fifo, others = sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1)
def hanging(real, when):
    def call(*arguments, **options):
        if not when():
            return real(*arguments, **options)
        open(fifo + ".reached", "w").close()
        os.close(os.open(fifo, os.O_WRONLY))  # nobody ever reads it
    return call
os.fsync = hanging(os.fsync, lambda: threading.current_thread() is not threading.main_thread())
for name in filter(None, others.split(",")):
    setattr(os, name, hanging(getattr(os, name), lambda: os.access(fifo + ".reached", os.F_OK)))
sys.exit(cli.main())
"""


@dataclass
class Ended:
    """How a run ended: ``seconds`` after the signal, and what it left."""

    status: int
    said: str
    seconds: float
    snapshot: dict[str, Any]
    log: str
    at_work: list[str]
    journal: list[str]


@dataclass
class Case:
    """One run: a folder of its own, and what it is made of."""

    folder: Path
    values: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    argv: list[str] = field(default_factory=list)
    #: says that the run hangs where it is to hang
    ready: Callable[[], bool] = lambda: False

    def start(self) -> subprocess.Popen[str]:
        (self.folder / "log" / "govuk_env_sync").mkdir(parents=True, exist_ok=True)
        values = {
            "temppath": self.folder / "temp",
            "state_dir": self.folder / "state",
            "jobs": 2,
            **self.values,
        }
        config = self.folder / "conf" / "case.cfg"
        config.parent.mkdir(exist_ok=True)
        config.write_text("".join(f'{key}="{value}"\n' for key, value in values.items()), encoding="utf-8")
        argv = self.argv or [sys.executable, "-c", PROGRAM, str(self.folder / "log")]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "AWS_"))}
        environment.update(PYTHONPATH=str(ROOT / "plugins" / "module_utils"), HOME=str(self.folder), **self.environment)
        return subprocess.Popen(
            [*argv, "-f", str(config)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop(self, *numbers: int) -> Ended:
        """Start the run, wait until it hangs, send the signals; return how it ended."""
        process = self.start()
        deadline = time.monotonic() + 60
        try:
            while not self.ready():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, "it does not hang"
                time.sleep(0.05)
            time.sleep(0.5)
            began = time.monotonic()
            for place, number in enumerate(numbers):
                time.sleep(1 if place else 0)
                process.send_signal(number)
            _out, said = process.communicate(timeout=60)
            seconds = time.monotonic() - began
            # A guard takes a moment to find what it has to end.
            while (at_work := commands_of(self.folder)) and time.monotonic() < began + seconds + 5:
                time.sleep(0.05)
        finally:
            process.kill()
        return Ended(process.returncode, said, seconds, self._snapshot(), self._log(), at_work, self.journal())

    def _snapshot(self) -> dict[str, Any]:
        path = self.folder / "state" / "status" / "case.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def _log(self) -> str:
        path = self.folder / "log" / "govuk_env_sync" / "govuk_env_sync.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def journal(self) -> list[str]:
        paths = (self.folder / "state" / "journal").glob("*.json")
        return [point for path in paths for point in json.loads(path.read_text(encoding="utf-8"))["points"]]


def processes_of(folder: Path) -> list[Path]:
    """Return the processes of a run, as /proc shows them: those that have its folder as their home."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"HOME={folder}\0" in (path / "environ").read_text(errors="replace"):
                found.append(path)
    return found


def commands_of(folder: Path) -> list[str]:
    """Return the argument vectors of the processes of a run."""
    found = []
    for path in processes_of(folder):
        with contextlib.suppress(OSError):
            found.append((path / "cmdline").read_text(errors="replace"))
    return found


def waits_in(folder: Path) -> bool:
    """Say whether the run of this folder waits for its server: another thread does that, beside the one for signals."""
    return any(len(os.listdir(process / "task")) > 2 for process in processes_of(folder))


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def tree(folder: Path, size: int = 1000) -> dict[str, Any]:
    """Return the keys of a push of a directory tree with one file, of so many bytes that can't be made fewer."""
    source = folder / "source"
    source.mkdir()
    (source / "data").write_bytes(os.urandom(size))
    return {"action": "push", "dbms": "files", "database": "tree", "directory": source}


def near(folder: Path) -> dict[str, Any]:
    (folder / "store").mkdir(exist_ok=True)
    return {"storagebackend": "directory", "url": folder / "store", "path": "points"}
