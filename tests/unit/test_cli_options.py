# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.govuk.env_sync.plugins.module_utils._engine import cli_options, task


def test_every_key_of_a_task_has_an_option_or_a_reason_not_to() -> None:
    options = {option.key for group in cli_options.OPTIONS.values() for option in group}
    names = options | {option.also for group in cli_options.OPTIONS.values() for option in group}
    assert set(task.KEYS) == (names - {""}) | cli_options.KEYS_WITHOUT_OPTION
    assert not options & cli_options.KEYS_WITHOUT_OPTION


def test_relative_paths_of_flags_begin_in_the_current_directory() -> None:
    given = {
        "temppath": "t",
        "dest": "../d",
        "src": "/s",
        "url": "u",
        "transformation_sql_filename": "a.sql, b/c.sql,/d",
    }
    here = {"temppath": "./t", "dest": "../d", "src": "/s", "transformation_sql_filename": "a.sql,./b/c.sql,/d"}
    assert cli_options.from_here(given, local=True) == {**here, "url": "./u"}
    assert cli_options.from_here(given, local=False) == {**here, "url": "u"}
