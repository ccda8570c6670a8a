# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Points that the engine pushed, restored without it, by the commands of ``docs/operate/restore-by-hand.md``.

A test names the sections of the page that it follows. Their commands become one script, as the page tells an operator
to make it, with nothing of the checkout on the way: a fresh home, bash, and the programs that the page names.
"""

from __future__ import annotations

import gzip
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.awscli import awscli
from tests.servers.mariadb import MariaServer
from tests.servers.mongo import MongoServer, Tools, tools
from tests.servers.mysql import MySQLServer
from tests.servers.opensearch import SearchServer
from tests.servers.postgresql import PostgresServer
from tests.servers.s3 import SwiftS3
from tests.servers.sshd import SshServer

# The first test with MongoDB builds its server, which takes minutes on a machine that has never done it.
pytestmark = pytest.mark.timeout(1500)

PAGE = Path(__file__).parents[2] / "docs" / "operate" / "restore-by-hand.md"
SQL = Path(__file__).parent / "sql"

FETCH = "From a directory"
BEGINNING = "The beginning"
TABLES = "A member for each table (`format: directory`, the default)"
STREAM = "One stream (`format: custom`)"

Values = Callable[..., dict[str, Any]]


def commands() -> dict[str, str]:
    """Return the commands of each section of the page that has any, by its heading."""
    found: dict[str, str] = {}
    heading = ""
    parts = re.findall(r"^#+ ([^\n]*)|^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    for title, language, block in parts:
        heading = title or heading
        if language == "bash":
            found[heading] = found.get(heading, "") + block
    return found


_FOLLOWED: set[str] = set()


def following(*ways: tuple[str, ...]) -> pytest.MarkDecorator:
    """Run a test once for each way, which is the headings of the sections that it follows."""
    _FOLLOWED.update(heading for way in ways for heading in way)
    return pytest.mark.parametrize("way", ways, ids=lambda way: way[-1].partition(" (")[0])


def test_no_command_of_the_page_is_left_out() -> None:
    assert set(commands()) == _FOLLOWED


class Operator:
    """Someone with a shell, a home and a working directory, who follows the page."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.bin = folder / "bin"
        for made in (self.home, self.bin):
            made.mkdir()
        self.environment = {"HOME": str(self.home), "PATH": f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.store = folder / "copy"

    def secret(self, name: str, text: str) -> Path:
        """Write a file in the home that nobody else may read."""
        path = self.home / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path

    def first(self, *folders: str | Path) -> None:
        """Put folders first on the PATH."""
        self.environment["PATH"] = ":".join([*map(str, folders), self.environment["PATH"]])

    def tries(self, way: tuple[str, ...], **variables: object) -> subprocess.CompletedProcess[str]:
        """Run the sections' commands, one after the other, in one script with the variables on top."""
        known = commands()
        lines = [f"{name}={shlex.quote(str(value))}\n" for name, value in variables.items()]
        script = self.home / "script"
        script.write_text("".join(lines + [known[heading] for heading in way]), encoding="utf-8")
        return subprocess.run(
            ["/bin/bash", "-euo", "pipefail", str(script)],
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )

    def follows(self, way: tuple[str, ...], **variables: object) -> str:
        """Do the same, which has to succeed; return what was said."""
        done = self.tries(way, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


@pytest.fixture
def values(tmp_path: Path) -> Values:
    """Return a function that gives the keys of a push into a directory, which is ``SOURCE`` for the operator."""
    (tmp_path / "store").mkdir()

    def give(dbms: str, database: str, **others: Any) -> dict[str, Any]:
        return {
            "action": "push",
            "dbms": dbms,
            "database": database,
            "storagebackend": "directory",
            "url": str(tmp_path / "store"),
            "path": "points",
            "temppath": str(tmp_path / "temp"),
            "state_dir": str(tmp_path / "state"),
            "jobs": 2,
            **others,
        }

    return give


def pushed(values: dict[str, Any]) -> str:
    """Push; return the point's name."""
    return str(push.push(Task.from_mapping(values), Host())["point"])


def copy(operator: Operator, values: dict[str, Any], point: str) -> dict[str, object]:
    """Return the variables that fetch a point from a directory."""
    return {"SOURCE": f"{values['url']}/{values['path']}", "STORE": operator.store, "POINT": point}


# -- PostgreSQL, and the stores ----------------------------------------------------------------------------------------

SAMPLE = """
CREATE TABLE large AS SELECT g AS n, md5(g::text) AS t FROM generate_series(1, 20000) g;
ALTER TABLE large ADD PRIMARY KEY (n);
CREATE TABLE "a b" (n int REFERENCES large, "Ä" text); INSERT INTO "a b" VALUES (1, 'ß');
CREATE VIEW "Seen" AS SELECT n FROM "a b";
SELECT lo_from_bytea(g, convert_to(repeat('object ', 50000), 'UTF8')) FROM generate_series(1, 20) g \\g /dev/null
"""


@pytest.fixture
def psql_values(production: PostgresServer, database: str, values: Values) -> Values:
    """A database that can be pushed, and the keys for it."""
    production.create_database(database, SAMPLE)

    def give(**others: Any) -> dict[str, Any]:
        server = {
            "database_hostname": production.host,
            "database_port": production.port,
            "login_user": production.superuser,
        }
        return values("postgresql", database, **server, **others)

    return give


@pytest.fixture
def to_staging(operator: Operator, staging: PostgresServer) -> Operator:
    """The operator, with access to the staging server over TCP as the page says."""
    operator.first(os.path.dirname(staging.program("pg_restore")))
    operator.environment.update(PGHOST="127.0.0.1", PGPORT=str(staging.port), PGUSER=staging.superuser)
    operator.secret(".pgpass", f"127.0.0.1:{staging.port}:*:{staging.superuser}:{staging.password}\n")
    return operator


def same(one: PostgresServer, other: PostgresServer, database: str) -> None:
    assert one.schema(database) == other.schema(database)
    assert one.contents(database) == other.contents(database)


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
@following((FETCH, BEGINNING, TABLES), (FETCH, BEGINNING, STREAM))
def test_postgresql(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    psql_values: Values,
    to_staging: Operator,
    way: tuple[str, ...],
    compression: str,
) -> None:
    task = psql_values(format="custom" if STREAM in way else "directory", compression=compression)
    to_staging.follows(way, **copy(to_staging, task, pushed(task)), DATABASE=database)
    same(staging, production, database)


@following((BEGINNING,))
def test_damage_is_noticed_before_anything_is_restored(
    database: str, psql_values: Values, operator: Operator, way: tuple[str, ...]
) -> None:
    task = psql_values()
    point = pushed(task)
    whole = Path(task["url"], task["path"])
    variables = {"STORE": operator.store, "POINT": point}
    shutil.copytree(whole, operator.store)
    assert operator.follows(way, **variables) == ""
    members = [path.relative_to(whole) for path in sorted((whole / point).iterdir())]
    assert len(members) > 4
    for name in [*members, Path(f"{point}.manifest.json")]:
        path, content = operator.store / name, (whole / name).read_bytes()
        middle = len(content) // 2
        for damage in (content[:middle], content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], None):
            path.unlink()
            if damage is not None:
                path.write_bytes(damage)
            done = operator.tries(way, **variables)
            assert done.returncode != 0
            assert name not in members or str(name) in done.stdout
            path.write_bytes(content)
    path.write_bytes(content.replace(b'"encoding": "UTF8"', b'"encoding": "UTF9"'))
    assert operator.tries(way, **variables).stdout.startswith("the manifest is damaged\n")


@following(("From S3", BEGINNING, TABLES))
def test_from_s3(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    psql_values: Values,
    to_staging: Operator,
    s3_server: SwiftS3,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    way: tuple[str, ...],
) -> None:
    awscli(to_staging.bin)
    keys = {"AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": s3_server.secret_key}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    bucket_keys = {"storagebackend": "s3", "url": bucket, "endpoint_url": s3_server.endpoint, "region": "us-east-1"}
    task = psql_values(**bucket_keys, timestamp="2026-01-02T03:04:05")
    point = pushed(task)
    # Another database of which the name begins like this one's, and is as old.
    production.create_database(f"{database}2")
    pushed({**task, "database": f"{database}2"})
    to_staging.environment.update(
        keys, AWS_ENDPOINT_URL=s3_server.endpoint, AWS_DEFAULT_REGION="us-east-1", AWS_CA_BUNDLE=""
    )
    variables = {"SOURCE": f"s3://{bucket}/points", "STORE": to_staging.store, "POINT": point, "DATABASE": database}
    to_staging.follows(way, **variables)
    same(staging, production, database)
    assert {path.name for path in to_staging.store.iterdir()} == {point, f"{point}.manifest.json"}


@following(("From an rsync store", BEGINNING, TABLES))
def test_from_an_rsync_store(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    psql_values: Values,
    to_staging: Operator,
    ssh_server: SshServer,
    tmp_path: Path,
    way: tuple[str, ...],
) -> None:
    folder = tmp_path / "far side's" / "points"
    folder.parent.mkdir()
    point = pushed(psql_values(**{**ssh_server.values(), "path": str(folder)}))
    # ssh takes the user's home from the password file, not from HOME.
    options = {
        "Port": ssh_server.port,
        "IdentityFile": f'"{ssh_server.key_file}"',
        "UserKnownHostsFile": f'"{ssh_server.known_hosts}"',
    }
    config = to_staging.secret("config", "".join(f"{name} {value}\n" for name, value in options.items()))
    to_staging.environment["RSYNC_RSH"] = f"ssh -F {config}"
    variables = {"SOURCE": f"{ssh_server.host}:{folder}", "STORE": to_staging.store, "POINT": point}
    to_staging.follows(way, **variables, DATABASE=database)
    same(staging, production, database)


@following(("A dump of PostgreSQL",))
def test_a_dump_of_postgresql_that_the_original_left(
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    to_staging: Operator,
    tmp_path: Path,
    way: tuple[str, ...],
) -> None:
    production.create_database(database, SAMPLE)
    dump = tmp_path / f"2020-01-01T00:00:00-{database}.gz"
    argv = [production.program("pg_dump"), "--format=custom", f"--file={dump}", database]
    subprocess.run(argv, env={**os.environ, **production.env}, check=True)
    to_staging.follows(way, DUMP=dump, DATABASE=database)
    same(staging, production, database)


# -- MySQL and MariaDB -------------------------------------------------------------------------------------------------

ACCOUNTS = "CREATE USER app@'10.%', only_there@localhost; GRANT ALL ON *.* TO app@'10.%'"


@pytest.fixture(scope="module", params=[MariaServer, MySQLServer], ids=["mariadb", "mysql"])
def mysql_servers(request: pytest.FixtureRequest) -> Iterator[tuple[MariaServer, MariaServer]]:
    """Production and staging: of MariaDB, then of MySQL."""
    with request.param("production") as one, request.param("staging") as other:
        for server in (one, other):
            server.sql(ACCOUNTS)
        yield one, other


@pytest.fixture
def with_client(mysql_servers: tuple[MariaServer, MariaServer], operator: Operator) -> Operator:
    """The operator, with access to the staging server as ``~/.my.cnf`` says."""
    staging = mysql_servers[1]
    operator.first(os.path.dirname(staging.program(staging.client)))
    password = staging.password.replace("\\", "\\\\").replace('"', '\\"')
    operator.secret(
        ".my.cnf",
        f'[client]\nhost={staging.host}\nport={staging.port}\nuser={staging.user}\npassword="{password}"\n',
    )
    return operator


@pytest.fixture
def schema(mysql_servers: tuple[MariaServer, MariaServer]) -> Iterator[str]:
    """The name of a database on production with every kind of object."""
    production, staging = mysql_servers
    name = f"test_{uuid.uuid4().hex[:8]}"
    objects = SQL / ("mysql8_objects.sql" if isinstance(production, MySQLServer) else "mysql_objects.sql")
    production.create_database(name, objects.read_text(), "CHARACTER SET latin1")
    yield name
    for server in (production, staging):
        server.drop_database(name)


def all_of(server: MariaServer, database: str) -> list[bytes]:
    """Return all that a database is, its own defaults too, as the server's dump program has it."""
    more = ["--set-gtid-purged=OFF"] if isinstance(server, MySQLServer) else []
    options = ("--routines", "--events", "--triggers", "--hex-blob", "--order-by-primary", "--skip-comments", *more)
    return [server.sql(f"SHOW CREATE DATABASE {database}").encode(), *server.dump(database, *options).splitlines()]


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
@pytest.mark.parametrize("form", ["directory", "custom"])
@following((FETCH, BEGINNING, "MySQL and MariaDB"))
def test_mysql(
    mysql_servers: tuple[MariaServer, MariaServer],
    with_client: Operator,
    schema: str,
    values: Values,
    monkeypatch: pytest.MonkeyPatch,
    way: tuple[str, ...],
    form: str,
    compression: str,
) -> None:
    production, staging = mysql_servers
    monkeypatch.setenv("PATH", f"{os.path.dirname(production.program(production.client))}:{os.environ['PATH']}")
    server = {
        "database_hostname": production.host,
        "database_port": production.port,
        "login_user": production.user,
        "login_password": production.password,
    }
    if form == "custom":
        # One that mysqldump writes before the view it looks at: the page says that this needs a second go.
        production.sql("DROP VIEW IF EXISTS `View on a view`", schema)
    task = values("mysql", schema, **server, format=form, compression=compression)
    variables = copy(with_client, task, pushed(task))
    with_client.follows(way, **variables, DATABASE=schema, CLIENT=production.client)
    assert all_of(staging, schema) == all_of(production, schema)


@following(("A dump of MySQL or MariaDB",))
def test_a_dump_of_mysql_that_the_original_left(
    mysql_servers: tuple[MariaServer, MariaServer], with_client: Operator, tmp_path: Path, way: tuple[str, ...]
) -> None:
    production, staging = mysql_servers
    name = f"test_{uuid.uuid4().hex[:8]}"
    production.create_database(
        name, "CREATE TABLE t (n int PRIMARY KEY, b blob); INSERT INTO t VALUES (1, x'00ff0a'), (2, 'ü')"
    )
    dump = tmp_path / f"2020-01-01T00:00:00-{name}.gz"
    more = ["--set-gtid-purged=OFF"] if isinstance(production, MySQLServer) else []
    dump.write_bytes(gzip.compress(production.dump(name, "--quick", *more)))
    with_client.follows(way, DUMP=dump, DATABASE=name, CLIENT=production.client)
    assert all_of(staging, name) == all_of(production, name)


# -- MongoDB -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mongo_servers() -> Iterator[tuple[MongoServer, MongoServer]]:
    with MongoServer("production") as one, MongoServer("staging") as other:
        yield one, other


@pytest.fixture(scope="module")
def dump_tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """MongoDB's own tools, or stand-ins where they can't be had (tests/servers)."""
    return tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture
def mongo_name(mongo_servers: tuple[MongoServer, MongoServer]) -> Iterator[str]:
    """The name of a database on production, with two collections and an index."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    database = mongo_servers[0].database(name)
    database["users"].insert_many({"_id": n, "email": f"user{n}@example.com", "tags": [{"n": n}]} for n in range(500))
    database["users"].create_index([("email", 1)], unique=True)
    database["a b"].insert_one({"_id": "only"})
    yield name
    for server in mongo_servers:
        for drop in (name, f"{name}_restored"):
            server.drop_database(drop)


@pytest.fixture
def with_config(mongo_servers: tuple[MongoServer, MongoServer], dump_tools: Tools, operator: Operator) -> Operator:
    """The operator, with a CONFIG that leads to the staging server."""
    operator.first(dump_tools.folder)
    operator.secret("mongo.yaml", f"uri: 'mongodb://{mongo_servers[1].host}:{mongo_servers[1].port}/'\n")
    return operator


def same_collections(one: MongoServer, other: MongoServer, name: str) -> None:
    restored = f"{name}_restored"
    assert other.contents(restored) == one.contents(name)
    for collection in ("users", "a b"):
        indexes = (server[collection].index_information() for server in (one.database(name), other.database(restored)))
        assert next(indexes) == next(indexes)


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
@following((FETCH, BEGINNING, "MongoDB and DocumentDB"))
def test_mongo(
    mongo_servers: tuple[MongoServer, MongoServer],
    with_config: Operator,
    dump_tools: Tools,
    mongo_name: str,
    values: Values,
    monkeypatch: pytest.MonkeyPatch,
    way: tuple[str, ...],
    compression: str,
) -> None:
    production, staging = mongo_servers
    monkeypatch.setenv("PATH", f"{dump_tools.folder}:{os.environ['PATH']}")
    monkeypatch.delenv("MONGODB_URI", raising=False)
    server = {"database_hostname": production.host, "database_port": production.port}
    task = values("mongo", mongo_name, **server, compression=compression)
    variables = {"DATABASE": f"{mongo_name}_restored", "CONFIG": with_config.home / "mongo.yaml"}
    with_config.follows(way, **copy(with_config, task, pushed(task)), **variables)
    same_collections(production, staging, mongo_name)


@following(("A dump of MongoDB",))
def test_a_dump_of_mongo_that_the_original_left(
    mongo_servers: tuple[MongoServer, MongoServer],
    with_config: Operator,
    dump_tools: Tools,
    mongo_name: str,
    tmp_path: Path,
    way: tuple[str, ...],
) -> None:
    production, staging = mongo_servers
    config = with_config.secret("production.yaml", f"uri: 'mongodb://{production.host}:{production.port}/'\n")
    argv = [dump_tools.folder / "mongodump", f"--config={config}", f"--db={mongo_name}", f"--out={tmp_path / 'out'}"]
    subprocess.run(argv, check=True, timeout=60, capture_output=True)
    dump = tmp_path / f"2020-01-01T00:00:00-{mongo_name}.gz"
    with tarfile.open(dump, "w:gz") as tar:
        tar.add(tmp_path / "out" / mongo_name, mongo_name)
    variables = {"DATABASE": f"{mongo_name}_restored", "CONFIG": with_config.home / "mongo.yaml", "FROM": mongo_name}
    with_config.follows(way, DUMP=dump, **variables)
    same_collections(production, staging, mongo_name)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory tree; where root runs this, with what only root can make."""
    top = tmp_path / "uploads"
    (top / "folder" / "deep").mkdir(parents=True)
    for name in ("plain", "-dash", "new\nline", "snow ☃", "*"):
        (top / name).write_text(name, encoding="utf-8")
    (top / "folder" / "deep" / "secret").write_text("of mode 600")
    (top / "folder" / "deep" / "secret").chmod(0o600)
    (top / "program").write_text("#!/bin/sh")
    (top / "program").chmod(0o4755)
    (top / "dangling").symlink_to("../nowhere")
    os.link(top / "plain", top / "second name")
    os.mkfifo(top / "fifo")
    os.setxattr(top / "plain", "user.note", b"a=b\n\x00\xff")
    subprocess.run(["setfacl", "-m", "u:nobody:r", str(top / "plain")], check=True)
    if os.geteuid() == 0:
        os.chown(top / "folder", 65534, 65534)
    os.utime(top / "plain", ns=(10**18, 10**18 + 123456789))
    top.chmod(0o2750)
    return top


def differences(one: Path, other: Path, *options: str) -> str:
    """Return what rsync would do to make the other tree like the one, nanoseconds and all."""
    usual = ["--archive", "--hard-links", "--checksum", "--modify-window=-1", "--delete", "--dry-run"]
    argv = ["rsync", *usual, "--itemize-changes", *options, f"{one}/", f"{other}/"]
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
@following((FETCH, BEGINNING, "Files"))
def test_files(
    tree: Path, operator: Operator, values: Values, tmp_path: Path, way: tuple[str, ...], compression: str
) -> None:
    task = values("files", "uploads", directory=str(tree), compression=compression)
    restored = tmp_path / "restored"
    operator.follows(way, **copy(operator, task, pushed(task)), TREE=restored)
    assert differences(tree, restored, "--acls", "--xattrs") == ""
    (restored / "plain").write_text("other")
    assert "plain" in differences(tree, restored)


@following(("A dump of files",))
def test_a_dump_of_files_that_the_original_left(
    tree: Path, operator: Operator, tmp_path: Path, way: tuple[str, ...]
) -> None:
    dump = tmp_path / "2020-01-01T00:00:00-uploads.gz"
    subprocess.run(["tar", "--create", "--gzip", f"--file={dump}", f"--directory={tree.parent}", tree.name], check=True)
    os.utime(tree / "plain", (1_000_000_000, 1_000_000_000))  # this tar has whole seconds
    restored = tmp_path / "restored"
    operator.follows(way, DUMP=dump, TREE=restored)
    assert differences(tree, restored, "--modify-window=1") == ""


# -- Elasticsearch and OpenSearch --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["opensearch", "elasticsearch"])
def nodes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SearchServer, SearchServer, Path]]:
    """Production, staging, and the folder that both may keep snapshots in: of OpenSearch, then of Elasticsearch."""
    folder = tmp_path_factory.mktemp("repositories")
    with (
        SearchServer("production", folder, request.param) as one,
        SearchServer("staging", folder, request.param) as other,
    ):
        yield one, other, folder


@following(("Elasticsearch and OpenSearch",))
def test_elasticsearch(
    nodes: tuple[SearchServer, SearchServer, Path], operator: Operator, values: Values, way: tuple[str, ...]
) -> None:
    production, staging, folder = nodes
    production.call("PUT", "/users", {"settings": {"number_of_shards": 2}, "aliases": {"people": {}}})
    production.fill("users", {str(n): {"email": f"user{n}@example.com"} for n in range(20)})
    production.fill("articles", {str(n): {"title": f"Article {n}"} for n in range(30)})
    staging.fill("users", {"1": {"email": "old@example.com"}})
    keys = {
        "database_hostname": production.host,
        "database_port": production.port,
        "storagebackend": "es_snapshot",
        "url": "backups",
        "path": "",
        "repository_type": "fs",
        "repository_settings": {"location": "snapshots"},
    }
    point = pushed(values("elasticsearch", "Search", **keys))
    said = operator.follows(
        way,
        SERVER=f"http://{staging.host}:{staging.port}",
        REPOSITORY="theirs",
        SETTINGS=f'{{"type": "fs", "settings": {{"location": "{folder}/snapshots", "readonly": true}}}}',
        POINT=point.lower(),
        INDEX="users",
    )
    assert "restored-articles" in said
    assert staging.documents("users") == production.documents("users")
    assert staging.documents("restored-articles") == production.documents("articles")
    assert set(staging.indices()) == {"restored-users", "restored-articles"}
