# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MySQL's option files, its programs, and what may be repeated of its errors."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import client as mysql_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import snapshot as mysql_snapshot
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Connection

SECRET = "a#b'c\"d\\e\\n "


def test_option_files(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "x.cnf").write_text("[client]\nport = 3307\n")
    (tmp_path / "conf.d" / "x.bak").write_text("[client]\nport = 1\n")
    (tmp_path / "more").write_text("[client]\nhost=included\n")
    (tmp_path / "my.cnf").write_text(
        f"!includedir {tmp_path}/conf.d\n[mysqld]\nport=1\n[client]\nuser = app # who\n;port=2\nssl_ca=/ca.pem\n"
        f"password='it\\s #\\\\1'\nhost=first\n!include {tmp_path}/more\n[mysql]\nuser=other\n"
    )
    assert mysql_client.read_options([str(tmp_path / "my.cnf"), str(tmp_path / "missing")]) == {
        "port": "3307",
        "user": "app",
        "ssl-ca": "/ca.pem",
        "password": "it  #\\1",
        "host": "included",
    }


@pytest.mark.parametrize(
    ("options", "connection", "expected"),
    [
        ("", Connection(host="db", user="u", password="p"), ("db", 3306, "", "u", "p")),
        ("host=db\nport=3307\nuser=u\npassword=p", Connection(), ("db", 3307, "", "u", "p")),
        ("host=db\nuser=u\npassword=p", Connection(user="v"), ("db", 3306, "", "v", "")),
        ("host=db\nuser=u\npassword=p", Connection(host="d2", user="u"), ("d2", 3306, "", "u", "p")),
        ("socket=/s\nuser=u", Connection(), ("localhost", 3306, "/s", "u", "")),
        ("socket=/s\nuser=u", Connection(port=3309), ("localhost", 3309, "", "u", "")),
        ("user=u", Connection(host="/run/s"), ("localhost", 3306, "/run/s", "u", "")),
    ],
)
def test_settings(
    tmp_path: Path, options: str, connection: Connection, expected: tuple[str, int, str, str, str]
) -> None:
    (tmp_path / "my.cnf").write_text(f"[client]\n{options}\n")
    found = mysql_client.settings(connection, [str(tmp_path / "my.cnf")])
    assert (found.host, found.port, found.socket, found.user, found.password) == expected
    assert "password" not in repr(found)


def test_the_programs_option_file_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "my.cnf").write_text("[client]\nuser=wrong\npassword=wrong\n[mysqldump]\nquick\n")
    chosen = mysql_client.settings(Connection("db", 3307, "app", SECRET), [str(tmp_path / "my.cnf")])
    mysql_client.write_defaults(str(tmp_path / "ours"), chosen, [str(tmp_path / "my.cnf"), str(tmp_path / "missing")])
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == 0o600
    assert mysql_client.settings(Connection(), [str(tmp_path / "ours")]) == chosen
    assert mysql_client.read_options([str(tmp_path / "ours")])["password"] == SECRET


def test_the_programs_get_of_a_user_s_files_what_a_connection_needs_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "my.cnf").write_text(
        "[mysqldump]\nwhere=1=0\nignore_table=a.b\nno-create-info\nloose-ssl-mode = REQUIRED\nuser=other\nhost=other\n"
        "[client]\nssl_ca = /ca.pem # ours\ndefault-character-set=latin1\nskip-ssl-verify-server-cert\ncompress\n"
        "init-command=SET @a=1\n[mysqld]\nssl-key=/key.pem\n[mysql]\nssl=0\n[client-mariadb]\ndefault-auth='x'\n"
    )
    chosen = mysql_client.settings(Connection("db", 3307, "app", ""), [str(tmp_path / "my.cnf")])
    mysql_client.write_defaults(str(tmp_path / "ours"), chosen, [str(tmp_path / "my.cnf")])
    assert (tmp_path / "ours").read_text().split("\n") == [
        *("[mysqldump]", 'loose-ssl-mode="REQUIRED"'),
        *("[client]", 'ssl-ca="/ca.pem"', "[client]", "skip-ssl-verify-server-cert", "[client]", "compress"),
        *("[client-mariadb]", 'default-auth="x"'),
        *("[client]", 'user="app"', 'password=""', 'host="db"', 'port="3307"', 'protocol="tcp"', ""),
    ]


@pytest.mark.parametrize(
    ("code", "text", "repeated", "of_data"),
    [
        (1146, "Table 'a.b' doesn't exist", True, False),
        (1064, "You have an error in your SQL syntax near 'someone@example.com'", True, False),
        (1452, "a foreign key constraint fails", True, True),
        (3819, "Check constraint 'c' is violated.", True, True),
        (2006, "Server has gone away", True, True),
        (1062, "Duplicate entry 'someone@example.com' for key 'email'", False, False),
        (1644, "raised", False, False),
        (99999, "new", False, False),
    ],
)
def test_what_is_repeated_of_an_error(code: int, text: str, repeated: bool, of_data: bool) -> None:
    assert (text in mysql_client.describe(code, text)) is repeated
    assert (text in mysql_client.describe(code, text, data=True)) is of_data


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
    found = mysql_client.find_program(("mariadb-dump", "mysqldump"), mariadb, version, "dumping")
    assert (found.mariadb, found.version) == VERSIONS[said]


def test_the_program_of_the_server_s_own_flavour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maria, _unused, old, mysql = VERSIONS
    install(tmp_path / "bin", "mariadb-dump", maria)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    names = ("mariadb-dump", "mysqldump")
    assert mysql_client.find_program(names, False, (8, 4), "dumping").mariadb, "better than none"
    with pytest.raises(EnvSyncError, match=r"10\.11, older than the server's 11\.4"):
        mysql_client.find_program(names, True, (11, 4), "dumping")
    install(tmp_path / "bin", "mysqldump", mysql)
    assert not mysql_client.find_program(names, False, (8, 4), "dumping").mariadb
    assert mysql_client.find_program(names, True, (10, 11), "dumping").mariadb
    install(tmp_path / "bin", "mysqldump", old)
    with pytest.raises(EnvSyncError, match=r"Install the client programs of MySQL 8\.0"):
        mysql_client.find_program(names, False, (8, 0), "dumping")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvSyncError, match="not installed"):
        mysql_client.find_program(names, True, (10, 11), "dumping")


def test_tables_are_shared_out_evenly() -> None:
    sizes = {"a": 10, "b": 7, "c": 3, "d": 0, "e": 0}
    assert mysql_snapshot.share_out(sizes, 2) == [["a", "d", "e"], ["b", "c"]]
    assert mysql_snapshot.share_out(sizes, 9) == [["a"], ["b"], ["c"], ["d"], ["e"]]


@pytest.mark.parametrize(
    ("pattern", "schema", "alike"),
    [
        ("shop", "shop", True),
        ("sh_p", "shop", True),
        (r"sh\_p", "shop", False),
        (r"a\_%", "a_b%", True),
        ("%", "", True),
    ],
)
def test_a_grant_s_pattern(pattern: str, schema: str, alike: bool) -> None:
    assert mysql_client._like(pattern, schema) is alike


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", {}),
        ("ssl-ca=/ca.pem", {"ssl_ca": "/ca.pem"}),
        ("ssl-verify-server-cert", {"ssl_verify_cert": True, "ssl_verify_identity": True}),
        ("disable-ssl-verify-server-cert", {}),
        ("ssl-verify-server-cert=OFF", {}),
        ("skip-ssl", {"ssl_disabled": True}),
        ("ssl_mode=disabled", {"ssl_disabled": True}),
        ("ssl=1", {"ssl": {"check_hostname": False, "verify_mode": False}}),
    ],
)
def test_tls(tmp_path: Path, options: str, expected: dict[str, object]) -> None:
    (tmp_path / "my.cnf").write_text(f"[client]\n{options}\n")
    assert mysql_client._tls(mysql_client.settings(Connection("db"), [str(tmp_path / "my.cnf")]).tls) == expected
