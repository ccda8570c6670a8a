# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Points that are in S3, or in an rsync store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.restore_by_hand.page import (
    BEGINNING,
    TABLES,
    Operator,
    Values,
    following,
    pushed,
    same,
)
from tests.servers.awscli import awscli
from tests.servers.postgresql import PostgresServer
from tests.servers.s3 import SwiftS3
from tests.servers.sshd import SshServer


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
