# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Users with few rights, what the server refuses, and what nobody else may see."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import pull
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.integration.mysql.helpers import ADDRESSES, LIVE, SAMPLE, Values, do_pull, do_push
from tests.servers.mariadb import MariaServer, program


def test_a_user_with_rights_on_one_database_only(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values
) -> None:
    production.create_database(
        database, SAMPLE + "CREATE DEFINER=only_there@localhost VIEW theirs AS SELECT id FROM orders"
    )
    production.sql("GRANT SELECT ON *.* TO only_there@localhost")
    staging.create_database(database, LIVE)
    for server in (production, staging):
        server.sql("CREATE OR REPLACE USER plain@'%' IDENTIFIED BY 'plain'")
    production.sql(f"GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, EXECUTE ON {database}.* TO plain@'%'")
    staging.sql(f"GRANT ALL ON {database}.* TO plain@'%'; GRANT ALL ON `env\\_sync\\_%`.* TO plain@'%'")
    plain = {"login_user": "plain", "login_password": "plain"}

    pushed = do_push(task_values("push", database, **plain))
    pulled = do_pull(task_values("pull", database, **plain))

    assert "one connection: Access denied" in pushed["manifest"]["details"]["snapshot"]
    assert [item for item in pulled["warnings"] if "only_there@localhost" in item]
    assert "DEFINER=`plain`@`%`" in staging.sql("SHOW CREATE VIEW theirs", database)
    assert staging.sql(ADDRESSES, database) == "500\t500"
    staging.sql(f"REVOKE DROP ON {database}.* FROM plain@'%'")
    with pytest.raises(EnvSyncError, match="DROP command denied"):
        pull.plan(Task.from_mapping(task_values("pull", database, **plain)), Host())
    production.sql("CREATE FUNCTION hidden() RETURNS int RETURN 1", database)
    with pytest.raises(EnvSyncError, match="may not see the definition of the function hidden"):
        do_push(task_values("push", database, **plain))
    production.sql(f"REVOKE EXECUTE ON {database}.* FROM plain@'%'")
    with pytest.raises(EnvSyncError, match="execute command denied"):
        do_push(task_values("push", database, **plain))
    production.sql(f"REVOKE TRIGGER ON {database}.* FROM plain@'%'")
    with pytest.raises(EnvSyncError, match="TRIGGER command denied"):
        do_push(task_values("push", database, **plain))


def test_triggers_hidden_on_a_server_that_only_reads(
    production: MariaServer, database: str, task_values: Values
) -> None:
    """A replica refuses to make a trigger, whoever asks: that is not how to learn of a right there."""
    production.create_database(database, SAMPLE + "CREATE TRIGGER tr BEFORE INSERT ON orders FOR EACH ROW SET @x = 1")
    production.sql("CREATE OR REPLACE USER plain@'%' IDENTIFIED BY 'plain'")
    production.sql(f"GRANT SELECT, SHOW VIEW, EVENT, EXECUTE ON {database}.* TO plain@'%'")
    values = task_values("push", database, login_user="plain", login_password="plain")
    production.sql("SET GLOBAL read_only = 1")
    try:
        with pytest.raises(EnvSyncError, match="TRIGGER command denied"):
            do_push(values)
        production.sql(f"GRANT TRIGGER ON {database}.* TO plain@'%'")
        pushed = do_push(values)
    finally:
        production.sql("SET GLOBAL read_only = 0")
    assert [item for item in pushed["manifest"]["members"] if "5-triggers" in item["name"]]


def test_refusals(
    production: MariaServer, staging: MariaServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    do_push(task_values("push", database))
    to_itself = {"database_port": production.port, "login_password": production.password}
    for values, said in (
        (task_values("push", database, login_password="wrong-secret"), "Access denied.*login_password"),
        (task_values("push", "nosuch"), f"there is no database nosuch.*{database}"),
        (task_values("push", database, database_port=1), "Can't connect.*database_hostname"),
        (task_values("pull", database, **to_itself), "the server it was pushed from"),
    ):
        with pytest.raises(EnvSyncError, match=said) as raised:
            (do_push if values["action"] == "push" else do_pull)(values)
        assert "wrong-secret" not in str(raised.value)
    staging.create_database(database, LIVE)
    staging.create_database(
        "other", f"CREATE TABLE t (id int, CONSTRAINT foreigner FOREIGN KEY (id) REFERENCES {database}.live (id))"
    )
    with pytest.raises(EnvSyncError, match="foreigner"):
        do_pull(task_values("pull", database))
    staging.drop_database("other")
    scratch = pull.plan(Task.from_mapping(task_values("pull", database)), Host())["steps"][1].split()[-1]
    staging.create_database(scratch, "CREATE TABLE somebodys (id int)")
    with pytest.raises(EnvSyncError, match="not env_sync's"):
        do_pull(task_values("pull", database))
    staging.drop_database(scratch)


def test_nothing_secret_on_a_command_line_or_left_in_a_file(
    production: MariaServer, database: str, task_values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.create_database(database, SAMPLE)
    wrapper = tmp_path / "bin" / "mariadb-dump"
    wrapper.parent.mkdir()
    wrapper.write_text(
        '#!/bin/sh\n[ "$1" = --version ] || { printf "%s\\n" "$@"; env; stat -c %a "${1#*=}"; } '
        f">> {tmp_path}/seen\n"
        f'exec {program("mariadb-dump")} "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    do_push(task_values("push", database))
    seen = (tmp_path / "seen").read_text()
    assert "\n600\n" in seen
    assert production.password not in seen
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or production.password.encode()[:12] not in path.read_bytes(), path
