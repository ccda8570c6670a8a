# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Points that the engine pushed, restored without it, by the commands of ``docs/operate/restore-by-hand.md``.

A test names the sections of the page that it follows. Their commands become one script, as the page tells an operator
to make it, with nothing of the checkout on the way: a fresh home, bash, and the programs that the page names.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

PAGE = Path(__file__).parents[3] / "docs" / "operate" / "restore-by-hand.md"


FETCH = "From a directory"
BEGINNING = "The beginning"
TABLES = "A member for each table (`format: directory`, the default)"
STREAM = "One stream (`format: custom`)"

Values = Callable[..., dict[str, Any]]


def commands() -> dict[str, str]:
    """Return the commands of each section of the page that has any, by its heading."""
    found: dict[str, str] = {}
    heading = ""
    parts = re.findall(r"^#+ ([^\n]*)|^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    for title, language, block in parts:
        heading = title or heading
        if language == "bash":
            found[heading] = found.get(heading, "") + block
    return found


#: the headings of the sections that any test follows
FOLLOWED: set[str] = set()


def following(*ways: tuple[str, ...]) -> pytest.MarkDecorator:
    """Run a test once for each way, which is the headings of the sections that it follows."""
    FOLLOWED.update(heading for way in ways for heading in way)
    return pytest.mark.parametrize("way", ways, ids=lambda way: way[-1].partition(" (")[0])


class Operator:
    """Someone with a shell, a home and a working directory, who follows the page."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.bin = folder / "bin"
        for made in (self.home, self.bin):
            made.mkdir()
        self.environment = {"HOME": str(self.home), "PATH": f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.store = folder / "copy"

    def secret(self, name: str, text: str) -> Path:
        """Write a file in the home that nobody else may read."""
        path = self.home / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path

    def first(self, *folders: str | Path) -> None:
        """Put folders first on the PATH."""
        self.environment["PATH"] = ":".join([*map(str, folders), self.environment["PATH"]])

    def tries(self, way: tuple[str, ...], **variables: object) -> subprocess.CompletedProcess[str]:
        """Run the sections' commands, one after the other, in one script with the variables on top."""
        known = commands()
        lines = [f"{name}={shlex.quote(str(value))}\n" for name, value in variables.items()]
        script = self.home / "script"
        script.write_text("".join(lines + [known[heading] for heading in way]), encoding="utf-8")
        return subprocess.run(
            ["/bin/bash", "-euo", "pipefail", str(script)],
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )

    def follows(self, way: tuple[str, ...], **variables: object) -> str:
        """Do the same, which has to succeed; return what was said."""
        done = self.tries(way, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout


def pushed(values: dict[str, Any]) -> str:
    """Push; return the point's name."""
    return str(push.push(Task.from_mapping(values), Host())["point"])


def copy(operator: Operator, values: dict[str, Any], point: str) -> dict[str, object]:
    """Return the variables that fetch a point from a directory."""
    return {"SOURCE": f"{values['url']}/{values['path']}", "STORE": operator.store, "POINT": point}


SAMPLE = """
CREATE TABLE large AS SELECT g AS n, md5(g::text) AS t FROM generate_series(1, 20000) g;
ALTER TABLE large ADD PRIMARY KEY (n);
CREATE TABLE "a b" (n int REFERENCES large, "Ä" text); INSERT INTO "a b" VALUES (1, 'ß');
CREATE VIEW "Seen" AS SELECT n FROM "a b";
SELECT lo_from_bytea(g, convert_to(repeat('object ', 50000), 'UTF8')) FROM generate_series(1, 20) g \\g /dev/null
"""


def same(one: PostgresServer, other: PostgresServer, database: str) -> None:
    assert one.schema(database) == other.schema(database)
    assert one.contents(database) == other.contents(database)
