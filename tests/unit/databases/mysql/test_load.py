# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is sent to the server of the settings that each member of a point has in its head and at its end."""

from __future__ import annotations

from typing import Any

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql import load as mysql_load


class Server:
    """Remembers what it is sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, text: bytes, connection: Any, doing: str) -> bool:
        self.sent.append(text.decode())
        return False


def load(*members: str) -> str:
    """Return what is sent of members, each a text of statements; those that begin with an S are settings."""
    server: Any = Server()
    session = mysql_load._Session(server, None)
    for member in members:
        session.begin()
        for statement in member.split():
            if statement.startswith("S"):
                session.set(statement.encode(), "")
            else:
                session.settle()
                server.sent.append(statement)
    return " ".join(server.sent)


def test_a_head_is_sent_once_for_members_that_share_it() -> None:
    assert load("S1 S2 a Sx", "S1 S2 b Sx", "S1 S2 c d Sx") == "S1 S2 a b c d"


def test_another_head_comes_after_the_end_of_the_member_before() -> None:
    assert load("S1 a Sx", "S2 b Sy", "S2 c Sy", "S1 d Sx") == "S1 a Sx S2 b c Sy S1 d"


def test_what_is_set_in_between_stays_in_its_place() -> None:
    assert load("S1 a S2 b S3 c Sx", "S1 d Sx", "S1 e Sx") == "S1 a S2 b S3 c Sx S1 d e"


def test_members_that_set_nothing_or_have_nothing() -> None:
    assert load("S1 a Sx", "S1 Sx", "S2 b Sy") == "S1 a Sx S2 b"
    assert load("a", "S1 b Sx", "c", "S1 Sx", "S1 d Sx") == "a S1 b Sx c S1 d"
