# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections: which rights a grant is about, and TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import client as mysql_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.options import settings
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Connection


@pytest.mark.parametrize(
    ("pattern", "schema", "alike"),
    [
        ("shop", "shop", True),
        ("sh_p", "shop", True),
        (r"sh\_p", "shop", False),
        (r"a\_%", "a_b%", True),
        ("%", "", True),
    ],
)
def test_a_grant_s_pattern(pattern: str, schema: str, alike: bool) -> None:
    assert mysql_client._like(pattern, schema) is alike


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", {}),
        ("ssl-ca=/ca.pem", {"ssl_ca": "/ca.pem"}),
        ("ssl-verify-server-cert", {"ssl_verify_cert": True, "ssl_verify_identity": True}),
        ("disable-ssl-verify-server-cert", {}),
        ("ssl-verify-server-cert=OFF", {}),
        ("skip-ssl", {"ssl_disabled": True}),
        ("ssl_mode=disabled", {"ssl_disabled": True}),
        ("ssl=1", {"ssl": {"check_hostname": False, "verify_mode": False}}),
    ],
)
def test_tls(tmp_path: Path, options: str, expected: dict[str, object]) -> None:
    (tmp_path / "my.cnf").write_text(f"[client]\n{options}\n")
    assert mysql_client._tls(settings(Connection("db"), [str(tmp_path / "my.cnf")]).tls) == expected
