# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scripts that sanitise nothing on MySQL and MariaDB, each refused; and what is left of the rows that one changed."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import purge as mysql_purge
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.database import MySQL
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.mariadb import MariaServer
from tests.servers.mysql import MySQLServer, mariadb_base, mysql_57_base

USERS = """
CREATE TABLE users (id int PRIMARY KEY, email varchar(100) NOT NULL UNIQUE);
INSERT INTO users VALUES (1, 'ann@real.example'), (2, 'bob@real.example'), (3, 'eve@real.example');
CREATE TABLE sessions (id int PRIMARY KEY, token varchar(40));
INSERT INTO sessions VALUES (1, 'secret');
"""

MASK = "UPDATE users SET email = CONCAT(id, '@invalid');\n"

#: a procedure that does its work, and one that swallows why it does not
SILENT = """
DELIMITER //
CREATE PROCEDURE silent() BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  SIGNAL SQLSTATE '45000';
  UPDATE users SET emial = 1;
END//
DELIMITER ;
CALL silent(); DROP PROCEDURE silent;
"""

UNDOING = f"""
DELIMITER //
CREATE PROCEDURE undoing() BEGIN
  START TRANSACTION;
  {MASK}
  ROLLBACK;
END//
DELIMITER ;
CALL undoing(); DROP PROCEDURE undoing;
"""

#: scripts after which users would have the addresses that they had, and what is said of each; {live} is the database
NOTHING = {
    "empty": ("", "changed nothing"),
    "comment": ("-- " + MASK, "changed nothing"),
    "only reads": ("SELECT 1;\nSELECT * FROM users;", "changed nothing"),
    "matches no row": ("UPDATE users SET email = 'x' WHERE id > 1000;", "changed nothing"),
    "same values": ("UPDATE users SET email = email;", "changed nothing"),
    "transaction": ("START TRANSACTION;\n" + MASK, "line 2: it ends in a transaction.*End it with COMMIT"),
    "begin in a block": ("DELIMITER //\nBEGIN;\n" + MASK + "//\n", "line 2: it ends in a transaction"),
    "autocommit": ("SET autocommit = 0;\n" + MASK, "line 2: it ends with autocommit off"),
    "autocommit and DDL": (
        "SET autocommit = 0;\nDELETE FROM sessions;\nCREATE TABLE noted (id int);\n" + MASK,
        "line 4: it ends with autocommit off",
    ),
    "rollback": ("BEGIN;\n" + MASK + "ROLLBACK;\n", "changed nothing"),
    "savepoint": ("BEGIN;\nSAVEPOINT a;\n" + MASK + "ROLLBACK TO a;\nCOMMIT;\n", "changed nothing"),
    "xa": ("XA START 'x';\n" + MASK + "XA END 'x';\nXA PREPARE 'x';\n", "line 1: XA transactions outlive"),
    "rollback in a procedure": (UNDOING, "changed nothing"),
    "swallowed error": (SILENT, "changed nothing"),
    "locked tables": ("SET autocommit = 0;\nLOCK TABLES users WRITE;\n" + MASK, "line 3: it ends with autocommit off"),
    "read only": ("SET SESSION TRANSACTION READ ONLY;\n" + MASK, "line 2: error 1792"),
    "safe updates": ("SET sql_safe_updates = 1;\n" + MASK, "line 2: error 1175"),
    "temporary table": ("CREATE TEMPORARY TABLE users AS SELECT * FROM users;\n" + MASK, "changed nothing"),
    "ignored": ("UPDATE IGNORE users SET email = 'ann@real.example' WHERE id > 1;\n", "changed nothing"),
    "for no version": ("/*!99999 UPDATE users SET email = CONCAT(id, '@invalid') */;\n", "changed nothing"),
    "exit": ("DELETE FROM sessions;\nexit\n" + MASK, "line 2: exit ends the script before its end"),
    "\\q": ("DELETE FROM sessions;\n\\q\n" + MASK, r"line 2: \\q \(quit\) ends the script"),
    "\\q behind a statement": ("DELETE FROM sessions; \\q\n" + MASK, r"line 1: \\q"),
    "\\c": (MASK.replace(";", " \\c"), r"line 1: \\c \(clear\) cancels"),
    "source": ("source /etc/hostname\n" + MASK, "line 1: source runs another file"),
    "\\.": ("\\. /etc/hostname\n", r"line 1: \\\. \(source\)"),
    "system": ("system true\n" + MASK, "line 1: system runs a program"),
    "\\!": ("\\! true\n" + MASK, r"line 1: \\! \(system\)"),
    "pager": ("pager cat > /dev/null\n" + MASK, "line 1: pager"),
    "tee": ("tee /dev/null\n" + MASK, "line 1: tee writes rows to a file"),
    "connect": ("connect {live}\n" + MASK, "line 1: connect leaves the session"),
    "\\r": ("\\r {live}\n" + MASK, r"line 1: \\r \(connect\)"),
    "\\u": ("\\u {live}\n" + MASK, r"line 1: \\u changes the database"),
    "use": ("-- first\nUSE {live};\n" + MASK, "line 2: USE {live} leaves the database"),
    "use in a comment": ("/*!50000 USE `{live}` */;\n" + MASK, "line 1: USE {live} leaves the database"),
    "use in a block": ("DELIMITER //\nSELECT 1; USE {live};\n" + MASK + "//", "line 2: USE {live} leaves"),
    "use of another": ("USE mysql;\n", "line 1: USE mysql leaves the database"),
    "qualified": ("SELECT 1;\nUPDATE {live}.users SET email = 1;\n", r"line 2: {live}\.users is in the live database"),
    "qualified, in a body": (
        "DELIMITER //\nCREATE PROCEDURE p() UPDATE `{live}` . `users` SET email = id //\nCALL p() //\n",
        r"line 2: {live}\.users is in the live database",
    ),
    "in a text": (
        "SET @s = 'UPDATE {live}.users SET email = id';\nPREPARE s FROM @s;\nEXECUTE s;\n",
        r"line 1: a text that may become a statement names the live database",
    ),
    "in a made text": (
        "SET @s = CONCAT('UPDATE ', DATABASE(), '.users SET email = id');\n"
        "SET @s = REPLACE(REPLACE(@s, 'env_sync_scratch_', ''), CONCAT('_', SUBSTRING_INDEX(DATABASE(), '_', -1)), '');"
        "\nPREPARE s FROM @s;\nEXECUTE s;\n",
        r"line 3: the statement that it makes: {live}\.users is in the live database",
    ),
    "dropped": ("DROP DATABASE {live};\n", "line 1: DROP DATABASE {live} is not for a script"),
    "missing table": ("PREPARE s FROM 'UPDATE nowhere SET a = 1';\n", "line 1: error 1146"),
    "comment that never ends": ("DELETE FROM sessions;\n/* addresses\n" + MASK, "line 2: a comment begins that never"),
    "string that never ends": ("DELETE FROM sessions WHERE token = 'x;\n" + MASK, "line 2: a string begins that never"),
    "name that never ends": ("DELETE FROM `sessions;\n", "line 1: a name begins that never ends"),
    "utf-16": (MASK.encode("utf-16"), "is not UTF-8 text"),
}  # fmt: skip

#: scripts that do their work in ways that are rare, and how many rows each changes
RIGHT = {
    "no last semicolon": ("SELECT 1; UPDATE users SET email = id", 3),
    "delimiter never reset": ("DELIMITER //\nDELETE FROM sessions; UPDATE users SET email = id //\nDO 1; DO 2;", 4),
    "written on Windows": (b"\xef\xbb\xbf-- first\r\nDELIMITER $$\r\nUPDATE users SET email = id$$\r\n", 3),
    "autocommit off": ("SET autocommit = 0;\nUPDATE users SET email = id;\nCOMMIT;\nSELECT 1 FROM users;\n", 3),
    "tables locked": ("LOCK TABLES users WRITE;\nUPDATE users SET email = id;\n", 3),
    "ends with \\G": ("UPDATE users SET email = id \\G\nSELECT 1\\g", 3),
    "read only afterwards": ("UPDATE users SET email = id;\nSET SESSION TRANSACTION READ ONLY;", 3),
    "what only shows": ("warnings\nstatus;\nUPDATE users SET email = id;\nnowarning;\n\\W\n", 3),
    "of a table like the database": ("UPDATE users {live} SET {live}.email = {live}.id;\n", 3),
    "procedure": (
        "DELIMITER //\nCREATE PROCEDURE p() BEGIN UPDATE users SET email = id; SELECT 1; END//\n"
        "CALL p()//\nDROP PROCEDURE p//",
        3,
    ),
    "text": ("SET @s = 'UPDATE users SET email = id';\nPREPARE s FROM @s;\nEXECUTE s;\nDEALLOCATE PREPARE s;\n", 3),
    "several tables": (
        "UPDATE users u JOIN sessions s ON s.id = u.id SET u.email = 'x', s.token = 'y';\n"
        "UPDATE users SET email = id WHERE email <> 'x'",
        4,
    ),
    "select": ("UPDATE users SET email = id; CREATE TABLE kept (id int); INSERT INTO kept SELECT id FROM users", 6),
    "trigger": (
        "CREATE TABLE kept (id int);\n"
        "CREATE TRIGGER tr AFTER UPDATE ON users FOR EACH ROW INSERT INTO kept VALUES (OLD.id);\n"
        "UPDATE users SET email = id;\nDROP TRIGGER tr",
        3,
    ),
    "emptied": ("TRUNCATE TABLE users;\n", 0),
    "dropped": ("DROP TABLE users;\n", 0),
    "column dropped": ("ALTER TABLE users DROP COLUMN email;\n", 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaServer]:
    with MariaServer("maria") as server:
        yield server


@pytest.fixture(scope="module")
def mysql() -> Iterator[MySQLServer]:
    with MySQLServer("mysql") as server:
        yield server


@pytest.fixture(scope="module")
def maria11() -> Iterator[MariaServer]:
    with MariaServer("maria11", mariadb_base()) as server:
        yield server


@pytest.fixture(scope="module")
def mysql57() -> Iterator[MySQLServer]:
    with MySQLServer("mysql57", mysql_57_base()) as server:
        yield server


class Pulled:
    """A point with real addresses, and the live database that it is pulled into, on one server."""

    def __init__(self, server: MariaServer, folder: Path, sql: str) -> None:
        self.server = server
        self.live = f"test{uuid.uuid4().hex[:8]}"
        self.folder = folder
        self.sql = sql
        server.create_database(self.live, sql)
        push.push(Task.from_mapping(self.values("push")), Host())
        server.drop_database(self.live)

    def values(self, action: str, **others: Any) -> dict[str, Any]:
        server, usual = self.server, os.environ["PATH"]
        if server.base is not None and str(server.base) not in usual:
            os.environ["PATH"] = f"{server.base}/bin:{usual}"
        return {
            "action": action,
            "dbms": "mysql",
            "database": self.live,
            "database_hostname": server.host,
            "database_port": server.port,
            "login_user": server.user,
            "login_password": server.password,
            "storagebackend": "directory",
            "url": str(self.folder),
            "path": "mysql",
            "temppath": str(self.folder / "temp"),
            "state_dir": str(self.folder / "state"),
            "jobs": 2,
            **others,
        }

    def pull(self, script: str | bytes, **others: Any) -> dict[str, Any]:
        """Pull with a script, over a live database that has other rows."""
        self.renew()
        return self.pull_over(script, **others)

    def renew(self) -> None:
        self.server.drop_database(self.live)
        self.server.create_database(self.live, USERS + "UPDATE users SET email = CONCAT('live', id)")

    def pull_over(self, script: str | bytes, **others: Any) -> dict[str, Any]:
        path = self.folder / "mask.sql"
        path.write_bytes(script if isinstance(script, bytes) else script.replace("{live}", self.live).encode())
        more = {"transformation_sql_filename": str(path), "require_sanitised": True, "allow_restore_to_source": True}
        return pull.pull(Task.from_mapping(self.values("pull", **{**more, **others})), Host())

    def emails(self) -> str:
        return self.server.sql("SELECT email FROM users ORDER BY id", self.live).replace("\n", " ")


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def pulled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulled]:
    path = os.environ["PATH"]
    point = Pulled(request.getfixturevalue(request.param), tmp_path_factory.mktemp("store"), USERS)
    yield point
    os.environ["PATH"] = path
    point.server.drop_database(point.live)


@pytest.mark.parametrize("kind", NOTHING)
def test_a_script_that_sanitises_nothing_is_refused(pulled: Pulled, kind: str) -> None:
    script, said = NOTHING[kind]
    with pytest.raises(EnvSyncError, match=said.replace("{live}", pulled.live)) as raised:
        pulled.pull(script)
    assert "real.example" not in str(raised.value)
    assert pulled.emails() == "live1 live2 live3"
    assert pulled.server.databases() == [pulled.live]


@pytest.mark.parametrize("kind", RIGHT)
def test_a_script_that_sanitises_in_its_own_way(pulled: Pulled, kind: str) -> None:
    script, changed = RIGHT[kind]
    (sanitised,) = pulled.pull(script)["sanitised"]
    assert (sanitised["changed"], bool(sanitised["altered"])) == (changed, not changed)
    assert b"real.example" not in pulled.server.dump(pulled.live)
    assert pulled.server.databases() == [pulled.live]
    assert pulled.server.sql("SHOW TABLES LIKE 'env%'", pulled.live) == ""


# -- what surrounds a script -------------------------------------------------------------------------------------------


def test_what_servers_and_users_have_as_defaults(
    pulled: Pulled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the user's files, only what says how to connect counts; and neither the restore nor a script is undone."""
    (tmp_path / ".my.cnf").write_text(
        '[client]\ninit-command="SET autocommit=0"\n[mysql]\nforce\nsafe-updates\ndelimiter=//\ndatabase=mysql\n'
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    pulled.renew()
    pulled.server.sql("SET GLOBAL autocommit = 0")
    try:
        assert pulled.pull_over("UPDATE users SET email = id;")["sanitised"][0]["changed"] == 3
    finally:
        pulled.server.sql("SET GLOBAL autocommit = 1")
    assert pulled.emails() == "1 2 3"


def test_the_bytes_that_were_read_at_the_start_run(pulled: Pulled, monkeypatch: pytest.MonkeyPatch) -> None:
    restore = MySQL.restore

    def and_rewrite(self: MySQL, *given: Any) -> Any:
        (pulled.folder / "mask.sql").write_text("SELECT 1;")
        return restore(self, *given)

    monkeypatch.setattr(MySQL, "restore", and_rewrite)
    pulled.pull("UPDATE users SET email = id;")
    assert pulled.emails() == "1 2 3"


def test_update_ignore_says_what_it_left(pulled: Pulled) -> None:
    said = pulled.pull("UPDATE IGNORE users SET email = 'x';\nDELETE FROM users WHERE email <> 'x';\n")["warnings"]
    assert any(re.search(r"mask\.sql, line 1: UPDATE IGNORE left 2 of 3 rows as they were", item) for item in said)


def test_files_of_this_host(pulled: Pulled, tmp_path: Path) -> None:
    with pytest.raises(EnvSyncError, match="line 1: LOAD DATA LOCAL names a file without its folder"):
        pulled.pull("LOAD DATA LOCAL INFILE 'rows' INTO TABLE users;")
    (tmp_path / "rows").write_text("7\tx\n")
    pulled.server.sql("SET GLOBAL local_infile = 1")
    script = f"DELETE FROM users;\nLOAD DATA LOCAL INFILE '{tmp_path}/rows' INTO TABLE users;"
    assert pulled.pull(script)["sanitised"][0]["changed"] == 4
    assert pulled.emails() == "x"


def test_a_restored_routine_that_names_the_live_database(mariadb: MariaServer, tmp_path: Path) -> None:
    live = Pulled(mariadb, tmp_path, USERS)
    procedure = f"CREATE PROCEDURE clean() UPDATE {live.live}.users SET email = 'gone';"
    mariadb.create_database(live.live, USERS + procedure)
    push.push(Task.from_mapping(live.values("push")), Host())
    with pytest.raises(EnvSyncError, match=r"line 1: clean names .*users: it would reach the live database"):
        live.pull("CALL clean();")
    assert live.emails() == "live1 live2 live3"
    mariadb.drop_database(live.live)


# -- what is left of former rows ---------------------------------------------------------------------------------------

PLANTED = """
CREATE TABLE users (id int PRIMARY KEY, email varchar(100) NOT NULL, bio text, KEY by_email (email), FULLTEXT (bio));
CREATE TABLE parted (id int PRIMARY KEY, email varchar(100), KEY (email)) PARTITION BY HASH (id) PARTITIONS 3;
CREATE TABLE old (id int PRIMARY KEY, email varchar(100)) ENGINE=MyISAM;
CREATE TABLE untouched (id int PRIMARY KEY, note varchar(100));
INSERT INTO untouched VALUES (1, 'stays');
"""

SANITISE = """
UPDATE users SET email = CONCAT(id, '@invalid'), bio = 'x';
UPDATE parted SET email = CONCAT(id, '@invalid');
UPDATE old SET email = 'x';
"""


def planted(server: MariaServer, folder: Path) -> Pulled:
    """Return a point with 5,000 addresses in a table, its indexes, off its pages, in partitions and in MyISAM."""
    rows = [(number, f"planted{number:05d}@real.example") for number in range(5000)]
    inserts = [
        "INSERT INTO users VALUES "
        + ",".join(f"({n}, '{email}', REPEAT('{email} ', {400 if n % 10 == 0 else 1}))" for n, email in rows),
        *(
            f"INSERT INTO {table} VALUES " + ",".join(f"({n}, '{email}')" for n, email in rows)
            for table in ("parted", "old")
        ),
    ]
    return Pulled(server, folder, PLANTED + ";".join(inserts))


def left_in_files(point: Pulled) -> int:
    """Return how many of the planted addresses are in files of the live database, free pages included."""
    server = point.server
    server.sql("SET GLOBAL innodb_max_dirty_pages_pct_lwm = 0; SET GLOBAL innodb_max_dirty_pages_pct = 0; FLUSH TABLES")
    deadline = time.monotonic() + 60
    while not server.sql("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'").endswith("\t0"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    found: set[bytes] = set()
    for file in Path(server.folder, "data", point.live).iterdir():
        found.update(re.findall(rb"planted\d{5}", file.read_bytes()))
    return len(found)


@pytest.mark.parametrize("flavour", ["mariadb", "maria11", "mysql", "mysql57"])
def test_files_have_none_of_the_rows_that_a_script_changed(
    request: pytest.FixtureRequest, tmp_path: Path, flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    point = planted(request.getfixturevalue(flavour), tmp_path)
    server = point.server
    if flavour in ("mariadb", "mysql"):
        with monkeypatch.context() as patch:
            patch.setattr(mysql_purge, "purge", lambda *given: [])
            point.pull(SANITISE)
        assert left_in_files(point) > 3000, "or the test proves nothing"
    result = point.pull(SANITISE, analyze=False)
    assert result["sanitised"][0]["changed"] == 15000
    assert result["warnings"] == []
    for table in ("users", "parted", "old"):
        assert server.sql(f"SELECT COUNT(*) FROM {table} WHERE email LIKE '%real%'", point.live) == "0"
    assert left_in_files(point) == 0
    server.drop_database(point.live)


def test_statistics_that_hold_values_are_gathered_anew(pulled: Pulled) -> None:
    server = pulled.server
    if isinstance(server, MySQLServer):
        held = "SELECT COUNT(*), SUM(HISTOGRAM LIKE '%{}%') FROM information_schema.COLUMN_STATISTICS"
        gather = "ANALYZE TABLE sessions UPDATE HISTOGRAM ON token WITH 16 BUCKETS;\n"
        former = "c2VjcmV0"  # base64, as it writes strings: secret
    else:
        held = "SELECT COUNT(*) > 0, SUM(min_value LIKE '%{}%') FROM mysql.column_stats"
        gather = "ANALYZE TABLE sessions PERSISTENT FOR ALL;\n"
        former = "secret"
    pulled.pull(gather, require_sanitised=False)
    assert server.sql(held.format(former)).endswith("\t1")
    pulled.pull(gather + "UPDATE sessions SET token = id;", analyze=False)
    assert server.sql(held.format(former)) == "1\t0"


def test_former_rows_of_a_versioned_table(mariadb: MariaServer, tmp_path: Path) -> None:
    point = Pulled(mariadb, tmp_path, USERS + "ALTER TABLE users ADD SYSTEM VERSIONING;")
    said = point.pull("UPDATE users SET email = id;")["warnings"]
    assert "the former rows of users were removed: they held what the script changed" in said
    assert mariadb.sql("SELECT COUNT(*), SUM(email LIKE '%real%') FROM users FOR SYSTEM_TIME ALL", point.live) == "3\t0"
    mariadb.drop_database(point.live)


def test_a_tablespace_that_others_use_too(pulled: Pulled) -> None:
    pulled.server.sql("SET GLOBAL innodb_file_per_table = 0")
    try:
        said = pulled.pull("UPDATE users SET email = id;")["warnings"]
    finally:
        pulled.server.sql("SET GLOBAL innodb_file_per_table = 1")
    assert any("the rows of users are in a tablespace that other tables use too" in item for item in said)
