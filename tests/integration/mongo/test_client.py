# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers and databases that are refused, named, or spoken to over TLS."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

from tests.integration.mongo.samples import (
    Values,
    do_pull,
    do_push,
    fill,
)
from tests.servers.mongo import MongoServer, Tools

# The first test of all builds the server, which takes minutes on a machine that has never done it.
pytestmark = pytest.mark.timeout(1500)


def test_a_pull_from_another_host_is_waited_for(
    source: MongoServer, target: MongoServer, name: str, values: Values
) -> None:
    fill(source, name)
    do_push(values("push", name))
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=30)
    target.database(name).env_sync_pull.insert_one({"_id": "pull", "token": "x", "host": "db-2", "until": until})
    with pytest.raises(EnvSyncError, match="db-2 is pulling"):
        do_pull(values("pull", name))


def test_the_source_is_refused_as_target(source: MongoServer, name: str, values: Values) -> None:
    fill(source, name)
    do_push(values("push", name))
    before = source.contents(name)
    with pytest.raises(EnvSyncError, match="it was pushed from"):
        do_pull(values("pull", name, database_port=source.port))
    assert source.contents(name) == before


def test_a_database_that_is_not_there_is_named(name: str, values: Values) -> None:
    with pytest.raises(EnvSyncError, match=f"there is no database {name}"):
        do_push(values("push", name))


def test_a_server_that_is_not_there_is_named(name: str, values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongodb://localhost/?serverSelectionTimeoutMS=300")
    with pytest.raises(EnvSyncError, match=r"127\.0\.0\.1:1"):
        do_push(values("push", name, database_port=1))


def test_the_environment_s_password_is_for_this_host_by_any_name(
    source: MongoServer, name: str, values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FerretDB's package for embedding takes any password, and that by this mechanism only."""
    fill(source, name)
    monkeypatch.setenv(
        "MONGODB_URI", f"mongodb://me:s3cret@localhost:{source.port}/?authMechanism=PLAIN&authSource=$external"
    )
    given = values("push", name, database_hostname=f"127.0.0.1:{source.port}")
    del given["database_port"]
    assert do_push(given)["changed"]
    with pytest.raises(EnvSyncError, match=r"are for its own hosts \(localhost"):
        do_push(values("push", name, database_hostname="127.example"))


def test_documentdb_is_spoken_to_over_tls_only(
    dump_tools: Tools, values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The addresses and the certificate authority come from the environment, as the original names them."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=docdb"]
    argv += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(argv, check=True, timeout=60, capture_output=True)
    stem = "CONTENT_STORE_DOCUMENTDB_"
    with MongoServer("docdb-1", (certificate, key)) as origin, MongoServer("docdb-2", (certificate, key)) as goal:
        fill(origin, "content-store")
        monkeypatch.setenv(stem + "HOST", origin.host)
        monkeypatch.setenv(stem + "PASSWD", "a/secret@'quoted'")
        # FerretDB's package for embedding takes any password, and that by this mechanism only.
        monkeypatch.setenv(
            "MONGODB_URI", "mongodb:///?authMechanism=PLAIN&authSource=$external&serverSelectionTimeoutMS=2000"
        )
        common = {"dbms": "documentdb", "database_hostname": ""}
        with pytest.raises(EnvSyncError, match=r"(?i)certificate"):
            do_push(values("push", "content-store", **common, database_port=origin.port))
        monkeypatch.setenv(stem + "CA_FILE", str(certificate))
        do_push(values("push", "content-store", **common, database_port=origin.port))
        do_pull(values("pull", "content-store", **common, database_port=goal.port))
        assert goal.contents("content-store") == origin.contents("content-store")
