# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Other versions of ansible-core than the one that the tests run with, and the tools that would clash with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers import Unavailable, install, made

OLDEST = "ansible-core==2.17.14"
NEWEST = "ansible-core==2.21.5"
#: what Galaxy runs on a collection that is uploaded; it pins versions that the checkout's own ansible-lint can't have
GALAXY_IMPORTER = "galaxy-importer==0.4.44"
#: the versions of Python that the newest ansible-core runs with
NEWER_PYTHONS = ("3.14", "3.13", "3.12")


@dataclass(frozen=True)
class Tools:
    """A Python, and a folder of libraries for it."""

    python: str
    folder: Path

    def argv(self, module: str, *arguments: str) -> list[str]:
        """Return the command that runs one of its modules, wherever the folder is."""
        return [self.python, "-m", module, *arguments]

    def environment(self) -> dict[str, str]:
        """Return the environment that its programs need."""
        search = os.pathsep.join((str(self.folder / "bin"), os.environ["PATH"]))
        return {**os.environ, "PATH": search, "PYTHONPATH": str(self.folder)}


def python(*versions: str) -> str:
    """Return the first of these versions of Python that is on the PATH and works; raises :class:`Unavailable`."""
    for version in versions:
        found = shutil.which(f"python{version}")
        if found:
            # pyenv puts a program of that name on the PATH for versions that are not chosen, too
            answer = subprocess.run(
                [found, "-c", "import sys, venv, pip; print(sys.executable)"],
                env={**os.environ, "PYENV_VERSION": _pyenv(version)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                check=False,
            )
            if answer.returncode == 0:
                return answer.stdout.strip()
    raise Unavailable(f"none of Python {', '.join(versions)} is on the PATH")


def _pyenv(version: str) -> str:
    """Return pyenv's full name of a version, which it wants where several are installed."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    names = sorted(path.name for path in root.glob(f"{version}*"))
    return names[-1] if names else version


def oldest() -> Tools:
    """Return the oldest ansible-core that ``meta/runtime.yml`` allows."""
    return _installed(OLDEST, sys.executable)


def newest() -> Tools:
    """Return the newest ansible-core, which wants Python 3.12."""
    return _installed(NEWEST, python(*NEWER_PYTHONS))


def has_newer_python() -> bool:
    """Return whether this machine has a Python that the newest ansible-core runs with."""
    try:
        python(*NEWER_PYTHONS)
    except Unavailable:
        return False
    return True


def galaxy_importer() -> Tools:
    """Return Galaxy's own checks."""
    return _installed(GALAXY_IMPORTER, sys.executable)


def _installed(requirement: str, interpreter: str) -> Tools:
    said: Sequence[str] = subprocess.run(
        [interpreter, "-c", "import sys; print(*sys.version_info[:2], sep='.')"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.split()
    name = f"{requirement.replace('==', '-')}-python{said[0]}"

    def fetch(folder: Path) -> None:
        pip = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
        install(requirement, [*pip, "--target", str(folder), requirement], folder)

    return Tools(interpreter, made(name, fetch))
