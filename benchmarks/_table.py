# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways to do the same thing, side by side in one run: what each took, and their ratios.

Every figure is the median of alternating rounds on the same servers, the same data and the same disk. Nothing here is a
test: no figure is judged, they are printed with the aim beside them.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

ENGINE = Path(__file__).resolve().parent.parent / "plugins" / "module_utils"

#: runs one task with the engine in a process of its own, and says what it took
_RUNNER = """
import json, resource, sys
sys.path.insert(0, sys.argv[1])
from _engine import pull, push
from _engine.host.progress import Host
from _engine.tasks.task import Task
task = Task.from_mapping(json.load(sys.stdin))
result = {"push": push.push, "pull": pull.pull}[task.action](task, Host())
json.dump({"seconds": result["durations"], "raw": result["raw_bytes"], "stored": result["stored_bytes"],
           "peak_temporary_bytes": result["manifest"]["peak_temporary_bytes"],
           "own_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}, sys.stdout)
"""


@dataclass(frozen=True)
class Took:
    """The median of several rounds, in seconds: on the clock, and of the processor in the programs (not servers)."""

    clock: float
    processor: float


def measure(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, Took]:
    """Return what each way takes; the rounds alternate, so that all meet the same weather."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _unused in range(rounds):
        for name, run in ways.items():
            began, used = time.monotonic(), _processor()
            run()
            took[name].append((time.monotonic() - began, _processor() - used))
    return {name: Took(*(statistics.median(column) for column in zip(*pairs))) for name, pairs in took.items()}


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(title: str, took: dict[str, Took]) -> None:
    print(f"\n{title}\n  {'':42} {'seconds':>8} {'of processor':>13}")
    for name, item in took.items():
        print(f"  {name:42} {item.clock:8.2f} {item.processor:13.2f}")


def aim(what: str, figure: float, aimed: str) -> None:
    print(f"  {what:42} {figure:8.2f}   (aim: {aimed})")


def without_counts(store: Path) -> Path:
    """Return a copy of a store whose points count no rows, as before 0.5.0: pulled from there, nothing is compared."""
    copy = store.with_name("uncounted")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(store, copy)
    for path in copy.rglob("*.manifest.json"):
        values = json.loads(path.read_bytes())
        for table in values["tables"]:
            table.pop("rows", None)
        values.pop("checksum")
        path.write_text(json.dumps(values), encoding="utf-8")
    return copy


def show_counting(pull: Callable[..., object], store: Path, rounds: int) -> None:
    """Measure what counting costs a pull, which is called with its ``url``."""
    uncounted = str(without_counts(store))
    ways: dict[str, Callable[[], object]] = {
        "pull": lambda: pull(url=str(store)),
        "pull of a point without counts": lambda: pull(url=uncounted),
    }
    took = measure(ways, rounds)
    show(f"counting, median of {rounds} rounds", took)
    plain, counted = took["pull of a point without counts"].clock, took["pull"].clock
    aim("counting / pull", (counted - plain) / plain, "under 0.05")


def run_task(task: dict[str, Any]) -> dict[str, Any]:
    """Run a task in a process of its own; return its ``seconds`` by phase, ``raw`` and ``stored`` bytes.

    And ``own_bytes``, the memory of that process, and the point's ``peak_temporary_bytes``, both at their highest.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-c", _RUNNER, str(ENGINE)],
        input=json.dumps(task).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found
