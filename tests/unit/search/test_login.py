# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.search.client import Client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.search.login import base_url
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import (
    Connection,
    ElasticOptions,
    S3Options,
)


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("", 0, "http://localhost:9200"),
        ("db-1", 0, "http://db-1:9200"),
        ("::1", 9201, "http://[::1]:9201"),
        ("https://search.example.com", 0, "https://search.example.com"),
        ("https://search.example.com:9243/x/", 0, "https://search.example.com:9243/x"),
        ("https://search.example.com", 9200, "https://search.example.com:9200"),
    ],
)
def test_the_server_is_a_host_or_a_url(host: str, port: int, url: str) -> None:
    assert base_url(Connection(host, port)) == url


@pytest.mark.parametrize("host", ["https://user:hunter2@db-1", "ftp://db-1", "https://:x", "https://db-1:port"])
def test_a_password_in_the_url_is_refused_and_not_repeated(host: str) -> None:
    with pytest.raises(EnvSyncError, match="is no URL") as raised:
        base_url(Connection(host))
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "keys", "secret"),
    [
        ("es.example.org", {"user": "u", "password": "p"}, "password"),
        ("http://es.example.org:9201", {"user": "u", "password": "p"}, "password"),
        ("10.0.0.5", {"api_key": "id:key"}, "API key"),
        ("https://es.example.org", {"user": "u", "password": "p"}, ""),
        ("https://es.example.org", {"api_key": "a2V5"}, ""),
        ("es.example.org", {}, ""),
        ("", {"user": "u", "password": "p"}, ""),
        ("localhost", {"user": "u", "password": "p"}, ""),
        ("127.0.0.1", {"user": "u", "password": "p"}, ""),
        ("127.0.1.1", {"user": "u", "password": "p"}, ""),
        ("http://[::1]:9200", {"user": "u", "password": "p"}, ""),
        ("localhost.example.org", {"user": "u", "password": "p"}, "password"),
    ],
)
def test_a_secret_in_plain_text_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, host: str, keys: dict[str, str], secret: str
) -> None:
    for name in ("ELASTICSEARCH_API_KEY", "ELASTICSEARCH_USERNAME", "ELASTICSEARCH_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    elastic = ElasticOptions(api_key=keys.get("api_key", ""))
    of = Client(Connection(host, 0, keys.get("user", ""), keys.get("password", "")), elastic, S3Options())
    assert [text.partition(" goes to ")[0] for text in of.warnings] == ([f"the {secret}"] if secret else [])
    assert all("id:key" not in text and "Basic" not in text for text in of.warnings)
