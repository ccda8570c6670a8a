# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Push and pull of a directory tree beside tar, zstd and rsync.

``python -m benchmarks.files --megabytes 400``. No figure is judged.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._table import aim, measure, run_task, show

#: how many files of one MiB, 32 KiB and 1 KiB there are for each 4 MiB of the tree, and their bytes
_SIZES = ((2, 1 << 20), (60, 32 << 10), (128, 1 << 10))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="env_sync-bench-") as name:
        print(f"making a tree of about {options.megabytes} MB ...", flush=True)
        _fill(Path(name) / "tree", options.megabytes // 4)
        bench = Bench(Path(name), options.rounds)
        bench.push()
        bench.pull()


def _fill(tree: Path, groups: int) -> None:
    """Make files that compress to about a half."""
    chance = random.Random(1)
    for group in range(groups):
        folder = tree / f"{group % 10}" / f"{group}"
        folder.mkdir(parents=True)
        for count, size in _SIZES:
            for number in range(count):
                half = chance.randbytes(size // 2)
                (folder / f"{size}-{number}").write_bytes(half + half[:16] * (len(half) // 16))


class Bench:
    """The measurements, on one tree."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder = folder
        self.rounds = rounds
        self.tree = folder / "tree"
        self.packed = folder / "tree.tar.zst"

    def push(self) -> None:
        said: list[dict[str, Any]] = []
        took = measure(
            {
                "tar > /dev/null": lambda: self.pack("cat", Path("/dev/null")),
                "tar | zstd -1, to the disk": lambda: self.pack("zstd -q -1 -T0", self.packed),
                "tar | gzip -1, to the disk": lambda: self.pack("gzip -1", self.folder / "tree.tar.gz"),
                "rsync -a": lambda: self.copy(self.tree, "copy"),
                "push to a directory": lambda: said.append(self.run("push", self.tree)),
            },
            self.rounds,
        )
        files = sum(count for count, _size in _SIZES)
        show(f"push of {said[-1]['raw'] / 1e6:.0f} MB, {files} files in 4 MiB, median of {self.rounds} rounds", took)
        push = took["push to a directory"].clock
        aim("push / tar | zstd -1", push / took["tar | zstd -1, to the disk"].clock, "at most 1.3")
        aim("tar | gzip -1 / push", took["tar | gzip -1, to the disk"].clock / push, "over 1")

    def pull(self) -> None:
        took = measure(
            {
                "zstd -d | tar": self.unpack,
                "rsync -a": lambda: self.copy(self.folder / "copy", "copied"),
                "pull from a directory": lambda: self.run("pull", self.folder / "pulled"),
            },
            self.rounds,
        )
        show(f"pull, median of {self.rounds} rounds", took)
        aim("pull / zstd -d | tar", took["pull from a directory"].clock / took["zstd -d | tar"].clock, "at most 1.3")

    def pack(self, compressor: str, target: Path) -> None:
        argv = ["tar", "-c", "--xattrs", "--acls", "-C", str(self.tree), "."]
        with open(target, "wb") as stream, subprocess.Popen(argv, stdout=subprocess.PIPE) as tar:
            subprocess.run(compressor.split(), stdin=tar.stdout, stdout=stream, check=True)
            if target.is_file():  # as a push does
                os.fsync(stream.fileno())

    def unpack(self) -> None:
        target = self.folder / "unpacked"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        with subprocess.Popen(["zstd", "-q", "-d", "-c", str(self.packed)], stdout=subprocess.PIPE) as reader:
            subprocess.run(["tar", "-xp", "--xattrs", "--acls", "-C", str(target)], stdin=reader.stdout, check=True)
        # A pull ends when the tree is on the disk.
        subprocess.run(["sync", "--file-system", str(target)], check=True)

    def copy(self, source: Path, name: str) -> None:
        shutil.rmtree(self.folder / name, ignore_errors=True)
        subprocess.run(["rsync", "-a", f"{source}/", str(self.folder / name)], check=True)

    def run(self, action: str, tree: Path) -> dict[str, Any]:
        (self.folder / "store").mkdir(exist_ok=True)
        return run_task(
            {
                "action": action,
                "dbms": "files",
                "database": "bench",
                "directory": str(tree),
                "storagebackend": "directory",
                "url": str(self.folder / "store"),
                "temppath": str(self.folder / "temp"),
                "state_dir": str(self.folder / "state"),
                "jobs": os.cpu_count() or 1,
            }
        )


if __name__ == "__main__":
    main()
