# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Imports go downwards: a folder uses those below it in the list, never one above or beside it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ENGINE = Path(__file__).resolve().parents[2] / "plugins" / "module_utils" / "_engine"

#: from the ground up; what stands on one line does not use each other
LAYERS = [
    {"errors", "version"},
    {"host"},
    {"points", "streams", "monitoring"},
    {"tasks"},
    {"search"},
    {"stores"},
    {"members"},
    {"databases"},
    {"run", "guards", "catalogue", "claims"},
    {"removal"},
    {"push", "pull", "store_check", "bucket_sync", "upkeep"},
    {"command"},
    {"start"},
]

MODULES = {
    ".".join(path.relative_to(ENGINE).with_suffix("").parts).replace("__init__", "").rstrip("."): path
    for path in ENGINE.rglob("*.py")
}


def level(module: str) -> int:
    """Return the line of a module's folder, or of the module itself at the root."""
    (found,) = (number for number, names in enumerate(LAYERS) if module.partition(".")[0] in names)
    return found


def imports(source: str, module: str, is_package: bool) -> Iterator[str]:
    """Yield the engine's modules that a module imports, by their dotted names below ``_engine``."""
    folder = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = folder[: len(folder) - (node.level - 1)] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                full = ".".join([*parts, alias.name])
                yield full if full in MODULES else ".".join(parts)


def faults(module: str, used: str) -> Iterator[str]:
    """Yield what is wrong with one module's use of another."""
    here, there = module.split("."), used.split(".")
    if here[0] != there[0]:
        if level(used) >= level(module):
            yield f"{module} uses {used}, which is above or beside it"
        if here[0] == "databases" and there[0] == "stores":
            yield f"{module} uses {used}: databases know no store"
    elif here[0] in ("databases", "stores") and len(there) == 3 and len(here) > 1 and here[1] != there[1]:
        yield f"{module} uses {used}: each knows only itself"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name))
def test_imports_go_downwards(module: str) -> None:
    path = MODULES[module]
    used = set(imports(path.read_text(encoding="utf-8"), module, path.name == "__init__.py"))
    assert [fault for other in sorted(used) if other for fault in faults(module, other)] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("databases.mysql.load", "from ...stores.base import Store"),
        ("stores.directory", "from ..databases import base"),
        ("databases.mysql.load", "from ..postgresql import client"),
        ("stores.s3.client", "from ..rsync.client import Connection"),
        ("host.locks", "def f():\n    from ..tasks.task import Task"),
        ("streams.reader", "from ..points import name"),
        ("pull", "from . import push"),
        ("upkeep", "from . import push"),
        ("tasks.task", "from .. import run"),
    ],
)
def test_an_import_upwards_is_found(module: str, source: str) -> None:
    assert [fault for used in imports(source, module, False) for fault in faults(module, used)]


@pytest.mark.parametrize("story", ["push", "pull"])
def test_a_story_names_no_dbms_and_no_store(story: str) -> None:
    """What one of them needs is a capability of all: a newcomer reads the story and nothing about bytes."""
    named = r"postgres|mysql|maria|mongo|documentdb|elastic|opensearch|s3|rsync|bucket|\bes_|\bpg_|\bmy_"
    found = re.findall(rf".*(?:{named}).*", MODULES[story].read_text(encoding="utf-8"), re.IGNORECASE)
    assert found == []


@pytest.mark.parametrize("module", ["pull", "catalogue"])
def test_what_only_reads_holds_the_readable_half_of_a_store(module: str) -> None:
    """The type checker then proves that it never writes; nothing else may be imported of stores than this half."""
    imported = {
        alias.name
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stores")
        for alias in node.names
    }
    assert imported - {"open_store"} == {"ReadableStore"}
