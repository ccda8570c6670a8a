# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client programs: which one is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.programs import find_program
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

VERSIONS = {
    "mariadb-dump  Ver 10.19 Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)": (True, (10, 11)),
    "mariadb-dump from 11.4.2-MariaDB, client 10.19 for Linux (x86_64)": (True, (11, 4)),
    "mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)": (False, (5, 7)),
    "mysqldump  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server - GPL)": (False, (8, 4)),
}


def install(folder: Path, name: str, said: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{said}'\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("said", VERSIONS)
def test_a_program_s_flavour_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    install(tmp_path / "bin", "mysqldump", said)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    mariadb, version = VERSIONS[said]
    found = find_program(("mariadb-dump", "mysqldump"), mariadb, version, "dumping")
    assert (found.mariadb, found.version) == VERSIONS[said]


def test_the_program_of_the_server_s_own_flavour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maria, _unused, old, mysql = VERSIONS
    install(tmp_path / "bin", "mariadb-dump", maria)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    names = ("mariadb-dump", "mysqldump")
    assert find_program(names, False, (8, 4), "dumping").mariadb, "better than none"
    with pytest.raises(EnvSyncError, match=r"10\.11, older than the server's 11\.4"):
        find_program(names, True, (11, 4), "dumping")
    install(tmp_path / "bin", "mysqldump", mysql)
    assert not find_program(names, False, (8, 4), "dumping").mariadb
    assert find_program(names, True, (10, 11), "dumping").mariadb
    install(tmp_path / "bin", "mysqldump", old)
    with pytest.raises(EnvSyncError, match=r"Install the client programs of MySQL 8\.0"):
        find_program(names, False, (8, 0), "dumping")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvSyncError, match="not installed"):
        find_program(names, True, (10, 11), "dumping")
