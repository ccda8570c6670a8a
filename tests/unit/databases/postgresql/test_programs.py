# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of the installed client programs suit a server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import (
    programs as postgresql_programs,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.programs import (
    find_newest_programs,
    find_programs,
    find_restore_programs,
    installed_programs,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

ACCESS = os.access


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Clients of versions 13.11, 15.4 and 17.2, where a distribution has them; one folder has no pg_dump."""
    for version in ("13.11", "15.4", "17.2", "16.1"):
        folder = tmp_path / version.split(".", maxsplit=1)[0] / "bin"
        client(folder, version)
    (tmp_path / "16" / "bin" / "pg_dump").unlink()
    monkeypatch.setattr(postgresql_programs, "_BINARY_DIRS", (str(tmp_path / "*" / "bin"),))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr("os.access", not_of_this_machine)
    return tmp_path


def client(folder: Path, version: str) -> None:
    folder.mkdir(parents=True)
    for program in ("pg_dump", "pg_restore"):
        (folder / program).write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) {version} (Debian {version}-1.pgdg)'\n")
        (folder / program).chmod(0o755)


def not_of_this_machine(path: str, mode: int) -> bool:
    """``os.access`` that sees no programs in ``/usr/bin``."""
    return not path.startswith("/usr/bin/") and ACCESS(path, mode)


@pytest.mark.parametrize(
    ("server", "taken"), [(130005, (13, 11)), (150000, (15, 4)), (140000, (15, 4)), (160003, (17, 2))]
)
def test_the_nearest_client_that_is_new_enough_is_taken(installed: Path, server: int, taken: tuple[int, int]) -> None:
    programs = find_programs(installed_programs(), server, "dumping")
    assert programs.version == taken
    assert programs.path("pg_dump") == str(installed / str(taken[0]) / "bin" / "pg_dump")


def test_a_client_on_the_path_is_preferred_among_equals(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client(tmp_path / "own", "15.4")
    monkeypatch.setenv("PATH", f"{tmp_path}/own:/usr/bin")
    assert find_programs(installed_programs(), 150000, "dumping").path("pg_dump") == str(tmp_path / "own" / "pg_dump")


def test_clients_that_are_too_old_are_told_with_what_to_install(installed: Path) -> None:
    with pytest.raises(EnvSyncError, match=r"of version 17, older than the server's 18. Install postgresql-client-18"):
        find_programs(installed_programs(), 180001, "dumping")


def test_no_clients_are_told_with_what_to_install(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_programs, "_BINARY_DIRS", ())
    with pytest.raises(EnvSyncError, match=r"not installed. Install postgresql-client-15"):
        find_programs(installed_programs(), 150000, "dumping")


@pytest.mark.parametrize(("server", "taken"), [(140000, (15, 4)), (150000, (15, 4)), (170000, (17, 2))])
def test_a_client_to_restore_with_is_chosen_alike(installed: Path, server: int, taken: tuple[int, int]) -> None:
    assert find_restore_programs(installed_programs(), server, "restoring").version == taken


def test_a_client_that_an_older_server_does_not_understand_is_not_restored_with(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvSyncError, match=r"of version 15, older than the server's 16\. Install postgresql-client-16"):
        find_restore_programs(installed_programs(), 160003, "restoring")
    monkeypatch.setattr(postgresql_programs, "_BINARY_DIRS", (str(tmp_path / "17" / "bin"),))
    with pytest.raises(EnvSyncError, match=r"a server of version 15 refuses .*Install postgresql-client-15"):
        find_restore_programs(installed_programs(), 150000, "restoring")


def test_any_archive_is_for_the_newest_client(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_newest_programs(installed_programs(), "verifying").version == (
        17,
        2,
    )
    monkeypatch.setattr(postgresql_programs, "_BINARY_DIRS", ())
    with pytest.raises(EnvSyncError, match=r"not installed\. Install postgresql-client"):
        find_newest_programs(installed_programs(), "verifying")
