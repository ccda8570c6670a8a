# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.systemd import Systemd
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError


class Answers:
    """Stands in for a systemd that runs a host: notes what it is asked."""

    def __init__(self, status: int = 0, out: str = "") -> None:
        self.asked: list[str] = []
        self._answer = (status, out, "no such unit\n")

    def __call__(self, argv: list[str]) -> tuple[int, str, str]:
        self.asked.append(" ".join(argv))
        return self._answer


def test_timers_that_do_not_run_are_found_with_one_question(tmp_path: Path) -> None:
    run = Answers(3, "active\ninactive\nfailed\n")
    assert Systemd(run, str(tmp_path)).idle(["a.timer", "b.timer", "c.timer"]) == ["b.timer", "c.timer"]
    assert run.asked == ["systemctl is-active a.timer b.timer c.timer"]


def test_a_host_that_systemd_does_not_run_is_left_alone(tmp_path: Path) -> None:
    run = Answers()
    systemd = Systemd(run, str(tmp_path / "nowhere"))
    assert systemd.idle(["a.timer"]) == []
    systemd.stop(["a.timer"])
    systemd.restart(["a.timer"])
    systemd.reload()
    systemd.forget(["a.service"])
    assert run.asked == []


def test_what_systemd_refuses_is_an_error_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(EnvSyncError, match="running systemctl restart: no such unit"):
        Systemd(Answers(1), str(tmp_path)).restart(["a.timer"])
