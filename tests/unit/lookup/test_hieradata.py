# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader
from ansible_collections.govuk.env_sync.plugins.lookup.hieradata import LookupModule
from ansible_collections.govuk.env_sync.plugins.plugin_utils import hieradata

HIERADATA = """\
---
base: &base
  ensure: "present"
  dbms: "postgresql"
  storagebackend: "s3"
  url: "backups"
"govuk_env_sync::tasks":
  "push_shop":
    <<: *base
    hour: "00"
    minute: "07"
    action: "push"
    database: "b\u00fccher"
  "pull_shop":
    <<: *base
    ensure: "disabled"
    action: "pull"
    database: "shop"
    transformation_sql_filename: "a.sql, b.sql"
other::key: "%{hiera('x')}"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "production" / "shop.yaml"
    path.parent.mkdir()
    path.write_text(HIERADATA, encoding="utf-8")
    return path


def look(*paths: Path) -> dict[str, Any]:
    (found,) = LookupModule(loader=DataLoader()).run([str(path) for path in paths], {})
    return dict(found)


def test_tasks_are_read_as_they_stand(file: Path) -> None:
    found = look(file)
    assert found["tasks"]["push_shop"]["minute"] == "07"
    assert found["tasks"]["pull_shop"] == {
        "ensure": "disabled",
        "dbms": "postgresql",
        "storagebackend": "s3",
        "url": "backups",
        "action": "pull",
        "database": "shop",
        "transformation_sql_filename": "a.sql, b.sql",
    }
    assert found["s3_sync_tasks"] == {}
    assert look() == {"tasks": {}, "s3_sync_tasks": {}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\nb: 2", "line 2: "),
        ("govuk_env_sync::tasks:\n  a: {}\n  a: {}\n", "line 3: a is there twice, first in line 2"),
        ("shop: 1", "neither govuk_env_sync::tasks nor govuk_env_sync::s3_sync_tasks"),
        ("govuk_env_sync::tasks: [a]", "govuk_env_sync::tasks is no mapping"),
        ("", "neither"),
    ],
)
def test_what_is_no_hieradata_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AnsibleLookupError) as raised:
        look(path)
    assert f"reading the hieradata {path}" in str(raised.value) and said in str(raised.value)


def test_a_title_in_two_files_and_a_missing_file_are_refused(file: Path) -> None:
    other = file.with_name("other.yaml")
    other.write_text(HIERADATA, encoding="utf-8")
    with pytest.raises(AnsibleLookupError, match=r"push_shop is declared in .*/shop\.yaml too"):
        look(file, other)
    with pytest.raises(AnsibleLookupError, match=r"nowhere\.yaml: there is no such file"):
        look(file.with_name("nowhere.yaml"))


def test_hieradata_becomes_variables_that_say_the_same(file: Path, tmp_path: Path) -> None:
    file.with_name("unrelated.yaml").write_text("ntp: {{ broken", encoding="utf-8")
    (found,) = hieradata.variables([f"{file.parent}/*.yaml"], str(tmp_path), "group_vars")
    assert found["dest"] == f"{tmp_path}/group_vars/shop/env_sync.yml"
    assert yaml.safe_load(found["content"]) == {"env_sync_tasks": look(file)["tasks"]}
    assert found["counts"] == {"present": 1, "disabled": 1, "absent": 0}
    assert (found["scripts"], found["faults"], found["obstacle"], found["differs"]) == (
        ["a.sql", "b.sql"],
        "",
        "",
        False,
    )


def test_what_would_be_lost_is_seen(file: Path, tmp_path: Path) -> None:
    group = tmp_path / "group_vars"
    group.mkdir()
    (group / "shop.yml").touch()

    def now() -> dict[str, Any]:
        return dict(hieradata.variables([str(file)], str(tmp_path), "group_vars")[0])

    assert now()["obstacle"].startswith(f"{group}/shop.yml would not be read any more")
    (group / "shop").mkdir()
    assert now()["obstacle"] == ""
    (group / "shop" / "env_sync.yml").touch()
    assert now()["differs"]


def test_faults_are_told_before_anything_is_imported(file: Path, tmp_path: Path) -> None:
    file.write_text(HIERADATA.replace('"00"', '"25"').replace('"push"', '"shove"'), encoding="utf-8")
    (found,) = hieradata.variables([str(file)], str(tmp_path), "host_vars")
    assert "push_shop: hour '25'" in found["faults"] and "push_shop: action must be one of" in found["faults"]
