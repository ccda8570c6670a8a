# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The output of programs that write in small pieces, read in large ones."""

from __future__ import annotations

import time

from ..members import widen
from ..streams.pipeline import Stage
from ..streams.reader import Reader

#: a piece of fewer bytes than this says that the reader is faster than the program
_LARGE = 256 * 1024

#: how long the program then has to fill the pipe, in seconds
_PAUSE = 0.002


class Gathering:
    """What a stage writes, by way of ``reader``, which reads from its standard output.

    ``mysqldump`` writes 4 KiB at a time, ``tar`` 10. What handles each piece would take more of the processor than the
    program that makes them: of 200 MB in 35,000 pieces, the reading alone took 0.3 s; in 800 pieces, 0.06 s.
    """

    def __init__(self, stage: Stage, reader: Reader) -> None:
        widen(stage.stdout)
        self._reader = reader
        self._ahead = False

    def read(self, size: int) -> bytes:
        if self._ahead:
            time.sleep(_PAUSE)
        block = self._reader.read(size)
        self._ahead = len(block) < min(size, _LARGE)
        return block

    def close(self) -> None:
        self._reader.close()
