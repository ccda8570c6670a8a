# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Statements that are run side by side, each over one of several connections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Callable

from ...streams.pipeline import Group
from .client import Server

Rows = list[tuple[Any, ...]]

#: a statement, and what is called with its rows
Question = tuple[str, Callable[[Rows], None]]


def run_all(group: Group, server: Server, schema: str, statements: Sequence[str], jobs: int, doing: str) -> None:
    """Run statements, whose rows say nothing, side by side."""
    ask_all(group, server, schema, [(statement, lambda rows: None) for statement in statements], jobs, doing)


def ask_all(group: Group, server: Server, schema: str, questions: Sequence[Question], jobs: int, doing: str) -> None:
    """Run statements side by side, in their order, and have the answer to each looked at; what that raises ends all.

    :param jobs: how many connections there are at most.
    :raises ServerError: one failed.
    """
    connections: list[int] = []
    group.on_stop(lambda: server.kill(connections))

    def work(questions: Iterator[Question]) -> None:
        connection = server.connect(doing, schema)
        connections.append(connection.thread_id())
        try:
            for statement, answered in questions:
                answered(server.query(statement, (), doing, connection))
        finally:
            connection.close()

    group.each(work, questions, jobs)
