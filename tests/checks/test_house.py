# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One subject, one place: no long file, no long function, no long constructor, unless a comment says why.

The comment is ``# long: <reason>``. For a file it is the first comment after the licence; for a function or a
constructor it is right above (above its decorators, if it has any).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("plugins", "demo", "benchmarks", "tests")

#: lines of a file, lines of a function with its signature and docstring, parameters of a constructor beside self
FILE, FUNCTION, CONSTRUCTOR = 500, 60, 6

LONG = re.compile(r"\s*# long: \w.{9,}")

LICENCE = re.compile(r"#!|# Copyright|# GNU General Public License|# SPDX-License-Identifier")


def faults(source: str) -> Iterator[str]:
    """Yield what is too long in a module's source and has no reason, each with its line."""
    lines = source.splitlines()
    first = next((line for line in lines if line.startswith("#") and not LICENCE.match(line)), "")
    if len(lines) > FILE and not LONG.match(first):
        yield f"1: a file of {len(lines)} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            yield from _constructor_faults(node, lines)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION and not _has_reason(node, lines):
                yield f"{node.lineno}: {node.name}() of {length} lines"


def _constructor_faults(node: ast.ClassDef, lines: list[str]) -> Iterator[str]:
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            given = method.args
            count = len([*given.posonlyargs, *given.args, *given.kwonlyargs]) - 1
            if count > CONSTRUCTOR and not _has_reason(method, lines):
                yield f"{method.lineno}: {node.name}() with {count} parameters"


def _has_reason(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> bool:
    above = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 2
    while above >= 0 and lines[above].lstrip().startswith("#"):
        if LONG.match(lines[above]):
            return True
        above -= 1
    return False


def test_nothing_is_too_long_without_a_reason() -> None:
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 300
    names = {path: str(path.relative_to(ROOT)) for path in paths}
    found = [
        f"{name}:{fault}"
        for path, name in names.items()
        if not name.startswith("tests/output/")
        for fault in faults(path.read_text(encoding="utf-8"))
    ]
    assert found == [], "\n".join(["", *found])


REASON = "# long: a story that is told in one go,\n"


def long_file(first: str = "", above: str = "") -> str:
    return f'# Copyright (c) 2026\n\n{first}"""Something."""\n{above}' + "pass\n" * (FILE - 2)


def long_function(above: str = "") -> str:
    return f"class Some:\n{above}    def it(self):\n" + "        pass\n" * FUNCTION


def constructor(count: int, above: str = "") -> str:
    names = ", ".join(f"p{number}" for number in range(count - 1))
    return f"class Some:\n{above}    def __init__(self, {names}, *, last=0):\n        pass\n"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("pass\n" * FILE, []),
        (long_file(), [f"1: a file of {FILE + 1} lines"]),
        (long_file(REASON), []),
        (long_file("", REASON), []),
        (long_file("", f"# Another comment first.\n{REASON}"), [f"1: a file of {FILE + 3} lines"]),
        (long_function(), [f"2: it() of {FUNCTION + 1} lines"]),
        (long_function("    # long:\n"), [f"3: it() of {FUNCTION + 1} lines"]),
        (long_function(f"    {REASON}"), []),
        (long_function(f"    {REASON}    # and not in two\n    @property\n"), []),
        (constructor(CONSTRUCTOR), []),
        (constructor(CONSTRUCTOR + 1), [f"2: Some() with {CONSTRUCTOR + 1} parameters"]),
        (constructor(CONSTRUCTOR + 1, f"    {REASON}"), []),
    ],
)
def test_what_is_too_long_is_found(source: str, found: list[str]) -> None:
    assert list(faults(source)) == found
