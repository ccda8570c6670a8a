# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a task runs next on a host, by that host's clock."""

from __future__ import annotations

import datetime

#: sorts after every time
NEVER = "~"


def next_run(schedule, clock):
    """Return what sorts, and what people read (``2026-11-29 00:07 GMT``); ``NEVER`` and nothing without a schedule.

    :param schedule: a Schedule, or None.
    :param clock: the fact ``date_time`` of the host; empty where it is not known, and then nothing is said of a zone.
    """
    if schedule is None:
        return NEVER, ""
    offset = _offset(clock.get("tz_offset") or "+0000")
    utc = datetime.datetime.now(datetime.timezone.utc)
    if clock.get("epoch"):
        utc = datetime.datetime.fromtimestamp(int(clock["epoch"]), datetime.timezone.utc)
    local = schedule.next_run(utc.replace(tzinfo=None) + offset)
    return (local - offset).isoformat(), f"{local:%Y-%m-%d %H:%M} {clock.get('tz', '')}".rstrip()


def _offset(text):
    """Return what ``+0130`` means."""
    minutes = int(text[1:3]) * 60 + int(text[3:5])
    return datetime.timedelta(minutes=-minutes if text[0] == "-" else minutes)
