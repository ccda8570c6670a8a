# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All of the page is followed."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.integration.restore_by_hand.page import FOLLOWED, commands


def test_no_command_of_the_page_is_left_out() -> None:
    for path in Path(__file__).parent.glob("test_*.py"):
        importlib.import_module(f"tests.integration.restore_by_hand.{path.stem}")
    assert set(commands()) == FOLLOWED
