# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases import pg_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.pg_archive import tokens
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.task import Connection

extensions = pytest.importorskip("psycopg2.extensions")

ACCESS = os.access

AWKWARD = [
    "app", "", " a b ", "a'b", "a\\", "\\'", 'a"b', "host=evil", "a' host='evil", "postgresql://evil/x", "a=b", "%s",
    "$1", "é☃", "a\nb", "--", "; DROP TABLE t;", "E'", "\\\\''\\",
]  # fmt: skip


@pytest.mark.parametrize("name", AWKWARD)
def test_a_databases_name_is_nothing_but_its_name(name: str) -> None:
    """libpq's own parser says so."""
    assert extensions.parse_dsn(pg_client.conninfo(name)) == {"dbname": name}


@pytest.mark.parametrize("name", AWKWARD)
def test_an_identifier_is_one_token_that_means_the_name(name: str) -> None:
    quoted = pg_client.quote(name)
    assert tokens(f"a {quoted} b") == ["a", quoted, "b"]
    assert quoted[1:-1].replace('""', '"') == name


@pytest.mark.parametrize("text", AWKWARD)
def test_a_literal_is_one_string_that_means_the_text(text: str) -> None:
    made = pg_client.literal(text)
    escaped = made.startswith("E")
    string = made[1:] if escaped else made
    assert tokens(f"a {made} b") == ["a", *(["E"] if escaped else []), string, "b"]
    meant = string[1:-1].replace("''", "'")
    assert (meant.replace("\\\\", "\\") if escaped else meant) == text
    assert escaped is ("\\" in text), "a backslash means itself with E, whatever standard_conforming_strings is"


def test_the_environment_has_the_password_and_only_what_was_given() -> None:
    assert pg_client.environment(Connection("db-1", 5433, "me", "hunter2")) == {
        "PGHOST": "db-1", "PGPORT": "5433", "PGUSER": "me", "PGPASSWORD": "hunter2", "PGAPPNAME": "env_sync",
    }  # fmt: skip
    assert pg_client.environment(Connection()) == {"PGAPPNAME": "env_sync"}


def test_a_server_is_called_by_what_was_asked_for_or_what_libpq_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGHOST", raising=False)
    monkeypatch.delenv("PGPORT", raising=False)
    assert pg_client.Server(Connection("db-1", 5433, "me", "hunter2")).name == "db-1:5433"
    assert pg_client.Server(Connection()).name == "the local server"
    monkeypatch.setenv("PGHOST", "db-2")
    monkeypatch.setenv("PGPORT", "5434")
    assert pg_client.Server(Connection()).name == "db-2:5434"


def test_a_server_that_is_not_there_is_told_with_what_to_do_and_without_the_password() -> None:
    server = pg_client.Server(Connection("127.0.0.1", 1, "me", "hunter2"))
    with pytest.raises(EnvSyncError, match=r"looking: .*Connection refused.*Check database_hostname") as raised:
        server.query("SELECT 1", connection=server.connect("app", "looking"))
    assert "hunter2" not in str(raised.value)


# -- which client programs ---------------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Clients of versions 13.11, 15.4 and 17.2, where a distribution has them; one folder has no pg_dump."""
    for version in ("13.11", "15.4", "17.2", "16.1"):
        folder = tmp_path / version.split(".", maxsplit=1)[0] / "bin"
        client(folder, version)
    (tmp_path / "16" / "bin" / "pg_dump").unlink()
    monkeypatch.setattr(pg_client, "_BINARY_DIRS", (str(tmp_path / "*" / "bin"),))
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
    ("server", "archive", "taken"),
    [
        (130005, 0, (13, 11)),
        (150000, 0, (15, 4)),
        (140000, 0, (15, 4)),
        (160003, 0, (17, 2)),
        (130000, 150002, (15, 4)),
    ],
)
def test_the_nearest_client_that_is_new_enough_is_taken(
    installed: Path, server: int, archive: int, taken: tuple[int, int]
) -> None:
    programs = pg_client.find_programs(server, "dumping", archive)
    assert programs.version == taken
    assert programs.path("pg_dump") == str(installed / str(taken[0]) / "bin" / "pg_dump")


def test_a_client_on_the_path_is_preferred_among_equals(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client(tmp_path / "own", "15.4")
    monkeypatch.setenv("PATH", f"{tmp_path}/own:/usr/bin")
    assert pg_client.find_programs(150000, "dumping").path("pg_dump") == str(tmp_path / "own" / "pg_dump")


def test_clients_that_are_too_old_are_told_with_what_to_install(installed: Path) -> None:
    with pytest.raises(EnvSyncError, match=r"of version 17, older than the server's 18. Install postgresql-client-18"):
        pg_client.find_programs(180001, "dumping")


def test_no_clients_are_told_with_what_to_install(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pg_client, "_BINARY_DIRS", ())
    with pytest.raises(EnvSyncError, match=r"not installed. Install postgresql-client-15"):
        pg_client.find_programs(150000, "dumping")
