# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

PUSH = {
    "action": "push",
    "dbms": "postgresql",
    "database": "app",
    "storagebackend": "directory",
    "url": "/backup",
    "path": "postgresql",
}


def task(**values: Any) -> Task:
    return Task.from_mapping({**PUSH, **values})


def refusal(**values: Any) -> str:
    with pytest.raises(EnvSyncError) as raised:
        task(**values)
    return raised.value.why


def test_the_originals_inventory_is_taken_as_it_is() -> None:
    values = {
        "ensure": "present", "hour": "0", "minute": "*/6", "action": "pull", "dbms": "postgresql",
        "storagebackend": "s3", "database": "app_production", "database_hostname": "postgresql-primary",
        "temppath": "/tmp/app_production", "url": "govuk-production-database-backups", "path": "postgresql-backend",
        "transformation_sql_filename": "sanitise.sql", "excluded_tables": "a,b",
    }  # fmt: skip
    found = Task.from_mapping(values, name="pull_app")
    assert (found.title, found.action, found.connection.host) == ("pull_app", "pull", "postgresql-primary")
    assert (found.url, found.path, found.excluded_tables) == (values["url"], values["path"], ("a", "b"))


@pytest.mark.parametrize("hour", [0, "00", "*/6", "1,2"])
def test_cron_fields_are_strings_or_numbers(hour: Any) -> None:
    task(hour=hour, minute=hour)


@pytest.mark.parametrize("value", [True, "true", "True", "yes", "on", "1", 1])
def test_true_in_any_spelling(value: Any) -> None:
    assert task(require_sanitised=value).require_sanitised is True


@pytest.mark.parametrize("value", [False, "false", "no", "off", "0", 0])
def test_false_in_any_spelling(value: Any) -> None:
    assert task(analyze=value).analyze is False


@pytest.mark.parametrize("value", ["a, b,,c ", ["a", " b", "", "c"], ("a", "b", "c")])
def test_lists_are_lists_or_strings_with_commas(value: Any) -> None:
    assert task(excluded_tables=value).excluded_tables == ("a", "b", "c")


def test_commas_between_the_arguments_of_a_function_are_part_of_its_name() -> None:
    objects = ("FUNCTION public.f(integer, text)", "VIEW public.v", 'TABLE public."a, b"')
    assert task(excluded_objects=", ".join(objects)).excluded_objects == objects
    assert task(excluded_objects=list(objects)).excluded_objects == objects


@pytest.mark.parametrize(
    ("key", "dbms"), [("excluded_table_data", "mongo"), ("excluded_extensions", "mysql"), ("excluded_objects", "files")]
)
def test_what_a_kind_of_database_cannot_leave_out_is_refused(key: str, dbms: str) -> None:
    assert f"{key} is for dbms postgresql" in refusal(**{key: "a"}, dbms=dbms, directory="/srv")
    assert getattr(task(**{key: "a"}), key) == ("a",)


def test_none_and_empty_count_as_not_given() -> None:
    found = task(database_hostname=None, database_port="", temppath="", timestamp=None)
    assert (found.connection.host, found.connection.port, found.temppath, found.timestamp) == ("", 0, "", "")
    assert refusal(database="") == "missing key database"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"action": "dance"}, "action must be one of push, pull"),
        ({"dbms": "oracle"}, "dbms must be one of postgresql"),
        ({"database_port": "http"}, "database_port must be a whole number, not 'http'"),
        ({"database_port": 65536}, "database_port must be from 1 to 65535"),
        ({"jobs": -1}, "jobs must be from 0"),
        ({"jobs": True}, "jobs must be a whole number"),
        ({"analyze": "perhaps"}, "analyze must be true or false"),
        ({"database": ["a"]}, "database must be a single value"),
        ({"database": "a\nb"}, "database must not contain control characters"),
        ({"path": "a/../b"}, "path must not contain . or .. as a folder"),
        ({"timestamp": "yesterday"}, "timestamp must have the form"),
        ({"timestamp": "2026-01-02"}, "timestamp must have the form"),
        ({"timestamp": "2026-01-02T03:04:05Z"}, "timestamp must have the form"),
        ({"timestamp": "2026-02-30T00:00"}, "timestamp must be a day and a time that exist"),
        ({"timestamp": "2026-01-02T24:00:00"}, "timestamp must be a day and a time that exist"),
        ({"timestamp": "2026-01-02T03:04:60"}, "timestamp must have the form"),
        ({"databse": "app"}, "unknown key databse"),
        ({"database": "caf\udce9"}, "database must be UTF-8 text, not 'caf\\udce9'"),
        ({"excluded_tables": "a,caf\udce9"}, "excluded_tables must be UTF-8 text"),
        ({"compression": "lzma"}, "compression must be one of zstd, gzip, none"),
        ({"storagebackend": "es_snapshot"}, "storagebackend es_snapshot is for dbms elasticsearch, not for postgresql"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named(values: dict[str, Any], why: str) -> None:
    assert why in refusal(**values)


def test_all_faults_are_told_at_once() -> None:
    assert refusal(dbms="x", jobs="y", colour="z").count(";") == 2


def test_all_that_is_missing_is_told_at_once() -> None:
    with pytest.raises(EnvSyncError, match=r"reading the task nightly: missing key dbms; .* missing key url"):
        Task.from_mapping({"action": "push"}, name="nightly")
    with pytest.raises(EnvSyncError, match="missing key action"):
        Task.from_mapping({})
    with pytest.raises(EnvSyncError, match="missing key source_bucket; missing key destination_bucket"):
        Task.from_mapping({"action": "s3_sync"})


def test_what_is_wrong_and_what_is_missing_is_told_at_once() -> None:
    with pytest.raises(EnvSyncError) as raised:
        Task.from_mapping({"action": "push", "dbms": "oracle", "colour": "red", "database": "shop"})
    assert [fault.split(",")[0] for fault in raised.value.why.split("; ")] == [
        "dbms must be one of postgresql",
        "unknown key colour",
        "missing key storagebackend",
        "missing key url",
    ]
    with pytest.raises(EnvSyncError) as raised:
        Task.from_mapping({"action": "fetch", "dbms": "mysql"})
    assert "missing" not in raised.value.why, "what else is needed depends on the action"


@pytest.mark.parametrize("key", ["login_password", "secret_key", "session_token"])
def test_no_message_and_no_representation_has_a_secret(key: str) -> None:
    assert "hunter2" not in refusal(**{key: ["hunter2"]})
    assert "hunter2" not in refusal(jobs="x", **{key: "hunter2"})
    assert "hunter2" not in repr(task(**{key: "hunter2"}))


@pytest.mark.parametrize(("action", "key"), [("push", "dest"), ("pull", "src")])
def test_a_local_directory_stands_in_for_a_store(action: str, key: str) -> None:
    found = Task.from_mapping({"action": action, "dbms": "postgresql", "database": "app", key: "/mnt/points"})
    assert (found.storagebackend, found.url, found.path) == ("directory", "/mnt/points", "")


def test_scripts_are_found_beside_the_config_unless_they_are_where_they_say(tmp_path: Path) -> None:
    there = tmp_path / "here.sql"
    there.touch()
    values = {**PUSH, "transformation_sql_filename": f"mask.sql,{there}", "pre_dump_transformation_sql_file": "pre.sql"}
    found = Task.from_mapping(values, conf_dir="/etc/govuk_env_sync")
    assert found.transformation_sql == ("/etc/govuk_env_sync/transformation_sql/mask.sql", str(there))
    assert found.pre_dump_transformation_sql == ("/etc/govuk_env_sync/transformation_sql/pre.sql",)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("mask.sql", "/etc/env/transformation_sql/mask.sql"),
        ("sub/mask.sql", "/etc/env/transformation_sql/sub/mask.sql"),
        (".hidden", "/etc/env/transformation_sql/.hidden"),
        ("./mask.sql", "HERE/mask.sql"),
        ("./sub/mask.sql", "HERE/sub/mask.sql"),
        ("/srv/mask.sql", "/srv/mask.sql"),
    ],
)
def test_a_name_is_the_deployed_file_whatever_the_current_directory_has(
    name: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    for trap in ("mask.sql", "sub/mask.sql", ".hidden"):
        (tmp_path / trap).touch()
    monkeypatch.chdir(tmp_path)
    for key in ("transformation_sql", "pre_dump_transformation_sql"):
        for spelling in (f"{key}_filename", f"{key}_file"):
            found = Task.from_mapping({**PUSH, spelling: name}, conf_dir="/etc/env")
            assert getattr(found, key) == (path.replace("HERE", str(tmp_path)),)
    monkeypatch.setenv("ENV_SYNC_NAME", "shop_sync")
    assert task(transformation_sql_filename="m.sql").transformation_sql == ("/etc/shop_sync/transformation_sql/m.sql",)


@pytest.mark.parametrize("key", ["temppath", "state_dir", "ssh_key_file", "ssh_known_hosts_file", "aws_ca_bundle"])
def test_a_relative_path_says_that_it_is_one(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "place") in repr(task(**{key: "./place"}))
    assert str(tmp_path.parent) in repr(task(**{key: "../place"}))
    assert f"{key} must be an absolute path (or begin with ./), not 'place'" in refusal(**{key: "place"})


def test_the_base_of_a_directory_store_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert task(storagebackend="directory", url="./store").url == str(tmp_path / "store")
    assert "url must be an absolute path" in refusal(storagebackend="directory", url="store")
    assert task(storagebackend="s3", url="store").url == "store"


def test_slashes_around_the_path_and_a_tilde_are_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/backup")
    assert task(path="/a/b/").path == "a/b"
    assert task(temppath="~/tmp").temppath == "/home/backup/tmp"


def test_as_many_workers_as_processors_may_be_used_unless_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)))
    assert task().worker_count == task(jobs="0").worker_count == 12
    assert task(jobs="3").worker_count == 3


def test_a_task_without_a_name_is_called_by_what_it_does() -> None:
    assert task().title == "push app"
    assert task(name="nightly").title == "nightly"


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ({"hour": "25"}, "hour '25' is not within 0 to 23"),
        ({"minute": "x"}, "minute 'x' is not a number"),
        ({"day": "30", "month": "feb"}, "day '30' does not exist in month '2'"),
        ({"weekday": "monday"}, "weekday 'monday' is not a number (sun, mon"),
    ],
)
def test_when_it_runs_is_looked_at_wherever_it_is_given(when: dict[str, str], says: str) -> None:
    with pytest.raises(EnvSyncError) as caught:
        Task.from_mapping({**PUSH, **when})
    assert caught.value.why.startswith(says)
