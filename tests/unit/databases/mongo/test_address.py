# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connection strings, of the task and of the environment."""

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.address import uri_of
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Connection


@pytest.mark.parametrize(
    ("connection", "base", "uri"),
    [
        (Connection(), "", "mongodb://localhost:27017/?directConnection=true"),
        (Connection("db-1", 27018, "me@x", "p:/"), "", "mongodb://me%40x:p%3A%2F@db-1:27018/?directConnection=true"),
        (Connection("::1"), "", "mongodb://[::1]:27017/?directConnection=true"),
        (Connection(), "mongodb://a:b@x,y:1/auth?replicaSet=r", "mongodb://a:b@x,y:1/?replicaSet=r&authSource=auth"),
        (Connection("db-1"), "mongodb://x/?tls=true", "mongodb://db-1:27017/?tls=true&directConnection=true"),
        (Connection("Y"), "mongodb://a:b@x:1,y/?tls=true", "mongodb://a:b@Y:27017/?tls=true&directConnection=true"),
        (Connection("db-1"), "mongodb://a:b@/", "mongodb://a:b@db-1:27017/?directConnection=true"),
        (
            Connection(),
            "mongodb://x,y/?readPreferenceTags=dc:ny,rack:1&readPreferenceTags=dc:ny&w=a%2Bb&readPreferenceTags=&tls=true",
            "mongodb://x,y/?readPreferenceTags=dc:ny,rack:1&readPreferenceTags=dc:ny&w=a%2Bb&readPreferenceTags=&tls=true",
        ),
        (Connection(user="me"), "mongodb+srv://a:b@x/", "mongodb+srv://me@x/?"),
        (Connection("db-1:27018"), "mongodb://a:b@db-1:1/", "mongodb://a:b@db-1:27018/?directConnection=true"),
        (Connection("db-1:1", 27018), "", "mongodb://db-1:27018/?directConnection=true"),
        (Connection("[::1]:1"), "", "mongodb://[::1]:1/?directConnection=true"),
        (Connection("x,y:1"), "mongodb://a:b@y,x,z/", "mongodb://a:b@x:27017,y:1/?"),
        (Connection("/run/m.sock"), "", "mongodb://%2Frun%2Fm.sock/?directConnection=true"),
    ],
)
def test_an_address_is_of_the_task_and_of_the_environment(connection: Connection, base: str, uri: str) -> None:
    made = uri_of(connection, base, {}).replace("&serverSelectionTimeoutMS=10000", "")
    assert made.replace("serverSelectionTimeoutMS=10000&", "").replace("serverSelectionTimeoutMS=10000", "") == uri


@pytest.mark.parametrize("base", ["mongodb://a:s3cret@x,y:1/?tls=true", "mongodb+srv://a:s3cret@x.example/"])
def test_the_environment_s_password_goes_to_its_own_hosts_alone(base: str) -> None:
    with pytest.raises(EnvSyncError, match=r"are for its own hosts \(x.*Set login_user and login_password") as failed:
        uri_of(Connection("db-1"), base, {})
    assert "s3cret" not in str(failed.value)
    assert uri_of(Connection("db-1", user="me", password="p"), base, {}).startswith("mongodb://me:p@db-1:27017/?")


@pytest.mark.parametrize(
    "own", ["localhost", "localhost:27018", "127.0.0.1:1,x", "[::1]:27017", "%2Frun%2Fm.sock", "127.0.1.1"]
)
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:27017", "127.0.0.1", "::1", "[::1]:1", "/run/other.sock"])
def test_this_host_is_one_host_whatever_it_is_called(host: str, own: str) -> None:
    assert uri_of(Connection(host), f"mongodb://a:b@{own}/", {}).startswith("mongodb://a:b@")
    with pytest.raises(EnvSyncError, match="are for its own hosts"):
        uri_of(Connection("10.0.0.1"), f"mongodb://a:b@{own}/", {})
    with pytest.raises(EnvSyncError, match="are for its own hosts"):
        uri_of(Connection(host), "mongodb://a:b@127.example/", {})


def test_what_documentdb_insists_on_wins_however_it_is_written() -> None:
    uri = uri_of(Connection("db-1"), "mongodb://x/?SSL=false&TLS=false&retrywrites=true", {"tls": "true"})
    assert uri.partition("?")[2].split("&")[:2] == ["retrywrites=true", "tls=true"]
