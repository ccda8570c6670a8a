# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a run ended, as the monitoring needs to know it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

OK = 0
CRITICAL = 2

#: bytes in a plugin's whole output: some receivers cut it there (NSCA: 512 bytes until 2.9)
LONGEST = 500

# A bar begins performance data, a semicolon ends a field of the command file, and a backslash with an n behind it is a
# line break to Nagios.
_REPLACED = str.maketrans({"|": "/", ";": ",", "\\": "/"})


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
    def seconds(self) -> float:
        """How long the run took; a clock that was set back does not make it negative."""
        return max(0.0, self.finished - self.started)

    @property
    def point_timestamp(self) -> float:
        """When the point was made, in seconds since the epoch; 0.0 where there is none."""
        try:
            made = datetime.datetime.strptime(self.point_finished, "%Y-%m-%dT%H:%M:%SZ")
        except ValueError:
            return 0.0
        return made.replace(tzinfo=datetime.timezone.utc).timestamp()

    @property
    def status(self) -> int:
        """The plugin status: 0 or 2."""
        return OK if self.ok else CRITICAL

    @property
    def performance_data(self) -> tuple[str, ...]:
        """The run's figures, as plugins write them (``LABEL=VALUE[UNIT]``): duration, and size and age of the point."""
        figures = [f"duration={self.seconds:.1f}s"]
        if self.ok and self.stored_bytes:
            figures.append(f"stored={self.stored_bytes}B")
        if self.ok and self.point_timestamp:
            figures.append(f"point_age={max(0.0, self.finished - self.point_timestamp):.0f}s")
        return tuple(figures)

    @property
    def text(self) -> str:
        """One line: ``OK: ...`` or ``CRITICAL: ...`` with the reason; at most ``LONGEST`` bytes with the figures."""
        folded = " ".join(self.message.split())
        # A backslash, with which others are told what can't be printed, has a meaning of its own here.
        printable = "".join(character if character.isprintable() else "?" for character in folded)
        text = f"{'OK' if self.ok else 'CRITICAL'}: {printable.translate(_REPLACED)}".encode("utf-8", "replace")
        room = LONGEST - len(self._figures)
        if len(text) > room:
            text = text[: room - 3] + b"..."
        return text.decode("utf-8", "ignore")

    @property
    def plugin_output(self) -> str:
        """The text, a bar and the figures: what a plugin would print."""
        return self.text + self._figures

    @property
    def _figures(self) -> str:
        return f"|{' '.join(self.performance_data)}"
