# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every promise of ``docs/security.md`` names a test that exists, or says why there is none."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def promises() -> list[str]:
    """Return the items of all lists, each as one line."""
    found = re.findall(r"^- .*(?:\n  .*)*", PAGE, re.M)
    return [" ".join(item.split()) for item in found]


def test_every_promise_has_its_test_or_says_why_not() -> None:
    assert len(promises()) > 30
    for promise in promises():
        assert TEST.search(promise) or re.search(r"No test: \w+", promise), promise


def test_every_test_that_is_named_exists() -> None:
    named = set(TEST.findall(PAGE))
    assert len(named) == len(set(re.findall(r"`(tests/[^`]*)`", PAGE))), "all that looks like a test is read as one"
    for path, name in sorted(named):
        module = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef)}
        assert name in functions, f"{path} has no {name}"


def test_the_readme_leads_there() -> None:
    assert "docs/security.md" in (ROOT / "README.md").read_text(encoding="utf-8")
