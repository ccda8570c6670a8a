# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever hangs, a run that is told to stop ends within 30 seconds, leaves nobody at work, and tells what it left.

All of the table hangs at the same time, as it is a matter of waiting: each row is then looked at by itself.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.integration.command.hangs import DONE, HANGS, LEFT, Servers
from tests.integration.command.stopped_runs import PROMISE, Ended


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ended]]]:
    """Every run of the table, under way at the same time."""
    folder = tmp_path_factory.mktemp("stopping")
    servers = Servers()
    with servers.resources, ThreadPoolExecutor(len(HANGS)) as pool:

        def one(name: str) -> Ended:
            place = folder / re.sub(r"\W+", "_", name)
            place.mkdir()
            return HANGS[name](place, servers).stop(signal.SIGTERM)

        yield {name: pool.submit(one, name) for name in HANGS}


@pytest.mark.parametrize("name", HANGS)
def test_a_run_that_hangs_ends_when_it_is_told_to(runs: dict[str, Future[Ended]], name: str) -> None:
    ended = runs[name].result(timeout=180)
    assert ended.seconds < PROMISE
    assert ended.at_work == []
    if name in DONE:
        assert (ended.status, ended.said, ended.snapshot["state"]) == (0, "", "done")
        return
    assert ended.status == 128 + signal.SIGTERM, ended
    assert re.fullmatch(r"govuk_env_sync: error: case: stopped by SIGTERM[^\n]*\n", ended.said), ended.said
    assert ended.snapshot["state"] == "failed", "nobody may take it for a run that goes on"
    assert f"error: {ended.said.split('error: ', 1)[1]}" in ended.log
    if name in LEFT:
        assert re.search(rf"Left for the next run to clean up: {LEFT[name]}", ended.said), ended.said
    else:
        assert "Left" not in ended.said, ended.said
    assert bool(ended.journal) == (name in LEFT and "what is left" in LEFT[name])
