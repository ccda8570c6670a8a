# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The transformation scripts that are shipped as examples do what the original did to these databases after a pull."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.mariadb import MariaServer
from tests.servers.mongo import MongoServer, mongosh, tools
from tests.servers.mysql import MySQLServer

# The first test that wants FerretDB builds it, which takes minutes on a machine that has never done it.
pytestmark = pytest.mark.timeout(1500)

EXAMPLES = Path(__file__).resolve().parents[2] / "roles" / "env_sync" / "files" / "examples"

BACKENDS = {
    "static": "https://static.publishing.service.gov.uk/",
    "router-api": "http://router-api.publishing.service.gov.uk:3056/path.publishing.service.gov.uk",
    "licensify": "https://licensify.elsewhere.example.org/",
    "moved-already": "https://x.staging.publishing.service.gov.uk/",
    "foreign": "https://www.example.org/publishing.service.gov.uk",
    "lookalike": "https://notpublishing.service.gov.uk/",
}

APPLICATIONS = """
CREATE TABLE oauth_applications (id int PRIMARY KEY, name varchar(50), home_uri varchar(255), redirect_uri text)
  DEFAULT CHARSET {charset} COLLATE {collation};
INSERT INTO oauth_applications VALUES
  (1, 'Publisher', 'https://publisher.publishing.service.gov.uk',
   'https://publisher.publishing.service.gov.uk/cb\nhttps://draft.publishing.service.gov.uk/cb'),
  (2, 'Forms', 'https://admin.forms.service.gov.uk', NULL),
  (3, 'Paas', 'https://a-production.cloudapps.digital', 'https://a-production.london.cloudapps.digital/cb'),
  (4, 'Performance', NULL, 'https://www.performance.service.gov.uk/PERFORMANCE.service.gov.uk'),
  (5, 'Foreign', 'https://www.example.org', 'https://www.example.org/cb');
"""


@pytest.fixture(scope="module")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """A server, with the dump programs and mongosh on the PATH."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{mongosh()}:{tools(tmp_path_factory.mktemp('tools')).folder}:{before}"
    with MongoServer("examples") as server:
        yield server
    os.environ["PATH"] = before


def pulled(folder: Path, script: str | Path, **values: Any) -> dict[str, Any]:
    """Push a database, and pull it with a script."""
    (folder / "store").mkdir(exist_ok=True)
    common = {
        "storagebackend": "directory",
        "url": str(folder / "store"),
        "path": "p",
        "temppath": str(folder / "temp"),
        "state_dir": str(folder / "state"),
        **values,
    }
    push.push(Task.from_mapping({"action": "push", **common}), Host())
    more = {"transformation_sql_filename": str(script), "allow_restore_to_source": True}
    return pull.pull(Task.from_mapping({"action": "pull", **common, **more}), Host())


def adapted(folder: Path, name: str, **settings: str) -> Path:
    """Return an example with its variables set, as an operator sets them."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for variable, value in settings.items():
        line = next(line for line in text.splitlines() if line.startswith(f"const {variable} = "))
        text = text.replace(line, f"const {variable} = {value};")
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def on(server: MongoServer, database: str) -> dict[str, Any]:
    return {"dbms": "mongo", "database": database, "database_hostname": server.host, "database_port": server.port}


@pytest.mark.parametrize("database", ["router", "draft_router"])
def test_a_routers_backends_get_the_environments_domain(mongo: MongoServer, tmp_path: Path, database: str) -> None:
    backends = mongo.database(database).backends
    backends.insert_many([{"backend_id": name, "backend_url": url} for name, url in BACKENDS.items()])
    backends.insert_one({"backend_id": "none"})
    script = adapted(
        tmp_path,
        "router.js",
        LOCAL_DOMAIN='"staging.publishing.service.gov.uk"',
        ELSEWHERE='{"licensify": {from: "elsewhere.example.org", to: LOCAL_DOMAIN}}',
    )
    try:
        pulled(tmp_path, script, **on(mongo, database))
        urls = {doc["backend_id"]: doc.get("backend_url") for doc in mongo.contents(database)["backends"]}
    finally:
        mongo.drop_database(database)
    assert urls == {
        "static": "https://static.staging.publishing.service.gov.uk/",
        "router-api": "http://router-api.staging.publishing.service.gov.uk:3056/path.publishing.service.gov.uk",
        "licensify": "https://licensify.staging.publishing.service.gov.uk/",
        "moved-already": BACKENDS["moved-already"],
        "foreign": BACKENDS["foreign"],
        "lookalike": BACKENDS["lookalike"],
        "none": None,
    }


def test_a_script_that_was_not_adapted_ends_the_pull(mongo: MongoServer, tmp_path: Path) -> None:
    mongo.database("router").backends.insert_one({"backend_id": "static", "backend_url": BACKENDS["static"]})
    try:
        with pytest.raises(EnvSyncError, match=r"router\.js"):
            pulled(tmp_path, EXAMPLES / "router.js", **on(mongo, "router"))
        assert [doc["backend_url"] for doc in mongo.contents("router")["backends"]] == [BACKENDS["static"]]
    finally:
        mongo.drop_database("router")


def test_names_of_access_limited_assets_are_redacted(mongo: MongoServer, tmp_path: Path) -> None:
    path = "/government/uploads/2026/secret-plan.pdf"
    database = "govuk_assets_production"
    mongo.database(database).assets.insert_many(
        [
            {"_id": 1, "access_limited": ["somebody"], "legacy_url_path": path},
            {"_id": 2, "access_limited": True, "legacy_url_path": path},
            {"_id": 3, "access_limited": [], "legacy_url_path": path},
            {"_id": 4, "access_limited": False, "legacy_url_path": path},
            {"_id": 5, "legacy_url_path": path},
            {"_id": 6, "access_limited": ["somebody"]},
            {"_id": 7, "access_limited": ["somebody"], "legacy_url_path": None},
        ]
    )
    try:
        pulled(tmp_path, EXAMPLES / "govuk_assets.js", **on(mongo, database))
        paths = {doc["_id"]: doc.get("legacy_url_path") for doc in mongo.contents(database)["assets"]}
    finally:
        mongo.drop_database(database)
    redacted = "/government/uploads/2026/redacted.pdf"
    assert paths == {1: redacted, 2: redacted, 3: path, 4: path, 5: path, 6: None, 7: None}


@pytest.mark.parametrize(
    ("server_class", "charset", "collation"),
    [
        (MariaServer, "utf8mb4", "utf8mb4_unicode_ci"),
        (MariaServer, "latin1", "latin1_swedish_ci"),
        (MySQLServer, "utf8mb3", "utf8mb3_unicode_ci"),
    ],
)
def test_the_addresses_of_oauth_applications_get_stagings_domains(
    tmp_path: Path, server_class: type[MariaServer], charset: str, collation: str
) -> None:
    database = "signon_production"
    with server_class("examples") as server:
        server.create_database(database, APPLICATIONS.format(charset=charset, collation=collation))
        answer = pulled(
            tmp_path,
            EXAMPLES / "signon.sql",
            dbms="mysql",
            database=database,
            database_hostname=server.host,
            database_port=server.port,
            login_user=server.user,
            login_password=server.password,
        )
        said = server.sql(
            "SELECT id, home_uri, REPLACE(redirect_uri, CHAR(10), ' ') FROM oauth_applications ORDER BY id", database
        )
    rows = [line.split("\t") for line in said.splitlines()]
    assert rows == [
        [
            "1",
            "https://publisher.staging.publishing.service.gov.uk",
            "https://publisher.staging.publishing.service.gov.uk/cb https://draft.staging.publishing.service.gov.uk/cb",
        ],
        ["2", "https://admin.staging.forms.service.gov.uk", "NULL"],
        ["3", "https://a-staging.cloudapps.digital", "https://a-staging.london.cloudapps.digital/cb"],
        ["4", "NULL", "https://www.staging.performance.service.gov.uk/PERFORMANCE.service.gov.uk"],
        ["5", "https://www.example.org", "https://www.example.org/cb"],
    ]
    assert answer["sanitised"][0]["changed"] == 6
