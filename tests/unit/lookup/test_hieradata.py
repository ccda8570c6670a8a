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
from ansible_collections.govuk.env_sync.plugins.plugin_utils import hieradata, migration

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
    found, _every = hieradata.variables([f"{file.parent}/*.yaml"], str(tmp_path), "group_vars")
    assert found["dest"] == f"{tmp_path}/group_vars/shop/env_sync.yml"
    assert yaml.safe_load(found["content"]) == {"env_sync_tasks": look(file)["tasks"]}
    assert found["counts"] == {"present": 1, "disabled": 1, "absent": 0}
    assert (found["scripts"], found["faults"], found["obstacle"], found["differs"]) == (
        ["a.sql", "b.sql"],
        "",
        "",
        False,
    )


def test_what_is_not_there_and_what_cannot_be_read_is_told_of_with_the_rest(file: Path, tmp_path: Path) -> None:
    wrong = file.with_name("wrong.yaml")
    wrong.write_text("govuk_env_sync::tasks: [a]", encoding="ascii")
    given = f"{file}, {wrong},{tmp_path}/typo*.yaml"
    items = hieradata.variables([given], str(tmp_path), "group_vars")
    assert {item["origin"]: item["faults"] for item in items} == {
        f"{tmp_path.name}/typo*.yaml": f"there is no such file or folder (from {Path.cwd()})",
        "production/shop.yaml": "",
        "production/wrong.yaml": "govuk_env_sync::tasks is no mapping from titles to keys",
        "every file": "",
    }
    assert [bool(item["dest"]) for item in items] == [False, True, False, False]
    comma = file.with_name("a,b.yaml")
    comma.write_text(HIERADATA, encoding="utf-8")
    assert hieradata.variables([str(comma)], str(tmp_path), "group_vars")[0]["source"] == str(comma)


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
    found, _every = hieradata.variables([str(file)], str(tmp_path), "host_vars")
    assert "push_shop: hour '25'" in found["faults"] and "push_shop: action must be one of" in found["faults"]


def told(found: list[dict[str, Any]]) -> dict[str, str]:
    """Return what is said of each title or key, in one text."""
    said: dict[str, str] = {}
    for item in found:
        for finding in item["findings"]:
            for about in finding["about"]:
                said[about] = f"{said.get(about, '')} {finding['what']}. {finding['do']}"
    return said


def one_task(**values: str) -> dict[str, str]:
    return {"hour": "1", "minute": "0", "storagebackend": "s3", "url": "backups", "path": "p", **values}


def write(path: Path, data: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


ORIGINAL = {
    "govuk_env_sync::tasks": {
        "pull_router": one_task(action="pull", dbms="mongo", database="router"),
        "pull_draft_router": one_task(action="pull", dbms="mongo", database="draft_router", ensure="disabled"),
        "pull_signon": one_task(action="pull", dbms="mysql", database="signon_production"),
        "pull_assets": one_task(action="pull", dbms="documentdb", database="govuk_assets_production"),
        "push_assets": one_task(action="push", dbms="documentdb", database="govuk_assets_production"),
        "gone": one_task(action="pull", dbms="mongo", database="router", ensure="absent"),
        "pull_ckan": one_task(action="pull", dbms="postgresql", database="ckan_production"),
        "push_mine": one_task(action="push", dbms="postgresql", database="mine", login_user="me"),
    },
    "govuk_env_sync::s3_sync_tasks": {
        "sync": {"hour": "1", "minute": "0", "source_bucket": "a", "destination_bucket": "b"},
        "sync_acl": {"hour": "1", "minute": "0", "source_bucket": "a", "destination_bucket": "c", "acl": "private"},
    },
}


def test_what_the_original_did_beside_its_tasks_is_told_of_each(tmp_path: Path) -> None:
    path = write(tmp_path / "production" / "all.yaml", ORIGINAL)
    found = hieradata.variables([str(path)], str(tmp_path), "group_vars")
    said = told(found)
    assert "this environment's domain" in said["pull_router"] and "Adapt router.js" in said["pull_draft_router"]
    assert "Adapt signon.sql" in said["pull_signon"] and "root's ~/.my.cnf" in said["pull_signon"]
    assert "Adapt govuk_assets.js" in said["pull_assets"] and "access-limited" in said["pull_assets"]
    assert "NAME_DOCUMENTDB_PASSWD" in said["push_assets"] and "Adapt" not in said["push_assets"]
    assert "aws_db_admin" in said["pull_ckan"] and "single transaction" in said["pull_ckan"]
    assert "acl: bucket-owner-full-control" in said["sync"]
    assert not {"gone", "push_mine", "sync_acl"} & set(said)
    assert "AWS_REGION: eu-west-1" in said["every task"] and "LOCAL_DOMAIN" in said["every task"]
    assert found[0]["examples"] == ["govuk_assets.js", "router.js", "signon.sql"]
    assert found[0]["faults"] == ""


def test_every_example_that_is_named_is_shipped() -> None:
    folder = Path(__file__).resolve().parents[3] / "roles" / "env_sync" / "files" / "examples"
    for _what, example in migration.FIX_UPS.values():
        assert (folder / example).is_file()
        assert example in (folder / "README.md").read_text(encoding="utf-8")


def test_parameters_of_the_module_are_told_and_secrets_are_not_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "hieradata"
    write(
        folder / "class" / "db.yaml",
        {"govuk_env_sync::tasks": {"push": one_task(action="push", dbms="mongo", database="d")}},
    )
    write(folder / "class" / "other.yaml", {"ntp::servers": []})
    secret = {"host": "db.example.org", "password": "hunter2"}
    write(
        folder / "common.yaml",
        {
            "govuk_env_sync::document_db_credentials": {"licensify-audit": secret},
            "govuk_env_sync::aws_region": "eu-west-2",
            "govuk_env_sync::aws_auth::aws_secret_access_key": "hunter2",
            "govuk_env_sync::user": "backup",
            "govuk_env_sync::conf_dir": "/etc/govuk_env_sync",
            "app_domain_internal": "staging.example.org",
        },
    )
    found = hieradata.variables([str(folder)], str(tmp_path), "group_vars")
    assert [item["source"] for item in found if item["dest"]] == [f"{folder}/class/db.yaml"]
    said = told(found)
    documentdb = said["govuk_env_sync::document_db_credentials: licensify-audit"]
    assert "LICENSIFY_AUDIT_DOCUMENTDB_HOST" in documentdb and "db.example.org" in documentdb
    assert "AWS_REGION: eu-west-2" in said["govuk_env_sync::aws_region"] and "eu-west-1" not in said["every task"]
    assert "staging.example.org" in said["app_domain_internal"]
    assert "env_sync_user" in said["govuk_env_sync::user"] and "govuk_env_sync::conf_dir" not in said
    assert "not brought along" in said["govuk_env_sync::aws_auth::aws_secret_access_key"]
    assert "hunter2" not in repr(found)


def test_two_files_for_one_group_are_refused(tmp_path: Path) -> None:
    for environment in ("production", "staging"):
        write(tmp_path / "class" / environment / "all.yaml", ORIGINAL)
    found = hieradata.variables([str(tmp_path / "class")], str(tmp_path), "group_vars")
    assert [item["obstacle"] == "" for item in found] == [True, False, True]
    assert "one environment's folder at a time" in found[1]["obstacle"]


def test_relative_paths_begin_where_the_caller_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "class" / "all.yaml", ORIGINAL)
    monkeypatch.chdir(tmp_path)
    found = hieradata.variables(["class"], "inventory", "group_vars")
    assert found[0]["source"] == f"{tmp_path}/class/all.yaml"
    assert found[0]["dest"] == f"{tmp_path}/inventory/group_vars/all/env_sync.yml"
