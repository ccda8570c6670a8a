# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions of Elasticsearch and OpenSearch, and what came with them."""

from __future__ import annotations


class Version:
    """A server's version, and which of the features that came with time it has.

    OpenSearch began as a copy of Elasticsearch 7.10, and counts as newer than that.
    """

    def __init__(self, distribution: str, number: str) -> None:
        self.distribution = distribution
        parts = [int(part) for part in number.partition("-")[0].split(".") if part.isdigit()]
        self.number = tuple(parts)
        effective = (7, 10) if distribution == "opensearch" else self.number
        self.text = f"OpenSearch {number}" if distribution == "opensearch" else number
        self.has_metadata = effective >= (7, 3)
        self.has_clone = effective >= (7, 4)
        self.has_hidden = effective >= (7, 7)
        self.has_types = effective < (7,)
        self.has_sequence_numbers = effective >= (6, 7)


def version_of(text: str) -> Version:
    """Return the version that ``Version.text`` is of."""
    name, _unused, number = text.rpartition(" ")
    return Version(name.lower() or "elasticsearch", number)
