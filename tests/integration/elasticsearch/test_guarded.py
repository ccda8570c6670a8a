# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes behind TLS, logins and rights, and a repository that is read over HTTP."""

from __future__ import annotations

import base64
import functools
import http.server
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull, push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store

from tests.integration.elasticsearch.support import MASK, Tasks, live, script, through
from tests.servers.opensearch import SearchServer
from tests.servers.search_proxy import Check, SearchProxy, header, signed

LOGINS: dict[str, tuple[dict[str, Any], Check]] = {
    "basic": (
        {"login_user": "sync", "login_password": "s:cret"},
        header(f"Basic {base64.b64encode(b'sync:s:cret').decode()}"),
    ),
    "key": ({"api_key": "aWQ6a2V5"}, header("ApiKey aWQ6a2V5")),
    "sigv4": (
        {"aws_sigv4": True, "access_key": "AKID", "secret_key": "s3", "session_token": "t", "region": "eu-west-1"},
        signed("AKID", "s3", "eu-west-1", "t"),
    ),
}


@pytest.mark.parametrize("login", LOGINS)
def test_over_tls_with_a_login(
    login: str, production: SearchServer, staging: SearchServer, tasks: Tasks, tmp_path: Path
) -> None:
    given, check = LOGINS[login]
    with SearchProxy(production, check) as here, SearchProxy(staging, check) as there:
        point = push.push(tasks("push", **through(here), **given), Host())["point"]
        others = {"transformation_sql_filename": script(tmp_path, MASK), "restore_as": "index"}
        done = pull.pull(tasks("pull", **through(there), **given, **others), Host())

        assert done["point"] == point and done["warnings"] == []
        assert {about["email"] for about in staging.documents("users").values()} == {
            f"{n}@staging.invalid" for n in range(20)
        }
        before = live(staging)
        wrong = {key: f"{given[key]}x" for key in ("login_password", "api_key", "secret_key") if key in given}
        for bad, why in (
            (wrong, r"unable to authenticate .*Check login_user, login_password, api_key or the AWS credentials"),
            ({"aws_ca_bundle": ""}, r"certificate verify failed.* Check the server's certificate and aws_ca_bundle"),
        ):
            asked = len(there.seen)
            with pytest.raises(EnvSyncError, match=why) as raised:
                pull.pull(tasks("pull", **{**through(there), **given, **bad}), Host())
            assert len(there.seen) == asked and not any(str(value) in str(raised.value) for value in wrong.values())
        unchecked = {**through(there), "aws_ca_bundle": "", "validate_certs": False}
        pull.plan(tasks("pull", **unchecked, **given), Host())
        assert live(staging) == before


def test_a_push_needs_no_right_but_to_make_snapshots(production: SearchServer, tasks: Tasks) -> None:
    open_store(tasks("push")).prepare(write=True)
    with SearchProxy(production, lambda *_request: True) as proxy:
        proxy.forbidden = r"DELETE|POST|PUT /(?!_snapshot/backups/2)"

        push.push(tasks("push", **through(proxy)), Host())

    assert [request.partition("/")[0] for request in proxy.seen if not request.startswith("GET")] == ["PUT "]


def test_an_answer_that_is_lost_makes_no_stranger_of_a_snapshot(production: SearchServer, tasks: Tasks) -> None:
    with SearchProxy(production, lambda *_request: True) as proxy:
        proxy.lost = r"PUT /_snapshot/backups/2"

        done = push.push(tasks("push", **through(proxy)), Host())

    assert done["changed"] and not done["skipped"]


def test_a_repository_can_be_read_over_http(
    production: SearchServer, staging: SearchServer, tasks: Tasks, repositories: Path
) -> None:
    push.push(tasks("push"), Host())
    handler = functools.partial(_Files, directory=str(repositories))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
        location = tasks("push").elastic.repository_settings["location"]
        settings = {"url": f"http://127.0.0.1:{listener.server_port}/{location}/"}
        pull.pull(tasks("pull", repository_type="url", repository_settings=settings), Host())
        listener.shutdown()

    assert staging.documents("users") == production.documents("users")


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""
