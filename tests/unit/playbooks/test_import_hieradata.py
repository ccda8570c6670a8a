# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the playbooks that run where they are called say to somebody who calls them for the first time."""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers.playbooks import play

HIERADATA = """\
govuk_env_sync::tasks:
  pull_%s:
    {action: pull, dbms: postgresql, database: %s, storagebackend: s3, url: backups, hour: 1, minute: 5}
"""


def said(folder: Path, playbook: str, *arguments: str, ok: bool = False) -> str:
    given = [word for argument in arguments for word in (["-e", argument] if "=" in argument else [argument])]
    return " ".join(play(folder, {}, f"govuk.env_sync.{playbook}", *given, ok=ok).split())


def test_what_is_needed_is_said_in_a_sentence(tmp_path: Path) -> None:
    found = said(tmp_path, "quickstart", "database=shop")
    assert "Set store, from, to, sanitise (-e database=shop" in found and "Nothing was done." in found
    found = said(tmp_path, "import_hieradata")
    assert "Set env_sync_hieradata and env_sync_inventory_dir: env_sync_hieradata to files or folders" in found
    assert "undefined" not in found


def test_a_file_that_is_not_there_is_named_and_a_fault_is_said_once(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("govuk_env_sync::tasks: [1\nb: 2", encoding="ascii")
    where = f"env_sync_inventory_dir={tmp_path}/new"
    found = said(tmp_path, "import_hieradata", where, f"env_sync_hieradata={wrong},{tmp_path}/typo.yaml")
    assert "Nothing was written." in found
    assert f"{tmp_path}/typo.yaml: there is no such file or folder (from {os.getcwd()})" in found
    assert f"{wrong}: line 2: expected" in found and found.count("line 2: expected") <= 2  # once in Ansible's own words
    assert not (tmp_path / "new").exists()


def test_a_new_inventory_is_shown_before_it_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "checkout" / "staging"
    folder.mkdir(parents=True)
    for name in ("shop", "users"):
        (folder / f"{name}.yaml").write_text(HIERADATA % (name, name), encoding="ascii")
    inventory = tmp_path / "inventories" / "new"
    options = (
        f"env_sync_inventory_dir={inventory}",
        f"env_sync_hieradata={folder}/shop.yaml,{folder}/users.yaml",
    )
    found = said(tmp_path, "import_hieradata", *options, "--check", "--diff", ok=True)
    written = inventory / "group_vars" / "shop" / "env_sync.yml"
    assert f"would write {written}: 1 tasks present" in found and "+ pull_shop:" in found
    assert not inventory.parent.exists()
    found = said(tmp_path, "import_hieradata", *options, ok=True)
    assert "would write" not in found and "pull_shop" in written.read_text(encoding="utf-8")
    findings = (inventory / "env_sync_findings.md").read_text(encoding="utf-8")
    assert "## staging/shop.yaml" in findings and str(tmp_path) not in findings
