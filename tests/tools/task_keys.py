# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make the table of a task's keys in ``docs/reference/tasks.md``: ``python -m tests.tools.task_keys`` writes it.

The keys are those that the engine knows. Their descriptions come from the modules' documentation, or from here if no
module has the key.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from plugins.module_utils._engine.tasks.keys import KEYS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "tasks.md"
BEGIN, END = "<!-- made by tests/tools/task_keys.py: begin -->\n", "<!-- end -->\n"

#: keys that no module has, or that mean something else there: their type and meaning in an inventory
INVENTORY: dict[str, tuple[str, str]] = {
    "name": ("text", "In a config file, the task's name in messages. In an inventory, the title is the name."),
    "ensure": (
        "`present` (default), `disabled`, `absent`",
        "Whether the task runs on a schedule. `disabled` keeps the config file, and removes schedule and check; "
        "`absent` removes everything.",
    ),
    "hour": ("cron's syntax", "The hour of its schedule."),
    "minute": ("cron's syntax", "The minute of its schedule."),
    "day": ("cron's syntax", "The days of the month of its schedule; by default all."),
    "month": ("cron's syntax, `jan` to `dec`", "The months of its schedule; by default all."),
    "weekday": (
        "cron's syntax, `sun` to `sat`",
        "The days of the week of its schedule; by default all. If `day` is given too, one of both is enough, as in a "
        "crontab, unless one begins with `*`.",
    ),
    "freshness": (
        "seconds",
        "How old its last result may be before its check is critical. By default, the longest time between two runs "
        "and four hours.",
    ),
    "become_user": ("text", "The user that the scheduled task runs as; by default `env_sync_user`."),
    "action": ("`push`, `pull`, `s3_sync`", "What the task does."),
    "transformation_sql_file": ("list", "The name of `transformation_sql_filename` in old config files."),
    "pre_dump_transformation_sql_file": (
        "list",
        "The name of `pre_dump_transformation_sql_filename` in old config files.",
    ),
    "source_bucket": ("text", "The bucket, or `bucket/prefix`, that an `s3_sync` copies from."),
    "destination_bucket": ("text", "The bucket, or `bucket/prefix`, that an `s3_sync` copies to."),
    "delete": ("true or false", "Whether an `s3_sync` removes what the destination has and the source does not."),
}

#: plain names of Ansible's types
_TYPES = {
    "str": "text",
    "path": "path",
    "int": "number",
    "bool": "true or false",
    "list": "list",
    "dict": "mapping",
    "float": "number",
}


def table() -> str:
    """Return the table, in Markdown."""
    documented = _documented()
    of_one = _of_one_action()
    lines = ["| key | of a | value | means |", "| --- | --- | --- | --- |"]
    for key in KEYS:
        kind, meaning = INVENTORY.get(key) or _described(key, documented)
        lines.append(f"| `{key}` | {of_one.get(key, '')} | {kind} | {meaning} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """Return the page with the table as it is to be."""
    before, _begin, rest = page.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def _described(key: str, documented: dict[str, dict[str, Any]]) -> tuple[str, str]:
    if key not in documented:
        raise LookupError(f"{key} is documented by no module: document it there, or in INVENTORY of {__file__}")
    option = documented[key]
    description = option["description"]
    text = " ".join([description] if isinstance(description, str) else description)
    kind = _TYPES[option.get("type", "str")]
    if option.get("choices"):
        kind = ", ".join(f"`{choice}`" for choice in option["choices"])
    default = option.get("default")
    if default is not None:
        kind += f"; default `{str(default).lower() if isinstance(default, bool) else default}`"
    return kind, _markdown(text)


def _markdown(text: str) -> str:
    """Return Ansible's markup as Markdown's, on one line of a table."""
    text = re.sub(r"\b(?:O|V|C|RV|E)\(((?:\\.|[^)\\])*)\)", r"`\1`", text)
    return " ".join(text.replace("|", "\\|").split())


def _of_one_action() -> dict[str, str]:
    """Return the keys that only a push, a pull or a bucket sync heeds, each with that."""
    push, pull = _options("env_sync_dump"), _options("env_sync_restore")
    found = dict.fromkeys(push - pull, "push") | dict.fromkeys(pull - push, "pull")
    for stem, action in (("transformation_sql", "pull"), ("pre_dump_transformation_sql", "push")):
        found[f"{stem}_file"] = action
    return found | dict.fromkeys(("source_bucket", "destination_bucket", "delete"), "bucket sync")


def _options(module: str) -> set[str]:
    """Return the options that a module documents itself."""
    names: set[str] = set()
    for text in _texts(ROOT / "plugins" / "modules" / f"{module}.py"):
        names |= set(yaml.safe_load(text).get("options") or {})
    return names


def _documented() -> dict[str, dict[str, Any]]:
    """Return the options that modules and fragments document, by name."""
    options: dict[str, dict[str, Any]] = {}
    sources = sorted((ROOT / "plugins" / "modules").glob("env_sync_*.py"), reverse=True)
    sources = [path for path in sources if path.stem != "env_sync_deploy"]
    for path in (*sources, ROOT / "plugins" / "doc_fragments" / "_options.py"):
        for text in _texts(path):
            for name, option in (yaml.safe_load(text).get("options") or {}).items():
                options[name] = option
    return options


def _texts(path: Path) -> Iterator[str]:
    """Yield the texts that document something: a module's DOCUMENTATION, a fragment's attributes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    for node in (node for body in bodies for node in body):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            name = node.targets[0].id if isinstance(node.targets[0], ast.Name) else ""
            if name.isupper() and name not in ("EXAMPLES", "RETURN"):
                yield node.value.value


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
