# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import keys

VARS = Path(__file__).resolve().parents[3] / "roles" / "env_sync" / "vars"
KEYS = {"base", "zstandard", "cron", "sudo", "setlock", "nsca", "files", "s3", "rsync", "virtualenv", *keys.DBMS}


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((VARS / name).read_text(encoding="utf-8")))


def distribution(name: str, family: str, major: str) -> dict[str, Any]:
    """Return the variables that a host of this distribution gets: of the first file that is there."""
    facts = {"distribution": name, "os_family": family, "distribution_major_version": major}
    files = [
        jinja2.Template(template).render(ansible_facts=facts)
        for template in read("main.yml")["_env_sync_distribution_files"]
    ]
    return next(read(file) for file in files if (VARS / file).is_file())


SUPPORTED = [
    *(("Debian", "Debian", major) for major in ("11", "12", "13")),
    *(("Ubuntu", "Debian", major) for major in ("22", "24")),
    *((name, "RedHat", major) for name in ("RedHat", "Rocky", "AlmaLinux") for major in ("8", "9")),
]


@pytest.mark.parametrize(("name", "family", "major"), SUPPORTED)
def test_every_distribution_has_a_name_for_all_that_a_task_may_need(name: str, family: str, major: str) -> None:
    found = distribution(name, family, major)
    assert set(found["_env_sync_packages"]) >= KEYS
    assert all(isinstance(packages, list) for packages in found["_env_sync_packages"].values())
    without = set(found["_env_sync_only_in_virtualenv"])
    assert without <= set(read("main.yml")["_env_sync_libraries"])


@pytest.mark.parametrize(
    ("name", "family", "major", "python", "postgresql", "setlock"),
    [
        ("Debian", "Debian", "12", "/usr/bin/python3", ["postgresql-client", "python3-psycopg2"], ["daemontools"]),
        ("Ubuntu", "Debian", "24", "/usr/bin/python3", ["postgresql-client", "python3-psycopg2"], ["daemontools"]),
        ("Rocky", "RedHat", "9", "/usr/bin/python3", ["postgresql", "python3-psycopg2"], []),
        ("RedHat", "RedHat", "8", "/usr/bin/python3.11", ["postgresql"], []),
    ],
)
def test_the_nearest_file_counts(
    name: str, family: str, major: str, python: str, postgresql: list[str], setlock: list[str]
) -> None:
    found = distribution(name, family, major)
    assert found["_env_sync_system_python"] == python
    assert found["_env_sync_packages"]["postgresql"] == postgresql
    assert found["_env_sync_packages"]["setlock"] == setlock


def test_where_the_distributions_python_is_too_old_libraries_come_from_a_virtual_environment() -> None:
    found = distribution("AlmaLinux", "RedHat", "8")
    assert set(found["_env_sync_only_in_virtualenv"]) == set(read("main.yml")["_env_sync_libraries"]) - {"base"}
    assert found["_env_sync_package_command"] == ["dnf", "--assumeyes", "install"]


def needs(tasks: dict[str, Any], s3_sync_tasks: dict[str, Any], **more: Any) -> set[str]:
    """Return what the role finds that these tasks need, in the words of the lists of packages."""
    loader = DataLoader()
    files = (VARS.parent / "defaults" / "main.yml", VARS / "main.yml", VARS / "Debian.yml")
    variables = {
        key: value
        for file in files
        for key, value in loader.load_from_file(str(file), trusted_as_template=True).items()
    } | {
        "_env_sync_tasks": tasks,
        "_env_sync_s3_sync_tasks": s3_sync_tasks,
        "ansible_facts": {"distribution": "Debian", "distribution_major_version": "11"},
        **more,
    }
    return set(Templar(loader, variables=variables).template(variables["_env_sync_needs"]))


@pytest.mark.parametrize(
    ("tasks", "s3_sync_tasks", "expected"),
    [
        ({}, {}, set()),
        ({"a": {"dbms": "mysql", "storagebackend": "directory"}}, {}, {"mysql", "directory"}),
        ({"a": {"dbms": "mysql", "storagebackend": "s3", "ensure": "absent"}}, {}, set()),
        ({"a": {"dbms": "files", "storagebackend": "s3", "become_user": "root"}}, {}, {"files", "s3", "sudo"}),
        ({"a": {"action": "s3_sync"}}, {}, {"s3"}),
        ({}, {"a": {"source_bucket": "b"}, "c": "no mapping"}, {"s3"}),
        ({}, {"a": {"ensure": "absent"}}, set()),
        ({"a": {"dbms": "elasticsearch5", "aws_sigv4": "true"}}, {}, {"elasticsearch5", "s3"}),
        ({"a": {"dbms": "elasticsearch5", "aws_sigv4": "no"}}, {}, {"elasticsearch5"}),
    ],
)
def test_a_host_gets_what_its_tasks_need(
    tasks: dict[str, Any], s3_sync_tasks: dict[str, Any], expected: set[str]
) -> None:
    assert needs(tasks, s3_sync_tasks) - {""} == expected | {"cron"}


@pytest.mark.parametrize(
    ("name", "major", "there"),
    [("Debian", "11", False), ("Debian", "12", True), ("Ubuntu", "22", False), ("Ubuntu", "24", True)],
)
def test_the_library_of_zstd_comes_from_where_there_is_one(name: str, major: str, there: bool) -> None:
    facts = {"distribution": name, "distribution_major_version": major}
    assert ("zstandard" in needs({}, {}, ansible_facts=facts)) is there
    in_virtualenv = needs({}, {}, ansible_facts=facts, env_sync_virtualenv="/opt/env_sync")
    assert "virtualenv" in in_virtualenv and "zstandard" not in in_virtualenv, "pip has it"
    assert read("main.yml")["_env_sync_libraries"]["base"] == ["zstandard"]
