# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import os
import re
import shutil
import subprocess
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.schedule import GRACE, Schedule

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
    assert Schedule.parse(hour, minute).calendars() == [calendar]


#: keys, the line of a crontab, how many days are between two runs at most, systemd's lines, the run after 2026-11-28
DAYS: list[tuple[dict[str, Any], str, int, list[str], str]] = [
    ({"weekday": "mon"}, "* * 1", 7, ["Mon *-*-*"], "11-30"),
    ({"weekday": "Mon-Fri"}, "* * 1-5", 3, ["Mon,Tue,Wed,Thu,Fri *-*-*"], "11-30"),
    ({"weekday": ["sat", 7]}, "* * 6,7", 6, ["Sun,Sat *-*-*"], "11-29"),
    ({"weekday": "fri-sun"}, "* * 5-7", 5, ["Sun,Fri,Sat *-*-*"], "11-29"),
    ({"day": "01"}, "1 * *", 31, ["*-*-01"], "12-01"),
    ({"day": 31}, "31 * *", 61, ["*-*-31"], "12-31"),
    ({"day": "1", "month": "jan,jul"}, "1 1,7 *", 184, ["*-01,07-01"], "01-01"),
    ({"day": 29, "month": 2}, "29 2 *", 1461, ["*-02-29"], "02-29"),
    # in cron, one of both is enough, unless one begins with a star
    ({"day": "1,15", "weekday": "sun"}, "1,15 * 0", 7, ["*-*-01,15", "Sun *-*-*"], "11-29"),
    # many crons take a step of a range only
    ({"weekday": "1/2"}, "* * 1-6/2", 3, ["Mon,Wed,Fri *-*-*"], "11-30"),
    ({"day": "11/10,5"}, "11-31/10,5 * *", 14, ["*-*-05,11,21,31"], "12-05"),
    ({"day": "*/10", "weekday": "mon"}, "*/10 * 1", 182, ["Mon *-*-01,11,21,31"], "12-21"),
]


@pytest.mark.parametrize(("keys", "crontab", "days", "calendars", "runs"), DAYS)
def test_some_days_only(keys: dict[str, Any], crontab: str, days: int, calendars: list[str], runs: str) -> None:
    schedule = Schedule.parse("03", 5, **keys)
    assert schedule.crontab() == f"5 3 {crontab}"
    assert schedule.calendars() == [f"{calendar} 03:05:00" for calendar in calendars]
    assert schedule.next_run(datetime.datetime(2026, 11, 28, 3, 5)).strftime("%m-%d %H:%M") == f"{runs} 03:05"
    assert schedule.freshness() == days * 24 * HOUR + GRACE


@pytest.mark.parametrize("keys", [keys for keys, _crontab, _days, _calendars, _runs in DAYS])
def test_systemd_says_the_same_of_the_next_run(keys: dict[str, Any]) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze (Debian: systemd)")
    schedule = Schedule.parse("03", 5, **keys)
    now = datetime.datetime(2026, 11, 28, 7, 0)
    analyze = ["systemd-analyze", "calendar", "--base-time", f"{now:%Y-%m-%d %H:%M:%S} UTC", *schedule.calendars()]
    done = subprocess.run(
        analyze, env={**os.environ, "TZ": "UTC", "LC_ALL": "C"}, capture_output=True, text=True, check=True, timeout=60
    )
    said = re.findall(r"Next elapse: \S+ (\S+ \S+) UTC", done.stdout)
    assert min(said) == str(schedule.next_run(now))


def test_the_next_run_today_is_one_that_is_still_to_come() -> None:
    schedule = Schedule.parse("*/6", "30")
    assert str(schedule.next_run(datetime.datetime(2026, 1, 31, 6, 30))) == "2026-01-31 12:30:00"
    assert str(schedule.next_run(datetime.datetime(2026, 1, 31, 18, 31))) == "2026-02-01 00:30:00"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"day": 0}, "day '0' is not within 1 to 31"),
        ({"weekday": "fri-mon"}, "weekday '5-1' has a range that runs backwards"),
        ({"day": "31-1"}, "day '31-1' has a range that runs backwards"),
        ({"day": "last"}, "day 'last' is not a number, a range, a list or */N"),
        ({"weekday": "8"}, "weekday '8' is not within 0 to 7"),
        ({"weekday": "monday"}, "weekday 'monday' is not a number (sun, mon, tue, wed, thu, fri, sat), a range"),
        ({"month": 13, "day": 32}, "day '32' is not within 1 to 31; month '13' is not within 1 to 12"),
        ({"month": "feb", "day": 30}, "day '30' does not exist in month '2'"),
    ],
)
def test_days_that_do_not_exist_are_refused_by_name(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Schedule.parse(3, 5, **keys)


@pytest.mark.parametrize(("hour", "minute"), [("0", "0"), ("*", "*"), ("*/6", "30"), ("1,13", "*/20"), ("8-9", "5")])
def test_systemd_takes_the_calendar_as_it_is(hour: str, minute: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze (Debian: systemd)")
    calendars = Schedule.parse(hour, minute).calendars()
    done = subprocess.run(
        ["systemd-analyze", "calendar", *calendars], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("hour", "minute", "named"),
    [(25, 0, "hour"), (0, 60, "minute"), ("x", 0, "hour"), ("*/0", 0, "hour"), ("5-2", 0, "hour"), (0, "-1", "minute")],
)
def test_what_is_no_time_is_refused_by_name(hour: Any, minute: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Schedule.parse(hour, minute)
