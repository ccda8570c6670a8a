# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a run ended, as the monitoring needs to know it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from ..errors import one_line

OK = 0
CRITICAL = 2

#: passive results are cut by some receivers (NSCA: 512 bytes until 2.9)
LONGEST = 500


@dataclass(frozen=True)
class Outcome:
    """The end of one run of a task.

    ``started`` and ``finished`` are seconds since the epoch (UTC); ``stored_bytes`` is the point's size in its store, 0
    where there is none; ``point_finished`` is when the point was made, ISO 8601 in UTC, or empty.
    """

    title: str
    ok: bool
    message: str
    started: float
    finished: float
    stored_bytes: int = 0
    point_finished: str = ""

    @property
    def point_age(self) -> float:
        """How old the point was when the run ended, in seconds; 0.0 where there is none."""
        try:
            made = datetime.datetime.strptime(self.point_finished, "%Y-%m-%dT%H:%M:%SZ")
        except ValueError:
            return 0.0
        return max(0.0, self.finished - made.replace(tzinfo=datetime.timezone.utc).timestamp())

    @property
    def status(self) -> int:
        """The plugin status: 0 or 2."""
        return OK if self.ok else CRITICAL

    @property
    def text(self) -> str:
        """One line: ``OK: ...`` or ``CRITICAL: ...`` with the reason."""
        # A semicolon ends a field of Nagios's command file, a bar begins performance data.
        message = one_line(self.message).replace(";", ",").replace("|", "/")
        return f"{'OK' if self.ok else 'CRITICAL'}: {message}"[:LONGEST]
