# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is refused, in one line and with nothing lost: damage, wrong targets, wrong addresses, full disks."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.programs import (
    find_programs,
    installed_programs,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers import Unavailable
from tests.servers.postgresql import PostgresServer

Values = Callable[..., dict[str, Any]]

SAMPLE = """
CREATE TABLE large AS SELECT g AS n, md5(g::text) AS t FROM generate_series(1, 20000) g;
CREATE TABLE small AS SELECT 1 AS n;
SELECT lo_from_bytea(g, convert_to(repeat('object ', 50000), 'UTF8')) FROM generate_series(1, 20) g \\g /dev/null
SELECT lo_from_bytea(100, convert_to(string_agg(md5(g::text), ''), 'UTF8')) FROM generate_series(1, 50000) g
  \\g /dev/null
"""


def pushed(task_values: Values, database: str, **how: Any) -> dict[str, Any]:
    return push.push(Task.from_mapping(task_values("push", database, **how)), Host())


def pulled(task_values: Values, database: str, **how: Any) -> dict[str, Any]:
    return pull.pull(Task.from_mapping(task_values("pull", database, **how)), Host())


@pytest.fixture
def live(production: PostgresServer, staging: PostgresServer, database: str, tmp_path: Path) -> Iterator[str]:
    """A database to push, with another of that name on the target: that is to be as it was, with nothing beside it."""
    production.create_database(database, SAMPLE)
    staging.create_database(database, "CREATE TABLE old AS SELECT 1 AS n")
    before = staging.psql("postgres", f"SELECT oid, datacl FROM pg_database WHERE datname = '{database}'")
    began = time.monotonic()
    yield database
    assert time.monotonic() - began < 30
    assert staging.psql("postgres", f"SELECT oid, datacl FROM pg_database WHERE datname = '{database}'") == before
    assert staging.psql(database, "SELECT n FROM old") == "1"
    assert [name for name in staging.databases() if "env_sync" in name] == []
    if (tmp_path / "temp").exists():
        assert list((tmp_path / "temp").iterdir()) == []


def refused(task_values: Values, database: str, why: str, **how: Any) -> str:
    """Pull; check that it is refused in one line that says ``why``; return the line."""
    with pytest.raises(EnvSyncError, match=why) as caught:
        pulled(task_values, database, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- damage ------------------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGE: dict[str, Callable[[Path], None]] = {"flipped": flip, "truncated": truncate, "missing": Path.unlink}


def largest(store: Path) -> Path:
    tables = [path for path in store.rglob("*.dat.zst") if path.name != "toc.dat.zst"]
    return max(tables, key=lambda path: path.stat().st_size)


MEMBERS: dict[str, Callable[[Path], Path]] = {
    "the table of contents": lambda store: next(store.rglob("toc.dat.zst")),
    "a large table": largest,
    "a small table": lambda store: min(store.rglob("[0-9]*.dat.zst"), key=lambda path: path.stat().st_size),
    "the large objects": lambda store: next(store.rglob("blobs.tar.zst")),
    "the list of large objects": lambda store: next(store.rglob("blobs.toc.zst")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_member_is_refused(live: str, task_values: Values, tmp_path: Path, damage: str) -> None:
    point = pushed(task_values, live)["point"]
    good = tmp_path / "good"
    (tmp_path / "store").rename(good)
    for find in MEMBERS.values():
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        shutil.copytree(good, tmp_path / "store")
        member = find(tmp_path / "store" / "postgresql" / point)
        DAMAGE[damage](member)
        why = "No such file" if damage == "missing" else "it is damaged"
        said = refused(task_values, live, why)
        assert str(member) in said
        with pytest.raises(EnvSyncError, match=why):
            upkeep.verify(Task.from_mapping(task_values("pull", live)), Host())


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_stream_is_refused(live: str, task_values: Values, tmp_path: Path, damage: str) -> None:
    pushed(task_values, live, format="custom")
    DAMAGE[damage](next((tmp_path / "store").rglob("*.dump.zst")))
    refused(task_values, live, "No such file" if damage == "missing" else "it is damaged")


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_manifest_is_refused(live: str, task_values: Values, tmp_path: Path, damage: str) -> None:
    pushed(task_values, live)
    DAMAGE[damage](next((tmp_path / "store").rglob("*.manifest.json")))
    refused(task_values, live, "interrupted pushes" if damage == "missing" else "reading the manifest .*it is damaged")


def test_every_byte_of_a_manifest_counts(live: str, task_values: Values, tmp_path: Path) -> None:
    pushed(task_values, live)
    path = next((tmp_path / "store").rglob("*.manifest.json"))
    store = open_store(Task.from_mapping(task_values("pull", live)))
    whole = path.read_bytes()
    good = catalogue.read_manifest(store, catalogue.choose(store, live))
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        try:
            assert catalogue.read_manifest(store, catalogue.choose(store, live)) == good
        except EnvSyncError as error:
            assert "it is damaged" in str(error) or "is of version" in str(error)


def test_the_manifest_of_another_database_is_refused(
    live: str, production: PostgresServer, task_values: Values, tmp_path: Path
) -> None:
    pushed(task_values, live)
    production.create_database(live + "_2")
    pushed(task_values, live + "_2")
    of_other = next((tmp_path / "store").rglob("*_2.manifest.json"))
    of_this = next(path for path in (tmp_path / "store").rglob("*.manifest.json") if path != of_other)
    shutil.copy(of_other, of_this)
    refused(task_values, live, f"reading the manifest .*: it describes .*-{live}_2")


# -- what the original wrote -------------------------------------------------------------------------------------------


def original_push(server: PostgresServer, database: str, store: Path, timestamp: str) -> Path:
    (store / "postgresql").mkdir(exist_ok=True)
    path = store / "postgresql" / f"{timestamp}-{database}.gz"
    subprocess.run(
        [server.program("pg_dump"), "-Fc", "-f", path, database], env=dict(os.environ, **server.env), check=True
    )
    return path


def test_a_dump_of_the_originals_is_pulled(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    original_push(production, database, tmp_path / "store", "2020-01-01T00:00:00")
    upkeep.verify(Task.from_mapping(task_values("pull", database)), Host())
    assert pulled(task_values, database)["point"] == f"2020-01-01T00:00:00-{database}"
    assert staging.contents(database) == production.contents(database)


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_dump_of_the_originals_is_refused(
    live: str, production: PostgresServer, task_values: Values, tmp_path: Path, damage: str
) -> None:
    path = original_push(production, live, tmp_path / "store", "2020-01-01T00:00:00")
    DAMAGE[damage](path)
    refused(task_values, live, f"verifying {path}: it is damaged")


def test_an_object_without_a_manifest_is_not_chosen_where_there_are_points(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    point = pushed(task_values, database, timestamp="2021-01-01T00:00:00")["point"]
    original_push(production, database, tmp_path / "store", "2022-01-01T00:00:00")
    assert pulled(task_values, database)["point"] == point
    with pytest.raises(EnvSyncError, match="the push of 2022-01-01T00:00 was interrupted, it has no manifest"):
        pulled(task_values, database, timestamp="2022-01-01T00:00")


# -- wrong targets -----------------------------------------------------------------------------------------------------


def test_the_source_is_refused_whatever_it_is_called(
    production: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, SAMPLE)
    pushed(task_values, database)
    ways = (
        {"database_hostname": production.host, "database_port": production.port},
        {"database_hostname": "127.0.0.1", "database_port": production.port, "login_password": production.password},
    )
    for way in ways:
        refused(task_values, database, "that is the server it was pushed from", **way)
    production.psql(database, "DROP TABLE small")
    pulled(task_values, database, allow_restore_to_source=True, **ways[0])
    assert production.psql(database, "SELECT n FROM small") == "1"


def test_data_that_nobody_sanitised_is_refused_where_that_is_required(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    mask = tmp_path / "mask.sql"
    mask.write_text("UPDATE small SET n = 0", encoding="utf-8")
    pushed(task_values, database, timestamp="2020-01-01T00:00:00")
    refused(task_values, database, "this environment requires sanitised data", require_sanitised=True)
    assert database not in staging.databases()
    pulled(task_values, database, require_sanitised=True, transformation_sql_filename=str(mask))
    assert staging.psql(database, "SELECT n FROM small") == "0"

    result = pushed(task_values, database, pre_dump_transformation_sql_filename=str(mask))

    assert production.psql(database, "SELECT n FROM small") == "0"
    checksum = hashlib.sha256(mask.read_bytes()).hexdigest()
    sanitised = [{"script": "mask.sql", "sha256": checksum, "changed": 1, "altered": 0}]
    assert result["manifest"]["sanitised"] == sanitised
    assert pulled(task_values, database, require_sanitised=True)["manifest"]["sanitised"] == sanitised


@pytest.mark.parametrize("action", ["push", "pull"])
def test_a_script_that_is_not_there_is_noticed_before_anything_happens(
    live: str, production: PostgresServer, task_values: Values, tmp_path: Path, action: str
) -> None:
    pushed(task_values, live)
    there = tmp_path / "there.sql"
    there.write_text("UPDATE small SET n = 2", encoding="utf-8")
    key = ("pre_dump_" if action == "push" else "") + "transformation_sql_filename"
    task = Task.from_mapping(task_values(action, live, **{key: [str(there), str(tmp_path / "absent.sql")]}))
    said: list[str] = []
    verbs = (push.plan, push.push) if action == "push" else (pull.plan, pull.pull)
    for verb in verbs:
        with pytest.raises(EnvSyncError, match=r"reading the script .*/absent\.sql: No such file.*Check the transf"):
            verb(task, Host(log=lambda level, text: said.append(text)))
    assert said == []
    assert production.psql(live, "SELECT n FROM small") == "1"


# -- addresses and rights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"database": "no_such_database"}, "there is no database no_such_database. The server has "),
        ({"login_user": "nobody"}, 'role "nobody" does not exist. Check login_user'),
        ({"database_hostname": "127.0.0.1", "login_password": "wrong"}, "authentication failed.*Check login_user"),
        ({"database_hostname": "127.0.0.1", "database_port": 1}, "Connection refused.*Check database_hostname"),
        ({"database_hostname": "no.such.host.invalid"}, "could not translate host name.*Check database_hostname"),
        ({"database_hostname": "/nowhere"}, "No such file or directory.*Check database_hostname"),
    ],
    ids=str,
)
def test_a_push_that_cannot_begin_says_why(
    production: PostgresServer, database: str, task_values: Values, tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    production.create_database(database)
    with pytest.raises(EnvSyncError, match=why) as caught:
        push.push(Task.from_mapping({**task_values("push", database), **changes}), Host())
    assert "\n" not in str(caught.value)
    assert "wrong" not in str(caught.value)
    assert list((tmp_path / "store").rglob("*")) == []


def test_a_server_newer_than_all_clients_is_refused() -> None:
    with pytest.raises(EnvSyncError, match=r"of version \d+, older than the server's 99. Install postgresql-client-99"):
        find_programs(installed_programs(), 990000, "dumping x")


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_a_dump_that_fails_half_way_leaves_nothing(
    production: PostgresServer, database: str, task_values: Values, tmp_path: Path, form: str
) -> None:
    production.create_database(
        database,
        SAMPLE
        + """CREATE TYPE e AS ENUM ('a', 'b');
             CREATE TABLE broken AS SELECT CASE WHEN g < 9999 THEN 'a'::e ELSE 'b' END FROM generate_series(1, 9999) g;
             DELETE FROM pg_enum WHERE enumlabel = 'b' AND enumtypid = 'e'::regtype""",
    )

    began = time.monotonic()
    with pytest.raises(
        EnvSyncError, match=r"dumping .*pg_dump: exit status 1: .*invalid internal value for enum"
    ) as caught:
        pushed(task_values, database, format=form)

    assert time.monotonic() - began < 10
    assert "\n" not in str(caught.value)
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    assert list((tmp_path / "temp").iterdir()) == []


def test_a_table_that_the_dumping_role_may_not_read_fails_the_push(
    production: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    production.psql(database, "CREATE ROLE dumper LOGIN; GRANT SELECT ON small TO dumper")
    try:
        with pytest.raises(EnvSyncError, match=r"the role dumper may not read public\.large\. GRANT"):
            pushed(task_values, database, login_user="dumper")
    finally:
        production.psql(database, "DROP OWNED BY dumper; DROP ROLE dumper")
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_database_that_lets_nobody_in_is_said(production: PostgresServer, database: str, task_values: Values) -> None:
    production.create_database(database)
    production.psql("postgres", f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
    with pytest.raises(EnvSyncError, match=f'not currently accepting.* ALTER DATABASE "{database}" ALLOW_CONNECTIONS'):
        pushed(task_values, database)


def test_a_point_is_not_verified_as_another_dbms(
    production: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database)
    pushed(task_values, database)
    with pytest.raises(EnvSyncError, match=r"verifying .*: it is a point of postgresql, not of mysql\. Check dbms"):
        upkeep.verify(Task.from_mapping(task_values("pull", database, dbms="mysql")), Host())


def test_a_service_of_the_environment_does_not_lead_elsewhere(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For libpq a service counts more than PGHOST: the data would come from there, and its identity from here."""
    production.create_database(database, "CREATE TABLE t AS SELECT 'right' AS n")
    staging.create_database(database, "CREATE TABLE t AS SELECT 'wrong' AS n")
    service = tmp_path / "services"
    service.write_text(f"[elsewhere]\nhost={staging.host}\nport={staging.port}\nuser={staging.superuser}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    for form in ("directory", "custom"):
        pushed(task_values, database, format=form)
        monkeypatch.delenv("PGSERVICE")
        pulled(task_values, database)
        assert staging.psql(database, "SELECT n FROM t") == "right"
        staging.psql(database, "UPDATE t SET n = 'wrong'")
        monkeypatch.setenv("PGSERVICE", "elsewhere")
        time.sleep(1.1)  # the next point's name


def test_a_directory_that_is_no_place_for_files_is_said(
    production: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database)
    with pytest.raises(EnvSyncError, match=r"writing /proc/postgresql/.*Check the file system, or correct url"):
        pushed(task_values, database, url="/proc")


# -- full disks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        raise Unavailable("mounting a small file system needs root")
    yield folder
    if subprocess.run(["umount", str(folder)], check=False).returncode != 0:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        pytest.fail("something still has a file open in temppath")


def test_a_store_that_is_mounted_read_only_is_said(live: str, task_values: Values, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(EnvSyncError, match=r"on a file system that is read-only\. Mount it for writing"):
        pushed(task_values, live, url=str(small_disk))


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_a_full_store_fails_the_push(live: str, task_values: Values, small_disk: Path, form: str) -> None:
    with pytest.raises(EnvSyncError, match="No space left on device") as caught:
        pushed(task_values, live, format=form, url=str(small_disk))
    assert "\n" not in str(caught.value)
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


def test_a_full_temppath_fails_the_push(live: str, task_values: Values, small_disk: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvSyncError, match="No space left on device") as caught:
        pushed(task_values, live, temppath=str(small_disk))
    assert "\n" not in str(caught.value)
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    assert list(small_disk.iterdir()) == []


def test_a_full_temppath_fails_the_pull(live: str, task_values: Values, small_disk: Path) -> None:
    pushed(task_values, live)
    (small_disk / "ballast").write_bytes(b"x" * 200 * 1024)
    refused(task_values, live, "No space left on device.*Make room", temppath=str(small_disk))
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
