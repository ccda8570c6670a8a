# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.arguments import choosing


def test_tables_are_chosen_by_naming_those_to_leave_out() -> None:
    assert choosing("app", ["a"], ["b", "c"]) == ["--ignore-table=app.b", "--ignore-table=app.c", "--", "app"]
    assert choosing("app", ["a"], ["A"]) == ["--", "app", "a"]


def test_the_tables_of_a_large_database_fit_on_a_command_line() -> None:
    """Of 50,000, with the share of one program of several, of all but some, and of all."""
    tables = [f"measurements_of_a_day_{number:05d}" for number in range(50_000)]
    for wanted in (tables[:12_500], tables[:25_000], tables[10:], tables):
        left_out = sorted(set(tables).difference(wanted))
        arguments = choosing("application_production", wanted, left_out)
        subprocess.run(["/bin/true", *arguments], check=True)
        assert (arguments[-len(wanted) :] == wanted) == (len(left_out) > 20_000)
