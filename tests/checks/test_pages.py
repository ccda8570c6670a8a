# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pages that would go stale, and conventions that no tool checks."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml

from tests.tools import task_keys

ROOT = Path(__file__).resolve().parents[2]
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
LINK = re.compile(r"\]\(([^)\s]+)\)")

#: folders with YAML of our own
FOLDERS = (".github", "demo", "docs", "extensions", "meta", "playbooks", "roles", "tests")


def test_the_table_of_keys_is_that_of_the_engine() -> None:
    page = task_keys.PAGE.read_text(encoding="utf-8")
    assert page == task_keys.with_table(page), "python -m tests.tools.task_keys writes it anew"


def test_links_of_the_readmes_work_on_galaxy_too() -> None:
    begin = f"{GALAXY['repository']}/blob/main/"
    for readme in (ROOT / "README.md", ROOT / "roles" / "env_sync" / "README.md"):
        links = LINK.findall(readme.read_text(encoding="utf-8"))
        assert links
        for link in links:
            assert link.startswith("https://"), f"{readme} has {link}, which leads nowhere on Galaxy"
            if link.startswith(begin):
                assert (ROOT / link[len(begin) :].partition("#")[0]).is_file(), f"{readme} has {link}"


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert len(pages) > 15
    for page in pages:
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            path = link.partition("#")[0]
            if path and "://" not in path:
                assert (page.parent / path).exists(), f"{page} has {link}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.M)
    plain = [re.sub(r"\]\([^)]*\)", "", heading) for heading in headings]
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}


def test_links_lead_to_headings_that_are_there() -> None:
    begin = f"{GALAXY['repository']}/blob/main/"
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "roles" / "env_sync" / "README.md"]:
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            path, _hash, anchor = link.partition("#")
            ours = path.startswith(begin)
            if anchor and (ours or "://" not in path):
                target = ROOT / path[len(begin) :] if ours else page.parent / (path or page.name)
                assert anchor in anchors(target), f"{page} has {link}"


def test_the_page_of_messages_quotes_messages_that_are_there() -> None:
    said = []
    for path in (ROOT / "plugins").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                said.append("...".join(str(part.value) for part in node.values if isinstance(part, ast.Constant)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.append(node.value)
    page = (ROOT / "docs" / "operate" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]*)` \|", page, re.M)
    assert len(quoted) > 60
    for message in quoted:
        for part in message.split("..."):
            assert any(part.strip() in text for text in said), f"nothing says {part.strip()!r} ({message})"


def test_variables_that_pages_name_are_there() -> None:
    specs = yaml.safe_load((ROOT / "roles" / "env_sync" / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    known = set(specs["argument_specs"]["main"]["options"])
    for playbook in (ROOT / "playbooks").glob("*.yml"):
        known |= set(re.findall(r"^# (env_sync_\w+)  ", playbook.read_text(encoding="utf-8"), re.M))
    known |= {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")} | {"env_sync_hosts"}
    for page in (ROOT / "docs" / "operate" / "migrate.md", ROOT / "roles" / "env_sync" / "README.md"):
        named = set(re.findall(r"(?<![\w/.])env_sync_\w+(?![\w.])", page.read_text(encoding="utf-8")))
        assert named and named <= known, f"{page} names {sorted(named - known)}"


def test_yaml_says_its_licence() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.yml") if "output" not in path.parts]
    assert len(files) > 40
    for path in (*files, ROOT / "galaxy.yml", ROOT / ".ansible-lint", ROOT / "changelogs" / "config.yaml"):
        head = path.read_text(encoding="utf-8")[:400]
        assert "# SPDX-License-Identifier: GPL-3.0-or-later" in head, f"{path.relative_to(ROOT)} has no SPDX line"
