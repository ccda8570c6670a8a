# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DocumentDB: where it is and how it is spoken to."""

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.documentdb import DocumentDB
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task


def documentdb(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(f"CONTENT_STORE_DOCUMENTDB_{name}", value)
    given = {"action": "push", "dbms": "documentdb", "database": "content-store", "dest": "/nowhere"}
    return DocumentDB.uri(Task.from_mapping(given))


def test_documentdb_takes_its_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = documentdb(monkeypatch, HOST="docdb", PASSWD="s3cret", CA_FILE="/etc/ca.pem")
    assert uri.startswith("mongodb://master:s3cret@docdb:27017/?tls=true&retryWrites=false&tlsCAFile=%2Fetc%2Fca.pem")


@pytest.mark.parametrize(("environment", "missing"), [({}, "HOST"), ({"HOST": "docdb"}, "PASSWD")])
def test_documentdb_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], missing: str
) -> None:
    with pytest.raises(EnvSyncError, match=f"CONTENT_STORE_DOCUMENTDB_{missing} in the environment"):
        documentdb(monkeypatch, **environment)
