# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a task runs: the fields of a crontab, as cron takes them, and what follows from these."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

#: how much later than due a result may come before the monitoring calls it stale, in seconds
GRACE = 4 * 3600

#: the keys of a task that say when it runs, in the order of a crontab's fields, each with the least and most it may be
FIELDS: Mapping[str, tuple[int, int]] = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day": (1, 31),
    "month": (1, 12),
    "weekday": (0, 7),
}

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

#: what cron calls some values of a field, beside numbers
_NAMES: Mapping[str, Mapping[str, int]] = {
    "month": {name: number for number, name in enumerate(_MONTHS, start=1)},
    "weekday": {name: number for number, name in enumerate(_WEEKDAYS)},
}

_DAY = datetime.timedelta(days=1)
_PART = re.compile(r"(?:(\*)|(\d+)(?:-(\d+))?)(?:/(\d+))?\Z")

#: after 28 years, days of the week fall on the same dates again, but for a year like 2100, which is not a leap year
_CYCLE_DAYS = 28 * 365 + 7

#: where such a cycle begins, with another one after it, that have no such year
_CYCLE_BEGIN = datetime.date(2001, 1, 1)


@dataclass(frozen=True)
class Schedule:
    """When a task runs: one time, or several, of all days or of some. Each is a field of a crontab, in numbers."""

    hour: str
    minute: str
    day: str = "*"
    month: str = "*"
    weekday: str = "*"

    @classmethod
    def parse(cls, hour: Any, minute: Any, day: Any = "*", month: Any = "*", weekday: Any = "*") -> Schedule:
        """Return the schedule of an inventory's values (``"00"``, ``0``, ``"*/6"``, ``"1,13"``, ``"mon-fri"``).

        :raises ValueError: names the fields and what is wrong with each.
        """
        given = {"minute": minute, "hour": hour, "day": day, "month": month, "weekday": weekday}
        fields = {name: _normal(name, value) for name, value in given.items()}
        faults = []
        for name, text in fields.items():
            try:
                _values(name, text)
            except ValueError as error:
                faults.append(f"{name} {error}")
        if faults:
            raise ValueError("; ".join(faults))
        found = cls(**fields)
        if not any(map(found.has_day, _dates(_CYCLE_BEGIN, _CYCLE_DAYS))):
            raise ValueError(f"day {found.day!r} does not exist in month {found.month!r}")
        return found

    @classmethod
    def of_crontab(cls, text: str) -> Schedule:
        """Return the schedule that :meth:`crontab` gives."""
        return cls.parse(**dict(zip(FIELDS, text.split())))

    def crontab(self) -> str:
        """Return the first five fields of a line of a crontab (crontab(5))."""
        return " ".join(getattr(self, name) for name in FIELDS)

    def minutes(self) -> list[int]:
        """Return the minutes of a day at which the task runs, in order."""
        return [h * 60 + m for h in _values("hour", self.hour) for m in _values("minute", self.minute)]

    def freshness(self) -> int:
        """Return how old a result may be, in seconds: the longest time between two runs, and four hours."""
        minutes = self.minutes()
        gaps = [after - before for before, after in zip(minutes, minutes[1:])]
        over_night = minutes[0] - minutes[-1]
        days = _longest_gap_days(replace(self, hour="0", minute="0"))
        return max([*gaps, days * 24 * 60 + over_night]) * 60 + GRACE

    def next_run(self, now: datetime.datetime) -> datetime.datetime:
        """Return when the task runs next; ``now`` and the result are the host's local time, without a zone."""
        for date in _dates(now.date(), 3 * _CYCLE_DAYS):
            for minute in self.minutes() if self.has_day(date) else ():
                found = datetime.datetime.combine(date, datetime.time(minute // 60, minute % 60))
                if found > now:
                    return found
        raise ValueError("it never runs")  # parse() lets no such schedule through

    def calendars(self) -> list[str]:
        """Return systemd's form, for one ``OnCalendar=`` each (systemd.time(7)): the task runs at the times of any."""
        time = f"{_calendar('hour', self.hour)}:{_calendar('minute', self.minute)}:00"
        month, day = _calendar("month", self.month), _calendar("day", self.day)
        weekdays = ",".join(_WEEKDAYS[value].capitalize() for value in self._weekdays())
        of_week = f"{weekdays} " if self.weekday != "*" else ""
        if self._either:
            return [f"*-{month}-{day} {time}", f"{of_week}*-{month}-* {time}"]
        return [f"{of_week}*-{month}-{day} {time}"]

    @property
    def _either(self) -> bool:
        """Whether a day of the month and one of the week are alternatives: in cron, where neither begins with ``*``."""
        return not (self.day.startswith("*") or self.weekday.startswith("*"))

    def _weekdays(self) -> list[int]:
        return sorted({value % 7 for value in _values("weekday", self.weekday)})

    def has_day(self, date: datetime.date) -> bool:
        """Say whether the task runs on a day."""
        if date.month not in _values("month", self.month):
            return False
        of_month = date.day in _values("day", self.day)
        of_week = date.isoweekday() % 7 in self._weekdays()
        return of_month or of_week if self._either else of_month and of_week


@functools.lru_cache(maxsize=64)
def _longest_gap_days(schedule: Schedule) -> int:
    """Return how many days are between two days with runs, at most."""
    if (schedule.day, schedule.month, schedule.weekday) == ("*", "*", "*"):
        return 1
    days = [date for date in _dates(_CYCLE_BEGIN, 2 * _CYCLE_DAYS) if schedule.has_day(date)]
    return max((after - before).days for before, after in zip(days, days[1:]))


def _dates(first: datetime.date, count: int) -> Iterator[datetime.date]:
    for number in range(count):
        yield first + number * _DAY


def _normal(name: str, value: Any) -> str:
    """Return a field in the form that every cron takes: ``1,2`` for a list, no leading zeros.

    Names become numbers: not every cron takes them in lists and ranges. Sunday is 7 at the end of a range. A step from
    a number on (``2/6``) gets the range that it means (``2-23/6``): many crons take a step of a range only.
    """
    items = value if isinstance(value, (list, tuple)) else str(value).split(",")
    text = ",".join(str(item).strip().lower() for item in items)
    for word, number in _NAMES.get(name, {}).items():
        if name == "weekday" and number == 0:
            text = re.sub(rf"(?<=-){word}\b", "7", text)
        text = re.sub(rf"\b{word}\b", str(number), text)
    text = re.sub(r"\b0+(?=\d)", "", text)
    highest = 6 if name == "weekday" else FIELDS[name][1]
    return re.sub(r"(?:(?<=,)|\A)(\d+)(?=/)", rf"\1-{highest}", text)


@functools.lru_cache(maxsize=256)
def _values(name: str, field: str) -> tuple[int, ...]:
    lowest, highest = FIELDS[name]
    found: set[int] = set()
    for part in field.split(","):
        match = _PART.match(part)
        if not match:
            names = f" ({', '.join(_NAMES[name])})" if name in _NAMES else ""
            raise ValueError(f"{field!r} is not a number{names}, a range, a list or */N")
        star, first, last, step = match.groups()
        low = lowest if star else int(first)
        high = highest if star or (step and not last) else int(last or first)
        if last and int(last) < low <= highest:
            raise ValueError(f"{field!r} has a range that runs backwards")
        if high > highest or not lowest <= low <= high or (step is not None and int(step) < 1):
            raise ValueError(f"{field!r} is not within {lowest} to {highest}")
        found.update(range(low, high + 1, int(step or 1)))
    return tuple(sorted(found))


def _calendar(name: str, field: str) -> str:
    if field == "*":
        return "*"
    return ",".join(f"{value:02d}" for value in _values(name, field))
