# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to the server, and the user's own option file."""

from __future__ import annotations

import contextlib
import shutil
import socket
from pathlib import Path

import pymysql
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import client as mysql_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Connection
from pymysql.constants import CLIENT

from tests.integration.mysql.helpers import SAMPLE, Values, do_push
from tests.servers.mariadb import MariaServer


def test_the_server_takes_one_statement_at_a_time(production: MariaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyMySQL before 1.0 lets several come at once unless it is told not to."""
    monkeypatch.setattr(CLIENT, "CAPABILITIES", CLIENT.CAPABILITIES | CLIENT.MULTI_STATEMENTS)
    where = Connection(production.host, production.port, production.user, production.password)
    allowed = pymysql.connect(
        host=production.host, port=production.port, user=production.user, password=production.password
    )
    with contextlib.closing(allowed):
        allowed.query("DO 1; DO 2")  # what is tested is there
    with contextlib.closing(mysql_client.Server(where)) as server:
        for connection in (server.control(), server.connect("testing"), server.connect("testing", raw=True)):
            assert not connection.client_flag & CLIENT.MULTI_STATEMENTS
            with pytest.raises(EnvSyncError, match="1064"):
                server.send(b"DO 1; DO 2", connection, "testing")


def test_a_connection_that_says_nothing_for_long(production: MariaServer) -> None:
    """Firewalls forget it within minutes, and a restore takes hours."""
    with contextlib.closing(
        mysql_client.Server(Connection(production.host, production.port, production.user, production.password))
    ) as server:
        connected = server.control()._sock
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_the_socket_and_the_user_s_own_option_file(
    production: MariaServer, database: str, task_values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.create_database(database, SAMPLE)
    shutil.rmtree(tmp_path / "home", ignore_errors=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".my.cnf").write_text(
        f"[client]\nsocket = {production.socket} # the local one\nuser=root\n[mysqldump]\nskip-comments\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    values = task_values("push", database)
    for key in ("database_hostname", "database_port", "login_user", "login_password"):
        del values[key]
    assert do_push(values)["changed"]
