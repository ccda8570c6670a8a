# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import (
    client as postgresql_client,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.toc import tokens
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import Cancelled, EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Connection

extensions = pytest.importorskip("psycopg2.extensions")

ACCESS = os.access

AWKWARD = [
    "app", "", " a b ", "a'b", "a\\", "\\'", 'a"b', "host=evil", "a' host='evil", "postgresql://evil/x", "a=b", "%s",
    "$1", "é☃", "a\nb", "--", "; DROP TABLE t;", "E'", "\\\\''\\",
]  # fmt: skip


@pytest.mark.parametrize("name", AWKWARD)
def test_a_databases_name_is_nothing_but_its_name(name: str) -> None:
    """libpq's own parser says so."""
    assert extensions.parse_dsn(postgresql_client.conninfo(Connection(), name)) == {"dbname": name}


def test_a_connection_string_says_where_the_server_is_and_no_secret() -> None:
    made = postgresql_client.conninfo(Connection("db-1", 5433, "o'neil", "hunter2"), "app")
    assert extensions.parse_dsn(made) == {"host": "db-1", "port": "5433", "user": "o'neil", "dbname": "app"}


@pytest.mark.parametrize("name", AWKWARD)
def test_an_identifier_is_one_token_that_means_the_name(name: str) -> None:
    quoted = postgresql_client.quote(name)
    assert tokens(f"a {quoted} b") == ["a", quoted, "b"]
    assert quoted[1:-1].replace('""', '"') == name


@pytest.mark.parametrize("text", AWKWARD)
def test_a_literal_is_one_string_that_means_the_text(text: str) -> None:
    made = postgresql_client.literal(text)
    escaped = made.startswith("E")
    string = made[1:] if escaped else made
    assert tokens(f"a {made} b") == ["a", *(["E"] if escaped else []), string, "b"]
    meant = string[1:-1].replace("''", "'")
    assert (meant.replace("\\\\", "\\") if escaped else meant) == text
    assert escaped is ("\\" in text), "a backslash means itself with E, whatever standard_conforming_strings is"


def test_the_environment_has_the_password_and_only_what_was_given() -> None:
    assert postgresql_client.environment(Connection("db-1", 5433, "me", "hunter2")) == {
        "PGHOST": "db-1", "PGPORT": "5433", "PGUSER": "me", "PGPASSWORD": "hunter2", "PGAPPNAME": "env_sync",
    }  # fmt: skip
    assert postgresql_client.environment(Connection()) == {"PGAPPNAME": "env_sync"}


@pytest.mark.parametrize("host", ["", "/run/postgresql", "@abstract", "localhost", "127.0.0.1", "::1"])
def test_this_machine_is_known_by_its_sockets_and_its_loopback(host: str) -> None:
    assert postgresql_client.is_local(host)


@pytest.mark.parametrize("host", ["db.example.com", "10.0.0.7", "127.example.com"])
def test_any_other_host_is_another_machine(host: str) -> None:
    assert not postgresql_client.is_local(host)


def test_a_server_is_called_by_what_was_asked_for_or_what_libpq_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGHOST", raising=False)
    monkeypatch.delenv("PGPORT", raising=False)
    assert postgresql_client.Server(Connection("db-1", 5433, "me", "hunter2")).name == "db-1:5433"
    assert postgresql_client.Server(Connection()).name == "the local server"
    monkeypatch.setenv("PGHOST", "db-2")
    monkeypatch.setenv("PGPORT", "5434")
    assert postgresql_client.Server(Connection()).name == "db-2:5434"


@pytest.mark.parametrize(
    ("state", "said", "advice"),
    [
        ("42501", "keine Berechtigung für Tabelle users", "Give the role of login_user the right"),
        ("53300", "désolé, trop de clients sont déjà connectés", "max_connections"),
        ("25006", "não é possível executar em uma transação somente leitura", "the primary's address"),
        # the words of a hint, in an error that they have nothing to do with
        ("42883", 'function "role_of_database" does not exist', ""),
        ("", "Verbindung zum Server ist gescheitert", "the server's log says more"),
    ],
)
def test_advice_goes_by_the_sqlstate_whatever_the_servers_language(state: str, said: str, advice: str) -> None:
    class Refused(Exception):
        pgcode = state

    error = postgresql_client.Server(Connection("db-1"))._error("asking", Refused(said))
    assert advice in error.hint if advice else not error.hint


def test_a_server_that_is_not_there_is_told_with_what_to_do_and_without_the_password() -> None:
    server = postgresql_client.Server(Connection("127.0.0.1", 1, "me", "hunter2"))
    with pytest.raises(EnvSyncError, match=r"looking: .*Connection refused.*Check database_hostname") as raised:
        server.query("SELECT 1", connection=server.connect("app", "looking"))
    assert "hunter2" not in str(raised.value)


# -- a run that is told to stop ----------------------------------------------------------------------------------------


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


@pytest.fixture(params=["before the session", "at the first statement"])
def silent(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a server that says nothing (more) from some moment on, and leaves its connections open."""
    facts = {"client_encoding": "UTF8", "DateStyle": "ISO", "server_version": "15.0", "integer_datetimes": "on"}
    welcome = message(b"R", bytes(4))
    welcome += b"".join(message(b"S", f"{name}\0{value}\0".encode()) for name, value in facts.items())
    welcome += message(b"K", bytes(8)) + message(b"Z", b"I")
    kept = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                kept.append(listener.accept()[0])
                if request.param == "at the first statement" and len(kept) == 1:
                    kept[0].recv(1000)
                    kept[0].sendall(welcome)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


def test_a_silent_server_does_not_keep_a_run_that_is_told_to_stop(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "disable")
    monkeypatch.setenv("PGGSSENCMODE", "disable")
    monkeypatch.setattr(postgresql_client, "_CANCEL_PATIENCE", 0.2)
    server = postgresql_client.Server(Connection("127.0.0.1", silent, "me", "hunter2"), lambda: True)
    began = time.monotonic()
    with pytest.raises(Cancelled, match="looking: it was told to stop"):
        server.connect("app", "looking")
    assert time.monotonic() - began < 5


# -- which client programs ---------------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Clients of versions 13.11, 15.4 and 17.2, where a distribution has them; one folder has no pg_dump."""
    for version in ("13.11", "15.4", "17.2", "16.1"):
        folder = tmp_path / version.split(".", maxsplit=1)[0] / "bin"
        client(folder, version)
    (tmp_path / "16" / "bin" / "pg_dump").unlink()
    monkeypatch.setattr(postgresql_client, "_BINARY_DIRS", (str(tmp_path / "*" / "bin"),))
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
    programs = postgresql_client.find_programs(postgresql_client.installed_programs(), server, "dumping")
    assert programs.version == taken
    assert programs.path("pg_dump") == str(installed / str(taken[0]) / "bin" / "pg_dump")


def test_a_client_on_the_path_is_preferred_among_equals(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client(tmp_path / "own", "15.4")
    monkeypatch.setenv("PATH", f"{tmp_path}/own:/usr/bin")
    assert postgresql_client.find_programs(postgresql_client.installed_programs(), 150000, "dumping").path(
        "pg_dump"
    ) == str(tmp_path / "own" / "pg_dump")


def test_clients_that_are_too_old_are_told_with_what_to_install(installed: Path) -> None:
    with pytest.raises(EnvSyncError, match=r"of version 17, older than the server's 18. Install postgresql-client-18"):
        postgresql_client.find_programs(postgresql_client.installed_programs(), 180001, "dumping")


def test_no_clients_are_told_with_what_to_install(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_client, "_BINARY_DIRS", ())
    with pytest.raises(EnvSyncError, match=r"not installed. Install postgresql-client-15"):
        postgresql_client.find_programs(postgresql_client.installed_programs(), 150000, "dumping")


@pytest.mark.parametrize(("server", "taken"), [(140000, (15, 4)), (150000, (15, 4)), (170000, (17, 2))])
def test_a_client_to_restore_with_is_chosen_alike(installed: Path, server: int, taken: tuple[int, int]) -> None:
    assert (
        postgresql_client.find_restore_programs(postgresql_client.installed_programs(), server, "restoring").version
        == taken
    )


def test_a_client_that_an_older_server_does_not_understand_is_not_restored_with(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvSyncError, match=r"of version 15, older than the server's 16\. Install postgresql-client-16"):
        postgresql_client.find_restore_programs(postgresql_client.installed_programs(), 160003, "restoring")
    monkeypatch.setattr(postgresql_client, "_BINARY_DIRS", (str(tmp_path / "17" / "bin"),))
    with pytest.raises(EnvSyncError, match=r"a server of version 15 refuses .*Install postgresql-client-15"):
        postgresql_client.find_restore_programs(postgresql_client.installed_programs(), 150000, "restoring")


def test_any_archive_is_for_the_newest_client(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert postgresql_client.find_newest_programs(postgresql_client.installed_programs(), "verifying").version == (
        17,
        2,
    )
    monkeypatch.setattr(postgresql_client, "_BINARY_DIRS", ())
    with pytest.raises(EnvSyncError, match=r"not installed\. Install postgresql-client"):
        postgresql_client.find_newest_programs(postgresql_client.installed_programs(), "verifying")
