# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Option files: read as the clients read them, and written for the dump programs."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import options as mysql_options
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
    assert mysql_options.read_options([str(tmp_path / "my.cnf"), str(tmp_path / "missing")]) == {
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
    found = mysql_options.settings(connection, [str(tmp_path / "my.cnf")])
    assert (found.host, found.port, found.socket, found.user, found.password) == expected
    assert "password" not in repr(found)


def test_the_programs_option_file_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "my.cnf").write_text("[client]\nuser=wrong\npassword=wrong\n[mysqldump]\nquick\n")
    chosen = mysql_options.settings(Connection("db", 3307, "app", SECRET), [str(tmp_path / "my.cnf")])
    mysql_options.write_defaults(str(tmp_path / "ours"), chosen, [str(tmp_path / "my.cnf"), str(tmp_path / "missing")])
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == 0o600
    assert mysql_options.settings(Connection(), [str(tmp_path / "ours")]) == chosen
    assert mysql_options.read_options([str(tmp_path / "ours")])["password"] == SECRET


def test_the_programs_get_of_a_user_s_files_what_a_connection_needs_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "my.cnf").write_text(
        "[mysqldump]\nwhere=1=0\nignore_table=a.b\nno-create-info\nloose-ssl-mode = REQUIRED\nuser=other\nhost=other\n"
        "[client]\nssl_ca = /ca.pem # ours\ndefault-character-set=latin1\nskip-ssl-verify-server-cert\ncompress\n"
        "init-command=SET @a=1\n[mysqld]\nssl-key=/key.pem\n[mysql]\nssl=0\n[client-mariadb]\ndefault-auth='x'\n"
    )
    chosen = mysql_options.settings(Connection("db", 3307, "app", ""), [str(tmp_path / "my.cnf")])
    mysql_options.write_defaults(str(tmp_path / "ours"), chosen, [str(tmp_path / "my.cnf")])
    assert (tmp_path / "ours").read_text().split("\n") == [
        *("[mysqldump]", 'loose-ssl-mode="REQUIRED"'),
        *("[client]", 'ssl-ca="/ca.pem"', "[client]", "skip-ssl-verify-server-cert", "[client]", "compress"),
        *("[client-mariadb]", 'default-auth="x"'),
        *("[client]", 'user="app"', 'password=""', 'host="db"', 'port="3307"', 'protocol="tcp"', ""),
    ]
