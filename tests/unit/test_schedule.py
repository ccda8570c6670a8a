# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.schedule import GRACE, Schedule

HOUR = 3600


@pytest.mark.parametrize(
    ("hour", "minute", "times", "freshness"),
    [
        ("00", "00", [0], 24 * HOUR),
        (3, 7, [187], 24 * HOUR),
        ("*/6", "30", [30, 390, 750, 1110], 6 * HOUR),
        ("1,13", 0, [60, 780], 12 * HOUR),
        ([1, 4], 0, [60, 240], 21 * HOUR),
        ("8-9", "*/30", [480, 510, 540, 570], 22.5 * HOUR),
    ],
)
def test_when_a_task_runs_and_how_old_its_result_may_be(
    hour: Any, minute: Any, times: list[int], freshness: float
) -> None:
    schedule = Schedule.parse(hour, minute)
    assert schedule.minutes() == times
    assert schedule.freshness() == freshness + GRACE


@pytest.mark.parametrize(
    ("hour", "minute", "calendar"),
    [("03", "5", "*-*-* 03:05:00"), ("*", "*/20", "*-*-* *:00,20,40:00"), ("1,13", "0", "*-*-* 01,13:00:00")],
)
def test_systemd_gets_the_same_times(hour: str, minute: str, calendar: str) -> None:
    assert Schedule.parse(hour, minute).calendar() == calendar


@pytest.mark.parametrize(("hour", "minute"), [("0", "0"), ("*", "*"), ("*/6", "30"), ("1,13", "*/20"), ("8-9", "5")])
def test_systemd_takes_the_calendar_as_it_is(hour: str, minute: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze (Debian: systemd)")
    calendar = Schedule.parse(hour, minute).calendar()
    done = subprocess.run(
        ["systemd-analyze", "calendar", calendar], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("hour", "minute", "named"),
    [(25, 0, "hour"), (0, 60, "minute"), ("x", 0, "hour"), ("*/0", 0, "hour"), ("5-2", 0, "hour"), (0, "-1", "minute")],
)
def test_what_is_no_time_is_refused_by_name(hour: Any, minute: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Schedule.parse(hour, minute)
