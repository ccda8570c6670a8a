# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plugin of pytest: what can't be had on this machine is skipped; ``ENV_SYNC_TEST_REQUIRE=all`` lets nothing be."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from tests.servers import Unavailable

Phase = Generator[None, Any, Any]


def _skipped_where_unavailable() -> Phase:
    """Skip a test whose fixture, or which itself, says that something can't be had.

    Not the fixture but the test is what this stands around: pytest keeps a fixture's exception, and raises it again for
    the next test that wants the same fixture, without another try.
    """
    try:
        return (yield)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Phase:
    return (yield from _skipped_where_unavailable())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Phase:
    return (yield from _skipped_where_unavailable())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _failed_if_all_is_required((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _failed_if_all_is_required((yield))


def _failed_if_all_is_required(report: Any) -> Any:
    """Make a failure of every skip, whoever asked for it: a component, a mark, the test itself, a module."""
    if report.outcome == "skipped" and os.environ.get("ENV_SYNC_TEST_REQUIRE") == "all":
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: with ENV_SYNC_TEST_REQUIRE=all nothing may be skipped: {why}"
        # Or it would be told as an expected failure.
        if hasattr(report, "wasxfail"):
            del report.wasxfail
    return report
