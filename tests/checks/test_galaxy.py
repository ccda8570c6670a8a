# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Galaxy does with a collection that is uploaded, and what a user has who installs it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.servers import Unavailable
from tests.servers.ansible_cores import galaxy_importer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    galaxy = str(Path(sys.executable).with_name("ansible-galaxy"))
    subprocess.run(
        [galaxy, "collection", "build", "--output-path", str(folder), str(ROOT)],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    (built,) = folder.glob("*.tar.gz")
    return built


@pytest.mark.timeout(600)
def test_galaxy_takes_it(archive: Path, tmp_path: Path) -> None:
    try:
        tools = galaxy_importer()
    except Unavailable as error:
        pytest.skip(str(error))
    # ansible-lint has a check of its own, with the checkout's version
    (tmp_path / "galaxy-importer.cfg").write_text("[galaxy-importer]\nRUN_ANSIBLE_LINT = False\n", encoding="ascii")
    settings = {"GALAXY_IMPORTER_CONFIG": "galaxy-importer.cfg", "ANSIBLE_HOME": str(tmp_path / "ansible")}
    done = subprocess.run(
        tools.argv("galaxy_importer.main", str(archive)),
        cwd=tmp_path,
        env={**tools.environment(), "HOME": str(tmp_path), **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    said = done.stdout
    assert "Importer processing completed successfully" in said, said[-4000:]
    assert "ERROR" not in said and "WARNING" not in said, said[-4000:]


def test_nothing_is_packed_that_is_for_developers_only(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    tops = {name.split("/")[0] for name in names}
    assert not tops & {"tests", "benchmarks", "demo", ".github", ".ci", ".venv"}, sorted(tops)
    assert {"meta", "plugins", "roles", "playbooks", "docs", "README.md", "LICENSE"} <= tops
    assert not [name for name in names if name.endswith(".pyc")]


def test_an_execution_environment_has_what_the_role_installs_on_hosts() -> None:
    described = yaml.safe_load((ROOT / "meta" / "execution-environment.yml").read_text(encoding="utf-8"))
    python, system = (_first_words(ROOT / described["dependencies"][kind]) for kind in ("python", "system"))
    role = ROOT / "roles" / "env_sync" / "vars"
    libraries = yaml.safe_load((role / "main.yml").read_text(encoding="utf-8"))["_env_sync_libraries"]
    assert {name for names in libraries.values() for name in names} <= python
    for distribution in ("Debian", "RedHat"):
        packages = yaml.safe_load((role / f"{distribution}.yml").read_text(encoding="utf-8"))["_env_sync_packages"]
        what = ("postgresql", "mysql", "mongo", "elasticsearch", "files", "s3", "rsync")
        tools = {name for kind in what for name in packages[kind] if not name.startswith("python3")}
        assert tools | {"zstd", "util-linux"} <= system


def _first_words(path: Path) -> set[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.split()[0] for line in lines if line and not line.startswith("#")}
