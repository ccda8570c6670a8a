# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import options as command_options
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import keys


def test_every_key_of_a_task_has_an_option_or_a_reason_not_to() -> None:
    options = {option.key for group in command_options.OPTIONS.values() for option in group}
    names = options | {option.also for group in command_options.OPTIONS.values() for option in group}
    assert set(keys.KEYS) == (names - {""}) | command_options.KEYS_WITHOUT_OPTION
    assert not options & command_options.KEYS_WITHOUT_OPTION


def test_relative_paths_of_flags_begin_in_the_current_directory() -> None:
    given = {
        "temppath": "t",
        "dest": "../d",
        "src": "/s",
        "url": "u",
        "transformation_sql_filename": "a.sql, b/c.sql,/d",
    }
    here = {"temppath": "./t", "dest": "../d", "src": "/s", "transformation_sql_filename": "a.sql,./b/c.sql,/d"}
    assert command_options.from_here(given, local=True) == {**here, "url": "./u"}
    assert command_options.from_here(given, local=False) == {**here, "url": "u"}


@pytest.mark.parametrize(
    ("argv", "database", "dbms"),
    [
        (["-d", "-dash", "-D", "postgresql"], "-dash", "postgresql"),
        (["--database", "-dash"], "-dash", None),
        (["--database", "--odd name"], "--odd name", None),
        (["-d", "-x=1", "-D", "mysql"], "-x=1", "mysql"),
        (["-d-dash", "-Dmysql"], "-dash", "mysql"),
    ],
)
def test_a_value_may_begin_with_a_dash(argv: list[str], database: str, dbms: str | None) -> None:
    parser = command_options.make_parser("env_sync", "/etc/env_sync", "log")
    asked = command_options.parse(parser, argv)
    assert (asked.database, asked.dbms) == (database, dbms)


@pytest.mark.parametrize("argv", [["-d", "-D", "mysql"], ["-d", "--plan"], ["-d", "--dbms=mysql"], ["-d"]])
def test_an_option_is_no_value_of_another(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = command_options.make_parser("env_sync", "/etc/env_sync", "log")
    with pytest.raises(SystemExit):
        command_options.parse(parser, argv)
    assert "-d, --database: expected one argument" in " ".join(capsys.readouterr().err.replace("/", ", ").split())


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--login-password", "s3cr3t"], "no option --login-password (secrets come from the environment"),
        (["--secret-key=s3cr3t", "--plan"], "no option --secret-key (secrets come from the environment"),
        (["--lst"], "no option --lst (did you mean --list?)"),
        (["--exclude-tables", "s3cr3t"], "no option --exclude-tables (did you mean --excluded-tables?)"),
        (["--hour", "3"], "no option --hour (it is a key of a task that is deployed)"),
        (["--plan", "s3cr3t"], "an argument that belongs to no option"),
    ],
)
def test_what_is_no_option(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = command_options.make_parser("env_sync", "/etc/env_sync", "log")
    with pytest.raises(SystemExit) as ended:
        command_options.parse(parser, argv)
    said = capsys.readouterr().err
    assert says in said and "s3cr3t" not in said and ended.value.code == 2
