# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tools that have to agree with the tree: nothing is ignored, nothing is let pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def run(*command: str, cwd: Path = ROOT, **environment: str) -> str:
    """Run a tool; fail with what it said unless it exits with zero."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{' '.join(command)}: exit status {done.returncode}\n{said[-6000:]}"
    return said


def test_ruff_check() -> None:
    run("ruff", "check", ".")


def test_ruff_format() -> None:
    run("ruff", "format", "--check", ".")


def test_mypy() -> None:
    run("mypy")


def test_documentation() -> None:
    run("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", ".")


def test_changelog() -> None:
    run("antsibull-changelog", "lint")


def test_ansible_lint(tmp_path: Path) -> None:
    # with .ansible-lint: profile production, nothing skipped
    what = ("playbooks", "roles", "extensions", "tests/integration/targets")
    assert "Passed" in run("ansible-lint", *what, ANSIBLE_HOME=str(tmp_path))


#: the Python that the checks run with, as ansible-test calls it
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.mark.timeout(1800)
def test_sanity() -> None:
    """With an empty cache, this makes several virtual environments."""
    before = set(Path("/tmp").glob("ansible-test-*"))  # wherever TMPDIR is
    try:
        run(str(ROOT / "tests" / "tools" / "ansible_test.sh"), "sanity", "--venv", "--python", PYTHON)
    except BaseException:
        # Stopped, it leaves them.
        for path in set(Path("/tmp").glob("ansible-test-*")) - before:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        raise


@pytest.mark.timeout(900)
def test_integration_targets() -> None:
    said = run(str(ROOT / "tests" / "tools" / "ansible_test.sh"), "integration", "--local", "--python", PYTHON)
    assert said.count("failed=0") == 5, said[-4000:]
