# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import (
    client as postgresql_client,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import Cancelled, EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Connection

extensions = pytest.importorskip("psycopg2.extensions")

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
