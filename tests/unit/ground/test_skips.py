# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is skipped, and what may not be: pytest runs in a process of its own, with the tests' plugin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

TESTS_OF_ONE_SERVER = """
    import pytest
    from tests.servers import Unavailable

    @pytest.fixture(scope="session")
    def server():
        raise Unavailable("there is no such server")

    @pytest.fixture
    def bucket(server):
        return "bucket"

    def test_one(server): pass
    def test_two(server): pass
    def test_three(bucket): pass
    """

SKIPS = {
    "a server": TESTS_OF_ONE_SERVER,
    "in the test itself": """
    from tests.servers import Unavailable
    def test_one(): raise Unavailable("there is no such program")
    """,
    "pytest.skip": """
    import pytest
    def test_one(): pytest.skip("not today")
    """,
    "pytest.skip in a fixture": """
    import pytest
    @pytest.fixture
    def root(): pytest.skip("not root")
    def test_one(root): pass
    """,
    "a mark": """
    import pytest
    @pytest.mark.skipif(True, reason="needs root")
    def test_one(): pass
    """,
    "a mark on the module": """
    import pytest
    pytestmark = pytest.mark.skip(reason="needs root")
    def test_one(): pass
    """,
    "the module": """
    import pytest
    pytest.importorskip("no_such_library")
    def test_one(): pass
    """,
    "no parameters": """
    import pytest
    @pytest.mark.parametrize("version", [])
    def test_one(version): pass
    """,
    "unittest": """
    import unittest
    class TestCase(unittest.TestCase):
        @unittest.skip("not today")
        def test_one(self): pass
    """,
    "an expected failure": """
    import pytest
    @pytest.mark.xfail(reason="a known fault")
    def test_one(): assert False
    """,
}


def run(folder: Path, *sources: str, options: Sequence[str] = (), require: str = "") -> tuple[int, str]:
    """Run pytest on files with these sources; return its exit status and what it said."""
    for number, source in enumerate(sources):
        (folder / f"test_{number}.py").write_text(textwrap.dedent(source), encoding="utf-8")
    argv = ["-m", "pytest", "-ra", "-p", "tests.skips", "-p", "no:cacheprovider", f"--rootdir={folder}", *options]
    done = subprocess.run(
        [sys.executable, *argv, "-c", os.devnull, str(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ENV_SYNC_TEST_REQUIRE": require},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "workers"])
def test_every_test_of_a_server_that_cannot_be_had_is_skipped_and_says_why(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    status, said = run(tmp_path, TESTS_OF_ONE_SERVER, options=options)
    assert status == 0, said
    assert re.search(r"\b3 skipped in", said)
    assert "there is no such server" in said


def test_nothing_is_skipped_where_all_is_required(tmp_path: Path) -> None:
    options = ["--continue-on-collection-errors"]
    status, said = run(tmp_path, *SKIPS.values(), options=options)
    assert (status, "= 11 skipped, 1 xfailed in" in said) == (0, True), said
    status, said = run(tmp_path, *SKIPS.values(), options=options, require="all")
    assert status == 1
    for number, kind in enumerate(SKIPS):
        assert re.search(rf"test_{number}\.py.*: with ENV_SYNC_TEST_REQUIRE=all nothing may be skipped", said), kind
    assert not re.search(r"\d (skipped|xfailed)", said.splitlines()[-1])


def test_what_passes_and_what_fails_is_as_it_was(tmp_path: Path) -> None:
    source = """
    def test_one(): pass
    def test_two(): assert False
    """
    for require in ("", "all"):
        status, said = run(tmp_path, source, require=require)
        assert status == 1
        assert "1 failed, 1 passed" in said
