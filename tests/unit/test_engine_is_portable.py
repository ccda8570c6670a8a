# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the engine asks of its host: Python 3.9 or newer, and nothing else before a task needs it."""

from __future__ import annotations

import ast
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MODULE_UTILS = Path(__file__).resolve().parents[2] / "plugins" / "module_utils"
FILES = sorted((MODULE_UTILS / "_engine").rglob("*.py"))
NAMES = [str(path.relative_to(MODULE_UTILS)) for path in FILES]

IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import _engine
for module in pkgutil.walk_packages(_engine.__path__, "_engine."):
    importlib.import_module(module.name)
print(sum(name.startswith("_engine") for name in sys.modules))
"""


def interpreters() -> Iterator[str]:
    """Yield this Python, and the oldest and the newest that the engine is for, where they can be found."""
    yield sys.executable
    pyenv = os.environ.get("PYENV_ROOT") or os.path.join(pwd.getpwuid(os.geteuid()).pw_dir, ".pyenv")
    for version in ("3.9", "3.13"):
        built = sorted(Path(pyenv, "versions").glob(f"{version}.*/bin/python{version}"))
        found = str(built[-1]) if built else shutil.which(f"python{version}")
        if found:
            yield found


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_is_syntax_of_python_3_9(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 9))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_the_standard_library_and_itself_and_guards_the_rest(path: Path) -> None:
    found = list(unguarded(ast.parse(path.read_text(encoding="utf-8"))))
    assert not [name for name in found if name.split(".")[0] not in sys.stdlib_module_names]
    assert "importlib" not in found, "AnsiballZ ships only what is imported statically"


def test_an_unguarded_import_is_found() -> None:
    """The walk that the test above relies on does see what it should."""
    source = (
        "if 1:\n  import yaml\ntry:\n  import boto3\nexcept ImportError:\n  from . import x\nelse:\n  import six.moves"
    )
    assert list(unguarded(ast.parse(source))) == ["yaml", "six.moves"]


def unguarded(node: ast.AST) -> Iterator[str]:
    """Yield the absolute modules that are imported outside of a ``try`` that catches ImportError."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield node.module or ""
    catches = isinstance(node, ast.Try) and any("ImportError" in ast.dump(h.type) for h in node.handlers if h.type)
    for name, value in ast.iter_fields(node):
        if catches and name == "body":
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from unguarded(child)


@pytest.mark.parametrize("python", list(interpreters()), ids=os.path.basename)
def test_imports_with_nothing_installed(python: str) -> None:
    # -I and -S: neither the environment nor any site-packages; -B: nothing is written into the checkout.
    argv = [python, "-I", "-S", "-B", "-c", IMPORT_ALL, str(MODULE_UTILS)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len(NAMES)
