# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rows that the benchmarks' databases are filled with: each is new, none repeats another."""

from __future__ import annotations

import itertools
import json
from random import Random
from uuid import UUID

#: the tables of a sample, and each one's share of the data: some are much larger than others, and not the first ones
TABLES = {"event": 0.15, "form": 0.05, "guide": 0.25, "news": 0.55}


class Rows:
    """Rows of a sample table as ``COPY`` reads them, about ``size`` bytes; a file to read from."""

    def __init__(self, random: Random, size: int) -> None:
        self.random = random
        self.id = 0
        self._left = size

    def read(self, size: int) -> bytes:
        """Return about ``size`` bytes of whole rows; nothing when there are enough."""
        rows: list[str] = []
        room = min(size, self._left)
        while room > 0:
            self.id += 1
            rows.append(self.row())
            room -= len(rows[-1])
            self._left -= len(rows[-1])
        return "".join(rows).encode()

    def row(self) -> str:
        raise NotImplementedError

    def day(self) -> str:
        return f"2024-{self.random.randint(1, 12):02}-{self.random.randint(1, 28):02}"


class Documents(Rows):
    """Identifiers, prose and a document each."""

    def __init__(self, random: Random, size: int) -> None:
        super().__init__(random, size)
        # Words are used as unevenly as in a language: the n-th is about n times rarer than the first.
        words = ["".join(random.choices("etaoinshrdlu", k=random.randint(2, 10))) for _unused in range(5000)]
        weights = list(itertools.accumulate(1 / n for n in range(1, len(words) + 1)))
        self._passages = [" ".join(random.choices(words, cum_weights=weights, k=40)) for _unused in range(20_000)]

    def row(self) -> str:
        random = self.random
        first, second = random.choices(self._passages, k=2)
        data = {"base_path": "/" + first[:24].replace(" ", "-"), "locale": "en", "links": [self._uuid(), self._uuid()]}
        return (
            f"{self.id}\t{self._uuid()}\t{random.randrange(1000)}\t{first[:40]}\t{second}. {first[40:]}\t"
            f"{json.dumps(data)}\t{self.day()} 12:00:{self.id % 60:02}\n"
        )

    def _uuid(self) -> str:
        return str(UUID(int=self.random.getrandbits(128)))


class Ledger(Rows):
    """An amount each, whose it is, and when."""

    def row(self) -> str:
        random = self.random
        currency, state = random.choice(("GBP", "EUR", "USD")), random.choice(("booked", "open", "void"))
        time = f"{self.id // 3600 % 24:02}:{self.id // 60 % 60:02}:{self.id % 60:02}.{random.randrange(1000):03}"
        return (
            f"{self.id}\t{random.randrange(1000)}\t{random.randrange(100_000)}\t{random.randrange(10**7) / 100:.2f}\t"
            f"{currency}\t{self.day()} {time}\t{self.day()}\t{state}\tINV-{random.randrange(10**7):08}\n"
        )
