# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Legacy dumps, and damaged, hostile or foreign ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

from tests.integration.mysql.helpers import (
    LIVE,
    OBJECTS,
    SAMPLE,
    Values,
    contents,
    do_pull,
    do_push,
    member,
    put_legacy,
)
from tests.servers.mariadb import MariaServer


def test_the_original_s_dump(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, OBJECTS.read_text())
    # The original asked for no routines and no events, and loaded into a database that has them.
    path = put_legacy(tmp_path, database, gzip.compress(production.dump(database, "--quick")))
    code = production.dump(database, "--no-data", "--no-create-info", "--routines", "--events", "--skip-triggers")
    staging.create_database(database, LIVE)
    staging.load(database, code)
    pulled = do_pull(task_values("pull", database))
    assert pulled["point"] == path.name[: -len(".gz")]
    assert staging.dump(database, "--routines", "--events") == production.dump(database, "--routines", "--events")


def test_a_damaged_dump_of_the_original_s(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    staging.create_database(database, LIVE)
    before = contents(staging, database)
    dump = production.dump(database)
    packed = gzip.compress(dump)
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0x10
    cases = {
        "truncated in the store": packed[: len(packed) // 2],
        "truncated before it was packed": gzip.compress(dump[: len(dump) // 2]),
        "without the last line": gzip.compress(dump[: dump.rindex(b"-- Dump completed")]),
        "flipped": bytes(flipped),
        "of something else": gzip.compress(b"GRANT ALL ON *.* TO public;\n-- Dump completed\n"),
        "no gzip": b"nonsense",
    }
    for what, data in cases.items():
        put_legacy(tmp_path, database, data)
        with pytest.raises(EnvSyncError, match="it is damaged"):
            do_pull(task_values("pull", database))
        assert contents(staging, database) == before, what


def test_a_dump_of_the_original_s_that_can_t_be_loaded(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, "CREATE TABLE customers (email mediumtext)")
    production.create_database("other")
    production.sql("INSERT INTO customers VALUES ('a@example.com')", database)
    dump = production.dump(database)
    two = production.dump("other", "--databases", database)
    production.sql("UPDATE customers SET email = repeat('a@example.com', 100000)", database)
    for data, said in (
        (dump.replace(b"'a@", b"'a@' oops '"), "line [0-9]+ of the dump: error 1064 .*withheld"),
        (dump.replace(b"('", b"(1, '"), "Column count"),
        (two, "a second database"),
        (production.dump(database), "max_allowed_packet.*Raise max_allowed_packet"),
    ):
        put_legacy(tmp_path, database, gzip.compress(data))
        staging.sql("SET GLOBAL max_allowed_packet = 1048576")
        with pytest.raises(EnvSyncError, match=said) as raised:
            do_pull(task_values("pull", database))
        staging.sql("SET GLOBAL max_allowed_packet = DEFAULT")
        assert "example.com" not in str(raised.value)
        assert staging.databases() == []


def test_what_a_dump_hides_behind_its_rows_does_not_run(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    """The guard goes by how a statement begins: what follows a semicolon would run too, if several came at once."""
    production.create_database(database, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    staging.create_database(database, LIVE)
    staging.create_database("other", LIVE)
    dump = production.dump(database)
    function = b"CREATE FUNCTION f() RETURNS int DETERMINISTIC BEGIN DELETE FROM other.seen; RETURN 1; END"
    for hidden, said in (
        (b"INSERT INTO `t` VALUES (1); DROP DATABASE other;", "error 1064"),
        (b"INSERT INTO `t` VALUES (1)\n; DELETE FROM other.seen;", "error 1064"),
        (b"DELIMITER ;;\n" + function + b";;\nDELIMITER ;\nDO f();", r"not of a database's dump \(DO\)"),
    ):
        assert b"INSERT INTO `t` VALUES\n(1);" in dump
        put_legacy(tmp_path, database, gzip.compress(dump.replace(b"INSERT INTO `t` VALUES\n(1);", hidden)))
        with pytest.raises(EnvSyncError, match=said):
            do_pull(task_values("pull", database))
        assert staging.sql("SELECT * FROM seen", "other") == staging.sql("SELECT * FROM seen", database) == "1"
        assert sorted(staging.databases()) == sorted([database, "other"])


def test_orphans_in_a_dump(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE + "SET foreign_key_checks = 0; DELETE FROM customers WHERE id = 7")
    staging.create_database(database, LIVE)
    put_legacy(tmp_path, database, gzip.compress(production.dump(database)))
    with pytest.raises(EnvSyncError, match="rows of orders break its foreign key ordered_by") as raised:
        do_pull(task_values("pull", database))
    assert "7" not in raised.value.why
    assert staging.sql("SELECT * FROM seen", database) == "1"


def test_a_dump_of_mysql_8(staging: MariaServer, database: str, task_values: Values, tmp_path: Path) -> None:
    """Lines as MySQL's manual and mysqldump's own source have them: nothing here wrote them."""
    dump = (Path(__file__).parents[1] / "sql" / "mysql8_dump.sql").read_bytes()
    put_legacy(tmp_path, database, gzip.compress(dump.replace(b"shop", database.encode())))
    pulled = do_pull(task_values("pull", database))
    assert [item for item in pulled["warnings"] if "utf8mb4_0900_ai_ci" in item]
    assert [item for item in pulled["warnings"] if "admin@%" in item]
    assert "COLLATE=utf8mb4_" in staging.sql("SHOW CREATE TABLE customers", database)
    assert staging.sql("SELECT note FROM customers", database) == (
        "DEFINER=`root`@`%` COLLATE utf8mb4_0900_ai_ci; SET @@GLOBAL.GTID_PURGED='x';"
    )
    assert staging.sql("INSERT INTO customers (note) VALUES ('x'); SELECT total(1)", database) == "2"
    assert staging.sql("SELECT n FROM summary; SELECT @@sql_log_bin", database) == "2\n1"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_member(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path, damage: str
) -> None:
    production.create_database(database, SAMPLE)
    staging.create_database(database, LIVE)
    before = contents(staging, database)
    pushed = do_push(task_values("push", database))
    path = member(tmp_path, pushed, "-customers")
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()
    with pytest.raises(EnvSyncError, match="customers"):
        do_pull(task_values("pull", database))
    assert contents(staging, database) == before
