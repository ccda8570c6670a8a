# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``docs/first-hour.md``: its commands run as they stand, one after the other, and say what the page shows."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import fast_dir
from tests.servers.postgresql import bin_dir

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "first-hour.md").read_text(encoding="utf-8")

#: where the page works, and the programs of PostgreSQL that it takes
FOLDER = "/tmp/first-hour"
PROGRAMS = '"$(ls -d /usr/lib/postgresql/*/bin | tail -1):$PATH"'


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket's, and that the servers' user can reach."""
    path = Path(tempfile.mkdtemp(prefix="hour-", dir=fast_dir(1 << 30)))
    path.chmod(0o755)
    yield path
    for left in path.glob("h/*/postmaster.pid"):  # where the page's commands did not come to their end
        os.kill(int(left.read_text(encoding="utf-8").split()[0]), signal.SIGQUIT)
    shutil.rmtree(path)


def programs(folder: Path, user: str) -> Path:
    """Make a folder of the programs that the page calls; return it. PostgreSQL's server refuses to run as root."""
    found = folder / "bin"
    found.mkdir()
    for name in ("createdb", "pg_dump", "pg_restore", "psql", "vacuumdb"):
        (found / name).symlink_to(Path(bin_dir(), name))
    to_user = [] if os.geteuid() else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    engine = ROOT / "plugins" / "module_utils" / "_engine" / "start.py"
    commands = {name: [*to_user, str(Path(bin_dir(), name))] for name in ("initdb", "pg_ctl")}
    commands["govuk_env_sync"] = [sys.executable, "-I", str(engine), "command"]
    for name, command in commands.items():
        (found / name).write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
        (found / name).chmod(0o755)
    return found


def alike(text: str) -> str:
    """Return a text with all that differs from run to run taken out: versions, times, sizes, numbers."""
    text = re.sub(r"\(postgresql .*\)", "(postgresql)", text)
    text = re.sub(r"_[0-9a-f]{8}\b|\d[\d.:T-]*", "N", text)
    text = re.sub(r"N (?:[KMG]iB|B|ms|s|min)\b", "N", text)
    return re.sub(r" +", " ", text)


def test_its_commands_say_what_it_shows(folder: Path) -> None:
    user = getpass.getuser() if os.geteuid() else "postgres"
    place = str(folder / "h")
    assert FOLDER in PAGE and PROGRAMS in PAGE
    script = "set -eu\n" + "\n".join(blocks("bash"))
    script = script.replace(PROGRAMS, f"{programs(folder, user)}:$PATH")
    script = script.replace(f"mkdir {FOLDER}\n", f"mkdir {place}\nchown {user} {place}\n").replace(FOLDER, place)
    done = subprocess.run(
        ["script", "--quiet", "--return", "--command", f"bash -c {shlex.quote(script)}", "/dev/null"],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder), "PGUSER": user, "PAGER": "cat"},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=240,
        check=False,
    )
    shown = done.stdout.decode()
    assert done.returncode == 0, shown
    said = [alike(line).strip() for line in re.split(r"[\r\n]+", shown.replace(place, FOLDER))]
    expected = (
        "".join(blocks("text")).replace("/home/you/govuk-env-sync", str(ROOT)).replace("owner you", f"owner {user}")
    )
    for line in expected.splitlines():
        assert any(alike(line).strip() in text for text in said), f"nothing says {line!r}: {shown}"
    assert shown.count("exit status 1") == 4, shown
    assert not (folder / "h").exists()
