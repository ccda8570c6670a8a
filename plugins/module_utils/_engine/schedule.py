# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a task runs: its hour and minute, as cron takes them, and what follows from these."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

#: how much later than due a result may come before the monitoring calls it stale, in seconds
GRACE = 4 * 3600

_DAY = 24 * 60
_PART = re.compile(r"(?:(\*)|(\d+)(?:-(\d+))?)(?:/(\d+))?\Z")


@dataclass(frozen=True)
class Schedule:
    """A time of day, or several. ``hour`` and ``minute`` are fields of a crontab."""

    hour: str
    minute: str

    @classmethod
    def parse(cls, hour: Any, minute: Any) -> Schedule:
        """Return the schedule of an inventory's values (``"00"``, ``0``, ``"*/6"``, ``"1,13"``).

        :raises ValueError: names the field and what is wrong with it.
        """
        found = cls(_normal(hour), _normal(minute))
        for name, text, highest in (("hour", found.hour, 23), ("minute", found.minute, 59)):
            try:
                _values(text, highest)
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        return found

    def minutes(self) -> list[int]:
        """Return the minutes of the day at which the task runs, in order."""
        return [h * 60 + m for h in _values(self.hour, 23) for m in _values(self.minute, 59)]

    def freshness(self) -> int:
        """Return how old a result may be, in seconds: the longest time between two runs, and four hours."""
        minutes = self.minutes()
        gaps = [after - before for before, after in zip(minutes, minutes[1:])]
        gaps.append(minutes[0] + _DAY - minutes[-1])
        return max(gaps) * 60 + GRACE

    def calendar(self) -> str:
        """Return systemd's form, for ``OnCalendar=`` (systemd.time(7))."""
        return f"*-*-* {_calendar(self.hour, 23)}:{_calendar(self.minute, 59)}:00"


def _normal(value: Any) -> str:
    """A list becomes a comma between its items; leading zeros go, for ``00`` is no form that every cron documents."""
    items = value if isinstance(value, (list, tuple)) else str(value).split(",")
    return ",".join(re.sub(r"\b0+(?=\d)", "", str(item).strip()) for item in items)


def _values(field: str, highest: int) -> list[int]:
    found: set[int] = set()
    for part in field.split(","):
        match = _PART.match(part)
        if not match:
            raise ValueError(f"{field!r} is not a number, a range, a list or */N")
        star, first, last, step = match.groups()
        low = 0 if star else int(first)
        high = highest if star or (step and not last) else int(last or first)
        if high > highest or low > high or (step is not None and int(step) < 1):
            raise ValueError(f"{field!r} is not within 0 to {highest}")
        found.update(range(low, high + 1, int(step or 1)))
    return sorted(found)


def _calendar(field: str, highest: int) -> str:
    if field == "*":
        return "*"
    return ",".join(f"{value:02d}" for value in _values(field, highest))
