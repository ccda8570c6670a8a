# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MongoDB's own programs: what they are told, and what of theirs is repeated."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pymongo
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.address import uri_of
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.programs import (
    complaint,
    write_config,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Connection


def test_the_programs_get_every_option_that_the_driver_gets(tmp_path: Path) -> None:
    base = "mongodb://x,y/?readPreference=secondary&readPreferenceTags=dc:ny&readPreferenceTags=&replicaSet=r"
    uri = uri_of(Connection(), base, {})
    client: Any = pymongo.MongoClient(uri, connect=False)
    assert client.read_preference.tag_sets == [{"dc": "ny"}, {}]
    assert Path(write_config(str(tmp_path), uri)).read_text() == f"uri: '{base}'\n"


def test_the_config_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = write_config(str(tmp_path), "mongodb://a:it's@x/")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert Path(path).read_text() == "uri: 'mongodb://a:it''s@x/'\n"


def test_mongodbs_programs_are_given_no_limit_that_they_would_take_for_seconds(tmp_path: Path) -> None:
    uri = uri_of(Connection("db-1"), "mongodb://x/?connectTimeoutMS=9&socketTimeoutMS=9&w=majority&tls=true", {})
    assert "serverSelectionTimeoutMS=10000" in uri
    text = Path(write_config(str(tmp_path), uri)).read_text()
    assert text == "uri: 'mongodb://db-1:27017/?w=majority&tls=true&directConnection=true'\n"


_NO_SERVER = (
    "server selection error: context deadline exceeded, current topology: { Type: Single, Servers: "
    "[{ Addr: db-1:27017, Type: Unknown, Last error: dial tcp db-1:27017: connect: connection refused }, ] }"
)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            [f"Failed: can't create session: failed to connect to mongodb://me:p%40ss@db-1/?tls=true: {_NO_SERVER}"],
            f"Failed: can't create session: failed to connect to the server: {_NO_SERVER}",
        ),
        (
            ["error connecting to host: failed to connect to mongodb+srv://me:p%40ss@db-1/?authSource=a: auth error"],
            "error connecting to host: failed to connect to the server: auth error",
        ),
        (
            [
                "restoring `a.b` from `archive on stdin`",
                'Failed: a.b: error creating indexes for a.b: E11000 duplicate key error dup key: { mail: "p@ss" }',
                "9 document(s) restored successfully. 0 document(s) failed to restore.",
            ],
            "Failed: a.b: error creating indexes for a.b: E11000 duplicate key error dup key: "
            "(the rest is withheld, as it may quote data)",
        ),
        (
            ["one", "two", "signal 'terminated' received; attempting to shut down"],
            "one two signal 'terminated' received",
        ),
        (["Failed: corruption found in archive; read bson ( EOF )"], "Failed: corruption found in archive; read bson"),
        ([f"Failed: {'E11000 duplicate key error, ' * 1000}"], "Failed: E11000 duplicate key error, E11000"),
        ([], ""),
    ],
)
def test_of_what_mongodbs_programs_say_only_what_they_died_of_is_repeated(lines: list[str], says: str) -> None:
    """The lines are those of mongodump and mongorestore 100.18.0."""
    said = complaint("".join(f"2026-01-02T03:04:05.678+0000\t{line}\n" for line in lines))
    assert said.startswith(says)
    assert len(said) < 600
    assert "p%40ss" not in said and "p@ss" not in said and "2026" not in said and "restored" not in said
